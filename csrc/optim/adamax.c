/* adamax: adam with the largest recent gradient in place of the root mean square:
 *     m <- beta1 m + (1 - beta1) g          u <- max(beta2 u, |g| + eps)
 *     w <- w - learning_rate / (1 - beta1^t) m / u
 *
 * Kingma and Ba, ICLR 2015, section 7.1.
 */
#include "optim/optim.h"

enum { BETA1, BETA2, EPS };
enum { STEP, KEEP1, KEEP2, TINY };

static void prepare(const pb_attr *attr, const pb_step *step, double *coef) {
  coef[STEP] = step->learning_rate / (1 - pow(attr[BETA1].f, (double)step->t));
  coef[KEEP1] = attr[BETA1].f;
  coef[KEEP2] = attr[BETA2].f;
  coef[TINY] = attr[EPS].f;
}

static void update(int64_t n, const double *coef, void *param, const void *grad,
                   void *const *state) {
  real *restrict w = param, *restrict m = state[0], *restrict u = state[1];
  const real *restrict g = grad;
  real step = (real)coef[STEP], tiny = (real)coef[TINY], keep2 = (real)coef[KEEP2];
  real keep1 = (real)coef[KEEP1], new1 = (real)(1 - coef[KEEP1]);
  for (int64_t i = 0; i < n; i++) {
    real size = (g[i] < 0 ? -g[i] : g[i]) + tiny, faded = keep2 * u[i];
    m[i] = keep1 * m[i] + new1 * g[i];
    u[i] = faded > size ? faded : size;
    w[i] -= step * m[i] / u[i];
  }
}

PB_OPTIM(adamax) = {.name = "adamax",
                    .attrs = "beta1:float beta2:float eps:float",
                    .states = 2,
                    .prepare = prepare,
                    .update = update};
