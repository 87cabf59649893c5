/* extreme: y = max(x_0, x_1, ...), or min with `least`, element by element; NaN in one makes it NaN.
 *
 * dx_j is dy where x_j is the first that equals y, and 0 elsewhere.
 */
#include "ops/merge.h"

enum { LEAST };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  return attr[LEAST].i >= 0 && attr[LEAST].i <= 1 && merge_infer(in, nin, r);
}

static void forward_tile(const pb_instr *k, const pb_lane *lane, int64_t at, int64_t n) {
  const real sign = k->attr[LEAST].i ? -1 : 1;
  real *y = (real *)lane->ptr[k->out] + at;
  memcpy(y, input_at(k, lane, 0, at), (size_t)n * sizeof *y);
  for (int j = 1; j < k->nin; j++) {
    const real *x = input_at(k, lane, j, at);
    for (int64_t i = 0; i < n; i++)
      y[i] = sign * x[i] <= sign * y[i] ? y[i] : y[i] != y[i] ? y[i] : x[i];
  }
}

static void backward_tile(const pb_instr *k, const pb_lane *lane, int64_t at, int64_t n) {
  const real *y = (const real *)lane->ptr[k->out] + at, *dy = (const real *)lane->ptr[k->dout] + at;
  real left[TILE]; /* 0 once it has been given away */
  memcpy(left, dy, (size_t)n * sizeof *left);
  for (int j = 0; j < k->nin; j++) {
    const real *x = input_at(k, lane, j, at);
    real *dx = k->din[j] < 0 ? NULL : gradient_at(k, lane, j, at);
    for (int64_t i = 0; i < n; i++) {
      real d = x[i] == y[i] ? left[i] : 0;
      left[i] = x[i] == y[i] ? 0 : left[i];
      if (dx) dx[i] = k->add[j] ? dx[i] + d : d;
    }
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) { merge_tiles(k, lane, forward_tile); }

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  merge_tiles(k, lane, backward_tile);
}

PB_OP(extreme) = {.name = "extreme",
                  .attrs = "least:int",
                  .min_in = 2,
                  .max_in = PB_MAX_IN,
                  .flags = PB_USES_X | PB_USES_Y | PB_BLOCKED,
                  .infer = infer,
                  .forward = forward,
                  .backward_in = backward_in};
