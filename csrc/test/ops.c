/* Every op: forward against plain loops over doubles, backward against central differences of those
 * loops, and the work cut between any number of threads against one.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test/draft.h"
#include "test/reference.h"

enum { SOURCES = 8 };

/* One use of an op for n rows, with the numbers that go through it. */
typedef struct {
  const op_case *c;
  int64_t n, size;           /* rows; numbers in a row of the output */
  int64_t count[PB_MAX_IN];  /* numbers in each input */
  double *in[PB_MAX_IN];     /* inputs */
  double *v;                 /* gradient of the loss by the output */
  double *before[PB_MAX_IN]; /* what the inputs' gradients hold beforehand */
  bool differentiable[PB_MAX_IN];
  draft draft;
  int32_t x[PB_MAX_IN], dx[PB_MAX_IN], y, dy, saved;
  pb_source source[SOURCES];
} use;

static double *numbers(int64_t n) { return exact_alloc(n * (int64_t)sizeof(double)); }

static void fill_input(const pb_table *t, const op_case *c, int j, int64_t count, rng *r,
                       double *x) {
  int64_t classes = pb_shape_size(&c->in[0]), columns = pb_shape_size(&c->in[j]);
  double span = c->span > 0 ? c->span : 2, total = 0;
  for (int64_t i = 0; i < count; i++) {
    do x[i] = span * rng_uniform(r);
    while (fabs(x[i]) < 1e-3); /* keeps clear of kinks */
    if (c->fill[j] == CLASS) x[i] = (double)rng_below(r, classes);
    if (c->fill[j] == BITS) x[i] = (double)rng_below(r, 2);
    if (c->fill[j] == MASSES) x[i] = fabs(x[i]);
  }
  for (int64_t i = 0; i < count && c->fill[j] == MASSES; i++) {
    if (i % columns == 0) total = 0;
    total += x[i];
    if (i % columns == columns - 1)
      for (int64_t k = i - columns + 1; k <= i; k++) x[k] /= total;
  }
  for (int64_t i = 0; i < count; i++) x[i] = as_real(t, x[i]);
}

/* The array that a tensor of rows is fed from. */
static void bind(use *u, int32_t id, const double *data) {
  int32_t k = u->draft.nsource;
  u->source[k] = source_of(data, u->n, pb_shape_size(&u->draft.tensor[id].shape));
  draft_feed(&u->draft, k, 1, id);
}

static void name_tensors(use *u, const pb_op *op, pb_inferred *r) {
  const op_case *c = u->c;
  draft *d = &u->draft;
  CHECK(op->infer(c->attr, c->in, c->nin, r), "%s refuses its shapes", c->op);
  for (int j = 0; j < c->nin; j++)
    u->x[j] = draft_tensor(d, c->in[j].batched ? PB_ACT : PB_PARAM, c->in[j], false);
  u->y = draft_tensor(d, PB_ACT, r->out, op->flags & PB_PER_ROW);
  if (d->end[PB_GRAD] < d->end[PB_PARAM]) d->end[PB_GRAD] = d->end[PB_PARAM];
  if (!(op->flags & PB_PER_ROW))
    u->dy = draft_tensor(d, r->out.batched ? PB_ACT : PB_GRAD, r->out, false);
  if (r->saved_row > 0) u->saved = draft_rows(d, r->saved_row);
  for (int j = 0; j < c->nin; j++)
    if (u->differentiable[j]) u->dx[j] = draft_gradient(d, u->x[j]);
}

static void write_phase(use *u, pb_phase phase, bool add) {
  const op_case *c = u->c;
  pb_instr *k = draft_instr(&u->draft, phase, c->op);
  k->nin = c->nin, k->node = REFERENCE_NODE;
  k->out = u->y, k->dout = phase == PB_FORWARD ? -1 : u->dy, k->saved = u->saved;
  memcpy(k->attr, c->attr, sizeof k->attr);
  if (c->activation) k->activation = pb_find_op(u->draft.table, c->activation);
  for (int j = 0; j < c->nin; j++) {
    k->in[j] = u->x[j];
    k->din[j] = phase == PB_FORWARD ? -1 : u->dx[j], k->add[j] = add;
  }
}

