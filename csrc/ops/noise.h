/* What the ops share that disturb their input in training and leave it alone otherwise.
 *
 *     y_i = scale_i x_i + shift_i        dx_i = scale_i dy_i
 *
 * where (scale_i, shift_i) are a function of (seed, node, step, element), so that backward computes
 * them again instead of reading them back. The op's file gives `draw`, which makes 64 of them from as
 * many random numbers, and `allowed`, which judges the attribute.
 */
#ifndef PB_NOISE_H
#define PB_NOISE_H

#include "ops/elementwise.h"
#include "ops/random.h"

typedef void noise_draw(double amount, const uint32_t *bits, real *scale, real *shift);

/* out (+)= scale in + shift, or without the shift, over this thread's elements. */
PB_INLINE void disturb(const pb_instr *k, const pb_lane *lane, noise_draw *draw, const real *in,
                       bool shifted, bool add, real *out) {
  uint32_t bits[RANDOM_BLOCK];
  real scale[RANDOM_BLOCK], shift[RANDOM_BLOCK];
  int64_t begin, end;
  share_elements(lane, k->out, &begin, &end);
  for (int64_t at = begin; at < end; at += RANDOM_BLOCK) {
    random_block(lane->seed, (uint32_t)k->node, (uint64_t)lane->step, (uint64_t)(at / RANDOM_BLOCK),
                 bits);
    draw(k->attr[0].f, bits, scale, shift);
    int64_t n = min_i(RANDOM_BLOCK, end - at);
    for (int64_t i = 0; i < n; i++) {
      real v = scale[i] * in[at + i];
      if (shifted) v += shift[i];
      out[at + i] = add ? out[at + i] + v : v;
    }
  }
}

#define PB_NOISE_OP(op_name, op_attrs) \
  static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) { \
    same_shape_infer(attr, in, nin, r); \
    r->flops *= 10; \
    return in[0].batched && allowed(attr[0].f); \
  } \
  static void forward(const pb_instr *k, const pb_lane *lane) { \
    const real *x = lane->ptr[k->in[0]]; \
    real *y = lane->ptr[k->out]; \
    int64_t begin, end; \
    share_elements(lane, k->out, &begin, &end); \
    if (lane->training) disturb(k, lane, draw, x, true, false, y); \
    else memcpy(y + begin, x + begin, (size_t)(end - begin) * sizeof *y); \
  } \
  static void backward_in(const pb_instr *k, const pb_lane *lane) { \
    const real *dy = lane->ptr[k->dout]; \
    real *dx = lane->ptr[k->din[0]]; \
    int64_t begin, end; \
    if (lane->training) { \
      disturb(k, lane, draw, dy, false, k->add[0], dx); \
      return; \
    } \
    share_elements(lane, k->out, &begin, &end); \
    for (int64_t i = begin; i < end; i++) dx[i] = dy[i] + (k->add[0] ? dx[i] : 0); \
  } \
  PB_OP(op_name) = {.name = #op_name, \
                    .attrs = op_attrs, \
                    .min_in = 1, \
                    .max_in = 1, \
                    .flags = PB_RANDOM | PB_BLOCKED, \
                    .infer = infer, \
                    .forward = forward, \
                    .backward_in = backward_in};

#endif
