/* nadam: adam with Nesterov's look-ahead and a momentum that warms up:
 *     mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)        P_t = mu_1 mu_2 ... mu_t
 *     m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
 *     w <- w - learning_rate (g (1 - mu_t) / (1 - P_t) + m mu_(t+1) / (1 - P_(t+1)))
 *                            / (sqrt(v / (1 - beta2^t)) + eps)
 *
 * Dozat, ICLR workshop, 2016.
 */
#include "optim/optim.h"

enum { BETA1, BETA2, EPS, DECAY };
enum { OWN, PAST, ROOT, KEEP1, KEEP2, TINY, PRODUCT, COUNT };

static double momentum_at(const pb_attr *attr, double t) {
  return attr[BETA1].f * (1 - 0.5 * pow(0.96, t * attr[DECAY].f));
}

/* The product goes on from the last step's, which lies in coef; a run that begins at a later step
   makes it anew, to the same bits. */
static double product_up_to(const pb_attr *attr, double t, double *coef) {
  if (coef[COUNT] < 1 || coef[COUNT] > t) coef[COUNT] = 0, coef[PRODUCT] = 1;
  while (coef[COUNT] < t && coef[PRODUCT] > 0) {
    coef[COUNT]++;
    coef[PRODUCT] *= momentum_at(attr, coef[COUNT]);
  }
  return coef[PRODUCT];
}

static void prepare(const pb_attr *attr, const pb_step *step, double *coef) {
  double t = (double)step->t, now = momentum_at(attr, t), next = momentum_at(attr, t + 1);
  double product = product_up_to(attr, t, coef);
  coef[OWN] = step->learning_rate * (1 - now) / (1 - product);
  coef[PAST] = step->learning_rate * next / (1 - product * next);
  coef[ROOT] = 1 / sqrt(1 - pow(attr[BETA2].f, t));
  coef[KEEP1] = attr[BETA1].f;
  coef[KEEP2] = attr[BETA2].f;
  coef[TINY] = attr[EPS].f;
}

static void update(int64_t n, const double *coef, void *param, const void *grad,
                   void *const *state) {
  real *restrict w = param, *restrict m = state[0], *restrict v = state[1];
  const real *restrict g = grad;
  real own = (real)coef[OWN], past = (real)coef[PAST];
  real root = (real)coef[ROOT], tiny = (real)coef[TINY];
  real keep1 = (real)coef[KEEP1], new1 = (real)(1 - coef[KEEP1]);
  real keep2 = (real)coef[KEEP2], new2 = (real)(1 - coef[KEEP2]);
  for (int64_t i = 0; i < n; i++) {
    m[i] = keep1 * m[i] + new1 * g[i];
    v[i] = keep2 * v[i] + new2 * g[i] * g[i];
    w[i] -= (own * g[i] + past * m[i]) / (root_of(v[i]) * root + tiny);
  }
}

PB_OPTIM(nadam) = {.name = "nadam",
                   .attrs = "beta1:float beta2:float eps:float momentum_decay:float",
                   .states = 2,
                   .prepare = prepare,
                   .update = update};