/* A step of the central differences may not cross the kink of a fused relu. */
static bool clear_of_kinks(const use *u) {
  op_case linear = *u->c;
  if (!linear.activation || strcmp(linear.activation, "relu") != 0) return true;
  linear.activation = NULL;
  double *z = numbers(u->n * u->size);
  bool clear = true;
  linear.forward(&linear, u->n, u->size, (const double *const *)u->in, z);
  for (int64_t i = 0; i < u->n * u->size; i++) clear &= fabs(z[i]) > 2e-3;
  exact_free(z);
  return clear;
}

static void fill_inputs(use *u, const pb_table *t, rng *r) {
  for (int j = 0; j < u->c->nin; j++) fill_input(t, u->c, j, u->count[j], r, u->in[j]);
  if (!clear_of_kinks(u)) fill_inputs(u, t, r);
}

static use use_new(const pb_table *t, const op_case *c, int64_t n, bool add) {
  use u = {.c = c, .n = n, .dy = -1, .saved = -1, .draft = draft_new(t, n + 2)};
  const pb_op *op = pb_find_op(t, c->op);
  rng r = {(uint64_t)(n * 1000 + c->nin)};
  for (int j = 0; j < c->nin; j++) {
    bool param = !c->in[j].batched && j > 0;
    u.dx[j] = -1;
    u.differentiable[j] = param ? op->backward_param != NULL : j == 0 && op->backward_in != NULL;
    u.count[j] = pb_shape_size(&c->in[j]) * (c->in[j].batched ? n : 1);
    u.in[j] = numbers(u.count[j]), u.before[j] = numbers(u.count[j]);
    for (int64_t i = 0; i < u.count[j]; i++) u.before[j][i] = as_real(t, rng_uniform(&r));
  }
  pb_inferred inferred = {0};
  name_tensors(&u, op, &inferred);
  u.size = pb_shape_size(&inferred.out);
  if (!inferred.out.batched) u.n = 1;
  fill_inputs(&u, t, &r);
  u.v = numbers(u.n * u.size);
  for (int64_t i = 0; i < u.n * u.size; i++) {
    u.v[i] = as_real(t, rng_uniform(&r));
    if (op->flags & PB_PER_ROW) u.v[i] = c->mean ? 1 / (double)n : 1;
  }
  for (int j = 0; j < c->nin; j++) {
    if (u.draft.tensor[u.x[j]].arena == PB_ACT) bind(&u, u.x[j], u.in[j]);
    if (u.dx[j] >= 0 && u.draft.tensor[u.dx[j]].arena == PB_ACT) bind(&u, u.dx[j], u.before[j]);
  }
  if (u.dy >= 0 && u.draft.tensor[u.dy].arena == PB_ACT) bind(&u, u.dy, u.v);
  write_phase(&u, PB_FORWARD, add);
  if (c->activation) write_phase(&u, PB_DELTA, add);
  if (op->backward_in) write_phase(&u, PB_BACKWARD_IN, add);
  if (op->backward_param) write_phase(&u, PB_BACKWARD_PARAM, add);
  return u;
}

static void use_free(use *u) {
  for (int j = 0; j < u->c->nin; j++) exact_free(u->in[j]), exact_free(u->before[j]);
  exact_free(u->v);
}

/* Parameters, and the gradients that lie in the gradient vector. */
static void fill_vectors(const use *u, const pb_table *t, void *const *ptr) {
  for (int j = 0; j < u->c->nin; j++) {
    if (u->draft.tensor[u->x[j]].arena != PB_PARAM) continue;
    for (int64_t i = 0; i < u->count[j]; i++) {
      put_real(t, ptr[u->x[j]], i, u->in[j][i]);
      if (u->dx[j] >= 0) put_real(t, ptr[u->dx[j]], i, u->before[j][i]);
    }
  }
  if (u->dy >= 0 && u->draft.tensor[u->dy].arena == PB_GRAD)
    for (int64_t i = 0; i < u->n * u->size; i++) put_real(t, ptr[u->dy], i, u->v[i]);
}

/* --- the three comparisons ---------------------------------------------------------------------- */

