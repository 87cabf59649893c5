/* Sums of products over positions, which all gradients of weights are made of. */
#ifndef PB_CONV_DOTS_H
#define PB_CONV_DOTS_H

#include "ops/conv.h"

typedef struct {
  const real *dy; /* of output 0 */
  int64_t plane, row, unit;
} conv_signal;

#define conv_sum_dots PB_NAME(pb_conv_sum_dots)
#define conv_fold PB_NAME(pb_conv_fold)
/* sums[i, j] += dy[i, p] x[p + at[j]] over positions p, `rows` rows of `units` vectors of them, for
   `outputs` outputs i and `taps` taps j; every element of sums [outputs, ld] is a vector. */
void conv_sum_dots(int64_t outputs, int64_t taps, int64_t rows, int64_t units, conv_signal,
                   const conv_tile *x, int64_t x_row, const int64_t *at, real *sums, int64_t ld);
/* Sums over the lanes of `count` vectors. Up to a vector behind `out` changes too. */
void conv_fold(const real *sums, int64_t count, real *out);

#endif
