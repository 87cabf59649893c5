/* sum: of a row's elements along some of its axes, in doubles, which stay as axes of length 1 with
 * `keep`.
 *
 *     dx = dy, repeated along these axes
 */
#include "ops/spread.h"

enum { AXES, KEEP };

/* The output with all axes. */
static bool kept_shape(const pb_attr *attr, const pb_shape *x, pb_shape *y) {
  const int32_t *axes = attr[AXES].code;
  *y = *x;
  for (int i = 0; i < (axes ? axes[0] : 0); i++) {
    if (axes[1 + i] < 0 || axes[1 + i] >= x->ndim || (i && axes[1 + i] <= axes[i])) return false;
    y->dim[axes[1 + i]] = 1;
  }
  return axes != NULL;
}

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  if (!kept_shape(attr, &in[0], &r->out) || attr[KEEP].i >> 1) return false;
  const int32_t *axes = attr[AXES].code;
  for (int i = axes[0] - 1; !attr[KEEP].i && i >= 0; i--) {
    for (int d = axes[1 + i]; d + 1 < r->out.ndim; d++) r->out.dim[d] = r->out.dim[d + 1];
    r->out.dim[--r->out.ndim] = 0;
  }
  r->flops = pb_shape_size(&in[0]);
  return true;
}

static groups groups_at(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *x = &lane->plan->tensor[k->in[0]].shape;
  pb_shape y;
  kept_shape(k->attr, x, &y);
  return groups_of(&y, x, lane->n);
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  groups g = groups_at(k, lane);
  sum_up(lane, &g, lane->ptr[k->in[0]], false, lane->ptr[k->out]);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  groups g = groups_at(k, lane);
  spread_out(lane, &g, lane->ptr[k->dout], k->add[0], lane->ptr[k->din[0]]);
}

PB_OP(sum) = {.name = "sum",
              .attrs = "axes:code keep:int",
              .min_in = 1,
              .max_in = 1,
              .infer = infer,
              .forward = forward,
              .backward_in = backward_in};
