/* softplus: y = log(1 + exp x) = max(x, 0) + log(1 + exp(-|x|)), dx = dy sigmoid(x) = dy (1 - exp(-y)).
 * Dugas, Bengio, Bélisle, Nadeau and Garcia, NIPS 2000. */
#include "ops/elementwise.h"
#include "ops/math.h"

PB_INLINE real value(real x, real a) { return NO_ATTR, r_softplus(x); }
PB_INLINE real slope(real y, real a) { return NO_ATTR, -r_expm1(-y); }

PB_ACTIVATION(softplus, "", PB_USES_Y)
