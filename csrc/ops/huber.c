/* huber: loss_n = 1/C sum_c h(y_c - t_c), quadratic near 0 and linear beyond `delta`:
 *
 *     h(e) = e^2 / 2 for |e| <= delta, delta (|e| - delta / 2) else;  h'(e) = e cut to +-delta
 *
 * Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.
 */
#include "ops/loss.h"

enum { DELTA };

PB_INLINE double point(const pb_attr *attr, double y, double t) {
  double e = fabs(y - t), delta = attr[DELTA].f;
  return e > delta ? delta * (e - delta / 2) : e * e / 2;
}

PB_INLINE real point_slope(const pb_attr *attr, real y, real t) {
  real e = y - t, delta = (real)attr[DELTA].f;
  e = e > delta ? delta : e;
  return e < -delta ? -delta : e;
}

PB_POINTWISE_LOSS(huber, "delta:float", 1 / c, true);
