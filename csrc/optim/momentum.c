/* momentum: Polyak's heavy ball, with Nesterov's look-ahead as an option, in the convention
 *     v <- momentum v + g
 *     w <- w - learning_rate v                    (heavy ball)
 *     w <- w - learning_rate (g + momentum v)     (Nesterov)
 *
 * Polyak, USSR Comp. Math. 4(5), 1964; Sutskever, Martens, Dahl and Hinton, ICML 2013.
 */
#include "ops/real.h"

enum { MOMENTUM, NESTEROV };
enum { RATE, DECAY, OWN, PAST };

/* One formula for both: the step is OWN g + PAST v. */
static void prepare(const pb_attr *attr, const pb_step *step, double *coef) {
  bool nesterov = attr[NESTEROV].i != 0;
  coef[RATE] = step->learning_rate;
  coef[DECAY] = attr[MOMENTUM].f;
  coef[OWN] = nesterov ? 1 : 0;
  coef[PAST] = nesterov ? attr[MOMENTUM].f : 1;
}

static void update(int64_t n, const double *coef, void *param, const void *grad,
                   void *const *state) {
  real *restrict w = param, *restrict v = state[0];
  const real *restrict g = grad;
  real rate = (real)coef[RATE], decay = (real)coef[DECAY];
  real own = (real)coef[OWN], past = (real)coef[PAST];
  for (int64_t i = 0; i < n; i++) {
    v[i] = decay * v[i] + g[i];
    w[i] -= rate * (own * g[i] + past * v[i]);
  }
}

PB_OPTIM(momentum) = {.name = "momentum",
                      .attrs = "momentum:float nesterov:int",
                      .states = 1,
                      .prepare = prepare,
                      .update = update};
