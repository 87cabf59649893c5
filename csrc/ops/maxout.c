/* maxout: y_u = max_p x[u pieces + p], the largest of each run of `pieces` along the last axis.
 *
 *     x [.., units pieces] -> y [.., units]
 *
 * dx is dy at the first largest of a run and 0 at the others. NaN in a run makes it NaN.
 * Goodfellow, Warde-Farley, Mirza, Courville and Bengio, ICML 2013.
 */
#include "ops/real.h"

enum { PIECES };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  int last = in[0].ndim - 1;
  int64_t pieces = attr[PIECES].i;
  if (!in[0].batched || last < 0 || pieces < 1 || in[0].dim[last] % pieces != 0) return false;
  r->out = in[0];
  r->out.dim[last] /= pieces;
  r->flops = pb_shape_size(&in[0]);
  return true;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  int64_t pieces = k->attr[PIECES].i, begin, end;
  share(lane, lane->n * lane->plan->tensor[k->out].size, 16, &begin, &end);
  const real *x = lane->ptr[k->in[0]];
  real *y = lane->ptr[k->out];
  for (int64_t i = begin; i < end; i++) {
    const real *run = x + i * pieces;
    real top = run[0];
    for (int64_t p = 1; p < pieces; p++) top = run[p] <= top ? top : top != top ? top : run[p];
    y[i] = top;
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  int64_t pieces = k->attr[PIECES].i, begin, end;
  share(lane, lane->n * lane->plan->tensor[k->out].size, 16, &begin, &end);
  const real *x = lane->ptr[k->in[0]], *y = lane->ptr[k->out], *dy = lane->ptr[k->dout];
  real *dx = lane->ptr[k->din[0]];
  bool add = k->add[0];
  for (int64_t i = begin; i < end; i++) {
    real left = dy[i]; /* 0 once it has been given away */
    for (int64_t p = i * pieces; p < (i + 1) * pieces; p++) {
      real d = x[p] == y[i] ? left : 0;
      left = x[p] == y[i] ? 0 : left;
      dx[p] = add ? dx[p] + d : d;
    }
  }
}

PB_OP(maxout) = {.name = "maxout",
                 .attrs = "pieces:int",
                 .min_in = 1,
                 .max_in = 1,
                 .flags = PB_USES_X | PB_USES_Y,
                 .infer = infer,
                 .forward = forward,
                 .backward_in = backward_in};
