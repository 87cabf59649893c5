/* softsign: y = x / (1 + |x|), dx = dy / (1 + |x|)^2 = dy (1 - |y|)^2.
 * Bergstra, Desjardins, Lamblin and Bengio, technical report 1337, Montréal, 2009. */
#include "ops/elementwise.h"
#include "ops/math.h"

PB_INLINE real value(real x, real a) { return NO_ATTR, bounded(x) / (1 + r_abs(bounded(x))); }
PB_INLINE real slope(real y, real a) { return NO_ATTR, (1 - r_abs(y)) * (1 - r_abs(y)); }

PB_ACTIVATION(softsign, "", PB_USES_Y)
