/* mish: y = x w, dx = dy (w + x (1 - w^2) s), w = tanh(log(1 + exp x)), s = sigmoid(x).
 * With e = exp(-|x|), which cannot overflow,
 *     w = (e^2 + 2 e) / (e^2 + 2 e + 2) for x < 0,     (1 + 2 e) / (1 + 2 e + 2 e^2) otherwise
 * and 1 - w has the same denominators. Misra, BMVC 2020. */
#include "ops/elementwise.h"
#include "ops/math.h"

/* w and 1 - w */
PB_INLINE real weight(real x, real *rest) {
  real e = exp_negative(-r_abs(x), 0);
  real high = x < 0 ? e * (e + 2) : 1 + 2 * e, low = x < 0 ? 2 : 2 * e * e;
  *rest = low / (high + low);
  return high / (high + low);
}

PB_INLINE real value(real x, real a) {
  real rest, w = weight(x, &rest);
  return NO_ATTR, bounded_below(x) * w;
}

PB_INLINE real slope(real x, real a) {
  real rest, w = weight(x, &rest);
  return NO_ATTR, w + bounded(x) * rest * (1 + w) * r_sigmoid(x);
}

PB_ACTIVATION(mish, "", PB_USES_X)
