/* Elementary functions without branches or tables, so that loops over them vectorise.
 *
 * exp(x) = 2^k exp(r) with k = round(x / ln 2) and |r| <= ln 2 / 2, where exp(r) is its Taylor
 * polynomial, long enough that its remainder is below a tenth of a unit in the last place.
 */
#ifndef PB_MATH_H
#define PB_MATH_H

#include "ops/real.h"

#if PB_REAL_BITS == 32
#define EXP_MAGIC 12582912.0f /* 1.5 x 2^23: adding it rounds to an integer in the low bits */
#define LN2_HIGH 0.693145752f /* short enough that k LN2_HIGH is exact */
#define LN2_LOW 1.42860677e-6f
#define EXP_LARGEST 88.3f
#define EXP_SMALLEST -87.3f
#define TANH_ONE 9.5f /* tanh of more is 1 to the last bit */
#else
#define EXP_MAGIC 6755399441055744.0
#define LN2_HIGH 0.693147180369123816490
#define LN2_LOW 1.90821492927058770002e-10
#define EXP_LARGEST 709.4
#define EXP_SMALLEST -708.3
#define TANH_ONE 20.0
#endif

/* exp(r) - 1 for small r, and the 2^k that goes with it. x must be clamped; NaN stays NaN. */
PB_INLINE real exp_parts(real x, real *power) {
  real t = x * (real)1.44269504088896340736 + EXP_MAGIC, k = t - EXP_MAGIC;
  real r = (x - k * LN2_HIGH) - k * LN2_LOW;
  real_bits bits;
  memcpy(&bits, &t, sizeof bits);
  bits = (bits + REAL_BIAS) << REAL_MANT; /* the high bits of t fall off */
  memcpy(power, &bits, sizeof bits);
#if PB_REAL_BITS == 32
  real q = 1.0f / 5040;
  q = q * r + 1.0f / 720;
#else
  real q = 1.0 / 6227020800;
  q = q * r + 1.0 / 479001600;
  q = q * r + 1.0 / 39916800;
  q = q * r + 1.0 / 3628800;
  q = q * r + 1.0 / 362880;
  q = q * r + 1.0 / 40320;
  q = q * r + 1.0 / 5040;
  q = q * r + 1.0 / 720;
#endif
  q = q * r + (real)1 / 120;
  q = q * r + (real)1 / 24;
  q = q * r + (real)1 / 6;
  q = q * r + (real)0.5;
  return (q * r) * r + r;
}

PB_INLINE real exp_clamp(real x) {
  x = x > EXP_LARGEST ? EXP_LARGEST : x;
  return x < EXP_SMALLEST ? EXP_SMALLEST : x;
}

/* exp(x) for x in [EXP_SMALLEST, EXP_LARGEST], and the nearest of those two values outside. */
PB_INLINE real r_exp(real x) {
  real power, p = exp_parts(exp_clamp(x), &power);
  return p * power + power;
}

PB_INLINE real r_sigmoid(real x) { return 1 / (1 + r_exp(-x)); }

/* tanh |x| = e / (e + 2) with e = exp(2 |x|) - 1, which keeps small values to the last bits. */
PB_INLINE real r_tanh(real x) {
  real a = x < 0 ? -x : x, power;
  a = a > TANH_ONE ? TANH_ONE : a;
  real p = exp_parts(2 * a, &power), e = p * power + (power - 1);
  real t = e / (e + 2);
  return x < 0 ? -t : t;
}

#endif
