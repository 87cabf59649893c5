/* The larger of numbers, as max_pool has it. */
#ifndef PB_LARGEST_H
#define PB_LARGEST_H

#include "ops/vec.h"

#define pools_pairs PB_NAME(pb_pools_pairs)
/* Whether an instruction is a max_pool whose windows are the 2 x 2 values next to each other. */
bool pools_pairs(const pb_instr *);

#ifdef VEC_EXTENSIONS
typedef __typeof__((vec){0} ==
                   (vec){0}) vec_mask_bits; /* whole numbers, of all ones where it holds */
#endif

/* The larger of two, the first where they are equal, and NaN where either is. */
PB_INLINE vec vec_top(vec a, vec b) {
#ifdef VEC_EXTENSIONS
  return (vec)((vec_mask_bits)vec_larger(a, b) | (vec_mask_bits)(b != b));
#else
  return b <= a || a != a ? a : b;
#endif
}

#endif
