/* Numbers below the smallest normal one count as zero while a plan runs: the running means of Adam
 * and of momentum decay towards zero wherever a gradient stays zero, and a tenth of an epoch's time
 * went into arithmetic on such remainders. The mode belongs to the thread: workers set it for good,
 * callers for the length of a run.
 */
#ifndef PB_SUBNORMAL_H
#define PB_SUBNORMAL_H

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
enum { PB_FLUSH = 0x8040 }; /* results (FTZ) and operands (DAZ) */
static inline uint64_t pb_float_mode(void) { return _mm_getcsr(); }
static inline void pb_set_float_mode(uint64_t mode) { _mm_setcsr((unsigned)mode); }
#elif defined(__aarch64__) && defined(__GNUC__)
enum { PB_FLUSH = 1 << 24 }; /* FPCR.FZ */
static inline uint64_t pb_float_mode(void) {
  uint64_t mode;
  __asm__ __volatile__("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
static inline void pb_set_float_mode(uint64_t mode) {
  __asm__ __volatile__("msr fpcr, %0" : : "r"(mode));
}
#else
enum { PB_FLUSH = 0 };
static inline uint64_t pb_float_mode(void) { return 0; }
static inline void pb_set_float_mode(uint64_t mode) { (void)mode; }
#endif

/* The mode from before, to be set again after the run. */
static inline uint64_t pb_flush_subnormals(void) {
  uint64_t before = pb_float_mode();
  pb_set_float_mode(before | PB_FLUSH);
  return before;
}

#endif
