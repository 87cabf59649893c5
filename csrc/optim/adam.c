/* adam: Kingma and Ba, ICLR 2015, with eps outside the root:
 *     m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
 *     w <- w - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
 */
#include "ops/real.h"

enum { BETA1, BETA2, EPS };
enum { STEP, ROOT, KEEP1, KEEP2, TINY };

/* The two corrections are folded into one factor for m and one for sqrt v. */
static void prepare(const pb_attr *attr, const pb_step *step, double *coef) {
  coef[STEP] = step->learning_rate / (1 - pow(attr[BETA1].f, (double)step->t));
  coef[ROOT] = 1 / sqrt(1 - pow(attr[BETA2].f, (double)step->t));
  coef[KEEP1] = attr[BETA1].f;
  coef[KEEP2] = attr[BETA2].f;
  coef[TINY] = attr[EPS].f;
}

#if PB_REAL_BITS == 32
#define ROOT_OF sqrtf
#else
#define ROOT_OF sqrt
#endif

static void update(int64_t n, const double *coef, void *param, const void *grad,
                   void *const *state) {
  real *restrict w = param, *restrict m = state[0], *restrict v = state[1];
  const real *restrict g = grad;
  real step = (real)coef[STEP], root = (real)coef[ROOT], tiny = (real)coef[TINY];
  real keep1 = (real)coef[KEEP1], new1 = (real)(1 - coef[KEEP1]);
  real keep2 = (real)coef[KEEP2], new2 = (real)(1 - coef[KEEP2]);
  for (int64_t i = 0; i < n; i++) {
    m[i] = keep1 * m[i] + new1 * g[i];
    v[i] = keep2 * v[i] + new2 * g[i] * g[i];
    w[i] -= step * m[i] / (ROOT_OF(v[i]) * root + tiny);
  }
}

PB_OPTIM(adam) = {.name = "adam",
                  .attrs = "beta1:float beta2:float eps:float",
                  .states = 2,
                  .prepare = prepare,
                  .update = update};
