/* max_pool: the largest value of each window, optionally with its activation fused; padding never is
 * the largest.
 *
 * dx is dz at the first largest value of a window, row by row, and 0 at the others, where
 * dz = dy f'(z) stands in dy's place. NaN in a window makes it NaN. Windows and shapes in pool.h.
 */
#include "ops/elementwise.h"
#include "ops/largest.h"
#include "ops/pool.h"

#ifdef VEC_EXTENSIONS
/* The first k values, of at most a vector. */
PB_INLINE vec load_some(const real *x, int64_t k) {
  return k >= LANES ? vec_load(x) : vec_load_part(x, k < 0 ? 0 : k);
}

/* The largest of LANES windows of 2 x 2 side by side: a and b are their upper row, c and d the lower. */
PB_INLINE vec pairs_top(vec a, vec b, vec c, vec d) {
  a = vec_top(a, c), b = vec_top(b, d); /* columns first, which halves the shuffles */
  return vec_in_order(vec_top(vec_firsts(a, b), vec_seconds(a, b)));
}

/* The same for the last of n windows, where whole vectors would reach over an array's end. */
PB_OUTLINE void pool_last_pairs(int64_t n, int64_t w, const real *x, real *y) {
  for (; n > 0; n -= LANES, x += 2 * LANES, y += LANES) {
    int64_t left = min_i(LANES, n);
    vec a = load_some(x, 2 * left), b = load_some(x + LANES, 2 * left - LANES);
    vec c = load_some(x + w, 2 * left), d = load_some(x + w + LANES, 2 * left - LANES);
    vec top = pairs_top(a, b, c, d);
    if (left == LANES) vec_store(y, top);
    else vec_store_part(y, left, top);
  }
}

/* Two rows of at most LANES / 2 windows of 2 x 2, in plain rows of w values `down` apart, with one set of
   shuffles; false where a vector would reach over an array's end. */
PB_INLINE bool pool_narrow(int64_t n, int64_t w, int64_t down, const real *x, const real *x_end,
                           real *y, const real *y_end) {
  if (y_end - y < LANES + n || x_end - x < down + w + LANES) return false;
  vec a = vec_top(vec_load(x), vec_load(x + w));
  vec b = vec_top(vec_load(x + down), vec_load(x + down + w));
  vec top = vec_in_order(vec_top(vec_firsts(a, b), vec_seconds(a, b)));
  vec_store(y, top);
  memcpy(y + n, (const real *)&top + LANES / 2, sizeof top / 2);
  return true;
}

/* n windows of 2 x 2 side by side in plain rows that are w apart. Vectors may run on behind the row, up
   to the ends: what they leave there is written over by the next. */
PB_INLINE void pool_pairs(int64_t n, int64_t w, const real *x, const real *x_end, real *y,
                          const real *y_end) {
  int64_t reach = (n + LANES - 1) / LANES * LANES;
  if (y_end - y < reach || x_end - x - w < 2 * reach) {
    pool_last_pairs(n, w, x, y);
    return;
  }
  for (int64_t i = 0; i < n; i += LANES) {
    const real *first = x + 2 * i, *second = first + w;
    vec_store(y + i, pairs_top(vec_load(first), vec_load(first + LANES), vec_load(second),
                               vec_load(second + LANES)));
  }
}
#endif

/* The largest of a window of pixels, each a vector of samples. */
PB_INLINE vec window_top(const pooling *p, const real *first, int64_t rows, int64_t columns) {
  vec top = vec_load(first);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++)
      top = vec_top(top, vec_load(first + (r * p->w + c) * LANES));
  return top;
}

/* The largest of a window of single values. */
PB_INLINE real plain_top(const pooling *p, const real *first, int64_t rows, int64_t columns) {
  real top = *first;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++) {
      real at = first[r * p->w + c];
      top = at <= top || top != top ? top : at;
    }
  return top;
}

/* y[ox] of one row of windows, of pool_h x pool_w values where they are not clipped. */
PB_INLINE void forward_row(const pooling *p, int64_t oy, int64_t pool_h, int64_t pool_w,
                           const int width, const real *restrict x, real *restrict y) {
  for (int64_t ox = 0; ox < p->out_w; ox++) {
    window v = window_at(p, oy, ox);
    const real *first = x + (v.y0 * p->w + v.x0) * width;
    int64_t rows = p->whole ? pool_h : v.y1 - v.y0, columns = p->whole ? pool_w : v.x1 - v.x0;
    if (width == LANES) vec_store(y + ox * width, window_top(p, first, rows, columns));
    else y[ox] = plain_top(p, first, rows, columns);
  }
}

