/* What losses and metrics share: one double per row from a row of predictions and its target. */
#ifndef PB_LOSS_H
#define PB_LOSS_H

#include "ops/real.h"

/* Prediction [C] with target [C], or with one class number [1] where `labels` allows it. */
PB_INLINE bool loss_infer(const pb_shape *in, bool labels, pb_inferred *r) {
  int64_t c = pb_shape_size(&in[0]), t = pb_shape_size(&in[1]);
  r->out = (pb_shape){.ndim = 1, .batched = true, .dim = {1}};
  r->flops = 10 * c;
  return in[0].batched && in[1].batched && (t == c || (labels && t == 1));
}

/* One row of a loss: prediction y [c], target t [width]. */
typedef struct {
  const real *y, *t;
  int64_t c, width;
} loss_row;

PB_INLINE loss_row row_at(const pb_instr *k, const pb_lane *lane, int64_t n) {
  int64_t c = lane->plan->tensor[k->in[0]].size;
  int64_t width = lane->plan->tensor[k->in[1]].size;
  return (loss_row){(const real *)lane->ptr[k->in[0]] + n * c,
                    (const real *)lane->ptr[k->in[1]] + n * width, c, width};
}

#endif
