/* Elementary functions without branches or tables, so that loops over them vectorise.
 *
 * Bounds of their errors, in units in the last place of the exact result, hold for all arguments
 * and both precisions where the result is a normal number; tests/test_math.py measures them.
 *
 *     exp 1.25      expm1 1.25      log 1      softplus 2      sigmoid 3      tanh 3      erf 3
 *
 * (erf is in erf.h.) Results below 1.00001 times the smallest normal number may be 0, and arguments
 * below it count as 0, as everywhere while a plan runs (core/subnormal.h). NaN stays NaN; infinities
 * give the limits, and exp gives infinity where its result is beyond the largest number.
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
#define EXP_LARGEST 89.0f        /* exp of it is beyond the largest number */
#define EXP_SMALLEST -87.33654f  /* exp of it is still normal */
#define TANH_ONE 9.5f            /* tanh of more is 1 to the last bit */
#define INTEGER_BITS 0x4b000000u /* of 2^23: put k in the low bits and it is 2^23 + k */
#define INTEGER_BASE 8388608.0f
#define ROOT_HALF_BITS 0x3f3504f3u /* of sqrt(1/2) */
#define REAL_SMALLEST FLT_MIN
#define REAL_LARGEST FLT_MAX
#else
#define EXP_MAGIC 6755399441055744.0
#define LN2_HIGH 0.693147180369123816490
#define LN2_LOW 1.90821492927058770002e-10
#define EXP_LARGEST 710.0
#define EXP_SMALLEST -708.39641853226
#define TANH_ONE 20.0
#define INTEGER_BITS 0x4330000000000000u
#define INTEGER_BASE 4503599627370496.0
#define ROOT_HALF_BITS 0x3fe6a09e667f3bcdu
#define REAL_SMALLEST DBL_MIN
#define REAL_LARGEST DBL_MAX
#endif
#define ONE_BITS ((real_bits)REAL_BIAS << REAL_MANT)

PB_INLINE real_bits bits_of(real x) {
  real_bits bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

PB_INLINE real of_bits(real_bits bits) {
  real x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

PB_INLINE real r_abs(real x) { return x < 0 ? -x : x; }

/* The nearest finite number: what infinity stands for in a product that tends to 0. */
PB_INLINE real bounded_below(real x) { return x < -REAL_LARGEST ? -REAL_LARGEST : x; }
PB_INLINE real bounded(real x) {
  x = bounded_below(x);
  return x > REAL_LARGEST ? REAL_LARGEST : x;
}

/* exp(r) - 1 for small r, and the 2^k that goes with it, over `half`, which is 1 or 2: 2^128 is no
   float, its half is. The argument is x + low; x must be clamped. */
PB_INLINE real exp_parts(real x, real low, real half, real *power) {
  real t = x * (real)1.44269504088896340736 + EXP_MAGIC, k = t - EXP_MAGIC;
  real r = (x - k * LN2_HIGH) - k * LN2_LOW + low;
  *power = of_bits((bits_of(t - (half - 1)) + REAL_BIAS) << REAL_MANT); /* t's high bits fall off */
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

/* exp(x); 0 below EXP_SMALLEST. */
PB_INLINE real r_exp(real x) {
  real half = x > 0 ? 2 : 1, power, p = exp_parts(exp_clamp(x), 0, half, &power);
  return x < EXP_SMALLEST ? 0 : (1 + p) * power * half;
}

/* exp(x + low) for x <= 0 and a low that x cannot hold. */
PB_INLINE real exp_negative(real x, real low) {
  real c = x < EXP_SMALLEST ? EXP_SMALLEST : x, power, p = exp_parts(c, low, 1, &power);
  return x < EXP_SMALLEST ? 0 : (1 + p) * power;
}

/* exp(x) - 1, without the cancellation near 0. */
PB_INLINE real r_expm1(real x) {
  real half = x > 0 ? 2 : 1, power, p = exp_parts(exp_clamp(x), 0, half, &power);
  return (p * power + (power - 1 / half)) * half;
}

/* sigmoid(x), and sigmoid(-x) = 1 - sigmoid(x) just as accurate. */
PB_INLINE real sigmoid_both(real x, real *other) {
  real e = exp_negative(-r_abs(x), 0), large = 1 / (1 + e), small = e * large;
  *other = x < 0 ? large : small;
  return x < 0 ? small : large;
}

PB_INLINE real r_sigmoid(real x) {
  real e = exp_negative(-r_abs(x), 0);
  return (x < 0 ? e : 1) / (1 + e);
}

/* tanh |x| = e / (e + 2) with e = exp(2 |x|) - 1, which keeps small values to the last bits. */
PB_INLINE real r_tanh(real x) {
  real a = r_abs(x), power;
  a = a > TANH_ONE ? TANH_ONE : a;
  real p = exp_parts(2 * a, 0, 1, &power), e = p * power + (power - 1);
  real t = e / (e + 2);
  return x < 0 ? -t : t;
}

/* (2 atanh(s) - 2 s) / s for |s| <= 0.172, by Taylor's series. */
PB_INLINE real atanh_rest(real s) {
  real z = s * s;
#if PB_REAL_BITS == 32
  real q = 2.0f / 9;
#else
  real q = 2.0 / 21;
  q = q * z + 2.0 / 19;
  q = q * z + 2.0 / 17;
  q = q * z + 2.0 / 15;
  q = q * z + 2.0 / 13;
  q = q * z + 2.0 / 11;
  q = q * z + 2.0 / 9;
#endif
  q = q * z + (real)2 / 7;
  q = q * z + (real)2 / 5;
  q = q * z + (real)2 / 3;
  return q * z;
}

/* log(x) = k ln 2 + log(1 + f) with x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), and
 * log(1 + f) = 2 atanh(s), s = f / (2 + f), written as f minus something small.
 * Minus infinity at 0, NaN below. */
PB_INLINE real r_log(real x) {
  real_bits bits = bits_of(x) + (ONE_BITS - ROOT_HALF_BITS);
  real k = of_bits((bits >> REAL_MANT) | INTEGER_BITS) - (INTEGER_BASE + REAL_BIAS);
  real f = of_bits((bits & (((real_bits)1 << REAL_MANT) - 1)) + ROOT_HALF_BITS) - 1;
  real s = f / (2 + f), rest = s * (f - atanh_rest(s));
  real y = k * LN2_HIGH + (f - (rest - k * LN2_LOW));
  y = x < REAL_SMALLEST ? -(real)INFINITY : y;
  y = x <= -REAL_SMALLEST ? (real)NAN : y;
  return x <= REAL_LARGEST ? y : x;
}

/* log(1 + e) for e in [0, 1]: where 1 + e is beyond sqrt(2), as ln 2 + log((1 + e) / 2). */
PB_INLINE real log1p_unit(real e) {
  real f = e > (real)0.41421356237309504880 ? (e - 1) / 2 : e;
  real base = e > (real)0.41421356237309504880 ? (real)0.69314718055994530942 : 0;
  real s = f / (2 + f);
  return base + (f - s * (f - atanh_rest(s)));
}

/* log(1 + exp(x)) */
PB_INLINE real r_softplus(real x) {
  return (x < 0 ? 0 : x) + log1p_unit(exp_negative(-r_abs(x), 0));
}

#endif
