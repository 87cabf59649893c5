/* What the optimisers' loops share. */
#ifndef PB_OPTIM_H
#define PB_OPTIM_H

#include "ops/real.h"

PB_INLINE real root_of(real x) {
#if PB_REAL_BITS == 32
  return sqrtf(x);
#else
  return sqrt(x);
#endif
}

/* 1, -1, or 0 for 0; NaN for NaN. */
PB_INLINE real sign_of(real x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

#endif
