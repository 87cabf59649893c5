/* How many rows of a tensor a pass works on, and where they come from. */
#ifndef PB_ROWS_H
#define PB_ROWS_H

#include "pybp.h"

/* The first multiple of `grain` that is not below n. */
static inline int64_t pb_round_up(int64_t n, int64_t grain) {
  return (n + grain - 1) / grain * grain;
}

/* Those at hand, with those that fill the last block up where it is blocked; 1 without rows. */
static inline int64_t pb_rows(const pb_lane *lane, const pb_shape *s) {
  if (!s->batched) return 1;
  return s->blocked ? pb_round_up(lane->n, lane->plan->table->lanes) : lane->n;
}

static inline double pb_sum_rows(const double *row, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += row[i];
  return sum;
}

/* `count` of a user's numbers of any type, `stride` bytes apart. */
void pb_read_doubles(pb_dtype, const void *from, int64_t stride, int64_t count, double *);

/* Whether the user's arrays have the form, the columns and the rows that a plan reads. */
bool pb_sources_fit(const pb_plan *, const pb_source *, int64_t rows);

#endif
