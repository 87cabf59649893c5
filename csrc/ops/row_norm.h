/* The normalisations that look at one row at a time, over the last axis:
 *
 *     h = (x - mean) / sqrt(mean of (x - mean)^2 + eps)        y = gamma h + beta
 *
 * with mean 0 where they are not centred. With g = gamma dy and r = 1 / sqrt(..):
 *     dx = r (g - mean of g - h mean of g h), without the first mean where not centred
 *     dgamma = sum over rows of dy h      dbeta = sum over rows of dy
 *
 * Forward saves the mean and r of each row. Sums are in doubles, eight side by side.
 */
#ifndef PB_ROW_NORM_H
#define PB_ROW_NORM_H

#include "ops/columns.h"

enum { X, GAMMA, BETA };

PB_INLINE bool row_norm_infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  const pb_shape *x = &in[X];
  if (!x->batched || x->ndim < 1) return false;
  int64_t columns = x->dim[x->ndim - 1];
  for (int j = GAMMA; j < nin; j++)
    if (in[j].batched || in[j].ndim != 1 || in[j].dim[0] != columns) return false;
  r->out = *x;
  r->saved_row = 2 * (pb_shape_size(x) / columns);
  r->flops = 8 * pb_shape_size(x);
  return attr[0].f > 0;
}

/* Sums over a row of a and of a b, where a = (x - shift) weight (weight 1 when NULL). */
PB_INLINE void row_sums(int64_t n, const real *x, double shift, const real *weight, const real *b,
                        double b_shift, double *sum, double *product) {
  enum { W = 8 };
  double s[W] = {0}, p[W] = {0};
  for (int64_t i = 0; i < n; i += W) {
    int64_t width = min_i(W, n - i);
    for (int64_t j = 0; j < width; j++) {
      double a = ((double)x[i + j] - shift) * (weight ? (double)weight[i + j] : 1);
      s[j] += a;
      p[j] += a * ((double)b[i + j] - b_shift);
    }
  }
  *sum = *product = 0;
  for (int j = 0; j < W; j++) *sum += s[j], *product += p[j];
}

PB_INLINE void row_norm_forward(const pb_instr *k, const pb_lane *lane, bool centred) {
  int64_t columns = columns_of(k, lane), begin, end;
  const real *gamma = k->nin > GAMMA ? lane->ptr[k->in[GAMMA]] : NULL;
  const real *beta = k->nin > BETA ? lane->ptr[k->in[BETA]] : NULL;
  share(lane, rows_of(k, lane), 8, &begin, &end);
  for (int64_t m = begin; m < end; m++) {
    const real *x = (const real *)lane->ptr[k->in[X]] + m * columns;
    real *y = (real *)lane->ptr[k->out] + m * columns;
    double mean = 0, sum, squares;
    if (centred) {
      row_sums(columns, x, 0, NULL, x, 0, &sum, &squares);
      mean = sum / (double)columns;
    }
    row_sums(columns, x, mean, NULL, x, mean, &sum, &squares);
    double variance = squares / (double)columns;
    double scale = variance <= DBL_MAX ? 1 / sqrt(variance + k->attr[0].f) : NAN;
    for (int64_t c = 0; c < columns; c++)
      y[c] = (real)(((double)x[c] - mean) * scale * (gamma ? (double)gamma[c] : 1) +
                    (beta ? (double)beta[c] : 0));
    if (k->activation) k->activation->map(k->activation_attr, columns, y, y);
    if (k->saved < 0) continue;
    real *saved = (real *)lane->ptr[k->saved] + 2 * m;
    saved[0] = (real)mean, saved[1] = (real)scale;
  }
}

PB_INLINE void row_norm_backward_in(const pb_instr *k, const pb_lane *lane, bool centred) {
  int64_t columns = columns_of(k, lane), begin, end;
  const real *gamma = k->nin > GAMMA ? lane->ptr[k->in[GAMMA]] : NULL;
  share(lane, rows_of(k, lane), 8, &begin, &end);
  for (int64_t m = begin; m < end; m++) {
    const real *x = (const real *)lane->ptr[k->in[X]] + m * columns;
    const real *dy = (const real *)lane->ptr[k->dout] + m * columns;
    const real *saved = (const real *)lane->ptr[k->saved] + 2 * m;
    real *dx = (real *)lane->ptr[k->din[X]] + m * columns;
    double mean = (double)saved[0], scale = (double)saved[1], shift, tilt;
    row_sums(columns, dy, 0, gamma, x, mean, &shift, &tilt);
    shift = centred ? shift / (double)columns : 0;
    tilt *= scale * scale / (double)columns;
    for (int64_t c = 0; c < columns; c++) {
      double g = (double)dy[c] * (gamma ? (double)gamma[c] : 1);
      real d = (real)(scale * (g - shift - ((double)x[c] - mean) * tilt));
      dx[c] = k->add[X] ? dx[c] + d : d;
    }
  }
}

PB_INLINE void row_norm_backward_param(const pb_instr *k, const pb_lane *lane) {
  const real *x = lane->ptr[k->in[X]], *dy = lane->ptr[k->dout], *saved = lane->ptr[k->saved];
  int64_t columns = columns_of(k, lane), rows = rows_of(k, lane), begin, end;
  share(lane, columns, GRAIN, &begin, &end);
  for (; begin < end; begin += BLOCK) {
    double dgamma[BLOCK] = {0}, dbeta[BLOCK] = {0};
    int64_t n = min_i(BLOCK, end - begin);
    for (int64_t m = 0; m < rows; m++)
      for (int64_t c = 0; c < n; c++) {
        int64_t at = m * columns + begin + c;
        double h = ((double)x[at] - (double)saved[2 * m]) * (double)saved[2 * m + 1];
        dgamma[c] += (double)dy[at] * h;
        dbeta[c] += (double)dy[at];
      }
    if (k->nin > GAMMA) hand_over(k, lane, GAMMA, begin, n, dgamma);
    if (k->nin > BETA) hand_over(k, lane, BETA, begin, n, dbeta);
  }
}

#endif
