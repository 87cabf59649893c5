/* matmul: products of matrices.
 *
 *     y = a b      a [.., M, K] (or [.., K, M] with transpose_a)      b [.., K, N] (or [.., N, K])
 *
 * Axes before the last two, the batch's among them, are counted together: both have them, or one has
 * a single matrix. A row of a that is a vector [K] stands for [1, K]. At most one may be transposed.
 *
 *     da = dy b'      db = a' dy      (those of transposed ones transposed), summed over the products
 *     in which a single matrix took part
 *
 * Matrices of a that are multiplied with a single b are one tall matrix.
 */
#include "ops/gemm.h"
#include "ops/real.h"

enum { A, B };
enum { TRANSPOSE_A, TRANSPOSE_B };
enum { CHUNK = 16 }; /* rows of a product that is added to what is there */

typedef struct {
  int64_t m, k, n, count; /* sizes of one product, and how many there are */
  int64_t a, b;           /* elements to the next matrix of each, 0 for a single one */
  bool ta, tb;
} sizes;

static int64_t matrices(const pb_shape *s, int64_t rows) {
  int64_t count = s->batched ? rows : 1;
  for (int d = 0; d < s->ndim - 2; d++) count *= s->dim[d];
  return count;
}

/* A vector as a matrix of one row. */
static pb_shape matrix(const pb_shape *s) {
  pb_shape m = *s;
  if (m.ndim == 1) m.dim[1] = m.dim[0], m.dim[0] = 1, m.ndim = 2;
  return m;
}

static sizes sizes_of(const pb_attr *attr, const pb_shape *a, const pb_shape *b, int64_t rows) {
  bool ta = attr[TRANSPOSE_A].i, tb = attr[TRANSPOSE_B].i;
  const int64_t *da = a->dim + a->ndim - 2, *db = b->dim + b->ndim - 2;
  int64_t na = matrices(a, rows), nb = matrices(b, rows);
  sizes s = {da[ta], da[!ta], db[!tb], na > nb ? na : nb, da[0] * da[1], db[0] * db[1], ta, tb};
  if (nb == 1 && !b->batched && !ta) s.m *= s.count, s.a *= s.count, s.count = 1;
  if (na == 1 && !a->batched) s.a = 0;
  if (nb == 1 && !b->batched) s.b = 0;
  return s;
}

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  const pb_shape whole = matrix(&in[A]), *a = &whole, *b = &in[B];
  bool ta = attr[TRANSPOSE_A].i, tb = attr[TRANSPOSE_B].i;
  if ((in[A].ndim == 1 && (ta || !a->batched)) || (attr[TRANSPOSE_A].i | attr[TRANSPOSE_B].i) >> 1)
    return false;
  if (a->ndim < 2 || b->ndim < 2 || (ta && tb)) return false;
  if (a->dim[a->ndim - 1 - ta] != b->dim[b->ndim - 2 + tb]) return false;
  bool one_a = !a->batched && a->ndim == 2, one_b = !b->batched && b->ndim == 2;
  r->out = one_b || !one_a ? *a : *b;
  if (!one_a && !one_b) {
    if (a->batched != b->batched || a->ndim != b->ndim) return false;
    for (int d = 0; d < a->ndim - 2; d++)
      if (a->dim[d] != b->dim[d]) return false;
  }
  r->out.dim[r->out.ndim - 2] = a->dim[a->ndim - 2 + ta];
  r->out.dim[r->out.ndim - 1] = b->dim[b->ndim - 1 - tb];
  int64_t widest = r->out.dim[r->out.ndim - 1];
  for (int d = 1; d <= 2; d++) {
    if (a->dim[a->ndim - d] > widest) widest = a->dim[a->ndim - d];
    if (b->dim[b->ndim - d] > widest) widest = b->dim[b->ndim - d];
  }
  r->scratch = CHUNK * widest;
  r->flops = 2 * pb_shape_size(&r->out) * a->dim[a->ndim - 1 - ta];
  if (in[A].ndim == 1 && one_b) r->out.dim[0] = r->out.dim[1], r->out.ndim = 1;
  return in[A].ndim > 1 || one_b;
}

static sizes sizes_at(const pb_instr *k, const pb_lane *lane) {
  const pb_tensor *t = lane->plan->tensor;
  pb_shape a = matrix(&t[k->in[A]].shape);
  return sizes_of(k->attr, &a, &t[k->in[B]].shape, lane->n);
}

