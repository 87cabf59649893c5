/* layer_norm: each row shifted and scaled to mean 0 and deviation 1 over its last axis, then
 * y = gamma h + beta.
 *
 *     x [.., C]   gamma, beta [C] (both or none)   ->   y [.., C]
 *
 * Ba, Kiros and Hinton, "Layer normalization", 2016. Equations in row_norm.h.
 */
#include "ops/row_norm.h"

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  return nin != GAMMA + 1 && row_norm_infer(attr, in, nin, r);
}

static void forward(const pb_instr *k, const pb_lane *lane) { row_norm_forward(k, lane, true); }

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  row_norm_backward_in(k, lane, true);
}

static void backward_param(const pb_instr *k, const pb_lane *lane) {
  row_norm_backward_param(k, lane);
}

PB_OP(layer_norm) = {.name = "layer_norm",
                     .attrs = "eps:float",
                     .min_in = 1,
                     .max_in = 3,
                     .params = 2,
                     .flags = PB_USES_X | PB_FUSES,
                     .infer = infer,
                     .forward = forward,
                     .backward_in = backward_in,
                     .backward_param = backward_param};
