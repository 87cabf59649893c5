/* Every op: forward against plain loops over doubles, backward against central differences of those
 * loops, and the work cut between any number of threads against one.
 */
#include <math.h>
#include <string.h>

#include "core/subnormal.h"
#include "test/use.h"

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
  use_fill(u, ptr);
  uint64_t before = pb_flush_subnormals(); /* as in a run */
  for (int32_t i = 0; i < p->ninstr; i++)
    for (int part = 0; part < parts; part++) {
      const pb_instr *k = &p->instr[i];
      pb_lane lane = {.ptr = ptr,
                      .n = u->n,
                      .total = u->total,
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
        k->activation->chain(k->activation_attr, u->n * u->size, NULL, ptr[k->out], ptr[k->dout],
                             ptr[k->dout]);
      if (k->phase == PB_BACKWARD_IN) k->op->backward_in(k, &lane);
      if (k->phase == PB_BACKWARD_PARAM) k->op->backward_param(k, &lane);
      if (k->phase == PB_COMMIT) k->op->commit(k, &lane);
      exact_free(lane.scratch);
    }
  pb_set_float_mode(before);
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
    void *ptr[MAX_TENSORS];
    use_places(&u, &m, ptr);
    use_fill(&u, ptr);
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
      if (strcmp(op, "feed") == 0) check_feed(t);
      else check_sparse_dense(t);
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

/* --- what holds for all -------------------------------------------------------------------------- */

/* Ops without loops here are compared with NumPy by tests/test_ops.py, under the same sanitizers. */
static void names_differ(const pb_table *t) {
  for (int k = 0; t->ops[k]; k++)
    CHECK(pb_find_op(t, t->ops[k]->name) == t->ops[k], "two ops are called %s", t->ops[k]->name);
  for (int i = 0; i < op_case_count; i++)
    CHECK(pb_find_op(t, op_cases[i].op), "there is no op %s", op_cases[i].op);
}

/* Metrics decide, and count what NaN is not. */
static bool is_metric(const pb_table *t, const op_case *c) {
  const pb_op *op = pb_find_op(t, c->op);
  return op->flags & PB_PER_ROW && !op->backward_in;
}

/* NaN in one row makes that row's output NaN and no other's. */
static void nan_stays_nan(const pb_table *t) {
  for (int i = 0; i < op_case_count; i++) {
    const op_case *c = &op_cases[i];
    if (!c->forward || !c->in[0].batched || c->training || is_metric(t, c)) continue;
    use u = use_new(t, c, 5, false);
    bool left_out = weighs(c) && u.in[2][2] == 0;
    for (int64_t j = 2 * u.count[0] / 5; j < 3 * u.count[0] / 5; j++) u.in[0][j] = NAN;
    model m = model_new(&u.draft);
    pb_workspace *w = NULL;
    if (model_seal(&m) && pb_once(m.plan, u.source, 5, false, 0, 0, NULL, &w) == PB_OK) {
      const void *y = pb_workspace_tensor(w, u.y);
      for (int64_t j = 0; j < 5 * u.size; j++) {
        double value = u.draft.tensor[u.y].is_double ? ((double *)y)[j] : get_real(t, y, j);
        if (!CHECK(isnan(value) == (j / u.size == 2 && !left_out),
                   "%s%s%s: row %d is %g after NaN in row 2", c->op, c->activation ? " with " : "",
                   c->activation ? c->activation : "", (int)(j / u.size), value))
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
    use_places(&u, &m, ptr);
    use_fill(&u, ptr);
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

static void every_case(const pb_table *t) {
  for (int k = 0; t->ops[k]; k++) cases_of(t, t->ops[k]->name);
}

const test tests_ops[] = {
    {"names differ", NULL, names_differ},
    {"every case", NULL, every_case},
    {"NaN stays NaN", NULL, nan_stays_nan},
    {"a label outside the classes gives NaN", NULL, wild_labels_are_nan},
    {"gradients of weight and bias one by one", NULL, gradients_one_by_one},
    {0},
};
