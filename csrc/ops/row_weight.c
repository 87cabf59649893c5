/* row_weight: the weight of every row, whose sum weighted means are divided by; 1 without weights. */
#include "ops/loss.h"

static double value(const pb_attr *attr, loss_row r) {
  (void)attr, (void)r;
  return 1;
}

PB_METRIC(row_weight, "", true);
