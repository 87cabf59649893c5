/* softmax_focal: cross-entropy of the softmax of logits z [C] that cares less for what is right
 * already. The target is a class number [1], or probabilities [C] (one-hot among them).
 *
 *     p = softmax(z)      loss_n = -sum_c t_c (1 - p_c)^gamma log p_c
 *     dz_d = sum_c t_c g_c ([c = d] - p_d),  g_c = gamma (1 - p_c)^(gamma - 1) p_c log p_c
 *                                                  - (1 - p_c)^gamma
 *
 * Lin, Goyal, Girshick, He and Dollar, "Focal loss for dense object detection", ICCV 2017.
 */
#include "ops/softmax_row.h"

enum { GAMMA };

/* 1 - p_c as the sum of the others, which keeps its digits where p_c is nearly 1. */
static double others(loss_row r, int64_t c, double log_sum) {
  double sum = 0;
  for (int64_t i = 0; i < r.c; i++)
    if (i != c) sum += exp((double)r.y[i] - log_sum);
  return sum;
}

static double log_p(loss_row r, int64_t c, double log_sum, double q) {
  return q < 0.5 ? log1p(-q) : (double)r.y[c] - log_sum;
}

/* The logarithm of the sum of exponentials in doubles: small 1 - p would be all rounding. */
static double exact_log_sum(loss_row r) {
  double top = (double)r.y[largest(r.y, r.c)], sum = 0;
  for (int64_t i = 0; i < r.c; i++) sum += exp((double)r.y[i] - top);
  return top + log(sum);
}

static double term(const pb_attr *attr, loss_row r, int64_t c, double log_sum) {
  double q = others(r, c, log_sum);
  return -pow(q, attr[GAMMA].f) * log_p(r, c, log_sum, q);
}

static double value(const pb_attr *attr, loss_row r) {
  double log_sum = exact_log_sum(r), total = 0;
  if (is_label(r)) return class_of(r) < 0 ? (double)NAN : term(attr, r, class_of(r), log_sum);
  for (int64_t i = 0; i < r.c; i++)
    total += r.t[i] == 0 ? 0 * (double)r.y[i] : (double)r.t[i] * term(attr, r, i, log_sum);
  return total;
}

/* Adds t times the slope of class c's term. */
static void pull(const pb_attr *attr, loss_row r, int64_t c, double t, double log_sum) {
  double gamma = attr[GAMMA].f, q = others(r, c, log_sum), l = log_p(r, c, log_sum, q);
  double g = q > 0 && gamma > 0 ? gamma * pow(q, gamma - 1) * (1 - q) * l : 0;
  g = t * (g - pow(q, gamma));
  for (int64_t i = 0; i < r.c; i++)
    put(r, i, (real)(g * (i == c ? q : -exp((double)r.y[i] - log_sum))));
}

static void slope(const pb_attr *attr, loss_row r) {
  double log_sum = exact_log_sum(r);
  if (!r.add) memset(r.dy, 0, (size_t)r.c * sizeof *r.dy);
  r.add = true;
  if (!is_label(r)) {
    for (int64_t i = 0; i < r.c; i++)
      if (r.t[i] != 0) pull(attr, r, i, (double)r.t[i], log_sum);
  } else if (class_of(r) >= 0) {
    pull(attr, r, class_of(r), 1, log_sum);
  }
}

PB_LOSS(softmax_focal, "gamma:float", BY_CLASS, false, 1, true);
