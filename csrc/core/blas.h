/* Matrix products. The machine calls BLAS from one thread at a time per product; how work is shared
 * between threads is our own business, so the library's own threads stay off.
 *
 * C[M,N] = op(A)[M,K] op(B)[K,N] + beta C, row-major; the leading dimensions are in elements.
 */
#ifndef PB_BLAS_H
#define PB_BLAS_H

#include <stdbool.h>
#include <stdint.h>

bool pb_have_blas(void);
void pb_blas_one_thread(void);
void pb_sgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
              const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
void pb_dgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const double *a, int64_t lda,
              const double *b, int64_t ldb, double beta, double *c, int64_t ldc);

#endif
