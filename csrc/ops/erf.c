/* erf: y = erf x, dx = dy 2 / sqrt(pi) exp(-x^2). */
#include "ops/erf.h"
#include "ops/elementwise.h"

PB_INLINE real value(real x, real a) { return NO_ATTR, r_erf(x); }
PB_INLINE real slope(real x, real a) {
  return NO_ATTR, (real)1.12837916709551257390 * exp_negative(-x * x, 0);
}

PB_ACTIVATION(erf, "", PB_USES_X)
