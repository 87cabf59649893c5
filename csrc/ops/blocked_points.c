/* Blocks with fewer multiplications, see winograd_rows.h: where Winograd's F(2x2, 3x3) does not fit, for
 * kernels of five rows or of few channels.
 *
 * A row of tiles at a time, all channels become points; those of some outputs are products like any
 * convolution of one row, and then rows of outputs, or the largest of 2 x 2. The gradient of the weights
 * is the same turned round, over bands of tiles:
 *     dg = G' sum of (A dy) * (B' d)
 */
#include "ops/conv_blocked.h"
#include "ops/conv_dots.h"
#include "ops/conv_product.h"
#include "ops/winograd_rows.h"

enum {
  OUTPUTS = 8,        /* whose points are made before they become rows: they stay in cache */
  LEAST = 4,          /* outputs */
  LEAST_TERMS = 12,   /* of a sum of points: with fewer, points take what the products save */
  MOST_T = 64 * 1024, /* reals of a row of tiles' points */
  MOST_U = 1 << 18,   /* reals of the weights' points */
  MOST_OUTPUTS = 16,  /* whose gradients are summed together */
  MOST_BAND = 1 << 17 /* reals of a band's points: they stay in the second cache */
};

/* The sizes of the parts, and their places in the scratch. */
typedef struct {
  int64_t step, tiles, wide, depth;  /* depth: terms of a sum of points */
  int64_t u_pitch, t_pitch, m_pitch; /* from point to point */
  int64_t weight_at, u, t, m, copy, room;
} points_plan;

static int64_t lines(int64_t reals) { return (reals + 15) / 16 * 16; }

static points_plan plan_of(const conv_geometry *g) {
  int64_t step = winograd_rows_out(g->y.kernel);
  points_plan p = {.step = step,
                   .tiles = (g->y.out + step - 1) / step,
                   .wide = g->x.out + (g->x.kernel - 1) * g->x.dilation,
                   .depth = g->channels * g->x.kernel};
  const int64_t index = sizeof(int64_t) / sizeof(real);
  p.u_pitch = lines(g->outputs * p.depth);
  p.t_pitch = g->channels * p.wide * LANES + LANES; /* with a vector to write over the end */
  p.m_pitch = OUTPUTS * g->x.out * LANES;
  p.weight_at = lines(p.depth * index);
  p.u = 2 * p.weight_at;
  p.t = p.u + WINOGRAD_POINTS * p.u_pitch;
  p.m = p.t + WINOGRAD_POINTS * p.t_pitch;
  p.copy = p.m + WINOGRAD_POINTS * p.m_pitch;
  p.room = p.copy + tile_size(g->channels, WINOGRAD_POINTS, p.wide, 1, LANES);
  return p;
}

/* By the geometry alone, for other sums have other bits. */
static bool fits(const conv_geometry *g) {
  int64_t wide = g->x.out + (g->x.kernel - 1) * g->x.dilation, terms = g->channels * g->x.kernel;
  return winograd_rows_fit(&g->y) && g->groups == 1 && g->x.stride == 1 && g->x.kernel <= LANES &&
         g->outputs >= LEAST && terms >= LEAST_TERMS &&
         g->outputs <= MOST_U / (WINOGRAD_POINTS * terms) &&
         WINOGRAD_POINTS * g->channels * LANES <= MOST_T / wide;
}

static int64_t sweep_scratch(const conv_geometry *g, bool turned) {
  return turned ? 0 : plan_of(g).room;
}

/* [outputs, channels, r, columns] -> [points][outputs, channels, columns] */
PB_INLINE void point_weights(int r, const conv_geometry *g, const real *w, int64_t pitch, real *u) {
  const int64_t columns = g->x.kernel;
  for (int64_t i = 0; i < g->outputs * g->channels; i++, w += r * columns, u += columns) {
    vec row[5], out[WINOGRAD_POINTS];
#pragma GCC unroll 5
    for (int a = 0; a < r; a++) row[a] = vec_load_part(w + a * columns, columns);
    winograd_rows_weight(r, row, out);
#pragma GCC unroll 6
    for (int f = 0; f < WINOGRAD_POINTS; f++) vec_store_part(u + f * pitch, columns, out[f]);
  }
}

