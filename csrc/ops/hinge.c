/* hinge: loss_n = 1/C sum_c max(0, 1 - s_c y_c), or its square, for units that each part two
 * classes: s_c is 1 where t_c > 0 and else -1, so targets may be +-1 or 0 and 1.
 *
 *     dy_c = -s_c where 1 - s_c y_c > 0, or twice that times (1 - s_c y_c)
 */
#include "ops/loss.h"

enum { SQUARED };

PB_INLINE double point(const pb_attr *attr, double y, double t) {
  double m = 1 - (t > 0 ? y : -y);
  m = m < 0 ? 0 : m; /* NaN stays */
  return attr[SQUARED].i ? m * m : m;
}

PB_INLINE real point_slope(const pb_attr *attr, real y, real t) {
  real s = t > 0 ? 1 : -1, m = 1 - s * y;
  if (attr[SQUARED].i) return m > 0 ? -2 * s * m : 0;
  return m > 0 ? -s : 0;
}

PB_POINTWISE_LOSS(hinge, "squared:int", 1 / c, true);
