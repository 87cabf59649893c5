/* average_pool: the mean of each window, over its own values, or with count_pad over pool_h pool_w of
 * which those of the padding are 0.
 *
 * dx = the sum of dy / count over the windows that a value lies in. Windows and shapes in pool.h.
 */
#include "ops/elementwise.h"
#include "ops/pool.h"

enum { PIECE = 512 }; /* of a plane: a multiple of every number of lanes */

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  return pool_infer(attr, in, nin, r) && (attr[COUNT_PAD].i == 0 || attr[COUNT_PAD].i == 1);
}

/* What a window's sum is multiplied by. */
PB_INLINE real part_of(const pooling *p, bool count_pad, const window *v) {
  int64_t own = (v->y1 - v->y0) * (v->x1 - v->x0);
  return (real)(1.0 / (double)(count_pad ? p->pool_h * p->pool_w : own));
}

PB_INLINE void forward_units(const pb_instr *k, const pb_lane *lane, const int width) {
  pooling p = pooling_of(k, lane);
  int64_t begin, end, size = unit_size(lane, k->in[0], width);
  share_units(lane, shape_of(lane, k->in[0]), width, &begin, &end);
  for (int64_t u = begin; u < end; u++) {
    const real *restrict x = (const real *)lane->ptr[k->in[0]] + u * size;
    real *restrict y = (real *)lane->ptr[k->out] + u * p.out_h * p.out_w * width;
    for (int64_t oy = 0; oy < p.out_h; oy++)
      for (int64_t ox = 0; ox < p.out_w; ox++, y += width) {
        window v = window_at(&p, oy, ox);
        real sum[LANES] = {0}, part = part_of(&p, k->attr[COUNT_PAD].i, &v);
        for (int64_t r = v.y0; r < v.y1; r++)
          for (int64_t c = v.x0; c < v.x1; c++)
            for (int i = 0; i < width; i++) sum[i] += x[(r * p.w + c) * width + i];
        for (int i = 0; i < width; i++) y[i] = sum[i] * part;
      }
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  if (side_by_side(lane, shape_of(lane, k->in[0])) == 1) forward_units(k, lane, 1);
  else forward_units(k, lane, LANES);
}

/* Whether the whole image is one window. */
static bool is_global(const pb_instr *k, const pb_shape *x) {
  int64_t pads = 0;
  for (int i = PAD_TOP; i <= PAD_RIGHT; i++) pads += k->attr[i].i;
  return k->attr[POOL_H].i == x->dim[1] && k->attr[POOL_W].i == x->dim[2] && pads == 0;
}

static bool overwrites(const pb_instr *k, const pb_tensor *tensor) {
  return is_global(k, &tensor[k->in[0]].shape) && !k->add[0];
}

/* One number for each plane, and its error signals a piece at a time: dx may lie where x does. */
PB_OUTLINE void backward_planes(const pb_instr *k, const pb_lane *lane, int width) {
  int64_t begin, end, size = unit_size(lane, k->in[0], width);
  share_units(lane, shape_of(lane, k->in[0]), width, &begin, &end);
  const real part = (real)(1.0 / (double)(size / width));
  for (int64_t u = begin; u < end; u++) {
    const real *dy = (const real *)lane->ptr[k->dout] + u * width;
    real d[PIECE];
    for (int i = 0; i < PIECE; i++) d[i] = dy[i % width] * part;
    for (int64_t at = u * size; at < (u + 1) * size; at += PIECE) {
      int64_t n = min_i(PIECE, (u + 1) * size - at);
      const real *x = (const real *)lane->ptr[k->in[0]] + at;
      real *dx = (real *)lane->ptr[k->din[0]] + at;
      if (k->activation) k->activation->chain(k->activation_attr, n, NULL, x, d, dx);
      else memcpy(dx, d, (size_t)n * sizeof *dx);
    }
  }
}

PB_INLINE void backward_units(const pb_instr *k, const pb_lane *lane, const int width) {
  if (is_global(k, shape_of(lane, k->in[0])) && !k->add[0]) {
    backward_planes(k, lane, width);
    return;
  }
  pooling p = pooling_of(k, lane);
  int64_t begin, end, size = unit_size(lane, k->in[0], width);
  share_units(lane, shape_of(lane, k->in[0]), width, &begin, &end);
  for (int64_t u = begin; u < end; u++) {
    real *restrict dx = (real *)lane->ptr[k->din[0]] + u * size;
    const real *restrict dy = (const real *)lane->ptr[k->dout] + u * p.out_h * p.out_w * width;
    bool add = begin_plane(&p, k->add[0], width, dx);
    for (int64_t oy = 0; oy < p.out_h; oy++)
      for (int64_t ox = 0; ox < p.out_w; ox++, dy += width) {
        window v = window_at(&p, oy, ox);
        real d[LANES], part = part_of(&p, k->attr[COUNT_PAD].i, &v);
        for (int i = 0; i < width; i++) d[i] = dy[i] * part;
        for (int64_t r = v.y0; r < v.y1; r++)
          for (int64_t c = v.x0; c < v.x1; c++) {
            real *at = dx + (r * p.w + c) * width;
            for (int i = 0; i < width; i++) at[i] = add ? at[i] + d[i] : d[i];
          }
      }
    chain_signals(k, lane, u * size, size);
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  if (side_by_side(lane, shape_of(lane, k->in[0])) == 1) backward_units(k, lane, 1);
  else backward_units(k, lane, LANES);
}

PB_OP(average_pool) = {.name = "average_pool",
                       .attrs = POOL_ATTRS " count_pad:int",
                       .min_in = 1,
                       .max_in = 1,
                       .flags = PB_BLOCKED | PB_CHAINS,
                       .infer = infer,
                       .overwrites = overwrites,
                       .forward = forward,
                       .backward_in = backward_in};
