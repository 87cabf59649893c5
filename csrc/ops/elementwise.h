/* What every activation shares: its file gives map and chain, and this the op around them. */
#ifndef PB_ELEMENTWISE_H
#define PB_ELEMENTWISE_H

#include "ops/real.h"

PB_INLINE bool same_shape_infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  r->out = in[0];
  r->flops = pb_shape_size(&in[0]);
  return true;
}

/* The elements of tensor `id` that are this thread's. */
PB_INLINE void share_elements(const pb_lane *lane, int32_t id, int64_t *begin, int64_t *end) {
  const pb_tensor *t = &lane->plan->tensor[id];
  share(lane, (t->shape.batched ? lane->n : 1) * t->size, 64, begin, end);
}

/* Defines the row of an elementwise op `name` from functions
 *     map:   y[i] = f(x[i])
 *     chain: dx[i] = dy[i] f'(x[i]), expressed by y[i] = f(x[i]); dx may be dy.  */
#define PB_ELEMENTWISE_OP(op_name) \
  static void forward(const pb_instr *k, const pb_lane *lane) { \
    int64_t begin, end; \
    share_elements(lane, k->out, &begin, &end); \
    map(end - begin, (const real *)lane->ptr[k->in[0]] + begin, \
        (real *)lane->ptr[k->out] + begin); \
  } \
  static void backward_in(const pb_instr *k, const pb_lane *lane) { \
    int64_t begin, end; \
    share_elements(lane, k->out, &begin, &end); \
    const real *y = (const real *)lane->ptr[k->out] + begin; \
    const real *dy = (const real *)lane->ptr[k->dout] + begin; \
    real *dx = (real *)lane->ptr[k->din[0]] + begin, tile[256]; \
    if (!k->add[0]) { \
      chain(end - begin, y, dy, dx); \
      return; \
    } \
    for (int64_t at = 0; at < end - begin; at += 256) { \
      int64_t n = min_i(256, end - begin - at); \
      chain(n, y + at, dy + at, tile); \
      for (int64_t i = 0; i < n; i++) dx[at + i] += tile[i]; \
    } \
  } \
  static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) { \
    return same_shape_infer(attr, in, nin, r); \
  } \
  PB_OP(op_name) = {.name = #op_name, \
                    .attrs = "", \
                    .min_in = 1, \
                    .max_in = 1, \
                    .flags = PB_ELEMENTWISE | PB_USES_Y, \
                    .infer = infer, \
                    .forward = forward, \
                    .backward_in = backward_in, \
                    .map = map, \
                    .chain = chain};

#endif
