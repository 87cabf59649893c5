/* squared_error: loss_n = factor sum_c (y_c - t_c)^2; the batch's loss is the mean over its rows, or
 * their sum.
 *
 * factor 1/2 with the sum is half_sse, 1 with the sum sse, 1/C with the mean mse.
 */
#include "ops/loss.h"

enum { FACTOR, MEAN };

PB_INLINE double point(const pb_attr *attr, double y, double t) {
  (void)attr;
  return (y - t) * (y - t);
}

PB_INLINE real point_slope(const pb_attr *attr, real y, real t) {
  (void)attr;
  return 2 * (y - t);
}

PB_POINTWISE_LOSS(squared_error, "factor:float mean:int", attr[FACTOR].f, attr[MEAN].i);
