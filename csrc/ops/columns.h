/* What ops with a parameter for each column share: gradients that are sums over all rows, one for each column. Threads
 * share the columns, so that no sum is cut, and take a block of them at a time in doubles.
 */
#ifndef PB_COLUMNS_H
#define PB_COLUMNS_H

#include "ops/gradient.h"

enum { BLOCK = 64, GRAIN = 16 }; /* columns of a block; that a thread's share is a multiple of */

/* C: how many columns x has, and the output likewise. */
PB_INLINE int64_t columns_of(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *s = &lane->plan->tensor[k->out].shape;
  return s->dim[s->ndim - 1];
}

/* M: the rows of the batch, and all axes between them and the columns. */
PB_INLINE int64_t rows_of(const pb_instr *k, const pb_lane *lane) {
  return lane->n * lane->plan->tensor[k->out].size / columns_of(k, lane);
}

/* Hands on the gradients of n columns from `begin` of the parameter that is input j. */
PB_INLINE void hand_over(const pb_instr *k, const pb_lane *lane, int j, int64_t begin, int64_t n,
                         const double *sums) {
  real g[BLOCK];
  for (int64_t c = 0; c < n; c++) g[c] = (real)sums[c];
  if (k->fused_update) {
    update_parameters(lane, k->in[j], begin, n, g);
  } else if (k->din[j] >= 0) {
    real *d = (real *)lane->ptr[k->din[j]] + begin;
    for (int64_t c = 0; c < n; c++) d[c] = k->add[j] ? d[c] + g[c] : g[c];
  }
}

#endif
