/* log: y = log x, dx = dy / x. */
#include "ops/elementwise.h"
#include "ops/math.h"

PB_INLINE real value(real x, real a) { return NO_ATTR, r_log(x); }
PB_INLINE real slope(real x, real a) { return NO_ATTR, 1 / x; }

PB_ACTIVATION(log, "", PB_USES_X)
