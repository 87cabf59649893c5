/* softmax over the last axis: y_c = exp(x_c) / sum_d exp(x_d); dx_c = y_c (dy_c - sum_d dy_d y_d). */
#include "ops/columns.h"
#include "ops/elementwise.h"
#include "ops/math.h"

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  same_shape_infer(attr, in, nin, r);
  r->flops *= 10;
  return in[0].batched && in[0].ndim >= 1;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  int64_t c = columns_of(k, lane), begin, end;
  share(lane, rows_of(k, lane), 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    const real *x = (const real *)lane->ptr[k->in[0]] + n * c;
    real *y = (real *)lane->ptr[k->out] + n * c, top = x[0], sum = 0;
    for (int64_t i = 1; i < c; i++) top = x[i] > top ? x[i] : top;
    for (int64_t i = 0; i < c; i++) y[i] = exp_negative(x[i] - top, 0);
    for (int64_t i = 0; i < c; i++) sum += y[i];
    for (int64_t i = 0; i < c; i++) y[i] /= sum;
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  int64_t c = columns_of(k, lane), begin, end;
  share(lane, rows_of(k, lane), 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    const real *y = (const real *)lane->ptr[k->out] + n * c;
    const real *dy = (const real *)lane->ptr[k->dout] + n * c;
    real *dx = (real *)lane->ptr[k->din[0]] + n * c, dot = 0;
    for (int64_t i = 0; i < c; i++) dot += dy[i] * y[i];
    for (int64_t i = 0; i < c; i++) dx[i] = y[i] * (dy[i] - dot) + (k->add[0] ? dx[i] : 0);
  }
}

PB_OP(softmax) = {.name = "softmax",
                  .attrs = "",
                  .min_in = 1,
                  .max_in = 1,
                  .flags = PB_USES_Y,
                  .infer = infer,
                  .forward = forward,
                  .backward_in = backward_in};
