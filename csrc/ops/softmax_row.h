/* What losses of softmax outputs share. They work on logits z, so that no probability is ever
 * rounded to 0 before its logarithm is taken. */
#ifndef PB_SOFTMAX_ROW_H
#define PB_SOFTMAX_ROW_H

#include "ops/loss.h"
#include "ops/math.h"

/* log sum_c exp(z_c); the probabilities p go into the row's saved tensor, if there is one. */
PB_INLINE double log_sum_of(loss_row r) {
  real top = r.y[0], sum = 0;
  for (int64_t i = 1; i < r.c; i++) top = r.y[i] > top ? r.y[i] : top;
  if (r.saved) {
    for (int64_t i = 0; i < r.c; i++) r.saved[i] = exp_negative(r.y[i] - top, 0);
    for (int64_t i = 0; i < r.c; i++) sum += r.saved[i];
    for (int64_t i = 0; i < r.c; i++) r.saved[i] /= sum;
  } else {
    for (int64_t i = 0; i < r.c; i++) sum += exp_negative(r.y[i] - top, 0);
  }
  return (double)top + log((double)sum);
}

/* dz_c = p_c sum t - t_c for a target of masses. */
PB_INLINE void pull_to_masses(loss_row r, real part, real rest) {
  real mass = 0;
  for (int64_t i = 0; i < r.c; i++) mass += r.t[i] * part + rest;
  for (int64_t i = 0; i < r.c; i++) put(r, i, r.saved[i] * mass - (r.t[i] * part + rest));
}

#endif
