/* adadelta: steps in the parameters' own units, from running means of squares:
 *     s <- rho s + (1 - rho) g^2
 *     d = g sqrt(u + eps) / sqrt(s + eps)
 *     u <- rho u + (1 - rho) d^2
 *     w <- w - learning_rate d
 *
 * Zeiler, 2012 (arXiv 1212.5701).
 */
#include "optim/optim.h"

enum { RHO, EPS };
enum { RATE, KEEP, TINY };

static void prepare(const pb_attr *attr, const pb_step *step, double *coef) {
  coef[RATE] = step->learning_rate;
  coef[KEEP] = attr[RHO].f;
  coef[TINY] = attr[EPS].f;
}

static void update(int64_t n, const double *coef, void *param, const void *grad,
                   void *const *state) {
  real *restrict w = param, *restrict s = state[0], *restrict u = state[1];
  const real *restrict g = grad;
  real rate = (real)coef[RATE], keep = (real)coef[KEEP], fresh = (real)(1 - coef[KEEP]);
  real tiny = (real)coef[TINY];
  for (int64_t i = 0; i < n; i++) {
    s[i] = keep * s[i] + fresh * g[i] * g[i];
    real d = g[i] * root_of(u[i] + tiny) / root_of(s[i] + tiny);
    u[i] = keep * u[i] + fresh * d * d;
    w[i] -= rate * d;
  }
}

PB_OPTIM(adadelta) = {.name = "adadelta",
                      .attrs = "rho:float eps:float",
                      .states = 2,
                      .prepare = prepare,
                      .update = update};
