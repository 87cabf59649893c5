/* add: y = f(scale (x_0 + rest (x_1 + x_2 + ...))), with the elementwise f of a residual fused.
 *
 * scale and rest are 1 for a sum, 1 and -1 for a difference, 1 / inputs and 1 for a mean.
 *
 *     dx_0 = scale dy      dx_j = scale rest dy
 */
#include "ops/merge.h"

enum { SCALE, REST };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  return isfinite(attr[SCALE].f) && isfinite(attr[REST].f) && merge_infer(in, nin, r);
}

static void forward_tile(const pb_instr *k, const pb_lane *lane, int64_t at, int64_t n) {
  const real scale = (real)k->attr[SCALE].f, rest = (real)k->attr[REST].f;
  const real *first = input_at(k, lane, 0, at);
  real *y = (real *)lane->ptr[k->out] + at;
  for (int j = 1; j < k->nin; j++) {
    const real *x = input_at(k, lane, j, at), *sum = j == 1 ? first : y;
    for (int64_t i = 0; i < n; i++) y[i] = sum[i] + rest * x[i];
  }
  if (scale != 1)
    for (int64_t i = 0; i < n; i++) y[i] *= scale;
  merge_finish(k, n, y);
}

static void backward_tile(const pb_instr *k, const pb_lane *lane, int64_t at, int64_t n) {
  const real *dy = (const real *)lane->ptr[k->dout] + at;
  for (int j = 0; j < k->nin; j++) {
    if (k->din[j] < 0) continue;
    const real factor = (real)(k->attr[SCALE].f * (j ? k->attr[REST].f : 1));
    real *dx = gradient_at(k, lane, j, at);
    if (k->add[j])
      for (int64_t i = 0; i < n; i++) dx[i] += factor * dy[i];
    else
      for (int64_t i = 0; i < n; i++) dx[i] = factor * dy[i];
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) { merge_tiles(k, lane, forward_tile); }

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  merge_tiles(k, lane, backward_tile);
}

PB_OP(add) = {.name = "add",
              .attrs = "scale:float rest:float",
              .min_in = 2,
              .max_in = PB_MAX_IN,
              .flags = PB_FUSES | PB_BLOCKED,
              .infer = infer,
              .forward = forward,
              .backward_in = backward_in};
