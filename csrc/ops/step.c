/* step: y = 1 where x >= 0, else 0; Heaviside's function. Its derivative is 0 wherever there is one, so
 * that nothing can be trained through it. McCulloch and Pitts, Bull. Math. Biophysics 5, 1943. */
#include "ops/elementwise.h"

PB_INLINE real value(real x, real a) { return NO_ATTR, x >= 0 ? 1 : x < 0 ? 0 : x; }

PB_FLAT_ACTIVATION(step, "")
