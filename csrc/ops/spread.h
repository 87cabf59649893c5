/* What `broadcast` and `sum` share, each being the other's derivative: a small tensor, and a big one in
 * which some axes are longer.
 *
 * The axes, the batch's among them, are merged into at most MOST_GROUPS alternating groups: kept ones,
 * which both tensors have, and spread ones, along which the big one repeats the small.
 */
#ifndef PB_SPREAD_H
#define PB_SPREAD_H

#include "ops/real.h"

enum { MOST_GROUPS = PB_MAX_DIMS + 1, COLUMNS = 64, PARTS = 8 };

typedef struct {
  int n;
  int64_t length[MOST_GROUPS], big[MOST_GROUPS],
      small[MOST_GROUPS]; /* strides; small is 0: spread */
} groups;

PB_INLINE void add_axis(groups *g, int64_t length, bool kept) {
  if (length == 1) return;
  if (g->n && (g->small[g->n - 1] != 0) == kept) g->length[g->n - 1] *= length;
  else g->length[g->n] = length, g->small[g->n++] = kept;
}

/* `small` has the axes of `big`, with length 1 where it is spread; n rows in the batch. */
PB_INLINE groups groups_of(const pb_shape *small, const pb_shape *big, int64_t n) {
  groups g = {0};
  if (big->batched) add_axis(&g, n, small->batched);
  for (int d = 0; d < big->ndim; d++) {
    int own = d - (big->ndim - small->ndim);
    add_axis(&g, big->dim[d], own >= 0 && small->dim[own] == big->dim[d]);
  }
  if (g.n == 0) g.n = 1, g.length[0] = 1, g.small[0] = 1; /* one number */
  int64_t inner = 1, kept = 1;
  for (int k = g.n - 1; k >= 0; k--) {
    g.big[k] = inner, inner *= g.length[k];
    g.small[k] = g.small[k] ? kept : 0;
    if (g.small[k]) kept *= g.length[k];
  }
  return g;
}

/* big (+)= small, spread. */
PB_INLINE void spread_out(const pb_lane *lane, const groups *g, const real *small, bool add,
                          real *big) {
  int last = g->n - 1;
  int64_t run = g->length[last], begin, end;
  share(lane, g->length[0] * g->big[0] / run, 1, &begin, &end);
  for (int64_t r = begin; r < end; r++) {
    int64_t rest = r, at = 0;
    for (int k = last - 1; k >= 0; k--) {
      at += rest % g->length[k] * g->small[k];
      rest /= g->length[k];
    }
    const real *x = small + at;
    real *y = big + r * run;
    if (g->small[last])
      for (int64_t i = 0; i < run; i++) y[i] = x[i] + (add ? y[i] : 0);
    else
      for (int64_t i = 0; i < run; i++) y[i] = x[0] + (add ? y[i] : 0);
  }
}

/* Where the outermost groups of one kind, all but the last group, lie for their element number r. */
PB_INLINE int64_t place_of(const groups *g, bool kept, int64_t r) {
  int64_t at = 0;
  for (int k = g->n - 2; k >= 0; k--)
    if ((g->small[k] != 0) == kept) at += r % g->length[k] * g->big[k], r /= g->length[k];
  return at;
}

PB_INLINE int64_t count_of(const groups *g, bool kept) {
  int64_t count = 1;
  for (int k = 0; k < g->n - 1; k++)
    if ((g->small[k] != 0) == kept) count *= g->length[k];
  return count;
}

/* The sum of a run, in partial sums that do not depend on the instruction set. */
PB_INLINE double sum_of(const real *x, int64_t n) {
  double part[PARTS] = {0}, sum = 0;
  int64_t i = 0;
  for (; i + PARTS <= n; i += PARTS)
    for (int p = 0; p < PARTS; p++) part[p] += (double)x[i + p];
  for (; i < n; i++) sum += (double)x[i];
  for (int p = 0; p < PARTS; p++) sum += part[p];
  return sum;
}

/* small (+)= the sums of big, in doubles; threads share the sums. */
PB_INLINE void sum_up(const pb_lane *lane, const groups *g, const real *big, bool add,
                      real *small) {
  int last = g->n - 1;
  bool columns = g->small[last] != 0;
  int64_t run = g->length[last], outer = count_of(g, true), terms = count_of(g, false);
  int64_t blocks = columns ? (run + COLUMNS - 1) / COLUMNS : 1, begin, end;
  share(lane, outer * blocks, 1, &begin, &end);
  for (int64_t job = begin; job < end; job++) {
    int64_t from = job % blocks * COLUMNS, width = columns ? min_i(COLUMNS, run - from) : 1;
    const real *x = big + place_of(g, true, job / blocks) + from;
    double sum[COLUMNS] = {0};
    for (int64_t t = 0; t < terms; t++) {
      const real *term = x + place_of(g, false, t);
      if (!columns) sum[0] += sum_of(term, run);
      else
        for (int64_t i = 0; i < width; i++) sum[i] += (double)term[i];
    }
    real *y = small + (columns ? job / blocks * run + from : job);
    for (int64_t i = 0; i < width; i++) y[i] = (real)sum[i] + (add ? y[i] : 0);
  }
}

#endif
