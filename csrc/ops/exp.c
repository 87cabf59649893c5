/* exp: y = exp x, dx = dy y. */
#include "ops/elementwise.h"
#include "ops/math.h"

PB_INLINE real value(real x, real a) { return NO_ATTR, r_exp(x); }
PB_INLINE real slope(real y, real a) { return NO_ATTR, y; }

PB_ACTIVATION(exp, "", PB_USES_Y)
