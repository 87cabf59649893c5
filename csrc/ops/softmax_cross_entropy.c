/* softmax_cross_entropy: cross-entropy of the softmax of logits z [C], from the logits, so that no
 * probability is ever rounded to 0 before its logarithm is taken.
 *
 *     p = softmax(z)     loss_n = sum_c t_c (log sum_d exp z_d - z_c)     dz_c = (p_c sum t - t_c) / N
 *
 * The target is a class number [1], or probabilities [C] (one-hot among them).
 */
#include "ops/loss.h"
#include "ops/math.h"

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  r->saved_row = pb_shape_size(&in[0]);
  return loss_infer(in, true, r);
}

static bool is_label(loss_row r) { return r.width == 1 && r.c > 1; }

/* The row's class, or -1 where the target names none: labels are checked before training, but a
   user's array may change under it. The loss is NaN then, which stops the run. */
static int64_t class_of(loss_row r) {
  return r.t[0] >= 0 && r.t[0] < (real)r.c ? (int64_t)r.t[0] : -1;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  double *loss = lane->ptr[k->out];
  int64_t begin, end;
  share(lane, lane->n, 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    loss_row r = row_at(k, lane, n);
    real top = r.y[0], sum = 0;
    for (int64_t i = 1; i < r.c; i++) top = r.y[i] > top ? r.y[i] : top;
    if (k->saved >= 0) {
      real *p = (real *)lane->ptr[k->saved] + n * r.c;
      for (int64_t i = 0; i < r.c; i++) p[i] = exp_negative(r.y[i] - top, 0);
      for (int64_t i = 0; i < r.c; i++) sum += p[i];
      for (int64_t i = 0; i < r.c; i++) p[i] /= sum;
    } else {
      for (int64_t i = 0; i < r.c; i++) sum += exp_negative(r.y[i] - top, 0);
    }
    double log_sum = (double)top + log((double)sum), total = 0;
    int64_t label = is_label(r) ? class_of(r) : -1;
    if (is_label(r)) total = label < 0 ? (double)NAN : log_sum - (double)r.y[label];
    else
      for (int64_t i = 0; i < r.c; i++) total += (double)r.t[i] * (log_sum - (double)r.y[i]);
    loss[n] = total;
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  real scale = 1 / (real)lane->total;
  int64_t begin, end;
  share(lane, lane->n, 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    loss_row r = row_at(k, lane, n);
    const real *p = (const real *)lane->ptr[k->saved] + n * r.c;
    real *dz = (real *)lane->ptr[k->din[0]] + n * r.c, mass = 0;
    bool add = k->add[0];
    if (is_label(r)) {
      int64_t label = class_of(r);
      real wrong = label < 0 ? 0 : (p[label] - 1) * scale + (add ? dz[label] : 0);
      for (int64_t i = 0; i < r.c; i++) dz[i] = p[i] * scale + (add ? dz[i] : 0);
      if (label >= 0) dz[label] = wrong;
      continue;
    }
    for (int64_t i = 0; i < r.c; i++) mass += r.t[i];
    for (int64_t i = 0; i < r.c; i++) dz[i] = (p[i] * mass - r.t[i]) * scale + (add ? dz[i] : 0);
  }
}

PB_OP(softmax_cross_entropy) = {.name = "softmax_cross_entropy",
                                .attrs = "",
                                .min_in = 2,
                                .max_in = 2,
                                .flags = PB_PER_ROW | PB_USES_X,
                                .infer = infer,
                                .forward = forward,
                                .backward_in = backward_in};
