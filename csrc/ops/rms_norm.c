/* rms_norm: each row scaled to mean square 1 over its last axis, then y = gamma h.
 *
 *     x [.., C]   gamma [C] (optional)   ->   y [.., C]
 *
 * Zhang and Sennrich, "Root mean square layer normalization", NeurIPS 2019. Equations in row_norm.h.
 */
#include "ops/row_norm.h"

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  return row_norm_infer(attr, in, nin, r);
}

static void forward(const pb_instr *k, const pb_lane *lane) { row_norm_forward(k, lane, false); }

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  row_norm_backward_in(k, lane, false);
}

static void backward_param(const pb_instr *k, const pb_lane *lane) {
  row_norm_backward_param(k, lane);
}

PB_OP(rms_norm) = {.name = "rms_norm",
                   .attrs = "eps:float",
                   .min_in = 1,
                   .max_in = 2,
                   .params = 1,
                   .flags = PB_USES_X | PB_FUSES,
                   .infer = infer,
                   .forward = forward,
                   .backward_in = backward_in,
                   .backward_param = backward_param};
