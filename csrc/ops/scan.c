/* scan: running sums, or with `product` running products, along the last axis:
 *
 *     y_i = sum_{j <= i} x_j              dx_j = sum_{i >= j} dy_i
 *     y_i = prod_{j <= i} x_j             dx_j = sum_{i >= j} dy_i prod_{k <= i, k != j} x_k
 */
#include "ops/real.h"

enum { PRODUCT };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  if (in[0].ndim < 1 || attr[PRODUCT].i >> 1) return false;
  r->out = in[0];
  r->flops = 2 * pb_shape_size(&in[0]);
  return true;
}

/* This thread's rows [*begin, *end) of A numbers. */
static int64_t share_rows(const pb_instr *k, const pb_lane *lane, int64_t *begin, int64_t *end) {
  const pb_tensor *x = &lane->plan->tensor[k->in[0]];
  int64_t a = x->shape.dim[x->shape.ndim - 1];
  share(lane, (x->shape.batched ? lane->n : 1) * (x->size / a), 16, begin, end);
  return a;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end, a = share_rows(k, lane, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    const real *x = (const real *)lane->ptr[k->in[0]] + n * a;
    real *y = (real *)lane->ptr[k->out] + n * a;
    double total = k->attr[PRODUCT].i;
    for (int64_t i = 0; i < a; i++) {
      total = k->attr[PRODUCT].i ? total * (double)x[i] : total + (double)x[i];
      y[i] = (real)total;
    }
  }
}

/* From the last: later_j = dy_j + x_{j+1} later_{j+1} is what y_j's own product passes on. */
static void backward_in(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end, a = share_rows(k, lane, &begin, &end);
  bool product = k->attr[PRODUCT].i;
  for (int64_t n = begin; n < end; n++) {
    const real *x = (const real *)lane->ptr[k->in[0]] + n * a;
    const real *y = (const real *)lane->ptr[k->out] + n * a;
    const real *dy = (const real *)lane->ptr[k->dout] + n * a;
    real *dx = (real *)lane->ptr[k->din[0]] + n * a;
    double later = 0;
    for (int64_t j = a - 1; j >= 0; j--) {
      later = (double)dy[j] + (product && j + 1 < a ? (double)x[j + 1] : 1) * later;
      double g = product ? later * (j > 0 ? (double)y[j - 1] : 1) : later;
      dx[j] = (real)g + (k->add[0] ? dx[j] : 0);
    }
  }
}

PB_OP(scan) = {.name = "scan",
               .attrs = "product:int",
               .min_in = 1,
               .max_in = 1,
               .flags = PB_USES_X | PB_USES_Y,
               .infer = infer,
               .forward = forward,
               .backward_in = backward_in};
