/* multiply: y = f(x_0 x_1 ...), element by element, with an elementwise f fused.
 *
 *     dx_j = dy times the product of all x_i but x_j
 */
#include "ops/merge.h"

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr;
  return merge_infer(in, nin, r);
}

static void forward_tile(const pb_instr *k, const pb_lane *lane, int64_t at, int64_t n) {
  const real *first = input_at(k, lane, 0, at);
  real *y = (real *)lane->ptr[k->out] + at;
  for (int j = 1; j < k->nin; j++) {
    const real *x = input_at(k, lane, j, at), *product = j == 1 ? first : y;
    for (int64_t i = 0; i < n; i++) y[i] = product[i] * x[i];
  }
  merge_finish(k, n, y);
}

static void backward_tile(const pb_instr *k, const pb_lane *lane, int64_t at, int64_t n) {
  const real *dy = (const real *)lane->ptr[k->dout] + at;
  real d[TILE];
  for (int j = 0; j < k->nin; j++) {
    if (k->din[j] < 0) continue;
    memcpy(d, dy, (size_t)n * sizeof *d);
    for (int other = 0; other < k->nin; other++) {
      if (other == j) continue;
      const real *x = input_at(k, lane, other, at);
      for (int64_t i = 0; i < n; i++) d[i] *= x[i];
    }
    real *dx = gradient_at(k, lane, j, at);
    if (k->add[j])
      for (int64_t i = 0; i < n; i++) dx[i] += d[i];
    else memcpy(dx, d, (size_t)n * sizeof *d);
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) { merge_tiles(k, lane, forward_tile); }

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  merge_tiles(k, lane, backward_tile);
}

PB_OP(multiply) = {.name = "multiply",
                   .attrs = "",
                   .min_in = 2,
                   .max_in = PB_MAX_IN,
                   .flags = PB_USES_X | PB_FUSES | PB_BLOCKED,
                   .infer = infer,
                   .forward = forward,
                   .backward_in = backward_in};
