/* Matrix products of the kernels' own, for the sizes where a BLAS library loses its time packing.
 * All are row-major with leading dimensions in elements, and every element of C is computed by the
 * same sequence of operations wherever a caller cuts C into parts.
 */
#ifndef PB_GEMM_H
#define PB_GEMM_H

#include "ops/real.h"

/* C[m,n] = sum_k A[m,k] B[n,k]: both operands along their rows, as x W' in a dense layer. */
#define gemm_nt PB_NAME(pb_gemm_nt)
void gemm_nt(int64_t m, int64_t n, int64_t k, const real *a, int64_t lda, const real *b,
             int64_t ldb, real *c, int64_t ldc);

/* C[m,n] (+)= sum_k A(m,k) B[k,n], where A(m,k) = a[m * rs + k * cs]: A plain or transposed. What is not
   added to begins with start[m], or with 0 where that is NULL. */
#define gemm_n PB_NAME(pb_gemm_n)
void gemm_n(int64_t m, int64_t n, int64_t k, const real *a, int64_t rs, int64_t cs, const real *b,
            int64_t ldb, bool add, const real *start, real *c, int64_t ldc);

#endif
