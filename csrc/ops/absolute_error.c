/* absolute_error: the metric 1/C sum_c |y_c - t_c|. */
#include "ops/loss.h"

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  return loss_infer(in, false, r);
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  double *row = lane->ptr[k->out];
  int64_t begin, end;
  share(lane, lane->n, 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    loss_row r = row_at(k, lane, n);
    double total = 0;
    for (int64_t i = 0; i < r.c; i++) total += fabs((double)r.y[i] - (double)r.t[i]);
    row[n] = total / (double)r.c;
  }
}

PB_OP(absolute_error) = {.name = "absolute_error",
                         .attrs = "",
                         .min_in = 2,
                         .max_in = 2,
                         .flags = PB_PER_ROW,
                         .infer = infer,
                         .forward = forward};
