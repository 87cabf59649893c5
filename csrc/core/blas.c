#include "core/blas.h"

#include "pybp.h"

/* Products whose sizes do not fit the library's int never get here: seal refuses such tensors. */
#ifdef PB_NO_BLAS

bool pb_have_blas(void) { return false; }
void pb_blas_one_thread(void) {}
const char *pb_blas_name(void) { return "built-in"; }

void pb_sgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
              const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  (void)ta, (void)tb, (void)m, (void)n, (void)k, (void)a, (void)lda;
  (void)b, (void)ldb, (void)beta, (void)c, (void)ldc;
}
void pb_dgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const double *a, int64_t lda,
              const double *b, int64_t ldb, double beta, double *c, int64_t ldc) {
  (void)ta, (void)tb, (void)m, (void)n, (void)k, (void)a, (void)lda;
  (void)b, (void)ldb, (void)beta, (void)c, (void)ldc;
}

#else

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#ifdef PB_BLAS_PREFIX
#define SYMBOL(name) JOIN(PB_BLAS_PREFIX, name)
#else
#define SYMBOL(name) name
#endif

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

void SYMBOL(cblas_sgemm)(int order, int ta, int tb, int m, int n, int k, float alpha,
                         const float *a, int lda, const float *b, int ldb, float beta, float *c,
                         int ldc);
void SYMBOL(cblas_dgemm)(int order, int ta, int tb, int m, int n, int k, double alpha,
                         const double *a, int lda, const double *b, int ldb, double beta, double *c,
                         int ldc);

bool pb_have_blas(void) { return true; }

#ifdef PB_BLAS_ACCELERATE
const char *pb_blas_name(void) { return "Accelerate"; }
void pb_blas_one_thread(void) {}
#else
void SYMBOL(openblas_set_num_threads)(int);
char *SYMBOL(openblas_get_config)(void);
const char *pb_blas_name(void) { return SYMBOL(openblas_get_config)(); }
void pb_blas_one_thread(void) { SYMBOL(openblas_set_num_threads)(1); }
#endif

void pb_sgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
              const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  SYMBOL(cblas_sgemm)(ROW_MAJOR, ta ? TRANSPOSED : PLAIN, tb ? TRANSPOSED : PLAIN, (int)m, (int)n,
                      (int)k, 1.0f, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

void pb_dgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const double *a, int64_t lda,
              const double *b, int64_t ldb, double beta, double *c, int64_t ldc) {
  SYMBOL(cblas_dgemm)(ROW_MAJOR, ta ? TRANSPOSED : PLAIN, tb ? TRANSPOSED : PLAIN, (int)m, (int)n,
                      (int)k, 1.0, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

#endif