/* One output's rows at a position, from its points. */
PB_INLINE void rows_at(int r, const real *m, int64_t pitch, vec start, vec *y) {
  vec point[WINOGRAD_POINTS];
#pragma GCC unroll 6
  for (int f = 0; f < WINOGRAD_POINTS; f++) point[f] = vec_load(m + f * pitch);
  winograd_rows_output(r, point, y);
#pragma GCC unroll 4
  for (int k = 0; k < WINOGRAD_POINTS + 1 - r; k++) y[k] += start;
}

/* `rows` rows of `wide` positions of one output: to `out`, and of 2 x 2 each the largest to `pooled`. */
PB_INLINE void rows_of_points(int r, int64_t rows, int64_t wide, const real *m, int64_t pitch,
                              vec start, real *out, real *pooled) {
  for (int64_t x = 0; x < wide; x++, m += LANES) {
    vec y[4];
    rows_at(r, m, pitch, start, y);
#pragma GCC unroll 4
    for (int k = 0; k < WINOGRAD_POINTS + 1 - r; k++) {
      if (k >= rows) break;
      if (out) vec_store(out + (k * wide + x) * LANES, y[k]);
      if (!pooled || k % 2 == 0 || x / 2 == wide / 2) continue;
      real *to = pooled + (k / 2 * (wide / 2) + x / 2) * LANES;
      vec top = vec_top(y[k - 1], y[k]);
      vec_store(to, x % 2 ? vec_top(vec_load(to), top) : top);
    }
  }
}

/* One row of tiles of one block, all outputs. */
static void one_row(const conv_sweep_job *job, const points_plan *p, int64_t tile, const real *in,
                    real *out, real *pooled, real *scratch) {
  const conv_geometry *g = &job->g;
  int64_t row = tile * p->step, rows = min_i(p->step, g->y.out - row), wide = g->x.out;
  int64_t plane = g->y.out * wide * LANES, pooled_plane = g->y.out / 2 * (wide / 2) * LANES;
  int64_t above = row * wide * LANES, pooled_above = row / 2 * (wide / 2) * LANES;
  int64_t parts = (g->outputs + OUTPUTS - 1) / OUTPUTS;
  real *t = scratch + p->t, *m = scratch + p->m;
  conv_tile copy = conv_load_tile(in, g->channels, g->y.in, g->x.in, row - g->y.pad,
                                  WINOGRAD_POINTS, -g->x.pad, p->wide, 1, true, scratch + p->copy);
  winograd_points_of_rows(g->channels, 1, p->step, p->wide * LANES, copy.base, copy.plane,
                          p->t_pitch, t);
  conv_terms sum = {.depth = p->depth,
                    .at = (int64_t *)(void *)scratch,
                    .weight_at = (int64_t *)(void *)(scratch + p->weight_at),
                    .ldw = p->depth,
                    .whole = true,
                    .ldc = wide * LANES,
                    .step = 1};
  for (int64_t part = 0; part < parts; part++) {
    int64_t o = g->outputs * part / parts, end = g->outputs * (part + 1) / parts;
    for (int f = 0; f < WINOGRAD_POINTS; f++) {
      sum.weight = scratch + p->u + f * p->u_pitch + o * p->depth;
      conv_rectangle positions = {.rows = 1,
                                  .columns = wide,
                                  .in = t + f * p->t_pitch,
                                  .in_column = LANES,
                                  .out = m + f * p->m_pitch,
                                  .out_column = LANES,
                                  .edge = LANES};
      conv_product(&sum, end - o, &positions);
    }
    for (int64_t i = o; i < end; i++) {
      const real *points = m + (i - o) * wide * LANES;
      vec start = vec_set(job->start ? job->start[i] : 0);
      real *to = out ? out + i * plane + above : NULL;
      real *top = pooled ? pooled + i * pooled_plane + pooled_above : NULL;
      if (g->y.kernel == 5) rows_of_points(5, rows, wide, points, p->m_pitch, start, to, top);
      else rows_of_points(3, rows, wide, points, p->m_pitch, start, to, top);
      if (top) conv_finish(job, rows / 2 * (wide / 2) * LANES, top);
      else conv_finish(job, rows * wide * LANES, to);
    }
  }
}

