/* dropout: in training y_i = x_i / (1 - rate) with probability 1 - rate, else 0; y = x otherwise.
 *
 * Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, JMLR 15, 2014, in the inverted form
 * that leaves inference alone.
 */
#include "ops/noise.h"

static bool allowed(double rate) { return rate >= 0 && rate < 1; }

static void draw(double rate, const uint32_t *bits, real *scale, real *shift) {
  uint32_t limit = (uint32_t)(rate * 4294967296.0);
  real kept = (real)(1 / (1 - rate));
  for (int i = 0; i < RANDOM_BLOCK; i++) {
    scale[i] = bits[i] >= limit ? kept : 0;
    shift[i] = 0;
  }
}

PB_NOISE_OP(dropout, "rate:float")
