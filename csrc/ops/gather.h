/* Reading the user's numbers, of any type, as reals. */
#ifndef PB_GATHER_H
#define PB_GATHER_H

#include "core/rows.h"
#include "ops/real.h"

/* y[j] = scale times the j-th of `count` values that lie `stride` bytes apart.
   `wide` is what the product is taken in: double for double, whose value may leave a float's range
   before it is scaled. Types of which a double holds every value take the way through it where they
   are no neighbours, which is read one by one anyway. */
#define GATHER_AS(T, wide) \
  if (stride != sizeof(T)) break; \
  for (int64_t j = 0; j < count; j++) y[j] = (real)((wide)((const T *)from)[j] * (wide)scale); \
  return
#define GATHER(T) GATHER_AS(T, real)
#define GATHER_LONG(T) \
  for (int64_t j = 0; j < count; j++) \
    y[j] = (real) * (const T *)((const char *)from + j * stride) * (real)scale; \
  return

enum { GATHERED = 64 }; /* doubles at a time */

PB_INLINE void gather(pb_dtype dtype, const void *from, int64_t stride, int64_t count, double scale,
                      real *y) {
  switch (dtype) {
    case PB_F32: GATHER(float);
    case PB_F64: GATHER_AS(double, double);
    case PB_U8: GATHER(uint8_t);
    case PB_I8: GATHER(int8_t);
    case PB_U16: GATHER(uint16_t);
    case PB_I16: GATHER(int16_t);
    case PB_U32: GATHER(uint32_t);
    case PB_I32: GATHER(int32_t);
    case PB_U64: GATHER_LONG(uint64_t);
    case PB_I64: GATHER_LONG(int64_t);
    default: return;
  }
  double x[GATHERED];
  for (int64_t at = 0, n; at < count; at += n, y += n) {
    n = count - at < GATHERED ? count - at : GATHERED;
    pb_read_doubles(dtype, (const char *)from + at * stride, stride, n, x);
    if (dtype == PB_F64)
      for (int64_t j = 0; j < n; j++) y[j] = (real)(x[j] * scale);
    else
      for (int64_t j = 0; j < n; j++) y[j] = (real)x[j] * (real)scale;
  }
}

#undef GATHER
#undef GATHER_AS
#undef GATHER_LONG

#endif
