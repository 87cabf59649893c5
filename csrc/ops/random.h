/* Bits for the kernels, 64 at a time: sixteen Philox blocks side by side in the lanes. */
#ifndef PB_RANDOM_H
#define PB_RANDOM_H

#include "core/rng.h"
#include "ops/real.h"

enum { RANDOM_BLOCK = 64 };

/* bits <- the 64 numbers of block `block`: number i belongs to element 64 block + i. The same as
   pb_philox(seed, stream, step, 16 block + i % 16).v[i / 16], for all i at once. */
PB_INLINE void random_block(uint64_t seed, uint32_t stream, uint64_t step, uint64_t block,
                            uint32_t bits[RANDOM_BLOCK]) {
  enum { W = 16 };
  uint32_t c0[W], c1[W], c2[W], c3[W], k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int i = 0; i < W; i++) {
    uint64_t index = block * W + (uint64_t)i;
    c0[i] = (uint32_t)index, c1[i] = (uint32_t)(index >> 32) ^ stream;
    c2[i] = (uint32_t)step, c3[i] = (uint32_t)(step >> 32);
  }
  for (int round = 0; round < 10; round++) {
    for (int i = 0; i < W; i++) {
      uint64_t a = (uint64_t)0xD2511F53u * c0[i], b = (uint64_t)0xCD9E8D57u * c2[i];
      c0[i] = (uint32_t)(b >> 32) ^ c1[i] ^ k0, c2[i] = (uint32_t)(a >> 32) ^ c3[i] ^ k1;
      c1[i] = (uint32_t)b, c3[i] = (uint32_t)a;
    }
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < W; i++)
    bits[i] = c0[i], bits[W + i] = c1[i], bits[2 * W + i] = c2[i], bits[3 * W + i] = c3[i];
}

/* log u for u in [2^-40, 1], with 1 - u given, which keeps its digits where u is close to 1:
   u = 2^e m with m about 1, and log m = 2 artanh((m - 1) / (m + 1)), whose series leaves out less
   than 2^-55. */
PB_INLINE real random_log(real u, real from_one) {
  const real root_half = (real)0.70710678118654752;
  real_bits bits, from;
  memcpy(&bits, &u, sizeof bits), memcpy(&from, &root_half, sizeof from);
  int32_t e = (int32_t)((bits - from + ((real_bits)64 << REAL_MANT)) >> REAL_MANT) - 64;
  bits -= (real_bits)(int64_t)e << REAL_MANT;
  real m;
  memcpy(&m, &bits, sizeof m);
  real s = (e == 0 ? -from_one : m - 1) / (m + 1), t = s * s, q = (real)1 / 21;
  for (int k = 19; k > 0; k -= 2) q = q * t + 1 / (real)k;
  return (real)e * (real)0.69314718055994531 + 2 * s * q;
}

/* Sine and cosine of a quarter turn times v, for v in [-1/2, 1/2]: their Taylor series. */
PB_INLINE void random_sincos(real v, real *sine, real *cosine) {
  real a = v * (real)1.57079632679489662, t = a * a, p = 1, q = 1;
  for (int k = 16; k > 0; k -= 2) p = 1 - p * t / (real)(k * (k + 1));
  for (int k = 16; k > 0; k -= 2) q = 1 - q * t / (real)(k * (k - 1));
  *sine = a * p, *cosine = q;
}

/* z <- 64 standard normal numbers from as many random ones: number i with number i + 32 by the rule of
   Box and Muller, Annals of Mathematical Statistics 29, 1958. None is beyond 6.8. */
PB_INLINE void random_normals(const uint32_t bits[RANDOM_BLOCK], real z[RANDOM_BLOCK]) {
  enum { HALF = RANDOM_BLOCK / 2 };
  for (int i = 0; i < HALF; i++) {
    real u = ((real)bits[i] + (real)0.5) * (real)(1 / 4294967296.0), sine, cosine;
    real from_one = ((real)~bits[i] + (real)0.5) * (real)(1 / 4294967296.0);
    real radius = (real)sqrt(-2 * random_log(u, from_one));
    uint32_t turn = bits[HALF + i], quarter = (turn + (1u << 29)) >> 30;
    random_sincos((real)(int32_t)(turn - (quarter << 30)) * (real)(1 / 1073741824.0), &sine,
                  &cosine);
    real x = quarter & 1 ? -sine : cosine, y = quarter & 1 ? cosine : sine;
    z[i] = radius * (quarter & 2 ? -x : x);
    z[HALF + i] = radius * (quarter & 2 ? -y : y);
  }
}

#endif
