/* Sparse arrays: a dense layer on them against the same layer on their rows written out, in any
 * number of parts; and arrays with something wrong in them, which are found out and do no harm.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "test/draft.h"
#include "test/reference.h"

/* A CSR matrix, and the same in full. */
typedef struct {
  pb_source s, full;
  void *data, *start, *column;
  double *written;
} matrix;

static void put_index(const pb_source *s, void *array, int64_t i, int64_t value) {
  if (s->wide) ((int64_t *)array)[i] = value;
  else ((int32_t *)array)[i] = (int32_t)value;
}

static matrix matrix_new(rng *r, int64_t rows, int64_t cols, int64_t most) {
  int64_t count[64], entries = 0;
  for (int64_t i = 0; i < rows; i++) entries += count[i] = rng_below(r, most + 1);
  bool wide = rng_below(r, 2), doubles = rng_below(r, 2);
  int64_t index = wide ? 8 : 4, size = doubles ? 8 : 1;
  matrix m = {.data = exact_alloc(entries * size),
              .start = exact_alloc((rows + 1) * index),
              .column = exact_alloc(entries * index),
              .written = exact_alloc(rows * cols * 8)};
  m.s = (pb_source){.data = m.data,
                    .dtype = doubles ? PB_F64 : PB_I8,
                    .rows = rows,
                    .cols = cols,
                    .col_stride = size,
                    .start = m.start,
                    .column = m.column,
                    .entries = entries,
                    .wide = wide};
  m.full = source_of(m.written, rows, cols);
  for (int64_t i = 0, e = 0; i < rows; i++) {
    for (int64_t k = 0; k < count[i]; k++, e++) {
      int64_t c = rng_below(r, cols), whole = rng_below(r, 7) - 3;
      double value = doubles ? rng_uniform(r) : (double)whole;
      if (doubles) ((double *)m.data)[e] = value;
      else ((int8_t *)m.data)[e] = (int8_t)whole;
      put_index(&m.s, m.column, e, c);
      m.written[i * cols + c] += value;
    }
    put_index(&m.s, m.start, i + 1, e);
  }
  return m;
}

static void matrix_free(matrix *m) {
  exact_free(m->data), exact_free(m->start), exact_free(m->column), exact_free(m->written);
}

/* --- the layer ---------------------------------------------------------------------------------- */

typedef struct {
  draft d;
  int32_t x, w, b, y, dy, dw, db;
  bool sparse;
} layer;

static pb_instr *add(layer *l, pb_phase phase) {
  pb_instr *k = draft_instr(&l->d, phase, l->sparse ? "sparse_dense" : "dense");
  const int32_t in[] = {l->x, l->w, l->b}, din[] = {-1, l->dw, l->db};
  k->nin = l->sparse ? 2 : 3, k->out = l->y;
  for (int j = 0; j < k->nin; j++) k->in[j] = in[j + l->sparse];
  if (phase == PB_FORWARD) k->activation = pb_find_op(l->d.table, "tanh");
  if (l->sparse) k->attr[0].i = 0, k->attr[1].f = 0.5;
  if (phase == PB_FORWARD) return k;
  k->dout = l->dy;
  k->fused_update = l->d.optim != NULL;
  for (int j = 0; j < k->nin && !k->fused_update; j++) k->din[j] = din[j + l->sparse];
  return k;
}

static layer layer_new(const pb_table *t, bool sparse, int64_t n, int64_t inputs, int64_t outputs,
                       const char *optim) {
  layer l = {.d = draft_new(t, n), .x = -1, .sparse = sparse};
  if (optim) l.d.optim = pb_find_optim(t, optim), l.d.optim_attr[0].f = 0.9;
  l.w = draft_tensor(&l.d, PB_PARAM, (pb_shape){.ndim = 2, .dim = {outputs, inputs}}, false);
  l.b = draft_tensor(&l.d, PB_PARAM, (pb_shape){.ndim = 1, .dim = {outputs}}, false);
  l.dw = draft_gradient(&l.d, l.w), l.db = draft_gradient(&l.d, l.b);
  l.y = draft_rows(&l.d, outputs), l.dy = draft_rows(&l.d, outputs);
  if (!sparse) draft_feed(&l.d, 0, 0.5, l.x = draft_rows(&l.d, inputs));
  l.d.nsource = 1;
  add(&l, PB_FORWARD), add(&l, PB_BACKWARD_PARAM);
  return l;
}

