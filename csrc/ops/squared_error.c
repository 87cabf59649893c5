/* squared_error: loss_n = factor sum_c (y_c - t_c)^2, dy_c = 2 factor (y_c - t_c) s,
 * where s is 1/N when the batch's loss is the mean over its rows, and 1 when it is their sum.
 *
 * factor 1/2 with the sum is half_sse, 1 with the sum sse, 1/C with the mean mse.
 */
#include "ops/loss.h"

enum { FACTOR, MEAN };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  return loss_infer(in, false, r);
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  double *loss = lane->ptr[k->out];
  int64_t begin, end;
  share(lane, lane->n, 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    loss_row r = row_at(k, lane, n);
    double total = 0;
    for (int64_t i = 0; i < r.c; i++) {
      double e = (double)r.y[i] - (double)r.t[i];
      total += e * e;
    }
    loss[n] = k->attr[FACTOR].f * total;
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  real scale = (real)(2 * k->attr[FACTOR].f / (k->attr[MEAN].i ? lane->total : 1.0));
  int64_t begin, end;
  share(lane, lane->n, 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    loss_row r = row_at(k, lane, n);
    real *dy = (real *)lane->ptr[k->din[0]] + n * r.c;
    for (int64_t i = 0; i < r.c; i++) dy[i] = (r.y[i] - r.t[i]) * scale + (k->add[0] ? dy[i] : 0);
  }
}

PB_OP(squared_error) = {.name = "squared_error",
                        .attrs = "factor:float mean:int",
                        .min_in = 2,
                        .max_in = 2,
                        .flags = PB_PER_ROW | PB_USES_X,
                        .infer = infer,
                        .forward = forward,
                        .backward_in = backward_in};
