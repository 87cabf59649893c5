/* kl_divergence: how far the softmax of logits z [C] is from the probabilities t [C].
 *
 *     p = softmax(z)      loss_n = sum_c t_c (log t_c - log p_c)      dz_c = p_c sum t - t_c
 */
#include "ops/softmax_row.h"

static double value(const pb_attr *attr, loss_row r) {
  (void)attr;
  double log_sum = log_sum_of(r), total = 0;
  for (int64_t i = 0; i < r.c; i++) {
    double t = (double)r.t[i];
    total += t * (log_sum - (double)r.y[i]) + (t == 0 ? 0 : t * log(t));
  }
  return total;
}

static void slope(const pb_attr *attr, loss_row r) {
  (void)attr;
  pull_to_masses(r, 1, 0);
}

PB_LOSS(kl_divergence, "", BY_MASS, true, 1, true);
