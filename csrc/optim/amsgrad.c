/* amsgrad: adam, divided by the largest mean square so far, so that no step grows again:
 *     m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2        u <- max(u, v)
 *     w <- w - learning_rate (m / (1 - beta1^t)) / (sqrt(u / (1 - beta2^t)) + eps)
 *
 * Reddi, Kale and Kumar, ICLR 2018, with the corrections for the start at zero.
 */
#include "optim/optim.h"

enum { BETA1, BETA2, EPS };
enum { STEP, ROOT, KEEP1, KEEP2, TINY };

static void prepare(const pb_attr *attr, const pb_step *step, double *coef) {
  coef[STEP] = step->learning_rate / (1 - pow(attr[BETA1].f, (double)step->t));
  coef[ROOT] = 1 / sqrt(1 - pow(attr[BETA2].f, (double)step->t));
  coef[KEEP1] = attr[BETA1].f;
  coef[KEEP2] = attr[BETA2].f;
  coef[TINY] = attr[EPS].f;
}

static void update(int64_t n, const double *coef, void *param, const void *grad,
                   void *const *state) {
  real *restrict w = param, *restrict m = state[0], *restrict v = state[1], *restrict u = state[2];
  const real *restrict g = grad;
  real step = (real)coef[STEP], root = (real)coef[ROOT], tiny = (real)coef[TINY];
  real keep1 = (real)coef[KEEP1], new1 = (real)(1 - coef[KEEP1]);
  real keep2 = (real)coef[KEEP2], new2 = (real)(1 - coef[KEEP2]);
  for (int64_t i = 0; i < n; i++) {
    m[i] = keep1 * m[i] + new1 * g[i];
    v[i] = keep2 * v[i] + new2 * g[i] * g[i];
    u[i] = v[i] > u[i] ? v[i] : u[i];
    w[i] -= step * m[i] / (root_of(u[i]) * root + tiny);
  }
}

PB_OPTIM(amsgrad) = {.name = "amsgrad",
                     .attrs = "beta1:float beta2:float eps:float",
                     .states = 3,
                     .prepare = prepare,
                     .update = update};
