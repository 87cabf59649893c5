/* batch_norm: each column shifted and scaled to mean beta and deviation gamma.
 *
 *     y[m, c] = gamma[c] (x[m, c] - mean[c]) / sqrt(variance[c] + eps) + beta[c]
 *
 *     x [.., C]   mean, variance [C] running   gamma, beta [C] (both or none)   ->   y [.., C]
 *
 * In training mean and variance (biased) are those of the batch's M values of the column, and at the
 * end of the step the running ones follow, with the unbiased variance:
 *     running <- (1 - momentum) running + momentum (mean, variance M / (M - 1))
 * Otherwise, and in a frozen layer, they are the running ones. With h = (x - mean) / sqrt(variance + eps):
 *     dgamma = sum_m dy h    dbeta = sum_m dy
 *     dx = gamma / sqrt(variance + eps) (dy - dbeta / M - h dgamma / M)   in training
 *     dx = gamma / sqrt(variance + eps) dy                                otherwise
 *
 * Ioffe and Szegedy, "Batch normalization", ICML 2015. Sums are in doubles, the variance in a second
 * pass; threads share the columns, so that no sum is cut.
 */
#include "ops/batch_norm.h"

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  const pb_shape *x = &in[X];
  return x->batched && x->ndim > 0 && batch_norm_infer(attr, in, nin, x->dim[x->ndim - 1], r);
}

static void take_statistics(const columns *b, const real *x, double *mean, double *variance) {
  for (int64_t c = 0; c < b->n; c++) mean[c] = variance[c] = 0;
  for (int64_t m = 0; m < b->rows; m++)
    for (int64_t c = 0; c < b->n; c++) mean[c] += (double)x[m * b->stride + b->begin + c];
  for (int64_t c = 0; c < b->n; c++) mean[c] /= (double)b->rows;
  for (int64_t m = 0; m < b->rows; m++)
    for (int64_t c = 0; c < b->n; c++) {
      double d = (double)x[m * b->stride + b->begin + c] - mean[c];
      variance[c] += d * d;
    }
  for (int64_t c = 0; c < b->n; c++) variance[c] /= (double)b->rows;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const real *x = lane->ptr[k->in[X]];
  int64_t begin, end, all = columns_of(k, lane);
  share(lane, all, GRAIN, &begin, &end);
  for (; begin < end; begin += BLOCK) {
    columns b = block_at(k, lane, begin, end);
    if (of_batch(k, lane)) {
      double mean[BLOCK], variance[BLOCK];
      take_statistics(&b, x, mean, variance);
      fill(&b, k, lane, mean, variance);
      keep(k, lane, begin, b.n, mean, variance);
    }
    for (int64_t c = 0; c < b.n; c++) b.scale[c] *= b.gamma[c];
    for (int64_t m = 0; m < b.rows; m++) {
      const real *row = x + m * all + begin;
      real *y = (real *)lane->ptr[k->out] + m * all + begin;
      for (int64_t c = 0; c < b.n; c++)
        y[c] = (real)(((double)row[c] - b.mean[c]) * b.scale[c] + b.beta[c]);
      if (k->activation) k->activation->map(k->activation_attr, b.n, y, y);
    }
  }
}

/* dgamma and dbeta of a block. */
static void take_sums(const columns *b, const real *x, const real *dy, double *dgamma,
                      double *dbeta) {
  for (int64_t c = 0; c < b->n; c++) dgamma[c] = dbeta[c] = 0;
  for (int64_t m = 0; m < b->rows; m++)
    for (int64_t c = 0; c < b->n; c++) {
      int64_t at = m * b->stride + b->begin + c;
      dgamma[c] += (double)dy[at] * ((double)x[at] - b->mean[c]);
      dbeta[c] += (double)dy[at];
    }
  for (int64_t c = 0; c < b->n; c++) dgamma[c] *= b->scale[c];
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  const real *x = lane->ptr[k->in[X]], *dy = lane->ptr[k->dout];
  int64_t begin, end, all = columns_of(k, lane);
  share(lane, all, GRAIN, &begin, &end);
  for (; begin < end; begin += BLOCK) {
    columns b = block_at(k, lane, begin, end);
    double slope[BLOCK], tilt[BLOCK] = {0}, shift[BLOCK] = {0};
    if (of_batch(k, lane)) take_sums(&b, x, dy, tilt, shift);
    for (int64_t c = 0; c < b.n; c++) {
      slope[c] = b.gamma[c] * b.scale[c];
      tilt[c] *= b.scale[c] / (double)b.rows;
      shift[c] /= (double)b.rows;
    }
    for (int64_t m = 0; m < b.rows; m++) {
      int64_t at = m * all + begin;
      real *dx = (real *)lane->ptr[k->din[X]] + at;
      for (int64_t c = 0; c < b.n; c++) {
        double h = ((double)x[at + c] - b.mean[c]) * tilt[c];
        real d = (real)(slope[c] * ((double)dy[at + c] - shift[c] - h));
        dx[c] = k->add[X] ? dx[c] + d : d;
      }
    }
  }
}

static void backward_param(const pb_instr *k, const pb_lane *lane) {
  const real *x = lane->ptr[k->in[X]], *dy = lane->ptr[k->dout];
  int64_t begin, end;
  share(lane, columns_of(k, lane), GRAIN, &begin, &end);
  for (; begin < end && k->nin > GAMMA; begin += BLOCK) {
    columns b = block_at(k, lane, begin, end);
    double dgamma[BLOCK], dbeta[BLOCK];
    take_sums(&b, x, dy, dgamma, dbeta);
    hand_over(k, lane, GAMMA, begin, b.n, dgamma);
    hand_over(k, lane, BETA, begin, b.n, dbeta);
  }
}

BATCH_NORM_OP(batch_norm, 0)
