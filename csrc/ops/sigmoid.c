/* sigmoid: y = 1 / (1 + exp(-x)), dx = dy y (1 - y). */
#include "ops/elementwise.h"
#include "ops/math.h"

static void map(int64_t n, const void *in, void *out) {
  const real *x = in;
  real *y = out;
  for (int64_t i = 0; i < n; i++) y[i] = r_sigmoid(x[i]);
}

static void chain(int64_t n, const void *out, const void *dout, void *din) {
  const real *y = out, *dy = dout;
  real *dx = din;
  for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * y[i] * (1 - y[i]);
}

PB_ELEMENTWISE_OP(sigmoid)
