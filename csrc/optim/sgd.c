/* sgd: w <- w - learning_rate g. */
#include "ops/real.h"

enum { RATE };

static void prepare(const pb_attr *attr, const pb_step *step, double *coef) {
  (void)attr;
  coef[RATE] = step->learning_rate;
}

static void update(int64_t n, const double *coef, void *param, const void *grad,
                   void *const *state) {
  (void)state;
  real *restrict w = param, rate = (real)coef[RATE];
  const real *restrict g = grad;
  for (int64_t i = 0; i < n; i++) w[i] -= rate * g[i];
}

PB_OPTIM(sgd) = {.name = "sgd", .attrs = "", .lazy = true, .prepare = prepare, .update = update};
