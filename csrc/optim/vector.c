/* Loops over ranges of the parameter vector that every optimiser shares: penalties and clipping of
 * gradients, norms, scaling and averages. */
#include "ops/real.h"

static void treat(int64_t n, const pb_group *how, double factor, const void *param,
                  const void *grad, void *treated) {
  const real *restrict w = param, *restrict g = grad;
  real *restrict out = treated, scale = (real)factor;
  real l1 = (real)how->l1, l2 = (real)how->l2;
  real limit = how->clip_value > 0 ? (real)how->clip_value : (real)INFINITY;
  for (int64_t i = 0; i < n; i++) {
    real sign = (real)(w[i] > 0) - (real)(w[i] < 0);
    real x = g[i] + (l1 * sign + l2 * w[i]);
    x = x > limit ? limit : x;
    x = x < -limit ? -limit : x;
    out[i] = scale * x;
  }
}

/* In double, as eight sums side by side: no order of threads or lanes changes it. */
static double squares(int64_t n, const void *vector) {
  const real *x = vector;
  double sum[8] = {0};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; k++) sum[k] += (double)x[i + k] * (double)x[i + k];
  for (int k = 0; i < n; i++, k++) sum[k] += (double)x[i] * (double)x[i];
  return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

static void scale(int64_t n, double factor, void *param) {
  real *w = param, by = (real)factor;
  for (int64_t i = 0; i < n; i++) w[i] *= by;
}

static void average(int64_t n, double weight, const void *param, void *mean) {
  const real *restrict w = param;
  real *restrict m = mean, by = (real)weight;
  if (weight == 1) memcpy(m, w, (size_t)n * sizeof *m);
  else
    for (int64_t i = 0; i < n; i++) m[i] += by * (w[i] - m[i]);
}

extern const pb_vector PB_NAME(pb_vector);
const pb_vector PB_NAME(pb_vector) = {
    .treat = treat, .squares = squares, .scale = scale, .average = average};