PB_INLINE void forward_units(const pb_instr *k, const pb_lane *lane, const int width) {
  pooling p = pooling_of(k, lane);
  const bool pairs = p.whole && p.pool_h == 2 && p.pool_w == 2 && p.stride_w == 2;
  int64_t begin, end, size = unit_size(lane, k->in[0], width);
  share_units(lane, shape_of(lane, k->in[0]), width, &begin, &end);
  const real *x_end = (const real *)lane->ptr[k->in[0]] + end * size;
  int64_t plane = p.out_h * p.out_w * width;
  const real *y_end = (const real *)lane->ptr[k->out] + end * plane;
  (void)pairs, (void)x_end, (void)y_end; /* without vectors */
  for (int64_t u = begin; u < end; u++) {
    const real *x = (const real *)lane->ptr[k->in[0]] + u * size;
    real *y = (real *)lane->ptr[k->out] + u * plane;
    for (int64_t oy = 0; oy < p.out_h; oy++, y += p.out_w * width) {
#ifdef VEC_EXTENSIONS
      if (width == 1 && pairs && 2 * p.out_w <= LANES && oy + 1 < p.out_h &&
          pool_narrow(p.out_w, p.w, p.stride_h * p.w, x + oy * p.stride_h * p.w, x_end, y, y_end)) {
        oy++, y += p.out_w;
        continue;
      }
      if (width == 1 && pairs) {
        pool_pairs(p.out_w, p.w, x + oy * p.stride_h * p.w, x_end, y, y_end);
        continue;
      }
#endif
      if (p.pool_h == 2 && p.pool_w == 2) forward_row(&p, oy, 2, 2, width, x, y);
      else forward_row(&p, oy, p.pool_h, p.pool_w, width, x, y);
    }
    if (k->activation && width > 1)
      k->activation->map(k->activation_attr, plane, y - plane, y - plane);
  }
  real *first = (real *)lane->ptr[k->out] + begin * plane;
  if (k->activation && width == 1) /* at once, for plain planes are small */
    k->activation->map(k->activation_attr, (end - begin) * plane, first, first);
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  if (side_by_side(lane, shape_of(lane, k->in[0])) == 1) forward_units(k, lane, 1);
  else forward_units(k, lane, LANES);
}

/* What one row of windows gives to dx. */
PB_INLINE void backward_row(const pooling *p, int64_t oy, int64_t pool_h, int64_t pool_w, bool add,
                            const int width, const real *restrict x, const real *restrict dz,
                            real *restrict dx) {
  for (int64_t ox = 0; ox < p->out_w; ox++) {
    window v = window_at(p, oy, ox);
    int64_t rows = p->whole ? pool_h : v.y1 - v.y0, columns = p->whole ? pool_w : v.x1 - v.x0;
    const real *first = x + (v.y0 * p->w + v.x0) * width;
#ifdef VEC_EXTENSIONS
    if (width == LANES) {
      vec_mask_bits give = (vec_mask_bits)vec_load(dz + ox * width);
      vec top = window_top(p, first, rows, columns);
      for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) {
          int64_t at = ((v.y0 + r) * p->w + v.x0 + c) * width;
          vec_mask_bits mine = (vec_mask_bits)(vec_load(x + at) == top);
          vec d = (vec)(give & mine);
          give &= ~mine;
          vec_store(dx + at, add ? vec_load(dx + at) + d : d);
        }
      continue;
    }
#endif
    real left[LANES], top[LANES]; /* what is left to give: 0 once it has been given away */
    for (int i = 0; i < width; i++) left[i] = dz[ox * width + i];
    if (width == LANES) vec_store(top, window_top(p, first, rows, columns));
    else *top = plain_top(p, first, rows, columns);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t c = 0; c < columns; c++) {
        int64_t at = ((v.y0 + r) * p->w + v.x0 + c) * width;
        for (int i = 0; i < width; i++) {
          bool mine = x[at + i] == top[i];
          real d = mine ? left[i] : 0;
          left[i] = mine ? 0 : left[i];
          dx[at + i] = add ? dx[at + i] + d : d;
        }
      }
  }
}

PB_INLINE void backward_units(const pb_instr *k, const pb_lane *lane, const int width) {
  pooling p = pooling_of(k, lane);
  int64_t begin, end, size = unit_size(lane, k->in[0], width);
  share_units(lane, shape_of(lane, k->in[0]), width, &begin, &end);
  for (int64_t u = begin; u < end; u++) {
    const real *x = (const real *)lane->ptr[k->in[0]] + u * size;
    real *dx = (real *)lane->ptr[k->din[0]] + u * size;
    bool add = begin_plane(&p, k->add[0], width, dx);
    for (int64_t oy = 0; oy < p.out_h; oy++) {
      int64_t at = (u * p.out_h + oy) * p.out_w * width;
      const real *dz = (const real *)lane->ptr[k->dout] + at;
      if (p.pool_h == 2 && p.pool_w == 2 && !add)
        backward_row(&p, oy, 2, 2, false, width, x, dz, dx);
      else backward_row(&p, oy, p.pool_h, p.pool_w, add, width, x, dz, dx);
    }
    chain_signals(k, lane, u * size, size);
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  if (side_by_side(lane, shape_of(lane, k->in[0])) == 1) backward_units(k, lane, 1);
  else backward_units(k, lane, LANES);
}

PB_OP(max_pool) = {.name = "max_pool",
                   .attrs = POOL_ATTRS,
                   .min_in = 1,
                   .max_in = 1,
                   .flags = PB_USES_X | PB_FUSES | PB_BLOCKED | PB_CHAINS,
                   .infer = pool_infer,
                   .forward = forward,
                   .backward_in = backward_in};

bool pools_pairs(const pb_instr *k) {
  if (k->op != &PB_NAME(pb_op_max_pool)) return false;
  for (int i = POOL_H; i <= STRIDE_W; i++)
    if (k->attr[i].i != 2) return false;
  for (int i = PAD_TOP; i <= PAD_RIGHT; i++)
    if (k->attr[i].i != 0) return false;
  return true;
}
