/* Vectors of reals, as wide as the instruction set's. GCC's and clang's vector extensions give the
 * arithmetic (a + b * c becomes one FMA); other compilers get vectors of one lane.
 */
#ifndef PB_VEC_H
#define PB_VEC_H

#include "ops/real.h"

#if defined(__GNUC__) || defined(__clang__)
#define VEC_EXTENSIONS
#endif

#ifndef VEC_EXTENSIONS
#define VEC_BYTES ((int)sizeof(real))
#define VEC_REGISTERS 16
typedef real vec;
#else
#if defined(__AVX512F__)
#include <immintrin.h>
#define VEC_BYTES 64
#define VEC_REGISTERS 32
#elif defined(__AVX2__)
#include <immintrin.h>
#define VEC_BYTES 32
#define VEC_REGISTERS 16
#else
#define VEC_BYTES 16
#if defined(__aarch64__)
#define VEC_REGISTERS 32
#else
#define VEC_REGISTERS 16
#endif
#endif
typedef real vec __attribute__((vector_size(VEC_BYTES)));
typedef real vec_unaligned
    __attribute__((vector_size(VEC_BYTES), aligned(sizeof(real)), may_alias));
#endif

enum { LANES = VEC_BYTES / (int)sizeof(real) };

#ifdef VEC_EXTENSIONS
PB_INLINE vec vec_load(const real *p) { return *(const vec_unaligned *)p; }
PB_INLINE void vec_store(real *p, vec v) { *(vec_unaligned *)p = v; }
PB_INLINE vec vec_set(real x) { return x - (vec){0}; } /* 0 + x would not be x at -0: an addition */
#else
PB_INLINE vec vec_load(const real *p) { return *p; }
PB_INLINE void vec_store(real *p, vec v) { *p = v; }
PB_INLINE vec vec_set(real x) { return x; }
#endif

/* The first k < LANES reals; the other lanes are zero, and memory past them is not touched. */
#ifndef VEC_EXTENSIONS /* one lane has no part */
PB_INLINE vec vec_load_part(const real *p, int64_t k) { return (void)p, (void)k, 0; }
PB_INLINE void vec_store_part(real *p, int64_t k, vec v) { (void)p, (void)k, (void)v; }
#elif defined(__AVX512F__) && PB_REAL_BITS == 32
PB_INLINE vec vec_load_part(const real *p, int64_t k) {
  return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << k) - 1), p);
}
PB_INLINE void vec_store_part(real *p, int64_t k, vec v) {
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << k) - 1), (__m512)v);
}
#elif defined(__AVX512F__)
PB_INLINE vec vec_load_part(const real *p, int64_t k) {
  return (vec)_mm512_maskz_loadu_pd((__mmask8)((1u << k) - 1), p);
}
PB_INLINE void vec_store_part(real *p, int64_t k, vec v) {
  _mm512_mask_storeu_pd(p, (__mmask8)((1u << k) - 1), (__m512d)v);
}
#elif defined(__AVX2__) && PB_REAL_BITS == 32
PB_INLINE __m256i vec_mask(int64_t k) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)k), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
PB_INLINE vec vec_load_part(const real *p, int64_t k) {
  return (vec)_mm256_maskload_ps(p, vec_mask(k));
}
PB_INLINE void vec_store_part(real *p, int64_t k, vec v) {
  _mm256_maskstore_ps(p, vec_mask(k), (__m256)v);
}
#elif defined(__AVX2__)
PB_INLINE __m256i vec_mask(int64_t k) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(k), _mm256_setr_epi64x(0, 1, 2, 3));
}
PB_INLINE vec vec_load_part(const real *p, int64_t k) {
  return (vec)_mm256_maskload_pd(p, vec_mask(k));
}
PB_INLINE void vec_store_part(real *p, int64_t k, vec v) {
  _mm256_maskstore_pd(p, vec_mask(k), (__m256d)v);
}
#else
PB_INLINE vec vec_load_part(const real *p, int64_t k) {
  real lane[LANES] = {0};
  for (int64_t i = 0; i < k; i++) lane[i] = p[i];
  return vec_load(lane);
}
PB_INLINE void vec_store_part(real *p, int64_t k, vec v) {
  real lane[LANES];
  vec_store(lane, v);
  for (int64_t i = 0; i < k; i++) p[i] = lane[i];
}
#endif

/* Square roots, and quotients a / b, b > 0. Where the machine has an estimate of reciprocals to 14 bits,
   Newton's step r (2 - b r) doubles them, in a third of a division's time; the quotient is then
   within two units in the last place. An infinite b is taken as the largest number. */
#ifndef VEC_EXTENSIONS
PB_INLINE vec vec_root(vec a) { return (real)sqrt(a); }
PB_INLINE vec vec_quotient(vec a, vec b) { return a / b; }
#elif defined(__AVX512F__)
PB_INLINE vec vec_quotient(vec a, vec b) {
#if PB_REAL_BITS == 32
  b = (vec)_mm512_min_ps((__m512)vec_set(FLT_MAX), (__m512)b); /* NaN stays NaN */
  vec r = (vec)_mm512_rcp14_ps((__m512)b);
#else
  b = (vec)_mm512_min_pd((__m512d)vec_set(DBL_MAX), (__m512d)b);
  vec r = (vec)_mm512_rcp14_pd((__m512d)b);
  r *= 2 - b * r;
#endif
  r *= 2 - b * r;
  return a * r;
}
#if PB_REAL_BITS == 32
PB_INLINE vec vec_root(vec a) { return (vec)_mm512_sqrt_ps((__m512)a); }
#else
PB_INLINE vec vec_root(vec a) { return (vec)_mm512_sqrt_pd((__m512d)a); }
#endif
#else
PB_INLINE vec vec_root(vec a) {
  real lane[LANES];
  vec_store(lane, a);
  for (int i = 0; i < LANES; i++)
    lane[i] = PB_REAL_BITS == 32 ? sqrtf((float)lane[i]) : sqrt(lane[i]);
  return vec_load(lane);
}
PB_INLINE vec vec_quotient(vec a, vec b) { return a / b; }
#endif

/* Sums of LANES vectors at once: lane i of the answer is the sum over the lanes of v[i]. Pairs of
   vectors are folded by adding their even lanes to their odd ones, log2(LANES) times. */
#ifndef VEC_EXTENSIONS
PB_INLINE vec vec_sums(const vec *v) { return v[0]; }
#else
#if VEC_BYTES == 64 && PB_REAL_BITS == 32
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif VEC_BYTES * 8 == 8 * PB_REAL_BITS
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#elif VEC_BYTES * 8 == 4 * PB_REAL_BITS
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#else
#define EVEN 0, 2
#define ODD 1, 3
#endif
PB_INLINE vec vec_fold(vec a, vec b) {
  return __builtin_shufflevector(a, b, EVEN) + __builtin_shufflevector(a, b, ODD);
}
PB_INLINE vec vec_sums(const vec *v) {
  vec w[LANES];
  for (int i = 0; i < LANES; i++) w[i] = v[i];
#pragma GCC unroll 8
  for (int width = LANES / 2; width > 0; width /= 2)
#pragma GCC unroll 16
    for (int i = 0; i < width; i++) w[i] = vec_fold(w[2 * i], w[2 * i + 1]);
  return w[0];
}
#endif

#endif
