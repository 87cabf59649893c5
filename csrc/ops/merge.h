/* What ops of several inputs of one shape share: y = f(x_0, x_1, ...), element by element.
 *
 *     x_0 [..]   x_1 [..]   ...   ->   y [..]
 *
 * The storage order does not matter to them, so tensors in lanes or in blocks need no other code.
 */
#ifndef PB_MERGE_H
#define PB_MERGE_H

#include "ops/elementwise.h"

enum { TILE = 1024 /* elements of which all inputs are read before the next ones */ };

PB_INLINE bool merge_infer(const pb_shape *in, int nin, pb_inferred *r) {
  for (int j = 1; j < nin; j++) {
    if (in[j].ndim != in[0].ndim || in[j].batched != in[0].batched ||
        in[j].blocked != in[0].blocked)
      return false;
    for (int d = 0; d < in[0].ndim; d++)
      if (in[j].dim[d] != in[0].dim[d]) return false;
  }
  r->out = in[0];
  r->flops = nin * pb_shape_size(&in[0]);
  return true;
}

/* Elements [at, at + n) of input j, and of its gradient. */
PB_INLINE const real *input_at(const pb_instr *k, const pb_lane *lane, int j, int64_t at) {
  return (const real *)lane->ptr[k->in[j]] + at;
}

PB_INLINE real *gradient_at(const pb_instr *k, const pb_lane *lane, int j, int64_t at) {
  return (real *)lane->ptr[k->din[j]] + at;
}

typedef void merge_tile(const pb_instr *, const pb_lane *, int64_t at, int64_t n);

/* This thread's elements, tile by tile. */
PB_INLINE void merge_tiles(const pb_instr *k, const pb_lane *lane, merge_tile *tile) {
  int64_t begin, end;
  share_elements(lane, k->out, &begin, &end);
  for (int64_t at = begin; at < end; at += TILE) tile(k, lane, at, min_i(TILE, end - at));
}

/* A tile of y, and the elementwise op that is fused behind it. */
PB_INLINE void merge_finish(const pb_instr *k, int64_t n, real *y) {
  if (k->activation) k->activation->map(k->activation_attr, n, y, y);
}

#endif
