/* rmsprop: gradients divided by a running root mean square, optionally centred (the variance in
 * place of the mean square) and with momentum; four rows, for the states that each needs:
 *     s <- alpha s + (1 - alpha) g^2
 *     c <- alpha c + (1 - alpha) g                        (centred)
 *     d = g / (sqrt(s) + eps)                             or g / (sqrt(s - c^2) + eps), centred
 *     w <- w - learning_rate d                            or, with momentum,
 *     b <- momentum b + d,  w <- w - learning_rate b
 *
 * Tieleman and Hinton, Coursera 6.5, 2012; centred: Graves, 2013 (arXiv 1308.0850).
 */
#include "optim/optim.h"

enum { ALPHA, EPS, MOMENTUM };
enum { RATE, KEEP, TINY, INERTIA };

static void prepare(const pb_attr *attr, const pb_step *step, double *coef) {
  coef[RATE] = step->learning_rate;
  coef[KEEP] = attr[ALPHA].f;
  coef[TINY] = attr[EPS].f;
  coef[INERTIA] = attr[MOMENTUM].f;
}

PB_INLINE void step_all(int64_t n, const double *coef, real *restrict w, const real *restrict g,
                        real *restrict s, real *restrict c, real *restrict b) {
  real rate = (real)coef[RATE], keep = (real)coef[KEEP], fresh = (real)(1 - coef[KEEP]);
  real tiny = (real)coef[TINY], inertia = (real)coef[INERTIA];
  for (int64_t i = 0; i < n; i++) {
    real spread = s[i] = keep * s[i] + fresh * g[i] * g[i];
    if (c) {
      c[i] = keep * c[i] + fresh * g[i];
      spread = s[i] - c[i] * c[i];
      spread = spread < 0 ? 0 : spread; /* by rounding alone */
    }
    real d = g[i] / (root_of(spread) + tiny);
    if (b) d = b[i] = inertia * b[i] + d;
    w[i] -= rate * d;
  }
}

static void plain(int64_t n, const double *coef, void *w, const void *g, void *const *state) {
  step_all(n, coef, w, g, state[0], NULL, NULL);
}

static void centered(int64_t n, const double *coef, void *w, const void *g, void *const *state) {
  step_all(n, coef, w, g, state[0], state[1], NULL);
}

static void momentum(int64_t n, const double *coef, void *w, const void *g, void *const *state) {
  step_all(n, coef, w, g, state[0], NULL, state[1]);
}

static void both(int64_t n, const double *coef, void *w, const void *g, void *const *state) {
  step_all(n, coef, w, g, state[0], state[1], state[2]);
}

#define ATTRS "alpha:float eps:float momentum:float"
PB_OPTIM(rmsprop) = {
    .name = "rmsprop", .attrs = ATTRS, .states = 1, .prepare = prepare, .update = plain};
PB_OPTIM(rmsprop_centered) = {.name = "rmsprop_centered",
                              .attrs = ATTRS,
                              .states = 2,
                              .prepare = prepare,
                              .update = centered};
PB_OPTIM(rmsprop_momentum) = {.name = "rmsprop_momentum",
                              .attrs = ATTRS,
                              .states = 2,
                              .prepare = prepare,
                              .update = momentum};
PB_OPTIM(rmsprop_centered_momentum) = {.name = "rmsprop_centered_momentum",
                                       .attrs = ATTRS,
                                       .states = 3,
                                       .prepare = prepare,
                                       .update = both};
