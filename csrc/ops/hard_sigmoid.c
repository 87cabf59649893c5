/* hard_sigmoid: y = x / 6 + 1 / 2 between 0 and 1; dx = dy / 6 there, else 0.
 * Courbariaux, Bengio and David, NIPS 2015, with the slope of Howard et al., ICCV 2019. */
#include "ops/elementwise.h"

PB_INLINE real value(real x, real a) { return NO_ATTR, clip(x / 6 + (real)0.5, 0, 1); }
PB_INLINE real slope(real y, real a) { return NO_ATTR, y > 0 && y < 1 ? (real)1 / 6 : 0; }

PB_ACTIVATION(hard_sigmoid, "", PB_USES_Y)
