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
#include "ops/columns.h"

enum { X, MEAN, VARIANCE, GAMMA, BETA };
enum { MOMENTUM, EPS, FROZEN };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  const pb_shape *x = &in[X];
  if (!x->batched || x->ndim < 1 || nin == GAMMA + 1) return false;
  int64_t columns = x->dim[x->ndim - 1];
  for (int j = MEAN; j < nin; j++)
    if (in[j].batched || in[j].ndim != 1 || in[j].dim[0] != columns) return false;
  r->out = *x;
  r->saved_once = 2 * columns;
  r->flops = 10 * pb_shape_size(x);
  return attr[MOMENTUM].f >= 0 && attr[MOMENTUM].f <= 1 && attr[EPS].f > 0;
}

/* Whether the statistics are those of the batch at hand. */
static bool of_batch(const pb_instr *k, const pb_lane *lane) {
  return lane->training && !k->attr[FROZEN].i;
}

/* A few columns of a batch. */
typedef struct {
  int64_t rows, stride, begin, n;   /* M, C, and the columns [begin, begin + n) */
  double mean[BLOCK], scale[BLOCK]; /* scale is 1 / sqrt(variance + eps) */
  double gamma[BLOCK], beta[BLOCK];
} columns;

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

/* The block's numbers from its statistics; a variance beyond all numbers is not passed over. */
static void fill(columns *b, const pb_instr *k, const pb_lane *lane, const double *mean,
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
static columns block_at(const pb_instr *k, const pb_lane *lane, int64_t begin, int64_t end) {
  int64_t stride = columns_of(k, lane);
  columns b = {
      .rows = rows_of(k, lane), .stride = stride, .begin = begin, .n = min_i(BLOCK, end - begin)};
  if (of_batch(k, lane) && k->phase != PB_FORWARD) {
    const double *saved = lane->ptr[k->saved];
    fill(&b, k, lane, saved + begin, saved + stride + begin);
  } else if (!of_batch(k, lane)) {
    fill(&b, k, lane, (double *)lane->ptr[k->in[MEAN]] + begin,
         (double *)lane->ptr[k->in[VARIANCE]] + begin);
  }
  return b;
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
      if (k->saved >= 0) {
        double *saved = (double *)lane->ptr[k->saved] + begin;
        memcpy(saved, mean, (size_t)b.n * sizeof *saved);
        memcpy(saved + all, variance, (size_t)b.n * sizeof *saved);
      }
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

static void commit(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end, all = columns_of(k, lane);
  share(lane, all, GRAIN, &begin, &end);
  double *mean = lane->ptr[k->in[MEAN]], *variance = lane->ptr[k->in[VARIANCE]];
  const double *saved = lane->ptr[k->saved];
  double part = k->attr[MOMENTUM].f, rows = (double)rows_of(k, lane);
  double unbiased = rows > 1 ? rows / (rows - 1) : 1;
  for (int64_t c = begin; c < end; c++) {
    mean[c] = (1 - part) * mean[c] + part * saved[c];
    variance[c] = (1 - part) * variance[c] + part * unbiased * saved[all + c];
  }
}

PB_OP(batch_norm) = {.name = "batch_norm",
                     .attrs = "momentum:float eps:float frozen:int",
                     .min_in = 3,
                     .max_in = 5,
                     .params = 2,
                     .running = 2,
                     .flags = PB_USES_X | PB_FUSES | PB_MIXES_ROWS,
                     .infer = infer,
                     .forward = forward,
                     .backward_in = backward_in,
                     .backward_param = backward_param,
                     .commit = commit};
