/* top_k_accuracy: the metric that is 1 where the target's class is among the k largest of C outputs,
 * else 0. Of equal outputs the first counts as the larger. Targets as for accuracy.
 */
#include "ops/loss.h"

enum { K };

static double value(const pb_attr *attr, loss_row r) {
  int64_t label = is_label(r) ? class_of(r) : largest(r.t, r.c), ahead = 0;
  if (label < 0) return 0;
  for (int64_t i = 0; i < r.c; i++)
    ahead += r.y[i] > r.y[label] || (i < label && r.y[i] == r.y[label]);
  return ahead < attr[K].i;
}

PB_METRIC(top_k_accuracy, "k:int", BY_CLASS);
