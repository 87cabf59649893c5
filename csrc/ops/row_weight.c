/* row_weight: the weight of every row, whose sum weighted means are divided by; 1 without weights. */
#include "ops/loss.h"

static double value(const pb_attr *attr, loss_row r) {
  (void)attr, (void)r;
  return 1;
}

/* Whatever the targets are. */
static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  const pb_shape own[] = {in[PREDICTION], in[PREDICTION], in[nin - 1]};
  (void)attr;
  return in[TARGET].batched && loss_infer(own, nin, BY_VALUE, r);
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  forward_rows(k, lane, value, BY_VALUE);
}

PB_OP(row_weight) = {.name = "row_weight",
                     .attrs = "",
                     .min_in = 2,
                     .max_in = 3,
                     .flags = PB_PER_ROW,
                     .infer = infer,
                     .forward = forward};
