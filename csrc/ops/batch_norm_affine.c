/* batch_norm_affine: what batch_norm does at inference, as a scale and a shift of each column, for the
 * epilogue of the layer before it.
 *
 *     y[0, c] = gamma[c] / sqrt(variance[c] + eps)        y[1, c] = beta[c] - mean[c] y[0, c]
 *
 *     mean, variance [C] running   gamma, beta [C] (both or none)   ->   y [2, C]
 */
#include "ops/real.h"

enum { MEAN, VARIANCE, GAMMA, BETA };
enum { EPS };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  for (int j = 0; j < nin; j++)
    if (in[j].batched || in[j].ndim != 1 || in[j].dim[0] != in[MEAN].dim[0]) return false;
  r->out = (pb_shape){.ndim = 2, .dim = {2, in[MEAN].dim[0]}};
  r->flops = 1; /* a row of the batch has no part in it */
  return nin != GAMMA + 1 && attr[EPS].f > 0;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const double *mean = lane->ptr[k->in[MEAN]], *variance = lane->ptr[k->in[VARIANCE]];
  const real *gamma = k->nin > GAMMA ? lane->ptr[k->in[GAMMA]] : NULL;
  const real *beta = k->nin > GAMMA ? lane->ptr[k->in[BETA]] : NULL;
  int64_t columns = lane->plan->tensor[k->in[MEAN]].size, begin, end;
  real *scale = lane->ptr[k->out], *shift = scale + columns;
  share(lane, columns, 16, &begin, &end);
  for (int64_t c = begin; c < end; c++) {
    double root = variance[c] <= DBL_MAX ? sqrt(variance[c] + k->attr[EPS].f) : NAN;
    double a = (gamma ? (double)gamma[c] : 1) / root;
    scale[c] = (real)a;
    shift[c] = (real)((beta ? (double)beta[c] : 0) - mean[c] * a);
  }
}

PB_OP(batch_norm_affine) = {.name = "batch_norm_affine",
                            .attrs = "eps:float",
                            .min_in = 2,
                            .max_in = 4,
                            .params = 2,
                            .running = 2,
                            .infer = infer,
                            .forward = forward};