/* Runs the layer in parts on rows `index`, with dy = 1/8 everywhere; y goes to `out`. */
static void run(const layer *l, model *m, const pb_source *s, const int64_t *index, int parts,
                void *out) {
  const pb_plan *p = m->plan;
  void *ptr[MAX_TENSORS];
  char *const base[] = {m->param, m->grad, NULL, NULL};
  double coef[PB_MAX_COEF] = {0};
  pb_step step = {.learning_rate = 0.25, .t = 1};
  if (p->optim) p->optim->prepare(p->optim_attr, &step, coef);
  for (int32_t i = 0; i < p->ntensor; i++)
    ptr[i] = p->tensor[i].arena == PB_ACT ? exact_alloc(rows_bytes(p, i, p->capacity))
                                          : base[p->tensor[i].arena] + p->tensor[i].offset;
  for (int64_t i = 0; i < p->capacity * p->tensor[l->dy].size; i++)
    put_real(p->table, ptr[l->dy], i, 0.125);
  for (int32_t i = 0; i < p->ninstr; i++)
    for (int part = 0; part < parts; part++) {
      pb_lane lane = {.ptr = ptr,
                      .n = p->capacity,
                      .part = part,
                      .parts = parts,
                      .source = s,
                      .index = index,
                      .plan = p,
                      .coef = coef,
                      .now = &step,
                      .scratch = exact_alloc(p->scratch_bytes)};
      const pb_op *op = p->instr[i].op;
      (i < p->nforward ? op->forward : op->backward_param)(&p->instr[i], &lane);
      exact_free(lane.scratch);
    }
  memcpy(out, ptr[l->y], (size_t)rows_bytes(p, l->y, p->capacity));
  for (int32_t i = 0; i < p->ntensor; i++)
    if (p->tensor[i].arena == PB_ACT) exact_free(ptr[i]);
}

static void compare(const pb_table *t, const void *a, const void *b, int64_t count,
                    const char *what) {
  double tolerance = t->real_size == 8 ? 1e-12 : 2e-5;
  for (int64_t i = 0; i < count; i++)
    if (!CHECK(close_to(get_real(t, a, i), get_real(t, b, i), tolerance),
               "%s[%d] is %g from sparse rows, %g from full ones", what, (int)i, get_real(t, a, i),
               get_real(t, b, i)))
      return;
}

static void check_layer(const pb_table *t, rng *r, const matrix *a, int64_t n, int64_t outputs,
                        const char *optim) {
  int64_t index[64];
  for (int64_t i = 0; i < n; i++) index[i] = rng_below(r, a->s.rows);
  layer full = layer_new(t, false, n, a->s.cols, outputs, optim);
  layer sparse = layer_new(t, true, n, a->s.cols, outputs, optim);
  model one = model_new(&full.d);
  void *wanted = exact_alloc(n * outputs * t->real_size), *first = NULL;
  model_fill(&one, 3, 0.2);
  model begin = model_new(&full.d), after = {0};
  model_copy(&begin, &one);
  if (model_seal(&one)) run(&full, &one, &a->full, index, 1, wanted);
  for (int parts = 1; parts <= 3; parts++) {
    model m = model_new(&sparse.d);
    void *y = exact_alloc(n * outputs * t->real_size);
    model_copy(&m, &begin);
    if (model_seal(&m)) run(&sparse, &m, &a->s, index, parts, y);
    if (parts == 1) {
      compare(t, y, wanted, n * outputs, "y");
      compare(t, m.param, one.param, m.bytes / t->real_size, "parameter");
      compare(t, m.grad, one.grad, m.bytes / t->real_size, "gradient");
      first = y, after = m;
      continue;
    }
    bool same = memcmp(y, first, (size_t)(n * outputs * t->real_size)) == 0;
    same &= models_equal(&m, &after) && memcmp(m.grad, after.grad, (size_t)m.bytes) == 0;
    CHECK(same, "sparse_dense has other bits in %d parts", parts);
    exact_free(y), model_free(&m);
  }
  exact_free(wanted), exact_free(first);
  model_free(&one), model_free(&begin), model_free(&after);
}

void check_sparse_dense(const pb_table *t) {
  static const char *const optims[] = {NULL, "sgd", "momentum"};
  rng r = {21};
  for (int i = 0; i < 60; i++) {
    matrix a = matrix_new(&r, 1 + rng_below(&r, 20), 1 + rng_below(&r, 90), 12);
    check_layer(t, &r, &a, 1 + rng_below(&r, 9), 1 + rng_below(&r, 35), optims[i % 3]);
    matrix_free(&a);
  }
  for (int i = 0; i < 3; i++) { /* more entries than are read at once */
    matrix a = matrix_new(&r, 30, 700, 1500);
    check_layer(t, &r, &a, 20, 18, optims[i]);
    matrix_free(&a);
  }
}

