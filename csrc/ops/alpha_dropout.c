/* alpha_dropout: dropout for layers behind selu, which keeps mean 0 and variance 1. In training
 *
 *     y_i = a x_i + b with probability q = 1 - rate, else a s + b;    y = x otherwise
 *
 * where s = -lambda alpha is selu's value at minus infinity, a = (q + s^2 q rate)^(-1/2) and
 * b = -a rate s. Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks",
 * NIPS 2017.
 */
#include "ops/noise.h"

#define SATURATED -1.7580993408473768786

static bool allowed(double rate) { return rate >= 0 && rate < 1; }

static void draw(double rate, const uint32_t *bits, real *scale, real *shift) {
  uint32_t limit = (uint32_t)(rate * 4294967296.0);
  double q = 1 - rate, a = 1 / sqrt(q + SATURATED * SATURATED * q * rate);
  double b = -a * rate * SATURATED;
  real kept = (real)a, moved = (real)b, dropped = (real)(a * SATURATED + b);
  for (int i = 0; i < RANDOM_BLOCK; i++) {
    scale[i] = bits[i] >= limit ? kept : 0;
    shift[i] = bits[i] >= limit ? moved : dropped;
  }
}

PB_NOISE_OP(alpha_dropout, "rate:float")
