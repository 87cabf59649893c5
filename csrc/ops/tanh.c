/* tanh: y = tanh x, dx = dy (1 - y^2). */
#include "ops/elementwise.h"
#include "ops/math.h"

PB_INLINE real value(real x, real a) { return NO_ATTR, r_tanh(x); }
PB_INLINE real slope(real y, real a) { return NO_ATTR, 1 - y * y; }

PB_ACTIVATION(tanh, "", PB_USES_Y)
