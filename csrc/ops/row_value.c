/* row_value: a value that was computed for each row, as the row's loss:
 *
 *     out_n = w_n x_n        dx_n = w_n s
 *
 *     x [..one number] batched, or one number for all rows   weight [1] (optional)   ->   out [1]
 *
 * s is 1 / sum_n w_n over the whole batch where the loss is the mean over its rows, else 1. A value
 * that is the same for all rows counts with each of them.
 */
#include "ops/real.h"

enum { X, WEIGHT };
enum { MEAN };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  r->out = (pb_shape){.ndim = 1, .batched = true, .dim = {1}};
  r->flops = 1;
  bool weighable = nin <= WEIGHT || (in[WEIGHT].batched && pb_shape_size(&in[WEIGHT]) == 1);
  return (attr[MEAN].i == 0 || attr[MEAN].i == 1) && pb_shape_size(&in[X]) == 1 && weighable;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const real *x = lane->ptr[k->in[X]];
  const real *weight = k->nin > WEIGHT ? lane->ptr[k->in[WEIGHT]] : NULL;
  double *out = lane->ptr[k->out];
  int64_t begin, end, step = lane->plan->tensor[k->in[X]].shape.batched;
  share(lane, lane->n, 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    double value = (double)x[n * step];
    if (weight) value = weight[n] == 0 ? 0 : (double)weight[n] * value;
    out[n] = value;
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  const real *weight = k->nin > WEIGHT ? lane->ptr[k->in[WEIGHT]] : NULL;
  bool batched = lane->plan->tensor[k->in[X]].shape.batched;
  double unit = !k->attr[MEAN].i ? 1 : lane->total > 0 ? 1 / lane->total : 0, sum = 0;
  real *dx = lane->ptr[k->din[X]];
  if (k->din[X] < 0 || lane->part != 0) return; /* a number a row: not worth sharing */
  for (int64_t n = 0; n < lane->n; n++) {
    double g = weight ? unit * (double)weight[n] : unit;
    sum += g;
    if (batched) dx[n] = (real)g + (k->add[X] ? dx[n] : 0);
  }
  if (!batched) dx[0] = (real)sum + (k->add[X] ? dx[0] : 0);
}

PB_OP(row_value) = {.name = "row_value",
                    .attrs = "mean:int",
                    .min_in = 1,
                    .max_in = 2,
                    .flags = PB_PER_ROW,
                    .infer = infer,
                    .forward = forward,
                    .backward_in = backward_in};