static void sweep(const conv_sweep_job *job, const pb_lane *lane) {
  if (!WINOGRAD_ROWS) return; /* which leaves the code out */
  const conv_geometry *g = &job->g;
  points_plan p = plan_of(g);
  real *scratch = lane->scratch;
  int64_t *at = lane->scratch, *weight_at = (int64_t *)(void *)(scratch + p.weight_at);
  int64_t begin, end, plane = g->y.out * g->x.out * LANES;
  int64_t pooled_plane = g->y.out / 2 * (g->x.out / 2) * LANES;
  share(lane, (lane->n + LANES - 1) / LANES * p.tiles, 1, &begin, &end);
  if (begin >= end) return;
  for (int64_t i = 0; i < p.depth; i++) {
    at[i] = (i / g->x.kernel * p.wide + i % g->x.kernel * g->x.dilation) * LANES;
    weight_at[i] = i;
  }
  if (g->y.kernel == 5) point_weights(5, g, job->weight, p.u_pitch, scratch + p.u);
  else point_weights(3, g, job->weight, p.u_pitch, scratch + p.u);
  for (int64_t i = begin; i < end; i++) {
    int64_t block = i / p.tiles, tile = i % p.tiles, first = block * g->outputs;
    const real *in = job->in + block * g->channels * g->y.in * g->x.in * LANES;
    real *out = job->out ? job->out + first * plane : NULL;
    real *pooled = job->pooled ? job->pooled + first * pooled_plane : NULL;
    one_row(job, &p, tile, in, out, pooled, scratch);
  }
}

/* --- the gradient of the weights ------------------------------------------------------------------ */

/* The sizes of a band of tiles, and the places of the parts in the scratch. */
typedef struct {
  points_plan p;
  int64_t outputs, band;
  int64_t t_pitch, e_pitch, s_pitch; /* of x's points, of dy's and of sums, from point to point */
  int64_t found, s, t, e, copy, room;
} dots_plan;

static int64_t dots_outputs(const conv_geometry *g) {
  int64_t fit = MOST_T / (WINOGRAD_POINTS * LANES * g->channels * g->x.kernel);
  return min_i(g->outputs, fit < 1 ? 1 : min_i(fit, MOST_OUTPUTS));
}

static dots_plan dots_plan_of(const conv_geometry *g) {
  dots_plan d = {.p = plan_of(g), .outputs = dots_outputs(g)};
  int64_t terms = d.outputs * d.p.depth;
  int64_t x_row = g->channels * d.p.wide * LANES, dy_row = d.outputs * g->x.out * LANES;
  d.band = min_i(d.p.tiles, MOST_BAND / (WINOGRAD_POINTS * (x_row + dy_row)));
  if (d.band < 1) d.band = 1;
  d.t_pitch = d.band * x_row + LANES;
  d.e_pitch = d.band * dy_row;
  d.s_pitch = terms * LANES;
  d.found = lines(d.p.depth * (int64_t)(sizeof(int64_t) / sizeof(real)));
  d.s = d.found + lines((WINOGRAD_POINTS + 5) * terms + LANES);
  d.t = d.s + WINOGRAD_POINTS * d.s_pitch;
  d.e = d.t + WINOGRAD_POINTS * d.t_pitch;
  d.copy = d.e + WINOGRAD_POINTS * d.e_pitch;
  d.room = d.copy +
           tile_size(g->channels, (d.band - 1) * d.p.step + WINOGRAD_POINTS, d.p.wide, 1, LANES);
  return d;
}

static int64_t dots_scratch(const conv_geometry *g) { return dots_plan_of(g).room; }

/* A dy */
PB_INLINE void points_of_signal(int r, const vec *y, vec *e) {
  vec even = r == 5 ? y[0] : y[0] + y[2], odd = r == 5 ? y[1] : y[1] + y[3];
  e[0] = y[0];
  e[1] = even + odd, e[2] = even - odd;
  e[3] = y[0] + (real)0.5 * y[1], e[4] = y[0] - 2 * y[1];
  if (r == 3) {
    e[3] += (real)0.25 * y[2] + (real)0.125 * y[3];
    e[4] += 4 * y[2] - 8 * y[3];
  }
  e[5] = y[WINOGRAD_POINTS - r];
}

