/* A dense layer in lanes against the one in rows: outputs, and gradients of the parameters. */
#include <string.h>

#include "test/draft.h"

enum { INPUTS = 5, OUTPUTS = 7, CAPACITY = 21 };

static pb_shape matrix(int64_t rows, int64_t columns) {
  return (pb_shape){.ndim = 2, .dim = {rows, columns}};
}

typedef struct {
  draft d;
  int32_t w, b, x, y, dy, dw, db;
} layer;

static pb_instr *instr(draft *d, pb_phase phase, const char *op, int32_t x, int32_t out,
                       int32_t dout) {
  pb_instr *k = draft_instr(d, phase, op);
  k->nin = 1, k->in[0] = x, k->out = out, k->dout = dout;
  return k;
}

static void dense(layer *l, pb_phase phase, const char *op, int32_t y, int32_t dy) {
  pb_instr *k = instr(&l->d, phase, op, l->x, y, dy);
  k->nin = 3, k->in[1] = l->w, k->in[2] = l->b;
  if (phase <= PB_DELTA) k->activation = pb_find_op(l->d.table, "tanh");
  if (phase == PB_BACKWARD_PARAM) k->din[1] = l->dw, k->din[2] = l->db;
}

static layer layer_new(const pb_table *t) {
  layer l = {.d = draft_new(t, CAPACITY)};
  l.w = draft_tensor(&l.d, PB_PARAM, matrix(OUTPUTS, INPUTS), false);
  l.b = draft_tensor(&l.d, PB_PARAM, (pb_shape){.ndim = 1, .dim = {OUTPUTS}}, false);
  l.dw = draft_gradient(&l.d, l.w), l.db = draft_gradient(&l.d, l.b);
  l.y = draft_rows(&l.d, OUTPUTS), l.dy = draft_rows(&l.d, OUTPUTS);
  return l;
}

static layer layer_in_rows(const pb_table *t) {
  layer l = layer_new(t);
  l.x = draft_rows(&l.d, INPUTS);
  draft_feed(&l.d, 0, 0.5, l.x), draft_feed(&l.d, 1, 1, l.dy);
  dense(&l, PB_FORWARD, "dense", l.y, -1);
  dense(&l, PB_DELTA, "dense", l.y, l.dy);
  dense(&l, PB_BACKWARD_PARAM, "dense", l.y, l.dy);
  return l;
}

static layer layer_in_lanes(const pb_table *t) {
  layer l = layer_new(t);
  int64_t pitch = (CAPACITY + t->lanes - 1) / t->lanes * t->lanes;
  l.x = draft_tensor(&l.d, PB_ACT, matrix(INPUTS, pitch), false);
  int32_t z = draft_tensor(&l.d, PB_ACT, matrix(OUTPUTS, pitch), false);
  int32_t dz = draft_tensor(&l.d, PB_ACT, matrix(OUTPUTS, pitch), false);
  draft_feed(&l.d, 0, 0.5, l.x);
  l.d.instr[l.d.ninstr - 1].op = pb_find_op(t, "lanes_feed");
  draft_feed(&l.d, 1, 1, l.dy);
  dense(&l, PB_FORWARD, "lanes_dense", z, -1);
  instr(&l.d, PB_FORWARD, "lanes_rows", z, l.y, -1);
  instr(&l.d, PB_BACKWARD_IN, "lanes_rows", z, l.y, l.dy)->din[0] = dz;
  dense(&l, PB_DELTA, "lanes_dense", z, dz);
  dense(&l, PB_BACKWARD_PARAM, "lanes_dense", z, dz);
  return l;
}

static void compare(const pb_table *t, const void *a, const void *b, int64_t n, const char *what) {
  for (int64_t i = 0; i < n; i++)
    if (!CHECK(close_to(get_real(t, a, i), get_real(t, b, i), t->real_size == 8 ? 1e-13 : 2e-6),
               "%s[%d] is %g in lanes, %g in rows", what, (int)i, get_real(t, a, i),
               get_real(t, b, i)))
      return;
}

static void lanes_are_rows(const pb_table *t) {
  layer l[2] = {layer_in_lanes(t), layer_in_rows(t)};
  double x[CAPACITY * INPUTS], dy[CAPACITY * OUTPUTS];
  rng r = {5};
  for (int i = 0; i < CAPACITY * INPUTS; i++) x[i] = rng_uniform(&r);
  for (int i = 0; i < CAPACITY * OUTPUTS; i++) dy[i] = rng_uniform(&r);
  pb_source source[] = {source_of(x, CAPACITY, INPUTS), source_of(dy, CAPACITY, OUTPUTS)};
  model m[2] = {model_new(&l[0].d), model_new(&l[1].d)};
  if (!model_seal(&m[0]) || !model_seal(&m[1])) return;
  for (int k = 0; k < 2; k++) model_fill(&m[k], 3, 1);
  for (int64_t n = CAPACITY; n > 0; n -= 4) { /* smaller batches find what larger ones have left */
    pb_workspace *w[2];
    for (int k = 0; k < 2; k++)
      CHECK(pb_once(m[k].plan, source, n, true, 0, 0, NULL, &w[k]) == PB_OK, "it does not run");
    compare(t, pb_workspace_tensor(w[0], l[0].y), pb_workspace_tensor(w[1], l[1].y), n * OUTPUTS,
            "y");
    compare(t, pb_workspace_tensor(w[0], l[0].dw), pb_workspace_tensor(w[1], l[1].dw),
            OUTPUTS * INPUTS, "dw");
    compare(t, pb_workspace_tensor(w[0], l[0].db), pb_workspace_tensor(w[1], l[1].db), OUTPUTS,
            "db");
    for (int k = 0; k < 2; k++) {
      CHECK(n < CAPACITY || gaps_intact(&m[k], w[k], n),
            "something was written between the tensors");
      pb_workspace_release(m[k].plan, w[k]);
    }
  }
  model_free(&m[0]), model_free(&m[1]);
}

static void too_few_lanes_are_refused(const pb_table *t) {
  layer l = layer_in_lanes(t);
  l.d.capacity = 2 * CAPACITY + 64;
  model m = model_new(&l.d);
  CHECK(pb_plan_seal(m.plan) == PB_BAD_PLAN, "a plan was sealed whose batches exceed its lanes");
  model_free(&m);
}

const test tests_lanes[] = {
    {"a layer in lanes is the layer", NULL, lanes_are_rows},
    {"batches larger than the lanes are refused", NULL, too_few_lanes_are_refused},
    {0},
};
