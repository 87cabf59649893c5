/* quantile: loss_n = 1/C sum_c max(q e_c, (q - 1) e_c) with e = t - y, least where y is the
 * q-quantile of t; dy_c = -q where e_c > 0, 1 - q where e_c < 0, and 0 at 0.
 *
 * Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978.
 */
#include "ops/loss.h"

enum { Q };

PB_INLINE double point(const pb_attr *attr, double y, double t) {
  double e = t - y;
  return e > 0 ? attr[Q].f * e : (attr[Q].f - 1) * e;
}

PB_INLINE real point_slope(const pb_attr *attr, real y, real t) {
  real q = (real)attr[Q].f;
  return t > y ? -q : t < y ? 1 - q : 0;
}

PB_POINTWISE_LOSS(quantile, "q:float", 1 / c, true);
