/* concat: rows side by side along one of their axes; with axis -1 as vectors, whatever their shapes.
 *
 *     x_0 [outer.., A_0, inner..]   x_1 [outer.., A_1, inner..]   ...
 *         ->   y [outer.., A_0 + A_1 + .., inner..]
 *
 * Channels of images are axis 0. A tensor in blocks of samples, the sample innermost, differs only in
 * that everything behind the axis is LANES times as long.
 */
#include "ops/planes.h"

enum { AXIS, FLAT = -1 };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  int64_t axis = attr[AXIS].i, length = 0;
  if (axis < FLAT || (axis != FLAT && axis >= in[0].ndim)) return false;
  for (int j = 0; j < nin; j++) {
    if (in[j].batched != in[0].batched || in[j].blocked != in[0].blocked) return false;
    if (axis != FLAT && in[j].ndim != in[0].ndim) return false;
    for (int d = 0; axis != FLAT && d < in[0].ndim; d++)
      if (d != axis && in[j].dim[d] != in[0].dim[d]) return false;
    length += axis == FLAT ? pb_shape_size(&in[j]) : in[j].dim[axis];
  }
  r->out = in[0];
  if (axis == FLAT) r->out.ndim = 1;
  r->out.dim[axis == FLAT ? 0 : axis] = length;
  r->flops = pb_shape_size(&r->out);
  return true;
}

/* What lies together of a tensor: all from the axis on. */
static int64_t run_of(const pb_instr *k, const pb_lane *lane, int32_t id) {
  const pb_tensor *t = &lane->plan->tensor[id];
  int64_t run = side_by_side(lane, &t->shape);
  if (k->attr[AXIS].i == FLAT) return run * t->size;
  for (int64_t d = k->attr[AXIS].i; d < t->shape.ndim; d++) run *= t->shape.dim[d];
  return run;
}

/* This thread's runs of y, [*begin, *end), and how long one is. */
static int64_t share_runs(const pb_instr *k, const pb_lane *lane, int64_t *begin, int64_t *end) {
  const pb_tensor *y = &lane->plan->tensor[k->out];
  int64_t run = run_of(k, lane, k->out);
  share(lane, pb_rows(lane, &y->shape) * y->size / run, 1, begin, end);
  return run;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end, run = share_runs(k, lane, &begin, &end), at = 0;
  real *y = lane->ptr[k->out];
  for (int j = 0; j < k->nin; j++) {
    int64_t own = run_of(k, lane, k->in[j]);
    const real *x = lane->ptr[k->in[j]];
    for (int64_t i = begin; i < end; i++)
      memcpy(y + i * run + at, x + i * own, (size_t)own * sizeof *y);
    at += own;
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end, run = share_runs(k, lane, &begin, &end), at = 0;
  for (int j = 0; j < k->nin; j++) {
    int64_t own = run_of(k, lane, k->in[j]);
    for (int64_t i = begin; i < end && k->din[j] >= 0; i++) {
      const real *dy = (const real *)lane->ptr[k->dout] + i * run + at;
      real *dx = (real *)lane->ptr[k->din[j]] + i * own;
      if (k->add[j])
        for (int64_t e = 0; e < own; e++) dx[e] += dy[e];
      else memcpy(dx, dy, (size_t)own * sizeof *dx);
    }
    at += own;
  }
}

PB_OP(concat) = {.name = "concat",
                 .attrs = "axis:int",
                 .min_in = 2,
                 .max_in = PB_MAX_IN,
                 .flags = PB_BLOCKED,
                 .infer = infer,
                 .forward = forward,
                 .backward_in = backward_in};
