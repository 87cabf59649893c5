/* A sweep of blocked images with fewer multiplications, see winograd_rows.h: where Winograd's F(2x2, 3x3)
 * does not fit, for kernels of five rows or of few channels.
 *
 * A row of tiles at a time, all channels become points; those of some outputs are products like any
 * convolution of one row, and then rows of outputs, or the largest of 2 x 2.
 */
#include "ops/conv_sweep.h"
#include "ops/winograd_rows.h"

enum {
  OUTPUTS = 8,        /* whose points are made before they become rows: they stay in cache */
  LEAST_TERMS = 12,   /* of a sum of points: with fewer, points take what the products save */
  MOST_T = 64 * 1024, /* reals of a row of tiles' points */
  MOST_U = 1 << 18    /* reals of the weights' points */
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
bool conv_takes_blocked_points(const conv_geometry *g) {
  int64_t wide = g->x.out + (g->x.kernel - 1) * g->x.dilation, terms = g->channels * g->x.kernel;
  return winograd_rows_fit(&g->y) && g->groups == 1 && g->x.stride == 1 && g->x.kernel <= LANES &&
         g->outputs > LEAST_OUTPUTS && terms >= LEAST_TERMS &&
         g->outputs <= MOST_U / (WINOGRAD_POINTS * terms) &&
         WINOGRAD_POINTS * g->channels * LANES <= MOST_T / wide;
}

int64_t conv_blocked_points_scratch(const conv_geometry *g) { return plan_of(g).room; }

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
PB_INLINE void one_row(int r, const conv_sweep_job *job, const points_plan *p, int64_t tile,
                       const real *in, real *out, real *pooled, real *scratch) {
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
      rows_of_points(r, rows, wide, points, p->m_pitch, start, to, top);
      if (top) conv_finish(job, rows / 2 * (wide / 2) * LANES, top);
      else conv_finish(job, rows * wide * LANES, to);
    }
  }
}

void conv_by_blocked_points(const conv_sweep_job *job, const pb_lane *lane) {
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
    if (g->y.kernel == 5) one_row(5, job, &p, tile, in, out, pooled, scratch);
    else one_row(3, job, &p, tile, in, out, pooled, scratch);
  }
}
