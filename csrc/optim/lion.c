/* lion: steps of one size, in the direction of an interpolated momentum's sign:
 *     w <- w - learning_rate sign(beta1 m + (1 - beta1) g)
 *     m <- beta2 m + (1 - beta2) g
 *
 * Chen et al., NeurIPS 2023 (arXiv 2302.06675).
 */
#include "optim/optim.h"

enum { BETA1, BETA2 };
enum { RATE, KEEP1, KEEP2 };

static void prepare(const pb_attr *attr, const pb_step *step, double *coef) {
  coef[RATE] = step->learning_rate;
  coef[KEEP1] = attr[BETA1].f;
  coef[KEEP2] = attr[BETA2].f;
}

static void update(int64_t n, const double *coef, void *param, const void *grad,
                   void *const *state) {
  real *restrict w = param, *restrict m = state[0];
  const real *restrict g = grad;
  real rate = (real)coef[RATE];
  real keep1 = (real)coef[KEEP1], new1 = (real)(1 - coef[KEEP1]);
  real keep2 = (real)coef[KEEP2], new2 = (real)(1 - coef[KEEP2]);
  for (int64_t i = 0; i < n; i++) {
    w[i] -= rate * sign_of(keep1 * m[i] + new1 * g[i]);
    m[i] = keep2 * m[i] + new2 * g[i];
  }
}

PB_OPTIM(lion) = {.name = "lion",
                  .attrs = "beta1:float beta2:float",
                  .states = 1,
                  .prepare = prepare,
                  .update = update};
