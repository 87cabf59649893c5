/* relu: y = max(x, 0), dx = dy where y > 0, else 0 (the derivative at 0 is taken as 0).
 * Written so that NaN stays NaN. */
#include "ops/elementwise.h"

static void map(int64_t n, const void *in, void *out) {
  const real *x = in;
  real *y = out;
  for (int64_t i = 0; i < n; i++) y[i] = x[i] < 0 ? 0 : x[i];
}

static void chain(int64_t n, const void *out, const void *dout, void *din) {
  const real *y = out, *dy = dout;
  real *dx = din;
  for (int64_t i = 0; i < n; i++) dx[i] = y[i] > 0 ? dy[i] : 0;
}

PB_ELEMENTWISE_OP(relu)
