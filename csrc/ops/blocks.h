/* Blocked tensors: LANES rows side by side, so that a vector is one number of LANES rows. */
#ifndef PB_BLOCKS_H
#define PB_BLOCKS_H

#include "ops/vec.h"

/* Numbers of a row that one thread turns at a time: a piece of a batch may be a single block. */
enum { CUT = 1024 };

/* This thread's share of a tensor's blocks, each cut along its rows of `size` numbers. */
PB_INLINE void share_cuts(const pb_lane *lane, int64_t size, int64_t *begin, int64_t *end) {
  share(lane, (lane->n + LANES - 1) / LANES * ((size + CUT - 1) / CUT), 1, begin, end);
}

/* The i-th of these: numbers [at, at + count) of the rows from the n-th on. */
typedef struct {
  int64_t n, at, count;
} cut;

PB_INLINE cut cut_at(int64_t size, int64_t i) {
  int64_t cuts = (size + CUT - 1) / CUT, at = i % cuts * CUT;
  return (cut){i / cuts * LANES, at, min_i(CUT, size - at)};
}

/* block[i, l] (+)= row[l][i], or 0 where there is no row. */
PB_INLINE void into_block(const real *const *row, int64_t size, bool add, real *block) {
  int64_t at = 0;
  for (; at + LANES <= size; at += LANES) {
    vec v[LANES];
    real *to = block + at * LANES;
#pragma GCC unroll 16
    for (int l = 0; l < LANES; l++) v[l] = row[l] ? vec_load(row[l] + at) : vec_set(0);
    vec_turn(v);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
      vec_store(to + i * LANES, add ? v[i] + vec_load(to + i * LANES) : v[i]);
  }
  for (; at < size; at++)
    for (int l = 0; l < LANES; l++) {
      real *to = block + at * LANES + l;
      *to = (row[l] ? row[l][at] : 0) + (add ? *to : 0);
    }
}

/* rows[l, i] (+)= block[i, l] for l < count; `pitch` reals from row to row. */
PB_INLINE void from_block(const real *block, int64_t size, int64_t count, bool add, int64_t pitch,
                          real *rows) {
  int64_t at = 0;
  for (; at + LANES <= size; at += LANES) {
    vec v[LANES];
    const real *from = block + at * LANES;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) v[i] = vec_load(from + i * LANES);
    vec_turn(v);
#pragma GCC unroll 16
    for (int l = 0; l < LANES; l++) {
      real *to = rows + l * pitch + at;
      if (l < count) vec_store(to, add ? v[l] + vec_load(to) : v[l]);
    }
  }
  for (; at < size; at++)
    for (int64_t l = 0; l < count; l++) {
      real *to = rows + l * pitch + at;
      *to = block[at * LANES + l] + (add ? *to : 0);
    }
}

#endif
