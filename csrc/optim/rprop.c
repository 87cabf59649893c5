/* rprop: every parameter has a step size of its own, which grows while the gradient g keeps its
 * sign and shrinks when it changes; only the sign is used. With p the gradient of the step before
 * and d the step size, learning_rate at first:
 *     p g > 0:   d <- min(grow d, most)
 *     p g < 0:   d <- max(shrink d, least)
 *     w <- w - sign(g) d
 * rprop is RPROP- with forget = 0; forget = 1 is iRPROP-, which counts g as 0 when the sign has
 * changed. irprop_plus does so too, and besides takes the last step back if the loss has risen.
 *
 * Riedmiller and Braun, ICNN 1993; Igel and Huesken, NC 2000, whose names these are.
 */
#include "optim/optim.h"

enum { SHRINK, GROW, LEAST, MOST, FORGET };
enum { FIRST, SLOWER, FASTER, LOW, HIGH, FORGETS, WORSE };

static void prepare(const pb_attr *attr, const pb_step *step, double *coef) {
  coef[FIRST] = step->learning_rate;
  coef[SLOWER] = attr[SHRINK].f;
  coef[FASTER] = attr[GROW].f;
  coef[LOW] = attr[LEAST].f;
  coef[HIGH] = attr[MOST].f;
  coef[FORGETS] = (double)attr[FORGET].i;
  coef[WORSE] = step->t > 1 && step->loss > step->last_loss;
}

/* The new size of a step, of which `turn` says whether the gradient's sign stayed (1), changed (-1)
   or is not known (0). Sizes are 0 before the first step. */
PB_INLINE real resize(real d, real turn, const double *coef) {
  real low = (real)coef[LOW], high = (real)coef[HIGH];
  real faster = d * (real)coef[FASTER], slower = d * (real)coef[SLOWER];
  faster = faster > high ? high : faster;
  slower = slower < low ? low : slower;
  d = d == 0 ? (real)coef[FIRST] : d;
  return turn > 0 ? faster : turn < 0 ? slower : d;
}

static void minus(int64_t n, const double *coef, void *param, const void *grad,
                  void *const *state) {
  real *restrict w = param, *restrict past = state[0], *restrict d = state[1];
  const real *restrict g = grad;
  bool forgets = coef[FORGETS] != 0;
  for (int64_t i = 0; i < n; i++) {
    real sign = sign_of(g[i]), turn = sign * past[i];
    d[i] = resize(d[i], turn, coef);
    sign = forgets && turn < 0 ? 0 : sign;
    past[i] = sign;
    w[i] -= sign * d[i];
  }
}

static void plus(int64_t n, const double *coef, void *param, const void *grad, void *const *state) {
  real *restrict w = param, *restrict past = state[0], *restrict d = state[1];
  real *restrict moved = state[2];
  const real *restrict g = grad;
  real back = coef[WORSE] != 0 ? -1 : 0;
  for (int64_t i = 0; i < n; i++) {
    real sign = sign_of(g[i]), turn = sign * past[i];
    d[i] = resize(d[i], turn, coef);
    real move = turn < 0 ? back * moved[i] : -sign * d[i];
    past[i] = turn < 0 ? 0 : sign;
    moved[i] = move;
    w[i] += move;
  }
}

PB_OPTIM(rprop) = {.name = "rprop",
                   .attrs = "shrink:float grow:float least:float most:float forget:int",
                   .states = 2,
                   .prepare = prepare,
                   .update = minus};
PB_OPTIM(irprop_plus) = {.name = "irprop_plus",
                         .attrs = "shrink:float grow:float least:float most:float forget:int",
                         .states = 3,
                         .prepare = prepare,
                         .update = plus};
