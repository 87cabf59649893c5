/* conv_transpose: the convolution turned round, as when a small map is drawn as a larger one.
 *
 *     y[n, o, i, j] = f( bias[o] + sum over all c, a, b and positions (p, q) of x with
 *                        i = p stride_h + a dilation_h - pad_top,
 *                        j = q stride_w + b dilation_w - pad_left
 *                        of weight[c, o, a, b] x[n, c, p, q] )
 *
 *     x [C, H, W]   weight [C, O / groups, A, B]   bias [O] (optional)   ->   y [O, OH, OW]
 *     OH = (H - 1) stride_h + dilation_h (A - 1) + 1 - pad_top - pad_bottom + output_pad_h
 *
 * It is the gradient by the input of the convolution with these weights from [O, OH, OW] to [C, H, W], and
 * that convolution is its own gradient by x: see conv.h.
 */
#include "ops/conv_attrs.h"

enum { X, WEIGHT, BIAS };

/* The convolution that it turns round. */
static bool geometry_of(const pb_attr *attr, const pb_shape *x, const pb_shape *w,
                        conv_geometry *g) {
  if (attr[GROUPS].i < 1 || attr[GROUPS].i > CONV_LARGEST || w->ndim < 3 ||
      w->dim[1] > CONV_LARGEST)
    return false;
  int64_t outputs = w->dim[1] * attr[GROUPS].i;
  if (!weights_fit(attr, x, w, x->dim[0], outputs)) return false;
  for (int i = OUTPUT_PAD_H; i <= OUTPUT_PAD_W; i++)
    if (attr[i].i < 0 || attr[i].i > CONV_LARGEST) return false;
  *g = (conv_geometry){outputs, x->dim[0], attr[GROUPS].i, {0}, {0}};
  axes_of(attr, w, 0, 0, x->dim[1], x->dim[2], &g->y, &g->x);
  g->y.in = (g->y.out - 1) * g->y.stride + g->y.dilation * (g->y.kernel - 1) + 1 - g->y.pad -
            attr[PAD_BOTTOM].i + attr[OUTPUT_PAD_H].i;
  g->x.in = (g->x.out - 1) * g->x.stride + g->x.dilation * (g->x.kernel - 1) + 1 - g->x.pad -
            attr[PAD_RIGHT].i + attr[OUTPUT_PAD_W].i;
  return g->y.in >= 1 && g->x.in >= 1 && g->y.in <= CONV_LARGEST && g->x.in <= CONV_LARGEST;
}

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  const pb_shape *x = &in[X], *w = &in[WEIGHT];
  conv_geometry g;
  if (!x->batched || w->batched || !geometry_of(attr, x, w, &g)) return false;
  if (nin > BIAS && (in[BIAS].batched || in[BIAS].ndim != 1 || in[BIAS].dim[0] != g.channels))
    return false;
  r->out = *x;
  r->out.dim[0] = g.channels, r->out.dim[1] = g.y.in, r->out.dim[2] = g.x.in;
  if (pb_shape_size(&r->out) < 0) return false;
  r->scratch = conv_scratch(&g);
  r->flops = 2 * pb_shape_size(x) * w->dim[1] * kernel_height(w) * kernel_width(w);
  return true;
}

static conv_geometry geometry(const pb_instr *k, const pb_lane *lane) {
  const pb_tensor *tensor = lane->plan->tensor;
  conv_geometry g;
  geometry_of(k->attr, &tensor[k->in[X]].shape, &tensor[k->in[WEIGHT]].shape, &g);
  return g;
}

static bool in_blocks(const pb_instr *k, const pb_lane *lane) {
  return lane->plan->tensor[k->in[X]].shape.blocked;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  conv_sweep_job job = {.g = geometry(k, lane),
                        .turned = true,
                        .blocked = in_blocks(k, lane),
                        .in = lane->ptr[k->in[X]],
                        .weight = lane->ptr[k->in[WEIGHT]],
                        .start = k->nin > BIAS ? lane->ptr[k->in[BIAS]] : NULL,
                        .out = lane->ptr[k->out],
                        .activation = k->activation,
                        .activation_attr = k->activation_attr};
  conv_sweep(&job, lane);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  conv_sweep_job job = {.g = geometry(k, lane),
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
                       .x = lane->ptr[k->dout],
                       .dy = lane->ptr[k->in[X]],
                       .signal = lane->ptr[k->dout],
                       .signals = tensor_channels(lane, k->out)};
  conv_dots(&job, k, lane);
}

PB_OP(conv_transpose) = {.name = "conv_transpose",
                         .attrs = CONV_ATTRS " output_pad_h:int output_pad_w:int",
                         .min_in = 2,
                         .max_in = 3,
                         .params = 2,
                         .flags = PB_USES_X | PB_FUSES | PB_BLOCKED | PB_CHAINS,
                         .infer = infer,
                         .forward = forward,
                         .backward_in = backward_in,
                         .backward_param = backward_param};
