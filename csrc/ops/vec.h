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

/* v, in a register from here on. Where a loaded vector has several readers, GCC makes each of them load it
   again, which costs nothing but where lines of the cache are crossed. */
PB_INLINE vec vec_keep(vec v) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(v));
#elif defined(__AVX2__)
  __asm__("" : "+x"(v));
#elif defined(__aarch64__) && defined(VEC_EXTENSIONS)
  __asm__("" : "+w"(v));
#endif
  return v;
}

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

/* b where it is larger than a, and else a, as x86's own instruction has it. */
#if !defined(VEC_EXTENSIONS)
PB_INLINE vec vec_larger(vec a, vec b) { return b > a ? b : a; }
#elif defined(__AVX512F__) && PB_REAL_BITS == 32
PB_INLINE vec vec_larger(vec a, vec b) { return (vec)_mm512_max_ps((__m512)b, (__m512)a); }
#elif defined(__AVX512F__)
PB_INLINE vec vec_larger(vec a, vec b) { return (vec)_mm512_max_pd((__m512d)b, (__m512d)a); }
#elif defined(__AVX2__) && PB_REAL_BITS == 32
PB_INLINE vec vec_larger(vec a, vec b) { return (vec)_mm256_max_ps((__m256)b, (__m256)a); }
#elif defined(__AVX2__)
PB_INLINE vec vec_larger(vec a, vec b) { return (vec)_mm256_max_pd((__m256d)b, (__m256d)a); }
#else
PB_INLINE vec vec_larger(vec a, vec b) {
  __typeof__(a > b) larger = b > a;
  return (vec)(((__typeof__(larger))b & larger) | ((__typeof__(larger))a & ~larger));
}
#endif

/* Sums of LANES vectors at once: lane i of the answer is the sum over the lanes of v[i]. Two vectors are
   folded into one by adding parts of both, LOW, to the others, HIGH: at first neighbours within 128
   bits, so that a part is one instruction on x86, and at last halves. */
#ifndef VEC_EXTENSIONS
PB_INLINE vec vec_sums(const vec *v) { return v[0]; }
PB_INLINE void vec_turn(vec *v) { (void)v; }
#else
#define VEC_LANES (VEC_BYTES * 8 / PB_REAL_BITS)
#if VEC_LANES == 16
#define FIRSTS 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30
#define SECONDS 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31
#define IN_ORDER 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15
#define LOW1 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define HIGH1 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define LOW2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HIGH2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define LOW3 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define HIGH3 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define LOW4 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HIGH4 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#elif VEC_LANES == 8 && PB_REAL_BITS == 32
#define FIRSTS 0, 2, 8, 10, 4, 6, 12, 14
#define SECONDS 1, 3, 9, 11, 5, 7, 13, 15
#define IN_ORDER 0, 1, 4, 5, 2, 3, 6, 7
#define LOW1 0, 8, 1, 9, 4, 12, 5, 13
#define HIGH1 2, 10, 3, 11, 6, 14, 7, 15
#define LOW2 0, 1, 8, 9, 4, 5, 12, 13
#define HIGH2 2, 3, 10, 11, 6, 7, 14, 15
#define LOW3 0, 1, 2, 3, 8, 9, 10, 11
#define HIGH3 4, 5, 6, 7, 12, 13, 14, 15
#elif VEC_LANES == 8
#define FIRSTS 0, 8, 2, 10, 4, 12, 6, 14
#define SECONDS 1, 9, 3, 11, 5, 13, 7, 15
#define IN_ORDER 0, 2, 4, 6, 1, 3, 5, 7
#define LOW1 0, 8, 2, 10, 4, 12, 6, 14
#define HIGH1 1, 9, 3, 11, 5, 13, 7, 15
#define LOW2 0, 1, 8, 9, 4, 5, 12, 13
#define HIGH2 2, 3, 10, 11, 6, 7, 14, 15
#define LOW3 0, 1, 2, 3, 8, 9, 10, 11
#define HIGH3 4, 5, 6, 7, 12, 13, 14, 15
#elif VEC_LANES == 4
#if PB_REAL_BITS == 32
#define FIRSTS 0, 2, 4, 6
#define SECONDS 1, 3, 5, 7
#define IN_ORDER 0, 1, 2, 3
#define LOW1 0, 4, 1, 5
#define HIGH1 2, 6, 3, 7
#else
#define FIRSTS 0, 4, 2, 6
#define SECONDS 1, 5, 3, 7
#define IN_ORDER 0, 2, 1, 3
#define LOW1 0, 4, 2, 6
#define HIGH1 1, 5, 3, 7
#endif
#define LOW2 0, 1, 4, 5
#define HIGH2 2, 3, 6, 7
#else
#define FIRSTS 0, 2
#define SECONDS 1, 3
#define IN_ORDER 0, 1
#define LOW1 0, 2
#define HIGH1 1, 3
#endif
#define FOLD(step, width, v, w) \
  for (int i = 0; i < (width); i++) \
    w[i] = __builtin_shufflevector((v)[2 * i], (v)[2 * i + 1], LOW##step) + \
           __builtin_shufflevector((v)[2 * i], (v)[2 * i + 1], HIGH##step);
PB_INLINE vec vec_sums(const vec *v) {
  vec w[LANES / 2];
#pragma GCC unroll 8
  FOLD(1, LANES / 2, v, w)
#if VEC_LANES > 2
#pragma GCC unroll 4
  FOLD(2, LANES / 4, w, w)
#endif
#if VEC_LANES > 4
#pragma GCC unroll 2
  FOLD(3, LANES / 8, w, w)
#endif
#if VEC_LANES > 8
  FOLD(4, LANES / 16, w, w)
#endif
  return w[0];
}
#undef FOLD

/* LANES vectors turned like a matrix: lane j of vector i becomes lane i of vector j. Every step puts the LOW
   parts of neighbours into the first half of the vectors and the HIGH ones into the second. */
#define HALVE(step) \
  { \
    vec w[LANES]; \
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES / 2; i++) { \
      w[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], LOW##step); \
      w[LANES / 2 + i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], HIGH##step); \
    } \
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) v[i] = w[i]; \
  }
PB_INLINE void vec_turn(vec *v) {
  HALVE(1)
#if VEC_LANES > 2
  HALVE(2)
#endif
#if VEC_LANES > 4
  HALVE(3)
#endif
#if VEC_LANES > 8
  HALVE(4)
#endif
#if PB_REAL_BITS == 32 /* whose first step parted pairs */
#pragma GCC unroll 4
  for (int i = 0; i < LANES; i += 4) {
    vec second = v[i + 2];
    v[i + 2] = v[i + 1], v[i + 1] = second;
  }
#endif
}
#undef HALVE

/* Of 2 LANES values the first and the second of every pair, in an order that takes one instruction each,
   and the order of the values put right. */
PB_INLINE vec vec_firsts(vec a, vec b) { return __builtin_shufflevector(a, b, FIRSTS); }
PB_INLINE vec vec_seconds(vec a, vec b) { return __builtin_shufflevector(a, b, SECONDS); }
PB_INLINE vec vec_in_order(vec a) { return __builtin_shufflevector(a, a, IN_ORDER); }
#endif

#endif
