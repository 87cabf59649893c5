/* gaussian_dropout: in training y_i = x_i (1 + sqrt(rate / (1 - rate)) z_i) with standard normal z,
 * whose mean and variance are those of dropout; y = x otherwise. Srivastava et al., JMLR 15, 2014,
 * section 10.
 */
#include "ops/noise.h"

static bool allowed(double rate) { return rate >= 0 && rate < 1; }

static void draw(double rate, const uint32_t *bits, real *scale, real *shift) {
  real deviation = (real)sqrt(rate / (1 - rate));
  random_normals(bits, scale);
  for (int i = 0; i < RANDOM_BLOCK; i++) {
    scale[i] = 1 + deviation * scale[i];
    shift[i] = 0;
  }
}

PB_NOISE_OP(gaussian_dropout, "rate:float")
