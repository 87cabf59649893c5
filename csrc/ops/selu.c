/* selu: y = s x where x > 0, s a (exp(x) - 1) elsewhere; dx = s dy or dy (y + s a). s and a are such
 * that signals of mean 0 and variance 1 stay so through layers of LeCun's initialisation.
 * Klambauer, Unterthiner, Mayr and Hochreiter, NeurIPS 2017. */
#include "ops/elementwise.h"
#include "ops/math.h"

static const real scale = (real)1.05070098735548049342, fall = (real)1.75809934084737685994;

PB_INLINE real value(real x, real a) { return NO_ATTR, x > 0 ? scale * x : fall * r_expm1(x); }
PB_INLINE real slope(real y, real a) { return NO_ATTR, y > 0 ? scale : y + fall; }

PB_ACTIVATION(selu, "", PB_USES_Y)
