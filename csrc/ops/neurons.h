/* Values of single units, side by side: a batch lies in blocks of SAMPLES samples, [U][SAMPLES], so
 * that what one edge does is the same for a whole vector, or several. The last block has what is left,
 * [U][w] with w < SAMPLES: a block is never padded, and sample n's block begins at n U for n a
 * multiple of SAMPLES.
 */
#ifndef PB_NEURONS_H
#define PB_NEURONS_H

#include "ops/vec.h"

enum { SAMPLES = 16, VECTORS = SAMPLES / LANES };

/* One unit's values for the samples of a block. */
typedef struct {
  vec v[VECTORS];
} line;

PB_INLINE line line_load(const real *p, int64_t width) {
  line a;
#pragma GCC unroll 16
  for (int j = 0; j < VECTORS; j++) {
    int64_t left = width - j * LANES;
    a.v[j] = left >= LANES ? vec_load(p + j * LANES)
             : left > 0    ? vec_load_part(p + j * LANES, left)
                           : vec_set(0);
  }
  return a;
}

PB_INLINE void line_store(real *p, int64_t width, const line *a) {
#pragma GCC unroll 16
  for (int j = 0; j < VECTORS; j++) {
    int64_t left = width - j * LANES;
    if (left >= LANES) vec_store(p + j * LANES, a->v[j]);
    else if (left > 0) vec_store_part(p + j * LANES, left, a->v[j]);
  }
}

/* This thread's samples, whole blocks. */
PB_INLINE void share_blocks(const pb_lane *lane, int64_t *begin, int64_t *end) {
  share(lane, lane->n, SAMPLES, begin, end);
}

#endif