/* Rows of tiles [first, first + tiles) of one output's plane; rows that are not there are zeros. */
PB_INLINE void points_of_signals(int r, const conv_geometry *g, int64_t first, int64_t tiles,
                                 const real *dy, int64_t pitch, real *e) {
  const int step = WINOGRAD_POINTS + 1 - r;
  for (int64_t i = first; i < first + tiles; i++)
    for (int64_t x = 0; x < g->x.out; x++, e += LANES) {
      vec y[4], out[WINOGRAD_POINTS];
#pragma GCC unroll 4
      for (int k = 0; k < step; k++) {
        int64_t row = i * step + k;
        y[k] = row < g->y.out ? vec_load(dy + (row * g->x.out + x) * LANES) : vec_set(0);
      }
      points_of_signal(r, y, out);
#pragma GCC unroll 6
      for (int f = 0; f < WINOGRAD_POINTS; f++) vec_store(e + f * pitch, out[f]);
    }
}

/* G' s, [points][count] -> [outputs, channels, r, columns] */
static void weights_of_points(int r, int64_t columns, int64_t count, const real *s, real *found) {
  for (int64_t i = 0; i < count; i++) {
    const real *at = s + i;
    real minus = (at[count] - at[2 * count]) / 3, plus = (at[count] + at[2 * count]) / 3;
    real a = at[3 * count] / 15, b = at[4 * count] / 15;
    real g[5] = {at[0] + (minus - (16 * a - b)), plus - (8 * a + 2 * b), minus - (4 * a - 4 * b),
                 plus - (2 * a + 8 * b), minus - (a - 16 * b)};
    g[r - 1] += at[5 * count];
    real *to = found + i / columns * r * columns + i % columns;
    for (int k = 0; k < r; k++) to[k * columns] = g[k];
  }
}

static const real *dots(const conv_geometry *g, const real *x, const real *dy, int64_t blocks,
                        int64_t first, int64_t last, plane_sum *sums, real *scratch) {
  (void)sums;
  if (!WINOGRAD_ROWS) return scratch;
  dots_plan d = dots_plan_of(g);
  int64_t outputs = last - first, terms = outputs * d.p.depth, r = g->y.kernel;
  int64_t *at = (int64_t *)(void *)scratch, wide = d.p.wide * LANES;
  real *s = scratch + d.s, *t = scratch + d.t, *e = scratch + d.e;
  memset(s, 0, (size_t)(WINOGRAD_POINTS * d.s_pitch) * sizeof *s);
  for (int64_t block = 0; block < blocks; block++)
    for (int64_t i = 0, tiles; i < d.p.tiles; i += tiles) {
      tiles = min_i(d.band, d.p.tiles - i);
      conv_tile copy =
          conv_load_tile(x + block * g->channels * g->y.in * g->x.in * LANES, g->channels, g->y.in,
                         g->x.in, i * d.p.step - g->y.pad, (tiles - 1) * d.p.step + WINOGRAD_POINTS,
                         -g->x.pad, d.p.wide, 1, true, scratch + d.copy);
      winograd_points_of_rows(g->channels, tiles, d.p.step, wide, copy.base, copy.plane, d.t_pitch,
                              t);
      int64_t size = g->y.out * g->x.out * LANES, plane = tiles * g->x.out * LANES;
      for (int64_t o = 0; o < outputs; o++) {
        const real *signal = dy + (block * g->outputs + first + o) * size;
        if (r == 5) points_of_signals(5, g, i, tiles, signal, d.e_pitch, e + o * plane);
        else points_of_signals(3, g, i, tiles, signal, d.e_pitch, e + o * plane);
      }
      for (int64_t k = 0; k < d.p.depth; k++)
        at[k] = k / g->x.kernel * tiles * wide + k % g->x.kernel * g->x.dilation * LANES;
      for (int f = 0; f < WINOGRAD_POINTS; f++)
        conv_sum_dots(outputs, d.p.depth, tiles, g->x.out,
                      (conv_signal){e + f * d.e_pitch, plane, g->x.out * LANES, LANES},
                      &(conv_tile){.base = t + f * d.t_pitch, .unit = LANES}, wide, at,
                      s + f * d.s_pitch, d.p.depth);
    }
  real *found = scratch + d.found, *folded = found + 5 * terms;
  for (int f = 0; f < WINOGRAD_POINTS; f++) conv_fold(s + f * d.s_pitch, terms, folded + f * terms);
  weights_of_points((int)r, g->x.kernel, terms, folded, found);
  return found;
}

const conv_way conv_points = {.fits = fits,
                              .sweep = sweep,
                              .sweep_scratch = sweep_scratch,
                              .dots = dots,
                              .dots_outputs = dots_outputs,
                              .dots_scratch = dots_scratch,
                              .pools = true,
                              .straight = true};
