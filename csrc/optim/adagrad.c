/* adagrad: every parameter's rate falls with the sum of its squared gradients:
 *     s <- s + g^2
 *     w <- w - learning_rate g / (sqrt(initial + s) + eps)
 *
 * Duchi, Hazan and Singer, JMLR 12, 2011.
 */
#include "optim/optim.h"

enum { INITIAL, EPS };
enum { RATE, FIRST, TINY };

static void prepare(const pb_attr *attr, const pb_step *step, double *coef) {
  coef[RATE] = step->learning_rate;
  coef[FIRST] = attr[INITIAL].f;
  coef[TINY] = attr[EPS].f;
}

static void update(int64_t n, const double *coef, void *param, const void *grad,
                   void *const *state) {
  real *restrict w = param, *restrict s = state[0];
  const real *restrict g = grad;
  real rate = (real)coef[RATE], first = (real)coef[FIRST], tiny = (real)coef[TINY];
  for (int64_t i = 0; i < n; i++) {
    s[i] += g[i] * g[i];
    w[i] -= rate * g[i] / (root_of(first + s[i]) + tiny);
  }
}

PB_OPTIM(adagrad) = {.name = "adagrad",
                     .attrs = "initial:float eps:float",
                     .states = 1,
                     .prepare = prepare,
                     .update = update};
