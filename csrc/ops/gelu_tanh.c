/* gelu_tanh: y = x (1 + tanh u) / 2 = x s, u = sqrt(2 / pi) (x + 0.044715 x^3), s = sigmoid(2 u);
 * dx = dy (s + x s (1 - s) 2 u'). The approximation of Hendrycks and Gimpel, arXiv:1606.08415. */
#include "ops/elementwise.h"
#include "ops/math.h"

static const real twice = (real)1.59576912160573071176; /* 2 sqrt(2 / pi) */

PB_INLINE real value(real x, real a) {
  real u = twice * x * (1 + (real)0.044715 * x * x);
  return NO_ATTR, bounded_below(x) * r_sigmoid(u);
}

PB_INLINE real slope(real x, real a) {
  real z = clip(x, -40, 40), other; /* beyond, s is 0 or 1 */
  real s = sigmoid_both(twice * z * (1 + (real)0.044715 * z * z), &other);
  return NO_ATTR, s + z * s * other * twice * (1 + (real)(3 * 0.044715) * z * z);
}

PB_ACTIVATION(gelu_tanh, "", PB_USES_X)
