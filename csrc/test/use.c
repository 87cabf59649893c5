#include "test/use.h"

#include <math.h>
#include <string.h>

double *numbers(int64_t n) { return exact_alloc(n * (int64_t)sizeof(double)); }

static void fill_input(const pb_table *t, const op_case *c, int j, int64_t count, rng *r,
                       double *x) {
  const pb_shape *y = &c->in[0];
  int64_t classes = y->ndim ? y->dim[y->ndim - 1] : 1, columns = pb_shape_size(&c->in[j]);
  double span = c->span > 0 ? c->span : 2, total = 0;
  for (int64_t i = 0; i < count; i++) {
    do x[i] = span * rng_uniform(r);
    while (fabs(x[i]) < 1e-3); /* keeps clear of kinks */
    if (c->fill[j] == CLASS) x[i] = (double)rng_below(r, classes);
    if (c->fill[j] == BITS) x[i] = (double)rng_below(r, 2);
    if (c->fill[j] == TIES) x[i] = (double)(rng_below(r, 3) - 1);
    if (c->fill[j] == MASSES) x[i] = fabs(x[i]);
    if (c->fill[j] == WEIGHTS) x[i] = i ? (double)rng_below(r, 3) : 2;
    if (c->fill[j] == ABOUT_ONE) x[i] = 1 + x[i] / (2 * span);
  }
  for (int64_t i = 0; i < count && c->fill[j] == MASSES; i++) {
    if (i % columns == 0) total = 0;
    total += x[i];
    if (i % columns == columns - 1)
      for (int64_t k = i - columns + 1; k <= i; k++) x[k] /= total;
  }
  for (int64_t i = 0; i < count; i++) x[i] = as_real(t, x[i]);
}

bool weighs(const op_case *c) { return c->nin > 2 && c->fill[2] == WEIGHTS; }

/* The array that a tensor of rows is fed from. */
static void bind(use *u, int32_t id, const double *data) {
  int32_t k = u->draft.nsource;
  u->source[k] = source_of(data, u->n, pb_shape_size(&u->draft.tensor[id].shape));
  draft_feed(&u->draft, k, 1, id);
  if (weighs(u->c) && id == u->x[2]) u->draft.weights = k;
}

static bool is_running(const pb_op *op, int j) {
  int end = op->max_in - op->params;
  return j >= end - op->running && j < end;
}

static pb_arena arena_of(const pb_op *op, const op_case *c, int j) {
  if (is_running(op, j)) return PB_RUNNING;
  return c->in[j].batched ? PB_ACT : PB_PARAM;
}

static void name_tensors(use *u, const pb_op *op, pb_inferred *r) {
  const op_case *c = u->c;
  draft *d = &u->draft;
  CHECK(op->infer(c->attr, c->in, c->nin, r), "%s refuses its shapes", c->op);
  for (int j = 0; j < c->nin; j++)
    u->x[j] = draft_tensor(d, arena_of(op, c, j), c->in[j], is_running(op, j));
  u->y = draft_tensor(d, PB_ACT, r->out, op->flags & PB_PER_ROW);
  if (d->end[PB_GRAD] < d->end[PB_PARAM]) d->end[PB_GRAD] = d->end[PB_PARAM];
  if (!(op->flags & PB_PER_ROW))
    u->dy = draft_tensor(d, r->out.batched ? PB_ACT : PB_GRAD, r->out, false);
  if (r->saved_row > 0) u->saved = draft_rows(d, r->saved_row);
  pb_shape once = {.ndim = 1, .dim = {r->saved_once}};
  if (r->saved_once > 0) u->saved = draft_tensor(d, PB_ACT, once, true);
  for (int j = 0; j < c->nin; j++)
    if (u->differentiable[j]) u->dx[j] = draft_gradient(d, u->x[j]);
}

static void write_phase(use *u, pb_phase phase, bool add) {
  const op_case *c = u->c;
  pb_instr *k = draft_instr(&u->draft, phase, c->op);
  k->nin = c->nin, k->node = REFERENCE_NODE;
  k->out = u->y, k->dout = phase == PB_FORWARD ? -1 : u->dy, k->saved = u->saved;
  memcpy(k->attr, c->attr, sizeof k->attr);
  if (c->activation && phase <= PB_DELTA) k->activation = pb_find_op(u->draft.table, c->activation);
  k->activation_attr[0] = c->activation_attr[0];
  for (int j = 0; j < c->nin; j++) {
    k->in[j] = u->x[j];
    k->din[j] = phase == PB_FORWARD ? -1 : u->dx[j], k->add[j] = add;
  }
}

/* A step of the central differences may not cross the kink of a fused relu or leaky_relu. */
static bool clear_of_kinks(const use *u) {
  op_case linear = *u->c;
  if (!linear.activation || !strstr(linear.activation, "relu")) return true;
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

use use_new(const pb_table *t, const op_case *c, int64_t n, bool add) {
  use u = {.c = c, .n = n, .dy = -1, .saved = -1, .draft = draft_new(t, n + 2)};
  const pb_op *op = pb_find_op(t, c->op);
  rng r = {(uint64_t)(n * 1000 + c->nin)};
  for (int j = 0; j < c->nin; j++) {
    bool param = arena_of(op, c, j) == PB_PARAM && j > 0;
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
  u.v = numbers(u.n * u.size), u.total = (double)n;
  if (weighs(c)) u.total = 0;
  for (int64_t i = 0; i < n && weighs(c); i++) u.total += u.in[2][i];
  for (int64_t i = 0; i < u.n * u.size; i++) {
    u.v[i] = as_real(t, rng_uniform(&r));
    if (op->flags & PB_PER_ROW) u.v[i] = c->mean ? 1 / u.total : 1;
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
  if (op->commit && c->training) write_phase(&u, PB_COMMIT, add);
  return u;
}

void use_free(use *u) {
  for (int j = 0; j < u->c->nin; j++) exact_free(u->in[j]), exact_free(u->before[j]);
  exact_free(u->v);
}

void use_places(const use *u, const model *m, void **ptr) {
  for (int32_t i = 0; i < u->draft.ntensor; i++) {
    const pb_tensor *x = &u->draft.tensor[i];
    char *const base[] = {m->param, m->grad, NULL, (char *)m->running};
    ptr[i] = x->arena == PB_ACT ? NULL : base[x->arena] + x->offset;
  }
}

void use_fill(const use *u, void *const *ptr) {
  const pb_table *t = u->draft.table;
  for (int j = 0; j < u->c->nin; j++) {
    pb_arena arena = u->draft.tensor[u->x[j]].arena;
    if (arena == PB_RUNNING) memcpy(ptr[u->x[j]], u->in[j], (size_t)u->count[j] * 8);
    if (arena != PB_PARAM) continue;
    for (int64_t i = 0; i < u->count[j]; i++) {
      put_real(t, ptr[u->x[j]], i, u->in[j][i]);
      if (u->dx[j] >= 0) put_real(t, ptr[u->dx[j]], i, u->before[j][i]);
    }
  }
  if (u->dy >= 0 && u->draft.tensor[u->dy].arena == PB_GRAD)
    for (int64_t i = 0; i < u->n * u->size; i++) put_real(t, ptr[u->dy], i, u->v[i]);
}

const op_case *find_case(const char *op, int nin, int64_t columns) {
  const op_case *c = op_cases;
  while (strcmp(c->op, op) != 0 || c->nin != nin || case_columns(c, 0) != columns) c++;
  return c;
}
