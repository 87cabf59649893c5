/* zero_pad: a frame of zeros around each plane; a negative width cuts a frame off.
 *
 *     x [C, H, W] -> y [C, top + H + bottom, left + W + right]
 *
 * dx is dy where it was copied, and 0 where it was cut off.
 */
#include "ops/planes.h"

enum { TOP, BOTTOM, LEFT, RIGHT };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  if (!is_image(&in[0])) return false;
  for (int i = 0; i < 4; i++)
    if (attr[i].i < -LARGEST || attr[i].i > LARGEST) return false;
  r->out = in[0];
  r->out.dim[1] += attr[TOP].i + attr[BOTTOM].i;
  r->out.dim[2] += attr[LEFT].i + attr[RIGHT].i;
  if (r->out.dim[1] < 1 || r->out.dim[2] < 1) return false;
  r->flops = pb_shape_size(&r->out);
  return r->flops > 0;
}

/* to <- from, a plane that lies (top, left) further down and right in it, or (+)= within it. */
static void copy(const pb_shape *from, const pb_shape *to, int64_t top, int64_t left, int64_t width,
                 bool add, const real *x, real *y) {
  int64_t h = to->dim[1], w = to->dim[2];
  int64_t begin = left < 0 ? 0 : min_i(left, w);
  int64_t end = min_i(w, left + from->dim[2]);
  if (end < begin) end = begin;
  for (int64_t r = 0; r < h; r++, y += w * width) {
    bool inside = r >= top && r < top + from->dim[1];
    if (!add) {
      int64_t filled = inside ? begin : w;
      memset(y, 0, (size_t)(filled * width) * sizeof *y);
      if (inside) memset(y + end * width, 0, (size_t)((w - end) * width) * sizeof *y);
    }
    if (!inside) continue;
    const real *row = x + ((r - top) * from->dim[2] - left) * width;
    for (int64_t i = begin * width; i < end * width; i++) y[i] = add ? y[i] + row[i] : row[i];
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *x = shape_of(lane, k->in[0]), *y = shape_of(lane, k->out);
  int width = side_by_side(lane, x);
  int64_t begin, end, in = unit_size(lane, k->in[0], width), out = unit_size(lane, k->out, width);
  share_units(lane, x, width, &begin, &end);
  for (int64_t u = begin; u < end; u++)
    copy(x, y, k->attr[TOP].i, k->attr[LEFT].i, width, false,
         (const real *)lane->ptr[k->in[0]] + u * in, (real *)lane->ptr[k->out] + u * out);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *x = shape_of(lane, k->in[0]), *y = shape_of(lane, k->out);
  int width = side_by_side(lane, x);
  int64_t begin, end, in = unit_size(lane, k->in[0], width), out = unit_size(lane, k->out, width);
  share_units(lane, x, width, &begin, &end);
  for (int64_t u = begin; u < end; u++)
    copy(y, x, -k->attr[TOP].i, -k->attr[LEFT].i, width, k->add[0],
         (const real *)lane->ptr[k->dout] + u * out, (real *)lane->ptr[k->din[0]] + u * in);
}

PB_OP(zero_pad) = {.name = "zero_pad",
                   .attrs = "top:int bottom:int left:int right:int",
                   .min_in = 1,
                   .max_in = 1,
                   .flags = PB_BLOCKED,
                   .infer = infer,
                   .forward = forward,
                   .backward_in = backward_in};
