/* poisson: the part of the negative log-likelihood of counts t that depends on the prediction, with
 * `log_input` from the logarithm of the rate, and else from the rate:
 *
 *     loss_n = 1/C sum_c ( exp(y_c) - t_c y_c )           dy_c = exp(y_c) - t_c
 *     loss_n = 1/C sum_c ( y_c - t_c log(y_c + eps) )     dy_c = 1 - t_c / (y_c + eps)
 */
#include "ops/loss.h"
#include "ops/math.h"

enum { LOG_INPUT, EPS };

PB_INLINE double point(const pb_attr *attr, double y, double t) {
  return attr[LOG_INPUT].i ? exp(y) - t * y : y - t * log(y + attr[EPS].f);
}

PB_INLINE real point_slope(const pb_attr *attr, real y, real t) {
  return attr[LOG_INPUT].i ? r_exp(y) - t : 1 - t / (y + (real)attr[EPS].f);
}

PB_POINTWISE_LOSS(poisson, "log_input:int eps:float", 1 / c, true);
