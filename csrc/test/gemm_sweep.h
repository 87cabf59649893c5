/* The products of one precision, included once for each: REAL, its name F, and its rounding error.
 * The kernels' own header cannot be included for several variants at once. */

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define OF(name) JOIN(name, F)

typedef void OF(product_nt_)(int64_t m, int64_t n, int64_t k, const REAL *a, int64_t lda,
                             const REAL *b, int64_t ldb, REAL *c, int64_t ldc);
typedef void OF(product_n_)(int64_t m, int64_t n, int64_t k, const REAL *a, int64_t rs, int64_t cs,
                            const REAL *b, int64_t ldb, bool add, const REAL *start, REAL *c,
                            int64_t ldc);

#define DECLARE(isa) \
  OF(product_nt_) JOIN(OF(pb_gemm_nt_), _##isa); \
  OF(product_n_) JOIN(OF(pb_gemm_n_), _##isa);
#define ENTRY(isa) {#isa, JOIN(OF(pb_gemm_nt_), _##isa), JOIN(OF(pb_gemm_n_), _##isa)},
VARIANTS(DECLARE)
static const struct {
  const char *isa;
  OF(product_nt_) * nt;
  OF(product_n_) * n;
} OF(products_)[] = {VARIANTS(ENTRY)};
#undef DECLARE
#undef ENTRY

/* A[m,k] and B by strides; C[m,n] is followed by padding that must stay as it is. */
typedef struct {
  int64_t m, n, k, ars, acs, brs, bcs, ldc;
  bool add;
  REAL *a, *b, *c, *start; /* start NULL for zeros */
} OF(problem_);

static REAL *OF(random_)(rng *r, int64_t count) {
  REAL *x = exact_alloc(count * (int64_t)sizeof *x);
  for (int64_t i = 0; i < count; i++) x[i] = (REAL)rng_uniform(r);
  return x;
}

/* What the product should have left in element i of C's memory, before which it held `old`. */
static void OF(check_)(const OF(problem_) * p, const REAL *old, const char *what) {
  for (int64_t i = 0; i < (p->m - 1) * p->ldc + p->n; i++) {
    int64_t row = i / p->ldc, col = i % p->ldc;
    double sum = p->start ? (double)p->start[row] : 0;
    if (p->add || col >= p->n) sum = (double)old[i];
    double size = fabs(sum);
    for (int64_t j = 0; j < p->k && col < p->n; j++) {
      double t = (double)p->a[row * p->ars + j * p->acs] * (double)p->b[j * p->brs + col * p->bcs];
      sum += t, size += fabs(t);
    }
    double tolerance = col < p->n ? EPSILON * ((double)p->k + 2) * size : 0;
    if (!CHECK(fabs((double)p->c[i] - sum) <= tolerance,
               "%s %d x %d x %d, lines of %d, add %d: C[%d][%d] = %.9g, wanted %.9g", what,
               (int)p->m, (int)p->n, (int)p->k, (int)p->ldc, p->add, (int)row, (int)col,
               (double)p->c[i], sum))
      return;
  }
}

/* Any rectangle of C, computed alone, has the same bits. */
static void OF(check_cut_)(const OF(problem_) * p, rng *r, const REAL *old, int v,
                           const char *what) {
  int64_t top = rng_below(r, p->m), left = rng_below(r, p->n);
  int64_t m = 1 + rng_below(r, p->m - top), n = 1 + rng_below(r, p->n - left);
  const REAL *a = p->a + top * p->ars, *b = p->b + left * p->bcs;
  REAL *c = exact_alloc(m * n * (int64_t)sizeof *c);
  for (int64_t i = 0; i < m * n; i++) c[i] = old[(top + i / n) * p->ldc + left + i % n];
  const REAL *start = p->start ? p->start + top : NULL;
  if (p->bcs == 1)
    OF(products_)[v].n(m, n, p->k, a, p->ars, p->acs, b, p->brs, p->add, start, c, n);
  else OF(products_)[v].nt(m, n, p->k, a, p->ars, b, p->bcs, c, n);
  for (int64_t i = 0; i < m * n; i++)
    CHECK(c[i] == p->c[(top + i / n) * p->ldc + left + i % n],
          "%s: a part of C has other bits than the whole, %d x %d x %d", what, (int)p->m, (int)p->n,
          (int)p->k);
  exact_free(c);
}

/* Sizes about those of vectors and tiles. */
static int64_t OF(size_)(rng *r, const int64_t *list, int count) {
  return list[rng_below(r, count)];
}

static void OF(sweep_)(int v, uint64_t seed, int count) {
  static const int64_t rows[] = {1, 2, 3, 4, 5, 7, 8, 9, 13};
  static const int64_t cols[] = {1,  2,  3,  4,  5,  7,  8,  9,  15, 16, 17,
                                 23, 31, 32, 33, 47, 48, 49, 63, 65, 97, 113};
  static const int64_t deep[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65, 255, 256, 257};
  rng r = {seed};
  for (int i = 0; i < count; i++) {
    bool nt = i % 2 == 0, flipped = !nt && rng_below(&r, 2);
    OF(problem_)
    p = {.m = OF(size_)(&r, rows, 9),
         .n = OF(size_)(&r, cols, 22),
         .k = OF(size_)(&r, deep, 18),
         .add = !nt && rng_below(&r, 2)};
    int64_t pad = rng_below(&r, 3);
    p.ldc = p.n + pad;
    p.ars = flipped ? 1 : p.k + pad, p.acs = flipped ? p.m + pad : 1;
    p.brs = nt ? 1 : p.n + pad, p.bcs = nt ? p.k + pad : 1;
    p.a = OF(random_)(&r, (p.m - 1) * p.ars + (p.k - 1) * p.acs + 1);
    p.b = OF(random_)(&r, (p.k - 1) * p.brs + (p.n - 1) * p.bcs + 1);
    if (!nt && rng_below(&r, 2)) p.start = OF(random_)(&r, p.m);
    int64_t count_c = (p.m - 1) * p.ldc + p.n;
    REAL *old = OF(random_)(&r, count_c);
    p.c = exact_alloc(count_c * (int64_t)sizeof(REAL));
    memcpy(p.c, old, (size_t)count_c * sizeof(REAL));
    if (nt) OF(products_)[v].nt(p.m, p.n, p.k, p.a, p.ars, p.b, p.bcs, p.c, p.ldc);
    else
      OF(products_)[v].n(p.m, p.n, p.k, p.a, p.ars, p.acs, p.b, p.brs, p.add, p.start, p.c, p.ldc);
    OF(check_)(&p, old, nt ? "A B'" : flipped ? "A' B" : "A B");
    OF(check_cut_)(&p, &r, old, v, nt ? "A B'" : "A B");
    exact_free(p.a), exact_free(p.b), exact_free(p.c), exact_free(p.start), exact_free(old);
  }
}

#undef JOIN_
#undef JOIN
#undef OF
