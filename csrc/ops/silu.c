/* silu: y = x s, dx = dy (s + x s (1 - s)), s = sigmoid(x); also called swish.
 * Elfwing, Uchibe and Doya, Neural Networks 107, 2018. */
#include "ops/elementwise.h"
#include "ops/math.h"

PB_INLINE real value(real x, real a) { return NO_ATTR, bounded_below(x) * r_sigmoid(x); }

PB_INLINE real slope(real x, real a) {
  real other, s = sigmoid_both(x, &other);
  return NO_ATTR, s + bounded(x) * s * other;
}

PB_ACTIVATION(silu, "", PB_USES_X)
