/* softmax_cross_entropy: cross-entropy of the softmax of logits z [C].
 *
 *     p = softmax(z)     loss_n = sum_c u_c (log sum_d exp z_d - z_c)     dz_c = p_c sum u - u_c
 *
 * The target t is a class number [1], or probabilities [C] (one-hot among them), and
 * u = (1 - smoothing) t + smoothing / C.
 */
#include "ops/softmax_row.h"

enum { SMOOTHING };

static double value(const pb_attr *attr, loss_row r) {
  double log_sum = log_sum_of(r), smoothing = attr[SMOOTHING].f, total = 0, spread = 0;
  int64_t label = is_label(r) ? class_of(r) : -1;
  if (is_label(r)) total = label < 0 ? (double)NAN : log_sum - (double)r.y[label];
  else
    for (int64_t i = 0; i < r.c; i++) total += (double)r.t[i] * (log_sum - (double)r.y[i]);
  if (smoothing == 0) return total;
  for (int64_t i = 0; i < r.c; i++) spread += log_sum - (double)r.y[i];
  return (1 - smoothing) * total + smoothing / (double)r.c * spread;
}

static void slope(const pb_attr *attr, loss_row r) {
  real part = (real)(1 - attr[SMOOTHING].f), rest = (real)(attr[SMOOTHING].f / (double)r.c);
  if (!is_label(r)) {
    pull_to_masses(r, part, rest);
    return;
  }
  int64_t label = class_of(r);
  real before = label < 0 ? 0 : r.dy[label];
  for (int64_t i = 0; i < r.c; i++) put(r, i, r.saved[i] - rest);
  if (label < 0) return;
  r.dy[label] = before;
  put(r, label, r.saved[label] - rest - part);
}

PB_LOSS(softmax_cross_entropy, "smoothing:float", BY_CLASS, true, 1, true);
