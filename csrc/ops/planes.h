/* What ops on images share. A row is [C, H, W], and its C planes are worked on one by one: a unit is
 * one plane of a sample, or in blocks of as many samples as a vector has lanes, side by side.
 */
#ifndef PB_PLANES_H
#define PB_PLANES_H

#include "ops/real.h"

enum {
  LARGEST = 1 << 30, /* of an attribute that counts places */
  SIDE = 16          /* sums side by side: a multiple of every number of lanes */
};

/* Samples side by side in memory: the plan's lanes, since kernels that are compiled for one instruction
   set serve a wider one too. */
PB_INLINE int side_by_side(const pb_lane *lane, const pb_shape *s) {
  return s->blocked ? lane->plan->table->lanes : 1;
}

/* Samples, or blocks of them. */
PB_INLINE int64_t blocks_of(const pb_lane *lane, int width) {
  return (lane->n + width - 1) / width;
}

PB_INLINE bool is_image(const pb_shape *s) { return s->batched && s->ndim == 3; }

PB_INLINE const pb_shape *shape_of(const pb_lane *lane, int32_t id) {
  return &lane->plan->tensor[id].shape;
}

/* Elements of one unit of tensor `id`, whose samples lie `width` side by side. */
PB_INLINE int64_t unit_size(const pb_lane *lane, int32_t id, int width) {
  const pb_shape *s = shape_of(lane, id);
  return s->dim[1] * s->dim[2] * width;
}

/* This thread's units: all channels of all samples are shared. */
PB_INLINE void share_units(const pb_lane *lane, const pb_shape *x, int width, int64_t *begin,
                           int64_t *end) {
  share(lane, blocks_of(lane, width) * x->dim[0], 1, begin, end);
}

/* Sums over n values of a - a_shift, and of that times b - b_shift, in doubles: value i adds to sum
   i % SIDE, and has the shift of that number. In the end sum i is that of all values i % width, so
   that it is sample i's in blocks, and that of all values in plain rows. */
PB_INLINE void plane_sums(int64_t n, int width, const real *a, const double *a_shift, const real *b,
                          const double *b_shift, double *sum, double *product) {
  double s[SIDE] = {0}, t[SIDE] = {0};
  int64_t at = 0;
  for (; at + SIDE <= n; at += SIDE)
    for (int i = 0; i < SIDE; i++) {
      double v = (double)a[at + i] - a_shift[i];
      s[i] += v, t[i] += v * ((double)b[at + i] - b_shift[i]);
    }
  for (int i = 0; at + i < n; i++) {
    double v = (double)a[at + i] - a_shift[i];
    s[i] += v, t[i] += v * ((double)b[at + i] - b_shift[i]);
  }
  for (int i = width; i < SIDE; i++) s[i % width] += s[i], t[i % width] += t[i];
  for (int i = 0; i < SIDE; i++) sum[i] = s[i % width], product[i] = t[i % width];
}

/* Zeros in the gradients of a block's samples beyond the batch. */
PB_INLINE void clear_beyond(const pb_lane *lane, int64_t block, int width, int64_t size, real *d) {
  int64_t valid = lane->n - block * width;
  if (width == 1 || valid >= width) return;
  for (int64_t i = 0; i < size; i += width)
    for (int64_t j = valid; j < width; j++) d[i + j] = 0;
}

#endif
