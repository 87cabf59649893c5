#include "ops/gemm.h"

#include "ops/vec.h"

/* --- C = A B': dot products ------------------------------------------------------------------- */

/* Tiles of DM x DN dot products, as many as hide what one takes. Where A is a single row nothing of B is
   read twice, and its rows come fastest one after the other: ROW at a time, of LANES whose sums are folded
   together. */
enum {
  DM = 4,
  DN = VEC_REGISTERS == 32 ? 4 : 3,
  ROW = VEC_REGISTERS == 32 || LANES < 4 ? (LANES < 2 ? 1 : 2) : 4
};

/* The partial sums of m x n dot products, one of each lane. */
PB_INLINE void dot_sums(int m, int n, int64_t k, const real *a, int64_t lda, const real *b,
                        int64_t ldb, vec *to) {
  vec sum[DM * DN];
#pragma GCC unroll 16
  for (int i = 0; i < m * n; i++) sum[i] = vec_set(0);
  int64_t p = 0;
  for (; p + LANES <= k; p += LANES) {
    vec bv[4];
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) bv[j] = vec_load(b + j * ldb + p);
#pragma GCC unroll 4
    for (int i = 0; i < m; i++) {
      vec av = vec_load(a + i * lda + p);
#pragma GCC unroll 4
      for (int j = 0; j < n; j++) sum[i * n + j] += av * bv[j];
    }
  }
  if (p < k) {
    vec bv[4];
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) bv[j] = vec_load_part(b + j * ldb + p, k - p);
#pragma GCC unroll 4
    for (int i = 0; i < m; i++) {
      /* Kept, lest a compiler takes the few lanes one by one, in some tiles without an FMA. */
      vec av = vec_keep(vec_load_part(a + i * lda + p, k - p));
#pragma GCC unroll 4
      for (int j = 0; j < n; j++) sum[i * n + j] += av * bv[j];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < m * n; i++) to[i] = sum[i];
}

PB_INLINE void dot_tile(int m, int n, int64_t k, const real *a, int64_t lda, const real *b,
                        int64_t ldb, real *c, int64_t ldc) {
  vec sum[DM * DN];
  dot_sums(m, n, k, a, lda, b, ldb, sum);
  real out[(DM * DN + LANES - 1) / LANES * LANES];
  for (int i = 0; i < m * n; i += LANES) {
    vec group[LANES];
#pragma GCC unroll 16
    for (int j = 0; j < LANES; j++) group[j] = i + j < m * n ? sum[i + j] : vec_set(0);
    vec_store(out + i, vec_sums(group));
  }
#pragma GCC unroll 4
  for (int i = 0; i < m; i++)
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) c[i * ldc + j] = out[i * n + j];
}

/* c = a B', of a single row. */
static void dot_row(int64_t n, int64_t k, const real *a, const real *b, int64_t ldb, real *c) {
  int64_t j = 0;
  for (; j + LANES <= n; j += LANES) {
    vec sum[LANES];
    for (int r = 0; r < LANES; r += ROW) dot_sums(1, ROW, k, a, 0, b + (j + r) * ldb, ldb, sum + r);
    vec_store(c + j, vec_sums(sum));
  }
  for (; j + DN <= n; j += DN) dot_tile(1, DN, k, a, 0, b + j * ldb, ldb, c + j, 1);
  for (; j < n; j++) dot_tile(1, 1, k, a, 0, b + j * ldb, ldb, c + j, 1);
}

void gemm_nt(int64_t m, int64_t n, int64_t k, const real *a, int64_t lda, const real *b,
             int64_t ldb, real *c, int64_t ldc) {
  if (m == 1) {
    dot_row(n, k, a, b, ldb, c);
    return;
  }
  for (int64_t j = 0; j < n;) {
    bool wide = n - j >= DN;
    const real *bj = b + j * ldb;
    int64_t i = 0;
    for (; i + DM <= m; i += DM)
      if (wide) dot_tile(DM, DN, k, a + i * lda, lda, bj, ldb, c + i * ldc + j, ldc);
      else dot_tile(DM, 1, k, a + i * lda, lda, bj, ldb, c + i * ldc + j, ldc);
    for (; i < m; i++)
      if (wide) dot_tile(1, DN, k, a + i * lda, lda, bj, ldb, c + i * ldc + j, ldc);
      else dot_tile(1, 1, k, a + i * lda, lda, bj, ldb, c + i * ldc + j, ldc);
    j += wide ? DN : 1;
  }
}

/* --- C = A B: broadcast A over vectors of B's columns ------------------------------------------ */

