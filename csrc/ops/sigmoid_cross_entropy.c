/* sigmoid_cross_entropy: binary cross-entropy of the sigmoid of logits z [C], from the logits.
 *
 *     loss_n = 1/C sum_c ( max(z_c, 0) - z_c t_c + log(1 + exp(-|z_c|)) )
 *     dz_c = (sigmoid(z_c) - t_c) / (C N)
 */
#include "ops/loss.h"
#include "ops/math.h"

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
      double z = (double)r.y[i];
      total += (z < 0 ? 0 : z) - z * (double)r.t[i] + log1p(exp(-fabs(z)));
    }
    loss[n] = total / (double)r.c;
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end;
  share(lane, lane->n, 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    loss_row r = row_at(k, lane, n);
    real *dz = (real *)lane->ptr[k->din[0]] + n * r.c;
    real scale = 1 / ((real)lane->total * (real)r.c);
    for (int64_t i = 0; i < r.c; i++)
      dz[i] = (r_sigmoid(r.y[i]) - r.t[i]) * scale + (k->add[0] ? dz[i] : 0);
  }
}

PB_OP(sigmoid_cross_entropy) = {.name = "sigmoid_cross_entropy",
                                .attrs = "",
                                .min_in = 2,
                                .max_in = 2,
                                .flags = PB_PER_ROW | PB_USES_X,
                                .infer = infer,
                                .forward = forward,
                                .backward_in = backward_in};
