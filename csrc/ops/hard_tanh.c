/* hard_tanh: y = x between -1 and 1; dx = dy there, else 0.
 * Collobert, thesis, Université Paris 6, 2004. */
#include "ops/elementwise.h"

PB_INLINE real value(real x, real a) { return NO_ATTR, clip(x, -1, 1); }
PB_INLINE real slope(real y, real a) { return NO_ATTR, y > -1 && y < 1 ? 1 : 0; }

PB_ACTIVATION(hard_tanh, "", PB_USES_Y)