/* Tiles of NM rows by NV vectors, held in registers while k runs. */
enum { NM = 4, NV = VEC_REGISTERS == 32 ? 6 : 3, DEPTH = 256 };

PB_INLINE void row_tile(int m, int v, int64_t k, const real *a, int64_t rs, int64_t cs,
                        const real *b, int64_t ldb, bool add, const real *start, real *c,
                        int64_t ldc) {
  vec sum[NM * NV];
#pragma GCC unroll 4
  for (int i = 0; i < m; i++)
#pragma GCC unroll 6
    for (int j = 0; j < v; j++)
      sum[i * v + j] = add ? vec_load(c + i * ldc + j * LANES) : vec_set(start ? start[i] : 0);
  for (int64_t p = 0; p < k; p++) {
    vec bv[NV];
#pragma GCC unroll 6
    for (int j = 0; j < v; j++) bv[j] = vec_load(b + p * ldb + j * LANES);
#pragma GCC unroll 4
    for (int i = 0; i < m; i++) {
      vec av = vec_set(a[i * rs + p * cs]);
#pragma GCC unroll 6
      for (int j = 0; j < v; j++) sum[i * v + j] += av * bv[j];
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < m; i++)
#pragma GCC unroll 6
    for (int j = 0; j < v; j++) vec_store(c + i * ldc + j * LANES, sum[i * v + j]);
}

/* The last, partial vector of columns. */
PB_INLINE void edge_tile(int m, int64_t columns, int64_t k, const real *a, int64_t rs, int64_t cs,
                         const real *b, int64_t ldb, bool add, const real *start, real *c,
                         int64_t ldc) {
  vec sum[NM];
#pragma GCC unroll 4
  for (int i = 0; i < m; i++)
    sum[i] = add ? vec_load_part(c + i * ldc, columns) : vec_set(start ? start[i] : 0);
  for (int64_t p = 0; p < k; p++) {
    vec bv = vec_load_part(b + p * ldb, columns);
#pragma GCC unroll 4
    for (int i = 0; i < m; i++) sum[i] += vec_set(a[i * rs + p * cs]) * bv;
  }
#pragma GCC unroll 4
  for (int i = 0; i < m; i++) vec_store_part(c + i * ldc, columns, sum[i]);
}

#define TILE(M, V) \
  row_tile(M, V, k, a + i * rs, rs, cs, b + j, ldb, add, start ? start + i : NULL, \
           c + i * ldc + j, ldc); \
  break
#define TILES(M) \
  switch (v) { \
    case 6: TILE(M, NV); \
    case 5: TILE(M, NV < 5 ? NV : 5); \
    case 4: TILE(M, NV < 4 ? NV : 4); \
    case 3: TILE(M, 3); \
    case 2: TILE(M, 2); \
    default: TILE(M, 1); \
  }

static void row_tiles(int64_t m, int64_t j, int v, int64_t k, const real *a, int64_t rs, int64_t cs,
                      const real *b, int64_t ldb, bool add, const real *start, real *c,
                      int64_t ldc) {
  int64_t i = 0;
  for (; i + NM <= m; i += NM) TILES(NM)
  for (; i < m; i++) TILES(1)
}

static void edge_tiles(int64_t m, int64_t j, int64_t columns, int64_t k, const real *a, int64_t rs,
                       int64_t cs, const real *b, int64_t ldb, bool add, const real *start, real *c,
                       int64_t ldc) {
  int64_t i = 0;
  for (; i + NM <= m; i += NM)
    edge_tile(NM, columns, k, a + i * rs, rs, cs, b + j, ldb, add, start ? start + i : NULL,
              c + i * ldc + j, ldc);
  for (; i < m; i++)
    edge_tile(1, columns, k, a + i * rs, rs, cs, b + j, ldb, add, start ? start + i : NULL,
              c + i * ldc + j, ldc);
}

void gemm_n(int64_t m, int64_t n, int64_t k, const real *a, int64_t rs, int64_t cs, const real *b,
            int64_t ldb, bool add, const real *start, real *c, int64_t ldc) {
  for (int64_t p = 0; p < k; p += DEPTH) {
    int64_t depth = min_i(DEPTH, k - p);
    const real *ap = a + p * cs, *bp = b + p * ldb;
    bool more = add || p > 0;
    int64_t j = 0;
    while (n - j >= LANES) {
      int v = (int)min_i(NV, (n - j) / LANES);
      row_tiles(m, j, v, depth, ap, rs, cs, bp, ldb, more, start, c, ldc);
      j += v * LANES;
    }
    if (j < n) edge_tiles(m, j, n - j, depth, ap, rs, cs, bp, ldb, more, start, c, ldc);
  }
}