static void check_forward(const use *u, const pb_table *t, const void *y) {
  bool per_row = u->draft.tensor[u->y].is_double;
  double *wanted = numbers(u->n * u->size), tolerance = t->real_size == 8 ? 2e-13 : 1e-5;
  u->c->forward(u->c, u->n, u->size, (const double *const *)u->in, wanted);
  for (int64_t i = 0; i < u->n * u->size; i++) {
    double value = per_row ? ((const double *)y)[i] : get_real(t, y, i);
    if (!CHECK(close_to(value, wanted[i], tolerance), "%s, %d rows: y[%d] = %.17g, wanted %.17g",
               u->c->op, (int)u->n, (int)i, value, wanted[i]))
      break;
  }
  exact_free(wanted);
}

static double loss(const use *u, double *y) {
  u->c->forward(u->c, u->n, u->size, (const double *const *)u->in, y);
  double sum = 0;
  for (int64_t i = 0; i < u->n * u->size; i++) sum += u->v[i] * y[i];
  return sum;
}

/* d loss / d e where the inputs j move by e u: central difference. */
static double slope(use *u, int j, const double *along, double *y) {
  const double h = 1e-5;
  double *keep = u->in[j], *moved = numbers(u->count[j]), ends[2];
  for (int side = 0; side < 2; side++) {
    for (int64_t i = 0; i < u->count[j]; i++) moved[i] = keep[i] + (side ? h : -h) * along[i];
    u->in[j] = moved;
    ends[side] = loss(u, y);
  }
  u->in[j] = keep;
  exact_free(moved);
  return (ends[1] - ends[0]) / (2 * h);
}

/* Along each axis where there are few, and along random directions. */
static void check_gradient(use *u, const pb_table *t, int j, const void *dx, bool add) {
  double *along = numbers(u->count[j]), *y = numbers(u->n * u->size);
  int64_t axes = u->count[j] <= 60 ? u->count[j] : 0;
  rng r = {99};
  for (int64_t k = 0; k < axes + 2; k++) {
    double found = 0, scale = 0;
    for (int64_t i = 0; i < u->count[j]; i++) {
      along[i] = k < axes ? (double)(i == k) : rng_uniform(&r) > 0 ? 1 : -1;
      double d = get_real(t, dx, i) - (add ? u->before[j][i] : 0);
      found += along[i] * d;
      scale += fabs(along[i]) * (fabs(d) + 1);
    }
    double wanted = slope(u, j, along, y);
    if (!CHECK(fabs(found - wanted) <= (t->real_size == 8 ? 1e-8 : 2e-6) * scale,
               "%s, %d rows: gradient of input %d along %d: %.12g, wanted %.12g", u->c->op,
               (int)u->n, j, (int)k, found, wanted))
      break;
  }
  exact_free(along), exact_free(y);
}

/* The whole program cut into `parts`, every tensor and scratch in a memory block of its own that
   ends with row n: nothing may be read or written past it, and the bits do not depend on parts. */
static void check_parts(const use *u, model *m, pb_workspace *w, int parts) {
  const pb_plan *p = m->plan;
  void *ptr[MAX_TENSORS];
  for (int32_t i = 0; i < p->ntensor; i++) ptr[i] = exact_alloc(rows_bytes(p, i, u->n));
  fill_vectors(u, p->table, ptr);
  for (int32_t i = 0; i < p->ninstr; i++)
    for (int part = 0; part < parts; part++) {
      const pb_instr *k = &p->instr[i];
      pb_lane lane = {.ptr = ptr,
                      .n = u->n,
                      .part = part,
                      .parts = parts,
                      .training = u->c->training,
                      .seed = REFERENCE_SEED,
                      .step = REFERENCE_STEP,
                      .source = u->source,
                      .plan = p,
                      .scratch = exact_alloc(p->scratch_bytes)};
      if (k->phase == PB_FORWARD) k->op->forward(k, &lane);
      if (k->phase == PB_DELTA && part == 0)
        k->activation->chain(u->n * u->size, ptr[k->out], ptr[k->dout], ptr[k->dout]);
      if (k->phase == PB_BACKWARD_IN) k->op->backward_in(k, &lane);
      if (k->phase == PB_BACKWARD_PARAM) k->op->backward_param(k, &lane);
      exact_free(lane.scratch);
    }
  for (int32_t i = 0; i < p->ntensor; i++) {
    bool same = memcmp(ptr[i], pb_workspace_tensor(w, i), (size_t)rows_bytes(p, i, u->n)) == 0;
    CHECK(same, "%s, %d rows in %d parts: tensor %d has other bits", u->c->op, (int)u->n, parts,
          (int)i);
    exact_free(ptr[i]);
  }
}

