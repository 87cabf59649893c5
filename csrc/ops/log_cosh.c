/* log_cosh: loss_n = 1/C sum_c log cosh(y_c - t_c), with slope tanh(y_c - t_c).
 *
 * Small e: log1p(2 sinh(e/2)^2), where log cosh e ~ e^2/2 keeps all its digits. Others:
 * |e| + log1p(exp(-2|e|)) - log 2, which never overflows.
 */
#include "ops/loss.h"
#include "ops/math.h"

PB_INLINE double point(const pb_attr *attr, double y, double t) {
  (void)attr;
  double e = fabs(y - t), half = sinh(e < 1 ? e / 2 : 0);
  return e < 1 ? log1p(2 * half * half) : e + log1p(exp(-2 * e)) - 0.69314718055994530942;
}

PB_INLINE real point_slope(const pb_attr *attr, real y, real t) {
  (void)attr;
  return r_tanh(y - t);
}

PB_POINTWISE_LOSS(log_cosh, "", 1 / c, true);
