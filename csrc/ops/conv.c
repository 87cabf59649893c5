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
 * many groups as channels this is the depthwise convolution. With dz = dy f'(z), which PB_DELTA has put
 * in dy's place, dx is the sweep turned round and dweight a sum of products: see conv.h.
 */
#include "ops/conv_blocked.h"

enum { X, WEIGHT, BIAS };
enum {
  STRIDE_H,
  STRIDE_W,
  DILATION_H,
  DILATION_W,
  PAD_TOP,
  PAD_BOTTOM,
  PAD_LEFT,
  PAD_RIGHT,
  GROUPS,
  ATTRS
};

/* Beyond these no size can be meant, and none overflows. */
#define LARGEST INT64_C(0x7fffffff)

static bool axis_of(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t before,
                    int64_t after, conv_axis *a) {
  if (in < 1 || kernel < 1 || stride < 1 || dilation < 1 || before < 0 || after < 0) return false;
  if (in > LARGEST || kernel > LARGEST || stride > LARGEST || dilation > LARGEST ||
      before > LARGEST || after > LARGEST)
    return false;
  int64_t free = in + before + after - dilation * (kernel - 1) - 1;
  *a = (conv_axis){in, free / stride + 1, kernel, stride, dilation, before};
  return free >= 0;
}

/* The geometry that the shapes and attributes say, unless they say none. */
static bool geometry_of(const pb_attr *attr, const pb_shape *x, const pb_shape *w,
                        conv_geometry *g) {
  if (x->ndim != 3 || w->ndim != 4 || pb_shape_size(x) < 0 || pb_shape_size(w) < 0) return false;
  *g = (conv_geometry){x->dim[0], w->dim[0], attr[GROUPS].i, {0}, {0}};
  if (g->groups < 1 || g->channels % g->groups || g->outputs % g->groups ||
      w->dim[1] != g->channels / g->groups)
    return false;
  return axis_of(x->dim[1], w->dim[2], attr[STRIDE_H].i, attr[DILATION_H].i, attr[PAD_TOP].i,
                 attr[PAD_BOTTOM].i, &g->y) &&
         axis_of(x->dim[2], w->dim[3], attr[STRIDE_W].i, attr[DILATION_W].i, attr[PAD_LEFT].i,
                 attr[PAD_RIGHT].i, &g->x);
}

/* Scratch for whatever is computed, in either layout. */
static int64_t scratch_of(const conv_geometry *g) {
  const conv_way *way = conv_way_for(g);
  int64_t most = conv_dots_scratch(g);
  for (int turned = 0; turned < 2; turned++) {
    int64_t general = conv_sweep_scratch(g, turned), own = way ? way->sweep_scratch(g, turned) : 0;
    most = general > most ? general : most;
    most = own > most ? own : most;
  }
  return most;
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
  r->scratch = scratch_of(&g);
  r->flops = 2 * size * w->dim[1] * w->dim[2] * w->dim[3];
  return true;
}

static conv_geometry geometry(const pb_instr *k, const pb_lane *lane) {
  const pb_tensor *tensor = lane->plan->tensor;
  conv_geometry g;
  geometry_of(k->attr, &tensor[k->in[X]].shape, &tensor[k->in[WEIGHT]].shape, &g);
  return g;
}

static bool blocked(const pb_instr *k, const pb_lane *lane) {
  return lane->plan->tensor[k->in[X]].shape.blocked;
}

static void sweep(const conv_sweep_job *job, const pb_lane *lane) {
  const conv_way *way = job->blocked ? conv_way_for(&job->g) : NULL;
  (way ? way->sweep : conv_sweep)(job, lane);
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  conv_sweep_job job = {.g = geometry(k, lane),
                        .blocked = blocked(k, lane),
                        .in = lane->ptr[k->in[X]],
                        .weight = lane->ptr[k->in[WEIGHT]],
                        .start = k->nin > BIAS ? lane->ptr[k->in[BIAS]] : NULL,
                        .out = lane->ptr[k->out],
                        .activation = k->activation,
                        .activation_attr = k->activation_attr};
  sweep(&job, lane);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  conv_sweep_job job = {.g = geometry(k, lane),
                        .turned = true,
                        .blocked = blocked(k, lane),
                        .add = k->add[X],
                        .in = lane->ptr[k->dout],
                        .weight = lane->ptr[k->in[WEIGHT]],
                        .out = lane->ptr[k->din[X]]};
  sweep(&job, lane);
}

static void backward_param(const pb_instr *k, const pb_lane *lane) {
  conv_dots_job job = {.g = geometry(k, lane),
                       .blocked = blocked(k, lane),
                       .x = lane->ptr[k->in[X]],
                       .dy = lane->ptr[k->dout]};
  conv_dots(&job, k, lane);
}

PB_OP(conv) = {.name = "conv",
               .attrs =
                   "stride_h:int stride_w:int dilation_h:int dilation_w:int pad_top:int "
                   "pad_bottom:int pad_left:int pad_right:int groups:int",
               .min_in = 2,
               .max_in = 3,
               .params = 2,
               .flags = PB_USES_X | PB_FUSES | PB_BLOCKED,
               .infer = infer,
               .forward = forward,
               .backward_in = backward_in,
               .backward_param = backward_param};
