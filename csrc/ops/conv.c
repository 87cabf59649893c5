/* conv: a convolution of images, optionally with its activation fused.
 *
 *     y[n, o, i, j] = f( bias[o] + sum_{c, a, b} weight[o, c, a, b]
 *                                  x[n, c, i stride_h + a dilation_h - pad_top,
 *                                          j stride_w + b dilation_w - pad_left] )
 *
 *     x [C, H, W]   weight [O, C / groups, A, B]   bias [O] (optional)   ->   y [O, OH, OW]
 *     OH = (H + pad_top + pad_bottom - dilation_h (A - 1) - 1) / stride_h + 1, OW likewise
 *
 * x is zero outside the image. Output o sees the channels of its group, the o / (O / groups)-th; with as
 * many groups as channels this is the depthwise convolution. With dz = dy f'(z), which stands in
 * dy's place, dx is the sweep turned round and dweight a sum of products: see conv.h.
 */
#include "ops/conv.h"
#include "ops/conv_attrs.h"
#include "ops/largest.h"

enum { X, WEIGHT, BIAS };
PB_OUTLINE bool geometry_of(const pb_attr *attr, const pb_shape *x, const pb_shape *w,
                            conv_geometry *g) {
  if (!weights_fit(attr, x, w, w->dim[0], x->dim[0])) return false;
  *g = (conv_geometry){x->dim[0], w->dim[0], attr[GROUPS].i, {0}, {0}};
  axes_of(attr, w, x->dim[1], x->dim[2], 0, 0, &g->y, &g->x);
  return count_positions(&g->y, attr[PAD_BOTTOM].i) && count_positions(&g->x, attr[PAD_RIGHT].i);
}

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  const pb_shape *x = &in[X], *w = &in[WEIGHT];
  conv_geometry g;
  if (!x->batched || w->batched || !geometry_of(attr, x, w, &g)) return false;
  if (nin > BIAS && (in[BIAS].batched || in[BIAS].ndim != 1 || in[BIAS].dim[0] != g.outputs))
    return false;
  r->out = *x;
  r->out.dim[0] = g.outputs, r->out.dim[1] = g.y.out, r->out.dim[2] = g.x.out;
  int64_t size = pb_shape_size(&r->out);
  if (size < 0) return false;
  r->scratch = conv_scratch(&g);
  r->flops = 2 * size * w->dim[1] * kernel_height(w) * kernel_width(w);
  return true;
}

PB_OUTLINE conv_geometry geometry(const pb_instr *k, const pb_lane *lane) {
  const pb_tensor *tensor = lane->plan->tensor;
  conv_geometry g;
  geometry_of(k->attr, &tensor[k->in[X]].shape, &tensor[k->in[WEIGHT]].shape, &g);
  return g;
}

static bool in_blocks(const pb_instr *k, const pb_lane *lane) {
  return lane->plan->tensor[k->in[X]].shape.blocked;
}

/* The largest of 2 x 2 outputs each. */
static bool joins(const pb_plan *p, const pb_instr *k, const pb_instr *next) {
  const pb_shape *x = &p->tensor[k->in[X]].shape;
  conv_geometry g;
  geometry_of(k->attr, x, &p->tensor[k->in[WEIGHT]].shape, &g);
  return !k->activation && pools_pairs(next) && conv_sweep_pools(&g, x->blocked, pb_trains(p));
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const pb_instr *last = k->joined ? k + 1 : k;
  conv_sweep_job job = {.g = geometry(k, lane),
                        .blocked = in_blocks(k, lane),
                        .in = lane->ptr[k->in[X]],
                        .weight = lane->ptr[k->in[WEIGHT]],
                        .start = k->nin > BIAS ? lane->ptr[k->in[BIAS]] : NULL,
                        .out = k->joined && !pb_trains(lane->plan) ? NULL : lane->ptr[k->out],
                        .pooled = k->joined ? lane->ptr[last->out] : NULL,
                        .activation = last->activation,
                        .activation_attr = last->activation_attr};
  conv_sweep(&job, lane);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  conv_sweep_job job = {.g = geometry(k, lane),
                        .turned = true,
                        .blocked = in_blocks(k, lane),
                        .add = k->add[X],
                        .in = lane->ptr[k->dout],
                        .weight = lane->ptr[k->in[WEIGHT]],
                        .value = lane->ptr[k->in[X]],
                        .out = lane->ptr[k->din[X]],
                        .activation = k->activation,
                        .activation_attr = k->activation_attr};
  conv_sweep(&job, lane);
}

static void backward_param(const pb_instr *k, const pb_lane *lane) {
  conv_dots_job job = {.g = geometry(k, lane),
                       .blocked = in_blocks(k, lane),
                       .x = lane->ptr[k->in[X]],
                       .dy = lane->ptr[k->dout],
                       .signal = lane->ptr[k->dout],
                       .signals = tensor_channels(lane, k->out)};
  conv_dots(&job, k, lane);
}

PB_OP(conv) = {.name = "conv",
               .attrs = CONV_ATTRS,
               .min_in = 2,
               .max_in = 3,
               .params = 2,
               .flags = PB_USES_X | PB_FUSES | PB_BLOCKED | PB_CHAINS,
               .infer = infer,
               .joins = joins,
               .forward = forward,
               .backward_in = backward_in,
               .backward_param = backward_param};
