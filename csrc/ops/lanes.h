/* Tensors in lanes, [C, P]: feature c of sample n at c P + n, so that one vector holds one feature of
 * LANES samples. P is a multiple of LANES and no smaller than any batch; samples beyond the batch are
 * zeros in the input and in every gradient. Tiny nets train this way: a layer of ten units is ten
 * fused multiply-adds per input for sixteen samples at once, and nothing is packed or folded.
 */
#ifndef PB_LANES_H
#define PB_LANES_H

#include "ops/vec.h"

PB_INLINE bool in_lanes(const pb_shape *s) {
  return !s->batched && s->ndim == 2 && s->dim[1] % LANES == 0;
}

#endif
