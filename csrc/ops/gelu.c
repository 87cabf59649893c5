/* gelu: y = x P(x), dx = dy (P(x) + x p(x)), where P(x) = (1 + erf(x / sqrt 2)) / 2 is the standard
 * normal distribution and p its density. Hendrycks and Gimpel, arXiv:1606.08415. */
#include "ops/elementwise.h"
#include "ops/erf.h"

PB_INLINE real value(real x, real a) {
  real density, tail = normal_tail(x, &density);
  return NO_ATTR, bounded_below(x) * (x < 0 ? tail : 1 - tail);
}

PB_INLINE real slope(real x, real a) {
  real density, tail = normal_tail(x, &density);
  return NO_ATTR, (x < 0 ? tail : 1 - tail) + bounded(x) * density;
}

PB_ACTIVATION(gelu, "", PB_USES_X)
