/* reshape: the same values in their order, read as a row of another shape.
 *
 *     x [..] -> y [..] of the caller's choice, of as many values        dx = dy
 */
#include "ops/elementwise.h"

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  r->flops = pb_shape_size(&in[0]);
  return in[0].batched == r->out.batched && in[0].blocked == r->out.blocked &&
         pb_shape_size(&r->out) == r->flops;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end;
  share_elements(lane, k->out, &begin, &end);
  memcpy((real *)lane->ptr[k->out] + begin, (const real *)lane->ptr[k->in[0]] + begin,
         (size_t)(end - begin) * sizeof(real));
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  const real *dy = lane->ptr[k->dout];
  real *dx = lane->ptr[k->din[0]];
  int64_t begin, end;
  share_elements(lane, k->out, &begin, &end);
  if (!k->add[0]) memcpy(dx + begin, dy + begin, (size_t)(end - begin) * sizeof(real));
  else
    for (int64_t i = begin; i < end; i++) dx[i] += dy[i];
}

PB_OP(reshape) = {.name = "reshape",
                  .attrs = "",
                  .min_in = 1,
                  .max_in = 1,
                  .flags = PB_BLOCKED,
                  .infer = infer,
                  .forward = forward,
                  .backward_in = backward_in};
