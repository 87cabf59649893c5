/* Blocked tensors: LANES rows side by side, so that a vector is one number of LANES rows. */
#ifndef PB_BLOCKS_H
#define PB_BLOCKS_H

#include "ops/vec.h"

enum { STRIP = 64 }; /* numbers of a row that are turned at a time: they stay in the first cache */

/* block[i, l] (+)= row[l][i], or 0 where there is no row. */
PB_INLINE void into_block(const real *const *row, int64_t size, bool add, real *block) {
  for (int64_t at = 0; at < size; at += STRIP) {
    int64_t n = min_i(STRIP, size - at);
    real *to = block + at * LANES;
    for (int64_t l = 0; l < LANES; l++)
      for (int64_t i = 0; i < n; i++)
        to[i * LANES + l] = (row[l] ? row[l][at + i] : 0) + (add ? to[i * LANES + l] : 0);
  }
}

/* rows[l, i] (+)= block[i, l] for l < count. */
PB_INLINE void from_block(const real *block, int64_t size, int64_t count, bool add, real *rows) {
  for (int64_t at = 0; at < size; at += STRIP) {
    int64_t n = min_i(STRIP, size - at);
    const real *from = block + at * LANES;
    for (int64_t l = 0; l < count; l++) {
      real *row = rows + l * size + at;
      for (int64_t i = 0; i < n; i++) row[i] = from[i * LANES + l] + (add ? row[i] : 0);
    }
  }
}

#endif
