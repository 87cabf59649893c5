/* gaussian_noise: in training y_i = x_i + stddev z_i with standard normal z; y = x otherwise.
 * Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural Computation 7, 1995.
 */
#include "ops/noise.h"

static bool allowed(double stddev) { return stddev >= 0 && stddev <= DBL_MAX; }

static void draw(double stddev, const uint32_t *bits, real *scale, real *shift) {
  random_normals(bits, shift);
  for (int i = 0; i < RANDOM_BLOCK; i++) {
    scale[i] = 1;
    shift[i] *= (real)stddev;
  }
}

PB_NOISE_OP(gaussian_noise, "stddev:float")