/* C[m,n] (+)= A(m,k) B', both along their rows of k. */
static void product_nt(const pb_lane *lane, int64_t m, int64_t n, int64_t k, const real *a,
                       const real *b, bool add, real *c) {
  if (!add) {
    gemm_nt(m, n, k, a, k, b, k, c, n);
    return;
  }
  real *chunk = lane->scratch;
  for (int64_t i = 0; i < m; i += CHUNK) {
    int64_t rows = min_i(CHUNK, m - i);
    gemm_nt(rows, n, k, a + i * k, k, b, k, chunk, n);
    for (int64_t e = 0; e < rows * n; e++) c[i * n + e] += chunk[e];
  }
}

/* This thread's part of `count` products with `rows` rows each: whole products, or where they are
   one, or add up to one, rows. */
static void cut(const pb_lane *lane, bool apart, int64_t count, int64_t rows, int64_t *first,
                int64_t *last, int64_t *top, int64_t *bottom) {
  *first = *top = 0, *last = count, *bottom = rows;
  if (apart && count > 1) share(lane, count, 1, first, last);
  else share(lane, rows, 4, top, bottom);
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  sizes s = sizes_at(k, lane);
  int64_t first, last, top, bottom;
  cut(lane, true, s.count, s.m, &first, &last, &top, &bottom);
  for (int64_t p = first; p < last && top < bottom; p++) {
    const real *a = (const real *)lane->ptr[k->in[A]] + p * s.a;
    const real *b = (const real *)lane->ptr[k->in[B]] + p * s.b;
    real *y = (real *)lane->ptr[k->out] + (p * s.m + top) * s.n;
    if (s.tb) gemm_nt(bottom - top, s.n, s.k, a + top * s.k, s.k, b, s.k, y, s.n);
    else
      gemm_n(bottom - top, s.n, s.k, a + top * (s.ta ? 1 : s.k), s.ta ? 1 : s.k, s.ta ? s.m : 1, b,
             s.n, false, NULL, y, s.n);
  }
}

/* Rows [top, bottom) of da += or = dy b', or of its transpose b dy'. */
static void slope_a(const pb_lane *lane, sizes s, const real *dy, const real *b, int64_t top,
                    int64_t bottom, bool add, real *da) {
  int64_t rows = bottom - top;
  if (s.ta) product_nt(lane, rows, s.m, s.n, b + top * s.n, dy, add, da + top * s.m);
  else if (s.tb)
    gemm_n(rows, s.k, s.n, dy + top * s.n, s.n, 1, b, s.k, add, NULL, da + top * s.k, s.k);
  else product_nt(lane, rows, s.k, s.n, dy + top * s.n, b, add, da + top * s.k);
}

/* Rows [top, bottom) of db += or = a' dy, or of its transpose dy' a. */
static void slope_b(sizes s, const real *dy, const real *a, int64_t top, int64_t bottom, bool add,
                    real *db) {
  int64_t rows = bottom - top;
  if (s.tb) gemm_n(rows, s.k, s.m, dy + top, 1, s.n, a, s.k, add, NULL, db + top * s.k, s.k);
  else if (s.ta)
    gemm_n(rows, s.n, s.m, a + top * s.m, s.m, 1, dy, s.n, add, NULL, db + top * s.n, s.n);
  else gemm_n(rows, s.n, s.m, a + top, 1, s.k, dy, s.n, add, NULL, db + top * s.n, s.n);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  sizes s = sizes_at(k, lane);
  const real *dy = lane->ptr[k->dout];
  int64_t first, last, top, bottom;
  if (k->din[A] >= 0) {
    cut(lane, s.a != 0, s.count, s.ta ? s.k : s.m, &first, &last, &top, &bottom);
    for (int64_t p = first; p < last && top < bottom; p++)
      slope_a(lane, s, dy + p * s.m * s.n, (const real *)lane->ptr[k->in[B]] + p * s.b, top, bottom,
              k->add[A] || (s.a == 0 && p > 0), (real *)lane->ptr[k->din[A]] + p * s.a);
  }
  if (k->din[B] >= 0) {
    cut(lane, s.b != 0, s.count, s.tb ? s.n : s.k, &first, &last, &top, &bottom);
    for (int64_t p = first; p < last && top < bottom; p++)
      slope_b(s, dy + p * s.m * s.n, (const real *)lane->ptr[k->in[A]] + p * s.a, top, bottom,
              k->add[B] || (s.b == 0 && p > 0), (real *)lane->ptr[k->din[B]] + p * s.b);
  }
}

PB_OP(matmul) = {.name = "matmul",
                 .attrs = "transpose_a:int transpose_b:int",
                 .min_in = 2,
                 .max_in = 2,
                 .flags = PB_USES_X,
                 .infer = infer,
                 .forward = forward,
                 .backward_in = backward_in};
