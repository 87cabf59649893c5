/* What every activation shares: its file gives f and f', and this the op around them. */
#ifndef PB_ELEMENTWISE_H
#define PB_ELEMENTWISE_H

#include "ops/real.h"

PB_INLINE bool same_shape_infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  r->out = in[0];
  r->flops = pb_shape_size(&in[0]);
  return true;
}

PB_INLINE real clip(real x, real low, real high) {
  x = x > high ? high : x;
  return x < low ? low : x;
}

/* The elements of tensor `id` that are this thread's. */
PB_INLINE void share_elements(const pb_lane *lane, int32_t id, int64_t *begin, int64_t *end) {
  const pb_tensor *t = &lane->plan->tensor[id];
  share(lane, pb_rows(lane, &t->shape) * t->size, 64, begin, end);
}

/* How a backward_in of PB_CHAINS ends: n values of dx, from element `at` on, become error signals. */
PB_INLINE void chain_signals(const pb_instr *k, const pb_lane *lane, int64_t at, int64_t n) {
  if (!k->activation) return;
  const real *x = (const real *)lane->ptr[k->in[0]] + at;
  real *dx = (real *)lane->ptr[k->din[0]] + at;
  k->activation->chain(k->activation_attr, n, NULL, x, dx, dx);
}

/* map over this thread's elements. */
PB_INLINE void elementwise_forward(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end;
  share_elements(lane, k->out, &begin, &end);
  k->op->map(k->attr, end - begin, (const real *)lane->ptr[k->in[0]] + begin,
             (real *)lane->ptr[k->out] + begin);
}

/* chain over this thread's elements. */
PB_INLINE void elementwise_backward(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end;
  share_elements(lane, k->out, &begin, &end);
  const real *x = (const real *)lane->ptr[k->in[0]] + begin;
  const real *y = (const real *)lane->ptr[k->out] + begin;
  const real *dy = (const real *)lane->ptr[k->dout] + begin;
  real *dx = (real *)lane->ptr[k->din[0]] + begin, tile[256];
  if (!k->add[0]) {
    k->op->chain(k->attr, end - begin, x, y, dy, dx);
    return;
  }
  for (int64_t at = 0; at < end - begin; at += 256) {
    int64_t n = min_i(256, end - begin - at);
    k->op->chain(k->attr, n, x + at, y + at, dy + at, tile);
    for (int64_t i = 0; i < n; i++) dx[at + i] += tile[i];
  }
}

#define PB_ELEMENTWISE_MAP \
  static void map(const pb_attr *attr, int64_t n, const void *in, void *out) { \
    const real a = (real)attr[0].f, *x = in; \
    real *y = out; \
    for (int64_t i = 0; i < n; i++) y[i] = value(x[i], a); \
  } \
  static void forward(const pb_instr *k, const pb_lane *lane) { elementwise_forward(k, lane); } \
  static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) { \
    return isfinite(attr[0].f) && same_shape_infer(attr, in, nin, r); \
  }

/* Defines the row of an elementwise op from two functions of one number and the op's attribute (0
 * without one):
 *     value(x, a) = f(x)
 *     slope(y, a) = f'(x) by y = f(x), with `reads` PB_USES_Y; only these are fused in training
 *     slope(x, a) = f'(x),             with `reads` PB_USES_X
 */
#define PB_ACTIVATION(op_name, attr_names, reads) \
  PB_ELEMENTWISE_MAP \
  static void chain(const pb_attr *attr, int64_t n, const void *in, const void *out, \
                    const void *dout, void *din) { \
    const real a = (real)attr[0].f, *t = (reads) == PB_USES_X ? in : out, *dy = dout; \
    real *dx = din; \
    for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * slope(t[i], a); \
  } \
  static void backward_in(const pb_instr *k, const pb_lane *lane) { \
    elementwise_backward(k, lane); \
  } \
  PB_OP(op_name) = {.name = #op_name, \
                    .attrs = attr_names, \
                    .min_in = 1, \
                    .max_in = 1, \
                    .flags = PB_ELEMENTWISE | (reads), \
                    .infer = infer, \
                    .forward = forward, \
                    .backward_in = backward_in, \
                    .map = map, \
                    .chain = chain};

/* The same for a function without a derivative to train by. */
#define PB_FLAT_ACTIVATION(op_name, attr_names) \
  PB_ELEMENTWISE_MAP \
  PB_OP(op_name) = {.name = #op_name, \
                    .attrs = attr_names, \
                    .min_in = 1, \
                    .max_in = 1, \
                    .flags = PB_ELEMENTWISE, \
                    .infer = infer, \
                    .forward = forward, \
                    .map = map};

/* For functions that take no attribute. */
#define NO_ATTR (void)a

#endif
