/* The float type, the vector type and the names of one variant: this folder is compiled once per
 * (PB_REAL_BITS, PB_ISA), and only here and in csrc/optim do those two exist.
 */
#ifndef PB_REAL_H
#define PB_REAL_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/rows.h"
#include "pybp.h"

#if PB_REAL_BITS == 32
typedef float real;
typedef uint32_t real_bits;
#define REAL_MANT 23
#define REAL_BIAS 127
#define REAL_DTYPE PB_F32
#define PB_PRECISION f32
#else
typedef double real;
typedef uint64_t real_bits;
#define REAL_MANT 52
#define REAL_BIAS 1023
#define REAL_DTYPE PB_F64
#define PB_PRECISION f64
#endif

#define PB_JOIN5_(a, b, c, d, e) a##b##c##d##e
#define PB_JOIN5(a, b, c, d, e) PB_JOIN5_(a, b, c, d, e)
/* An external name of this variant: PB_NAME(pb_gemm) is pb_gemm_f32_avx512. */
#define PB_NAME(name) PB_JOIN5(name, _, PB_PRECISION, _, PB_ISA)
/* What this variant takes from another one, to save space: see ops.def. */
#ifndef PB_COLD_ISA
#define PB_COLD_ISA PB_ISA
#endif
#define PB_COLD(name) PB_JOIN5(name, _, PB_PRECISION, _, PB_COLD_ISA)
/* The table row of an op or an optimiser. */
#define PB_OP(name) const pb_op PB_NAME(pb_op_##name)
#define PB_OPTIM(name) const pb_optim PB_NAME(pb_optim_##name)

#ifdef _MSC_VER
#define PB_INLINE static __forceinline
#define PB_OUTLINE static __declspec(noinline)
#else
#define PB_INLINE static inline __attribute__((always_inline))
#define PB_OUTLINE static __attribute__((noinline))
#endif

PB_INLINE int64_t min_i(int64_t a, int64_t b) { return a < b ? a : b; }

/* This thread's share of `total` items, in runs of `grain`: [*begin, *end). */
PB_INLINE void share(const pb_lane *lane, int64_t total, int64_t grain, int64_t *begin,
                     int64_t *end) {
  *begin = 0, *end = total;
  if (lane->parts == 1) return;
  int64_t runs = (total + grain - 1) / grain;
  *begin = min_i(total, runs * lane->part / lane->parts * grain);
  *end = min_i(total, runs * (lane->part + 1) / lane->parts * grain);
}

#endif
