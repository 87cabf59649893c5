/* leaky_relu: y = x where x > 0, a x elsewhere; dx = dy or a dy. a is not negative, so that y has x's
 * sign. Maas, Hannun and Ng, ICML workshop on deep learning for audio, 2013. */
#include "ops/elementwise.h"

PB_INLINE real value(real x, real a) { return x > 0 ? x : a * x; }
PB_INLINE real slope(real y, real a) { return y > 0 ? 1 : a; }

PB_ACTIVATION(leaky_relu, "negative_slope:float", PB_USES_Y)
