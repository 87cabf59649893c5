/* The kernels' own matrix products, each variant against three nested loops: sizes about those of
 * vectors and tiles, padded lines, transposed operands, adding to what is there. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "test/test.h"

#if defined(__x86_64__) || defined(_M_X64)
#define VARIANTS(each) each(baseline) each(avx2) each(avx512)
#else
#define VARIANTS(each) each(baseline)
#endif

#define REAL float
#define F f32
#define EPSILON (double)FLT_EPSILON
#include "test/gemm_sweep.h"
#undef REAL
#undef F
#undef EPSILON

#define REAL double
#define F f64
#define EPSILON DBL_EPSILON
#include "test/gemm_sweep.h"
#undef REAL
#undef F
#undef EPSILON

static void products(const pb_table *t) {
  int v = 0;
  while (strcmp(products_f32[v].isa, t->isa) != 0) v++;
  if (t->real_size == 4) sweep_f32(v, 21, 600);
  else sweep_f64(v, 22, 600);
}

const test tests_gemm[] = {
    {"products against three loops", NULL, products},
    {0},
};
