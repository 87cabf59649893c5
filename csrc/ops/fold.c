/* fold: the numbers along the last axis as one.
 *
 *     how 0  max      dx = dy shared by those that are as large
 *     how 1  min      dx likewise
 *     how 2  product  dx_i = dy prod_{j != i} x_j
 *     how 3  the index of the first maximum, 4 that of the first minimum; no derivative: dx = 0
 *
 *     x [.., A]   ->   y [..]
 *
 * NaN among the numbers makes their maximum and minimum NaN.
 */
#include "ops/real.h"

enum { HOW };
enum { MAX, MIN, PRODUCT, ARGMAX, ARGMIN, KINDS };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  if (in[0].ndim < 1 || attr[HOW].i < 0 || attr[HOW].i >= KINDS) return false;
  r->out = in[0];
  r->out.dim[--r->out.ndim] = 0;
  r->flops = 2 * pb_shape_size(&in[0]);
  return true;
}

/* This thread's rows [*begin, *end) of A numbers. */
static int64_t share_rows(const pb_instr *k, const pb_lane *lane, int64_t *begin, int64_t *end) {
  const pb_tensor *x = &lane->plan->tensor[k->in[0]];
  int64_t a = x->shape.dim[x->shape.ndim - 1];
  share(lane, (x->shape.batched ? lane->n : 1) * (x->size / a), 16, begin, end);
  return a;
}

static int64_t best_of(const real *x, int64_t a, bool least) {
  int64_t best = 0;
  for (int64_t i = 1; i < a; i++) {
    bool better = least ? x[i] < x[best] : x[i] > x[best];
    if (better || (x[i] != x[i] && x[best] == x[best])) best = i;
  }
  return best;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end, a = share_rows(k, lane, &begin, &end), kind = k->attr[HOW].i;
  real *y = lane->ptr[k->out];
  for (int64_t n = begin; n < end; n++) {
    const real *x = (const real *)lane->ptr[k->in[0]] + n * a;
    if (kind == PRODUCT) {
      y[n] = 1;
      for (int64_t i = 0; i < a; i++) y[n] *= x[i];
      continue;
    }
    int64_t best = best_of(x, a, kind == MIN || kind == ARGMIN);
    y[n] = kind < PRODUCT ? x[best] : (real)best;
  }
}

/* dx_i += dy times the product of what is before i and what is behind it. */
static void product_slopes(const real *x, int64_t a, real dy, real *dx) {
  real before = dy;
  for (int64_t i = 0; i < a; i++) {
    real rest = before;
    for (int64_t j = i + 1; j < a && rest != 0; j++) rest *= x[j];
    dx[i] += rest;
    before *= x[i];
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end, a = share_rows(k, lane, &begin, &end);
  const real *y = lane->ptr[k->out], *dy = lane->ptr[k->dout];
  for (int64_t n = begin; n < end; n++) {
    const real *x = (const real *)lane->ptr[k->in[0]] + n * a;
    real *dx = (real *)lane->ptr[k->din[0]] + n * a, ties = 0;
    if (!k->add[0]) memset(dx, 0, (size_t)a * sizeof *dx);
    if (k->attr[HOW].i > PRODUCT) continue;
    if (k->attr[HOW].i == PRODUCT) {
      product_slopes(x, a, dy[n], dx);
      continue;
    }
    for (int64_t i = 0; i < a; i++) ties += x[i] == y[n];
    for (int64_t i = 0; i < a; i++) dx[i] += x[i] == y[n] ? dy[n] / ties : 0;
  }
}

PB_OP(fold) = {.name = "fold",
               .attrs = "how:int",
               .min_in = 1,
               .max_in = 1,
               .flags = PB_USES_X | PB_USES_Y,
               .infer = infer,
               .forward = forward,
               .backward_in = backward_in};
