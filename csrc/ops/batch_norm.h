/* What batch_norm and channel_batch_norm share, which differ in where a column's values lie: equations and
 * source in batch_norm.c.
 *
 *     mean, variance [C] running   gamma, beta [C] (both or none)
 *
 * Forward saves the batch's mean and variance, 2 C doubles.
 */
#ifndef PB_BATCH_NORM_H
#define PB_BATCH_NORM_H

#include "ops/columns.h"

enum { X, MEAN, VARIANCE, GAMMA, BETA };
enum { MOMENTUM, EPS, FROZEN };

PB_INLINE bool batch_norm_infer(const pb_attr *attr, const pb_shape *in, int nin, int64_t columns,
                                pb_inferred *r) {
  if (nin == GAMMA + 1) return false;
  for (int j = MEAN; j < nin; j++)
    if (in[j].batched || in[j].ndim != 1 || in[j].dim[0] != columns) return false;
  r->out = in[X];
  r->saved_once = 2 * columns;
  r->flops = 10 * pb_shape_size(&in[X]);
  return attr[MOMENTUM].f >= 0 && attr[MOMENTUM].f <= 1 && attr[EPS].f > 0;
}

/* C, and M: the values of one column. */
PB_INLINE int64_t all_columns(const pb_instr *k, const pb_lane *lane) {
  return lane->plan->tensor[k->in[MEAN]].size;
}

PB_INLINE int64_t values_of(const pb_instr *k, const pb_lane *lane) {
  return lane->n * lane->plan->tensor[k->out].size / all_columns(k, lane);
}

/* Whether the statistics are those of the batch at hand. */
PB_INLINE bool of_batch(const pb_instr *k, const pb_lane *lane) {
  return lane->training && !k->attr[FROZEN].i;
}

/* A few columns of a batch. */
typedef struct {
  int64_t rows, stride, begin, n;   /* M, C, and the columns [begin, begin + n) */
  double mean[BLOCK], scale[BLOCK]; /* scale is 1 / sqrt(variance + eps) */
  double gamma[BLOCK], beta[BLOCK];
} columns;

/* The block's numbers from its statistics; a variance beyond all numbers is not passed over. */
PB_INLINE void fill(columns *b, const pb_instr *k, const pb_lane *lane, const double *mean,
                    const double *variance) {
  const real *gamma = k->nin > GAMMA ? lane->ptr[k->in[GAMMA]] : NULL;
  const real *beta = k->nin > GAMMA ? lane->ptr[k->in[BETA]] : NULL;
  for (int64_t c = 0; c < b->n; c++) {
    b->mean[c] = mean[c];
    b->scale[c] = variance[c] <= DBL_MAX ? 1 / sqrt(variance[c] + k->attr[EPS].f) : NAN;
    b->gamma[c] = gamma ? (double)gamma[b->begin + c] : 1;
    b->beta[c] = beta ? (double)beta[b->begin + c] : 0;
  }
}

/* Columns [begin, min(begin + BLOCK, end)) as forward has left them for backward. */
PB_INLINE columns block_at(const pb_instr *k, const pb_lane *lane, int64_t begin, int64_t end) {
  int64_t stride = all_columns(k, lane);
  columns b = {
      .rows = values_of(k, lane), .stride = stride, .begin = begin, .n = min_i(BLOCK, end - begin)};
  if (of_batch(k, lane) && k->phase != PB_FORWARD) {
    const double *saved = lane->ptr[k->saved];
    fill(&b, k, lane, saved + begin, saved + stride + begin);
  } else if (!of_batch(k, lane)) {
    fill(&b, k, lane, (double *)lane->ptr[k->in[MEAN]] + begin,
         (double *)lane->ptr[k->in[VARIANCE]] + begin);
  }
  return b;
}

/* Keeps a block's statistics for backward and for the running ones. */
PB_INLINE void keep(const pb_instr *k, const pb_lane *lane, int64_t begin, int64_t n,
                    const double *mean, const double *variance) {
  if (k->saved < 0) return;
  double *saved = (double *)lane->ptr[k->saved] + begin;
  memcpy(saved, mean, (size_t)n * sizeof *saved);
  memcpy(saved + all_columns(k, lane), variance, (size_t)n * sizeof *saved);
}

PB_INLINE void batch_norm_commit(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end, all = all_columns(k, lane);
  share(lane, all, GRAIN, &begin, &end);
  double *mean = lane->ptr[k->in[MEAN]], *variance = lane->ptr[k->in[VARIANCE]];
  const double *saved = lane->ptr[k->saved];
  double part = k->attr[MOMENTUM].f, rows = (double)values_of(k, lane);
  double unbiased = rows > 1 ? rows / (rows - 1) : 1;
  for (int64_t c = begin; c < end; c++) {
    mean[c] = (1 - part) * mean[c] + part * saved[c];
    variance[c] = (1 - part) * variance[c] + part * unbiased * saved[all + c];
  }
}

#define BATCH_NORM_OP(op_name, more_flags) \
  static void commit(const pb_instr *k, const pb_lane *lane) { batch_norm_commit(k, lane); } \
  PB_OP(op_name) = {.name = #op_name, \
                    .attrs = "momentum:float eps:float frozen:int", \
                    .min_in = 3, \
                    .max_in = 5, \
                    .params = 2, \
                    .running = 2, \
                    .flags = PB_USES_X | PB_FUSES | PB_MIXES_ROWS | (more_flags), \
                    .infer = infer, \
                    .forward = forward, \
                    .backward_in = backward_in, \
                    .backward_param = backward_param, \
                    .commit = commit};

#endif
