/* relu: y = max(x, 0), dx = dy where y > 0, else 0 (the derivative at 0 is taken as 0).
 * Written so that NaN stays NaN. */
#include "ops/elementwise.h"

PB_INLINE real value(real x, real a) { return NO_ATTR, x < 0 ? 0 : x; }
PB_INLINE real slope(real y, real a) { return NO_ATTR, y > 0 ? 1 : 0; }

PB_ACTIVATION(relu, "", PB_USES_Y)
