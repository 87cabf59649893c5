/* adam: Kingma and Ba, ICLR 2015, with eps outside the root:
 *     m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
 *     w <- w - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
 */
#include "ops/vec.h"

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

typedef struct {
  vec step, root, tiny, keep1, new1, keep2, new2;
} numbers;

/* Which of two products goes into an FMA is said by vec_keep: left to the compiler, the last few elements
   may have it otherwise than the others. */
PB_INLINE vec next(const numbers *c, vec w, vec g, vec *m, vec *v) {
  *m = c->keep1 * *m + vec_keep(c->new1 * g);
  *v = c->keep2 * *v + vec_keep(c->new2 * g * g);
  return w - c->step * vec_quotient(*m, vec_root(*v) * c->root + c->tiny);
}

static void update(int64_t n, const double *coef, void *param, const void *grad,
                   void *const *state) {
  real *w = param, *m = state[0], *v = state[1];
  const real *g = grad;
  numbers c = {.step = vec_set((real)coef[STEP]),
               .root = vec_set((real)coef[ROOT]),
               .tiny = vec_set((real)coef[TINY]),
               .keep1 = vec_set((real)coef[KEEP1]),
               .new1 = vec_set((real)(1 - coef[KEEP1])),
               .keep2 = vec_set((real)coef[KEEP2]),
               .new2 = vec_set((real)(1 - coef[KEEP2]))};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    vec mi = vec_load(m + i), vi = vec_load(v + i);
    vec wi = next(&c, vec_load(w + i), vec_load(g + i), &mi, &vi);
    vec_store(m + i, mi), vec_store(v + i, vi), vec_store(w + i, wi);
  }
  if (i == n) return;
  vec mi = vec_load_part(m + i, n - i), vi = vec_load_part(v + i, n - i);
  vec wi = next(&c, vec_load_part(w + i, n - i), vec_load_part(g + i, n - i), &mi, &vi);
  vec_store_part(m + i, n - i, mi), vec_store_part(v + i, n - i, vi);
  vec_store_part(w + i, n - i, wi);
}

PB_OPTIM(adam) = {.name = "adam",
                  .attrs = "beta1:float beta2:float eps:float",
                  .states = 2,
                  .prepare = prepare,
                  .update = update};
