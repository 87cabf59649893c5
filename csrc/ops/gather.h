/* Reading the user's numbers, of any type, as reals. */
#ifndef PB_GATHER_H
#define PB_GATHER_H

#include "ops/real.h"

/* y[j] = scale times the j-th of `count` values that lie `stride` bytes apart.
   `wide` is what the product is taken in: double for double, whose value may leave a float's range
   before it is scaled. */
#define GATHER_AS(T, wide) \
  if (stride == sizeof(T)) { \
    const T *x = from; \
    for (int64_t j = 0; j < count; j++) y[j] = (real)((wide)x[j] * (wide)scale); \
  } else \
    for (int64_t j = 0; j < count; j++) { \
      T x = *(const T *)((const char *)from + j * stride); \
      y[j] = (real)((wide)x * (wide)scale); \
    } \
  break
#define GATHER(T) GATHER_AS(T, real)

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
    case PB_U64: GATHER(uint64_t);
    case PB_I64: GATHER(int64_t);
    default: break;
  }
}

#undef GATHER
#undef GATHER_AS

#endif
