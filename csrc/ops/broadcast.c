/* broadcast: a value repeated along axes in which it has length 1, or which it has not, by NumPy's rules;
 * with `batched`, for every row of the batch.
 *
 *     dx = the sum of dy over these axes, in doubles
 */
#include "ops/spread.h"

enum { DIMS, BATCHED };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  const int32_t *dims = attr[DIMS].code;
  if (!dims || dims[0] < in[0].ndim || dims[0] > PB_MAX_DIMS || attr[BATCHED].i >> 1) return false;
  r->out = (pb_shape){.ndim = dims[0], .batched = attr[BATCHED].i};
  for (int d = 0; d < dims[0]; d++) {
    int own = d - (dims[0] - in[0].ndim);
    r->out.dim[d] = dims[1 + d];
    if (dims[1 + d] < 1) return false;
    if (own >= 0 && in[0].dim[own] != 1 && in[0].dim[own] != dims[1 + d]) return false;
  }
  r->flops = pb_shape_size(&r->out);
  return r->out.batched || !in[0].batched;
}

static groups groups_at(const pb_instr *k, const pb_lane *lane) {
  const pb_tensor *t = lane->plan->tensor;
  return groups_of(&t[k->in[0]].shape, &t[k->out].shape, lane->n);
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  groups g = groups_at(k, lane);
  spread_out(lane, &g, lane->ptr[k->in[0]], false, lane->ptr[k->out]);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  groups g = groups_at(k, lane);
  sum_up(lane, &g, lane->ptr[k->dout], k->add[0], lane->ptr[k->din[0]]);
}

PB_OP(broadcast) = {.name = "broadcast",
                    .attrs = "dims:code batched:int",
                    .min_in = 1,
                    .max_in = 1,
                    .infer = infer,
                    .forward = forward,
                    .backward_in = backward_in};