static void check_use(const pb_table *t, const op_case *c, int64_t n, bool add) {
  static const int parts[] = {1, 2, 3, 64};
  use u = use_new(t, c, n, add);
  model m = model_new(&u.draft);
  pb_workspace *w = NULL;
  if (model_seal(&m)) {
    void *ptr[MAX_TENSORS] = {0};
    for (int32_t i = 0; i < m.plan->ntensor; i++) {
      const pb_tensor *x = &m.plan->tensor[i];
      if (x->arena == PB_PARAM) ptr[i] = (char *)m.param + x->offset;
      if (x->arena == PB_GRAD) ptr[i] = (char *)m.grad + x->offset;
    }
    fill_vectors(&u, t, ptr);
    pb_status status =
        pb_once(m.plan, u.source, n, c->training, REFERENCE_SEED, REFERENCE_STEP, NULL, &w);
    CHECK(status == PB_OK, "%s: pb_once gives %d", c->op, (int)status);
  }
  if (w) {
    check_forward(&u, t, pb_workspace_tensor(w, u.y));
    for (int j = 0; j < c->nin; j++)
      if (u.dx[j] >= 0) check_gradient(&u, t, j, pb_workspace_tensor(w, u.dx[j]), add);
    CHECK(gaps_intact(&m, w, n), "%s: wrote outside its rows", c->op);
    for (int i = 0; i < 4; i++) check_parts(&u, &m, w, parts[i]);
    pb_workspace_release(m.plan, w);
  }
  model_free(&m);
  use_free(&u);
}

static void cases_of(const pb_table *t, const char *op) {
  static const int64_t rows[] = {1, 2, 3, 4, 7, 13, 33};
  for (int i = 0; i < op_case_count; i++) {
    const op_case *c = &op_cases[i];
    if (strcmp(c->op, op) != 0) continue;
    if (!c->forward) {
      check_feed(t);
      continue;
    }
    int64_t work = pb_shape_size(&c->in[0]) * (c->nin > 1 ? pb_shape_size(&c->in[1]) : 1);
    for (int k = 0; k < 7; k++) {
      if (work > 5000 && rows[k] > 7) continue; /* the differences take work squared */
      check_use(t, c, rows[k], false);
      check_use(t, c, rows[k], true);
    }
  }
}

/* The first use with so many inputs, and columns of the first. */
static const op_case *find_case(const char *op, int nin, int64_t columns) {
  const op_case *c = op_cases;
  while (strcmp(c->op, op) != 0 || c->nin != nin || case_columns(c, 0) != columns) c++;
  return c;
}

/* --- what holds for all -------------------------------------------------------------------------- */

static void every_op_has_a_reference(const pb_table *t) {
  for (int k = 0; t->ops[k]; k++) {
    int uses = 0;
    for (int i = 0; i < op_case_count; i++) uses += strcmp(op_cases[i].op, t->ops[k]->name) == 0;
    CHECK(uses > 0, "%s has no loop over doubles in reference.c", t->ops[k]->name);
    CHECK(pb_find_op(t, t->ops[k]->name) == t->ops[k], "two ops are called %s", t->ops[k]->name);
  }
}

/* NaN in one row makes that row's output NaN and no other's. */
static void nan_stays_nan(const pb_table *t) {
  for (int i = 0; i < op_case_count; i++) {
    const op_case *c = &op_cases[i];
    if (!c->forward || !c->in[0].batched || c->training || strcmp(c->op, "accuracy") == 0) continue;
    use u = use_new(t, c, 5, false);
    for (int64_t j = 2 * u.count[0] / 5; j < 3 * u.count[0] / 5; j++) u.in[0][j] = NAN;
    model m = model_new(&u.draft);
    pb_workspace *w = NULL;
    if (model_seal(&m) && pb_once(m.plan, u.source, 5, false, 0, 0, NULL, &w) == PB_OK) {
      const void *y = pb_workspace_tensor(w, u.y);
      for (int64_t j = 0; j < 5 * u.size; j++) {
        double value = u.draft.tensor[u.y].is_double ? ((double *)y)[j] : get_real(t, y, j);
        if (!CHECK(isnan(value) == (j / u.size == 2), "%s%s%s: row %d is %g after NaN in row 2",
                   c->op, c->activation ? " with " : "", c->activation ? c->activation : "",
                   (int)(j / u.size), value))
          break;
      }
      pb_workspace_release(m.plan, w);
    }
    model_free(&m);
    use_free(&u);
  }
}

