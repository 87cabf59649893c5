/* absolute_error: loss_n = 1/C sum_c |y_c - t_c|, whose slope at 0 is taken as 0. */
#include "ops/loss.h"

PB_INLINE double point(const pb_attr *attr, double y, double t) {
  (void)attr;
  return fabs(y - t);
}

PB_INLINE real point_slope(const pb_attr *attr, real y, real t) {
  (void)attr;
  return (real)((y > t) - (y < t));
}

PB_POINTWISE_LOSS(absolute_error, "", 1 / c, true);
