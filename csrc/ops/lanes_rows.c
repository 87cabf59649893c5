/* lanes_rows: the way out of the lanes, y[n, c] = x[c, n] for n < N.
 *
 *     x [C, P] -> y [N, C]      dx[c, n] = dy[n, c] for n < N, else 0
 */
#include "ops/lanes.h"

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  if (!in_lanes(&in[0])) return false;
  r->out = (pb_shape){.ndim = 1, .batched = true, .dim = {in[0].dim[0]}};
  r->flops = in[0].dim[0];
  r->pitch = in[0].dim[1];
  return true;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *x_shape = &lane->plan->tensor[k->in[0]].shape;
  int64_t features = x_shape->dim[0], pitch = x_shape->dim[1];
  const real *x = lane->ptr[k->in[0]];
  real *y = lane->ptr[k->out];
  int64_t begin, end;
  share(lane, lane->n, 1, &begin, &end);
  for (int64_t n = begin; n < end; n++)
    for (int64_t c = 0; c < features; c++) y[n * features + c] = x[c * pitch + n];
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *x_shape = &lane->plan->tensor[k->in[0]].shape;
  int64_t features = x_shape->dim[0], pitch = x_shape->dim[1];
  const real *dy = lane->ptr[k->dout];
  real *dx = lane->ptr[k->din[0]];
  int64_t begin, end;
  share(lane, features, 1, &begin, &end);
  for (int64_t c = begin; c < end; c++) {
    for (int64_t n = 0; n < lane->n; n++)
      dx[c * pitch + n] = dy[n * features + c] + (k->add[0] ? dx[c * pitch + n] : 0);
    for (int64_t n = lane->n; n < pitch && !k->add[0]; n++) dx[c * pitch + n] = 0;
  }
}

PB_OP(lanes_rows) = {.name = "lanes_rows",
                     .attrs = "",
                     .min_in = 1,
                     .max_in = 1,
                     .infer = infer,
                     .forward = forward,
                     .backward_in = backward_in};
