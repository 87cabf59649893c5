/* sigmoid: y = 1 / (1 + exp(-x)), dx = dy y (1 - y). */
#include "ops/elementwise.h"
#include "ops/math.h"

PB_INLINE real value(real x, real a) { return NO_ATTR, r_sigmoid(x); }
PB_INLINE real slope(real y, real a) { return NO_ATTR, y * (1 - y); }

PB_ACTIVATION(sigmoid, "", PB_USES_Y)
