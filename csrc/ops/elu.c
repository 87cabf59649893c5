/* elu: y = x where x > 0, a (exp(x) - 1) elsewhere; dx = dy or dy (y + a). a is not negative.
 * Clevert, Unterthiner and Hochreiter, ICLR 2016. */
#include "ops/elementwise.h"
#include "ops/math.h"

PB_INLINE real value(real x, real a) { return x > 0 ? x : a * r_expm1(x); }
PB_INLINE real slope(real y, real a) { return y > 0 ? 1 : y + a; }

PB_ACTIVATION(elu, "alpha:float", PB_USES_Y)
