/* The error function, and the normal distribution that the exact gelu needs.
 *
 * With the scaled complement erfc(a) exp(a^2) (1 + 2 a), which runs smoothly from 1 to 2 / sqrt(pi)
 * over a >= 0 and is here a polynomial in t = (a - c) / (a + c), interpolated at Chebyshev's nodes,
 *     erfc(a) = exp(-a^2) P(t) / (1 + 2 a)
 * keeps its relative accuracy down to the smallest numbers, provided that a^2 is known to more than
 * its last place: square() gives the rest.
 */
#ifndef PB_ERF_H
#define PB_ERF_H

#include "ops/math.h"

#define HORNER4(q, t, a, b, c, d) \
  (((((q) * (t) + (real)(a)) * (t) + (real)(b)) * (t) + (real)(c)) * (t) + (real)(d))

#if PB_REAL_BITS == 32
#define ERFC_CENTRE 3
#define ERFC_LAST 20 /* beyond it erfc is 0 */
#define HALF_MANTISSA 12
#else
#define ERFC_CENTRE 4
#define ERFC_LAST 40
#define HALF_MANTISSA 27
#endif

/* x^2 = answer + rest, from halves of x whose products are exact. */
PB_INLINE real square(real x, real *rest) {
  real high = of_bits(bits_of(x) >> HALF_MANTISSA << HALF_MANTISSA), low = x - high, y = x * x;
  *rest = ((high * high - y) + 2 * high * low) + low * low;
  return y;
}

/* erfc(a) exp(a^2) for a in [0, ERFC_LAST] */
PB_INLINE real erfc_scaled(real a) {
  real t = (a - ERFC_CENTRE) / (a + ERFC_CENTRE);
#if PB_REAL_BITS == 32
  real q = -2.78265700e-4f * t - 8.00951788e-4f;
  q = q * t + 1.99252102e-3f;
  q = HORNER4(q, t, 2.57998426e-3f, -2.37891178e-2f, 6.82936671e-2f, -1.19272827e-1f);
  q = HORNER4(q, t, 1.29646538e-1f, -4.75622721e-2f, -1.35621142e-1f, 1.25300806f);
#else
  real q = -1.8206098680308683e-9 * t - 1.3670989863347382e-8;
  q = q * t - 7.7154186144178301e-9;
  q = HORNER4(q, t, 1.1534943745754157e-7, 6.2707271571983109e-8, -8.3516196886968471e-7,
              3.0135049944875395e-7);
  q = HORNER4(q, t, 5.7178872846321852e-6, -1.1224789135154701e-5, -2.4403169244974075e-5,
              1.5062224394830299e-4);
  q = HORNER4(q, t, -1.9925550755614952e-4, -7.5777334141333004e-4, 5.0319697558954261e-3,
              -1.6197734059115007e-2);
  q = HORNER4(q, t, 3.7167515562492866e-2, -6.6330365811529384e-2, 9.3732834996794116e-2,
              -1.0103906603635213e-1);
  q = HORNER4(q, t, 6.8097054254737324e-2, 1.5379652102620741e-2, -1.3962111684056289e-1,
              1.2329951186255525);
#endif
  return q / (1 + 2 * a);
}

/* erf(x): Taylor's series near 0, 1 - erfc elsewhere. */
PB_INLINE real r_erf(real x) {
  const double u = 1.12837916709551257390; /* 2 / sqrt(pi) */
  real a = r_abs(x), rest;
  a = a > ERFC_LAST ? ERFC_LAST : a;
  real z = square(a, &rest), far = 1 - exp_negative(-z, -rest) * erfc_scaled(a);
#if PB_REAL_BITS == 32
  real q = (real)(-u / 75600) * z + (real)(u / 9360);
  q = q * z + (real)(-u / 1320);
#else
  real q = u / 11975040000 * z - u / 918086400;
  q = HORNER4(q, z, u / 76204800, -u / 6894720, u / 685440, -u / 75600);
  q = q * z + u / 9360;
  q = q * z - u / 1320;
#endif
  q = HORNER4(q, z, u / 216, -u / 42, u / 10, -u / 3) * z;
  real near = a * (1 + (q + (real)(u - 1))), y = a < (real)0.5 ? near : far;
  return x < 0 ? -y : y;
}

/* Of the standard normal distribution: its density at x, and the probability beyond |x|. */
PB_INLINE real normal_tail(real x, real *density) {
  const double root_half = 0.70710678118654752440;
  real a = r_abs(x), rest;
  a = a > ERFC_LAST ? ERFC_LAST : a;
  real z = square(a, &rest), e = exp_negative(-z / 2, -rest / 2);
  *density = e * (real)0.39894228040143267794;
  return e / 2 * erfc_scaled(a * (real)root_half);
}

#endif