/* --- flaws -------------------------------------------------------------------------------------- */

static void flaws_are_found(void) {
  rng r = {22};
  for (int i = 0; i < 400; i++) {
    matrix a = matrix_new(&r, 1 + rng_below(&r, 20), 1 + rng_below(&r, 40), 12);
    int64_t row, entry, rows = a.s.rows;
    CHECK(pb_check_sparse(&a.s, DBL_MAX, &row, &entry) == PB_FINE, "a sound array is refused");
    int kind = i % 3;
    pb_flaw wanted = PB_FINE;
    int64_t e = a.s.entries ? rng_below(&r, a.s.entries) : -1;
    if (kind == 0) {
      put_index(&a.s, a.start, rng_below(&r, rows + 1), rng_below(&r, 2) ? -1 : INT32_MAX);
      wanted = PB_BAD_START;
    } else if (kind == 1 && e >= 0) {
      put_index(&a.s, a.column, e, rng_below(&r, 2) ? -1 - rng_below(&r, 9) : a.s.cols);
      wanted = PB_BAD_COLUMN;
    } else if (kind == 2 && e >= 0 && a.s.dtype == PB_F64) {
      ((double *)a.data)[e] = rng_below(&r, 2) ? NAN : INFINITY;
      wanted = PB_BAD_VALUE;
    }
    pb_flaw found = pb_check_sparse(&a.s, DBL_MAX, &row, &entry);
    CHECK(found == wanted, "flaw %d, wanted %d", (int)found, (int)wanted);
    CHECK(wanted < PB_BAD_COLUMN || entry == e, "entry %d, wanted %d", (int)entry, (int)e);
    matrix_free(&a);
  }
}

/* A user may write to an array while it is read. */
static void damage_does_no_harm(const pb_table *t) {
  static const int64_t odd[] = {-1, 0, 1, INT32_MAX, INT32_MIN, 40, 17};
  rng r = {23};
  for (int i = 0; i < 300; i++) {
    matrix a = matrix_new(&r, 8, 1 + rng_below(&r, 40), 12);
    for (int k = 0; k < 5; k++) {
      int64_t value = odd[rng_below(&r, 7)];
      if (a.s.wide && rng_below(&r, 3) == 0) value = rng_below(&r, 2) ? INT64_MIN : INT64_MAX;
      if (rng_below(&r, 2)) put_index(&a.s, a.start, rng_below(&r, 9), value);
      else if (a.s.entries) put_index(&a.s, a.column, rng_below(&r, a.s.entries), value);
    }
    layer l = layer_new(t, true, 8, a.s.cols, 5, i % 2 ? "sgd" : NULL);
    model m = model_new(&l.d);
    void *y = exact_alloc(8 * 5 * t->real_size);
    model_fill(&m, 3, 0.2);
    if (model_seal(&m)) run(&l, &m, &a.s, NULL, 1, y);
    for (int64_t k = 0; k < 8 * 5; k++)
      CHECK(isfinite(get_real(t, y, k)), "damaged indices gave %g", get_real(t, y, k));
    exact_free(y), model_free(&m), matrix_free(&a);
  }
}

/* Plans read arrays of the form that they were made for. */
static void forms_are_not_mixed(const pb_table *t) {
  rng r = {24};
  matrix a = matrix_new(&r, 6, 9, 4);
  for (int sparse = 0; sparse < 2; sparse++) {
    layer l = layer_new(t, sparse, 6, 9, 3, NULL);
    model m = model_new(&l.d);
    if (model_seal(&m)) {
      pb_workspace *w = NULL;
      pb_source narrow = sparse ? a.s : a.full;
      narrow.cols--;
      const pb_source wrong[] = {sparse ? a.full : a.s, narrow};
      for (int i = 0; i < 2; i++)
        CHECK(pb_once(m.plan, &wrong[i], 6, false, 0, 0, NULL, &w) == PB_BAD_CALL,
              "a plan reads an array of another form");
      const pb_source *right = sparse ? &a.s : &a.full;
      CHECK(pb_once(m.plan, right, 6, false, 0, 0, NULL, &w) == PB_OK, "its own array is refused");
      pb_workspace_release(m.plan, w);
    }
    model_free(&m);
  }
  matrix_free(&a);
}

const test tests_sparse[] = {
    {"flaws are found", flaws_are_found, NULL},
    {"damage does no harm", NULL, damage_does_no_harm},
    {"dense and sparse arrays are not mixed up", NULL, forms_are_not_mixed},
    {0},
};
