/* What max_pool and average_pool share: windows of pool_h x pool_w values of a plane, stride_h and
 * stride_w apart, the first of which begins pad_top above and pad_left beside it.
 *
 *     x [C, H, W] -> y [C, OH, OW]        OH = floor((H + pad_top + pad_bottom - pool_h) / stride_h) + 1
 *
 * Padding is narrower than a window, so that each has at least one value.
 */
#ifndef PB_POOL_H
#define PB_POOL_H

#include "ops/planes.h"
#include "ops/vec.h"

enum { POOL_H, POOL_W, STRIDE_H, STRIDE_W, PAD_TOP, PAD_BOTTOM, PAD_LEFT, PAD_RIGHT, COUNT_PAD };

#define POOL_ATTRS \
  "pool_h:int pool_w:int stride_h:int stride_w:int " \
  "pad_top:int pad_bottom:int pad_left:int pad_right:int"

PB_INLINE bool pool_infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  const pb_shape *x = &in[0];
  if (!is_image(x)) return false;
  r->out = *x;
  for (int axis = 0; axis < 2; axis++) {
    int64_t pool = attr[POOL_H + axis].i, stride = attr[STRIDE_H + axis].i;
    int64_t before = attr[PAD_TOP + 2 * axis].i, after = attr[PAD_BOTTOM + 2 * axis].i;
    if (pool < 1 || pool > LARGEST || stride < 1 || stride > LARGEST || before < 0 ||
        before >= pool || after < 0 || after >= pool)
      return false;
    int64_t spare = x->dim[1 + axis] + before + after - pool;
    if (spare < 0) return false;
    r->out.dim[1 + axis] = spare / stride + 1;
  }
  r->flops = pb_shape_size(&r->out) * attr[POOL_H].i * attr[POOL_W].i;
  return true;
}

typedef struct {
  int64_t h, w, out_h, out_w, pool_h, pool_w, stride_h, stride_w, top, left;
  bool whole;    /* no window reaches into the padding */
  bool apart;    /* no two windows share a value */
  bool covering; /* ... and every value has its window */
} pooling;

PB_INLINE pooling pooling_of(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *x = shape_of(lane, k->in[0]), *y = shape_of(lane, k->out);
  const pb_attr *a = k->attr;
  pooling p = {.h = x->dim[1], .w = x->dim[2], .out_h = y->dim[1], .out_w = y->dim[2]};
  p.pool_h = a[POOL_H].i, p.pool_w = a[POOL_W].i;
  p.stride_h = a[STRIDE_H].i, p.stride_w = a[STRIDE_W].i;
  p.top = a[PAD_TOP].i, p.left = a[PAD_LEFT].i;
  p.whole = a[PAD_TOP].i + a[PAD_BOTTOM].i + a[PAD_LEFT].i + a[PAD_RIGHT].i == 0;
  p.apart = p.stride_h >= p.pool_h && p.stride_w >= p.pool_w;
  p.covering = p.whole && p.stride_h == p.pool_h && p.stride_w == p.pool_w &&
               p.out_h * p.pool_h == p.h && p.out_w * p.pool_w == p.w;
  return p;
}

/* The values of one window: rows [y0, y1), columns [x0, x1) of the plane. */
typedef struct {
  int64_t y0, y1, x0, x1;
} window;

PB_INLINE window window_at(const pooling *p, int64_t oy, int64_t ox) {
  int64_t y = oy * p->stride_h - p->top, x = ox * p->stride_w - p->left;
  window v = {y, y + p->pool_h, x, x + p->pool_w};
  if (p->whole) return v;
  v.y0 = y < 0 ? 0 : y, v.x0 = x < 0 ? 0 : x;
  v.y1 = min_i(v.y1, p->h), v.x1 = min_i(v.x1, p->w);
  return v;
}

/* A gradient's plane, before what its windows give it: whether they add or store. */
PB_INLINE bool begin_plane(const pooling *p, bool add, int width, real *dx) {
  if (!add && !p->covering) memset(dx, 0, (size_t)(p->h * p->w * width) * sizeof *dx);
  return add || !p->apart;
}

#endif