/* Labels are checked before training; yet a wrong one may not read wild memory. */
static void wild_labels_are_nan(const pb_table *t) {
  static const double wild[] = {-1, 10, 1e9, -1e30, 1e30, NAN, INFINITY};
  const op_case *c = find_case("softmax_cross_entropy", 2, 10);
  CHECK(c->fill[1] == CLASS, "the first of its uses has labels");
  for (int i = 0; i < 7; i++) {
    use u = use_new(t, c, 3, false);
    u.in[1][1] = wild[i];
    model m = model_new(&u.draft);
    pb_workspace *w = NULL;
    if (model_seal(&m) && pb_once(m.plan, u.source, 3, true, 0, 0, NULL, &w) == PB_OK) {
      const double *y = pb_workspace_tensor(w, u.y);
      CHECK(isnan(y[1]) && isfinite(y[0]) && isfinite(y[2]), "label %g of 10 classes: loss %g",
            wild[i], y[1]);
      CHECK(gaps_intact(&m, w, 3), "label %g: wrote outside its rows", wild[i]);
      pb_workspace_release(m.plan, w);
    }
    model_free(&m);
    use_free(&u);
  }
}

/* An unwanted gradient of a parameter is left out, and the other one is still made. */
static void gradients_one_by_one(const pb_table *t) {
  for (int wanted = 1; wanted <= 2; wanted++) {
    const op_case *c = find_case("dense", 3, 7);
    use u = use_new(t, c, 7, false);
    u.draft.instr[u.draft.ninstr - 1].din[3 - wanted] = -1;
    model m = model_new(&u.draft);
    pb_workspace *w = NULL;
    void *ptr[MAX_TENSORS];
    for (int32_t i = 0; i < m.plan->ntensor; i++)
      ptr[i] = (char *)(u.draft.tensor[i].arena == PB_PARAM ? m.param : m.grad) +
               (u.draft.tensor[i].arena == PB_ACT ? 0 : u.draft.tensor[i].offset);
    fill_vectors(&u, t, ptr);
    if (model_seal(&m) && pb_once(m.plan, u.source, 7, true, 0, 0, NULL, &w) == PB_OK) {
      check_gradient(&u, t, wanted, pb_workspace_tensor(w, u.dx[wanted]), false);
      const void *other = pb_workspace_tensor(w, u.dx[3 - wanted]);
      for (int64_t i = 0; i < u.count[3 - wanted]; i++)
        CHECK(get_real(t, other, i) == u.before[3 - wanted][i], "an unwanted gradient was written");
      pb_workspace_release(m.plan, w);
    }
    model_free(&m);
    use_free(&u);
  }
}

/* A layer so large that it goes to the BLAS library, where there is one. */
static void dense_in_blas(const pb_table *t) {
  op_case c = *find_case("dense", 3, 7);
  if (strcmp(pb_blas_name(), "built-in") == 0) {
    skip("built without BLAS");
    return;
  }
  c.in[0].dim[0] = c.in[1].dim[1] = 520;
  c.in[1].dim[0] = c.in[2].dim[0] = 530;
  c.span = 0.2;
  check_use(t, &c, 64, false);
  check_use(t, &c, 67, true);
}

#define OP(name) \
  static void op_##name(const pb_table *t) { cases_of(t, #name); }
#include "ops/ops.def"
#undef OP

#define OP(name) {#name, NULL, op_##name},
const test tests_ops[] = {
    {"every op has a reference", NULL, every_op_has_a_reference},
#include "ops/ops.def"
    {"dense in BLAS", NULL, dense_in_blas},
    {"NaN stays NaN", NULL, nan_stays_nan},
    {"a label outside the classes gives NaN", NULL, wild_labels_are_nan},
    {"gradients of weight and bias one by one", NULL, gradients_one_by_one},
    {0},
};
