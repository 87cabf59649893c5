/* upsample: planes enlarged by whole factors.
 *
 *     x [C, H, W] -> y [C, factor_h H, factor_w W]
 *
 * nearest: each value repeated. bilinear: lines between the centres of the values, i.e. y at (i + 1/2)
 * is x at (i + 1/2) / factor, and the outermost values beyond the outermost centres. dx is the sum
 * of dy by the same weights.
 */
#include "ops/planes.h"

enum { FACTOR_H, FACTOR_W, BILINEAR };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  int64_t high = attr[FACTOR_H].i, wide = attr[FACTOR_W].i, linear = attr[BILINEAR].i;
  if (!is_image(&in[0]) || high < 1 || high > LARGEST || wide < 1 || wide > LARGEST) return false;
  r->out = in[0];
  r->out.dim[1] *= high, r->out.dim[2] *= wide;
  r->flops = pb_shape_size(&r->out) * (linear ? 8 : 1);
  return r->flops > 0 && (linear == 0 || linear == 1);
}

/* Between which two of n values output i lies, and the weight of the second. */
typedef struct {
  int64_t a, b;
  real t;
} between;

PB_INLINE between place_of(int64_t i, int64_t factor, int64_t n, bool linear) {
  if (!linear) return (between){i / factor, i / factor, 0};
  double at = ((double)i + 0.5) / (double)factor - 0.5;
  int64_t a = at > 0 ? (int64_t)at : 0;
  return (between){a, min_i(a + 1, n - 1), at > 0 ? (real)(at - (double)a) : 0};
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *s = shape_of(lane, k->in[0]);
  int64_t h = s->dim[1], w = s->dim[2], high = k->attr[FACTOR_H].i, wide = k->attr[FACTOR_W].i;
  bool linear = k->attr[BILINEAR].i;
  int width = side_by_side(lane, s);
  int64_t begin, end;
  share_units(lane, s, width, &begin, &end);
  real *restrict y = (real *)lane->ptr[k->out] + begin * h * high * w * wide * width;
  for (int64_t u = begin; u < end; u++) {
    const real *restrict x = (const real *)lane->ptr[k->in[0]] + u * h * w * width;
    for (int64_t i = 0; i < h * high; i++) {
      between r = place_of(i, high, h, linear);
      for (int64_t j = 0; j < w * wide; j++, y += width) {
        between c = place_of(j, wide, w, linear);
        const real *p = x + (r.a * w + c.a) * width, *q = x + (r.a * w + c.b) * width;
        const real *v = x + (r.b * w + c.a) * width, *z = x + (r.b * w + c.b) * width;
        if (linear)
          for (int l = 0; l < width; l++)
            y[l] =
                (1 - r.t) * ((1 - c.t) * p[l] + c.t * q[l]) + r.t * ((1 - c.t) * v[l] + c.t * z[l]);
        else
          for (int l = 0; l < width; l++) y[l] = p[l];
      }
    }
  }
}

/* dx at one place += weight dy */
PB_INLINE void give(int width, real weight, const real *dy, real *dx) {
  for (int l = 0; l < width; l++) dx[l] += weight * dy[l];
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *s = shape_of(lane, k->in[0]);
  int64_t h = s->dim[1], w = s->dim[2], high = k->attr[FACTOR_H].i, wide = k->attr[FACTOR_W].i;
  bool linear = k->attr[BILINEAR].i;
  int width = side_by_side(lane, s);
  int64_t begin, end;
  share_units(lane, s, width, &begin, &end);
  const real *dy = (const real *)lane->ptr[k->dout] + begin * h * high * w * wide * width;
  for (int64_t u = begin; u < end; u++) {
    real *dx = (real *)lane->ptr[k->din[0]] + u * h * w * width;
    if (!k->add[0]) memset(dx, 0, (size_t)(h * w * width) * sizeof *dx);
    for (int64_t i = 0; i < h * high; i++) {
      between r = place_of(i, high, h, linear);
      for (int64_t j = 0; j < w * wide; j++, dy += width) {
        between c = place_of(j, wide, w, linear);
        give(width, (1 - r.t) * (1 - c.t), dy, dx + (r.a * w + c.a) * width);
        if (!linear) continue;
        give(width, (1 - r.t) * c.t, dy, dx + (r.a * w + c.b) * width);
        give(width, r.t * (1 - c.t), dy, dx + (r.b * w + c.a) * width);
        give(width, r.t * c.t, dy, dx + (r.b * w + c.b) * width);
      }
    }
  }
}

PB_OP(upsample) = {.name = "upsample",
                   .attrs = "factor_h:int factor_w:int bilinear:int",
                   .min_in = 1,
                   .max_in = 1,
                   .flags = PB_BLOCKED,
                   .infer = infer,
                   .forward = forward,
                   .backward_in = backward_in};
