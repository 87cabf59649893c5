/* A sweep of plain images with fewer multiplications, see winograd_rows.h: columns in the lanes.
 *
 * A few rows of tiles at a time, all channels of them become points; the points of some outputs at a
 * vector of columns are summed in registers, and become rows of outputs there, or the largest of 2 x 2.
 */
#include "ops/conv_sweep.h"
#include "ops/winograd_rows.h"

enum {
  OUTPUTS = VEC_REGISTERS == 32 ? 4 : 2, /* whose points are summed in registers */
  T_REALS = 12 * 1024,                   /* of points of a few rows of tiles: they stay in cache */
  MOST = 1 << 18                         /* reals of the weights' points */
};

/* The sizes of the parts, and their places in the scratch. */
typedef struct {
  int64_t step, tiles, band, wide; /* band: rows of tiles at a time */
  int64_t t_pitch;                 /* from point to point */
  int64_t t, copy, room;
} points_plan;

static points_plan plan_of(const conv_geometry *g) {
  int64_t step = winograd_rows_out(g->y.kernel);
  points_plan p = {.step = step,
                   .tiles = (g->y.out + step - 1) / step,
                   .wide = g->x.out + (g->x.kernel - 1) * g->x.dilation};
  int64_t row = g->channels * p.wide; /* of the points of a row of tiles */
  p.band = min_i(p.tiles, T_REALS / (WINOGRAD_POINTS * row));
  if (p.band < 1) p.band = 1;
  p.t_pitch = p.band * row + LANES; /* with a vector to write over the end */
  p.t = (g->outputs * g->channels * g->x.kernel * WINOGRAD_POINTS + 15) / 16 * 16;
  p.copy = p.t + WINOGRAD_POINTS * p.t_pitch;
  p.room = p.copy + tile_size(g->channels, p.band * step + g->y.kernel - 1, p.wide, 1, 1);
  return p;
}

/* By the geometry alone, for other sums have other bits. */
bool conv_takes_points(const conv_sweep_job *job) {
  const conv_geometry *g = &job->g;
  int64_t wide = g->x.out, whole = (wide + LANES - 1) / LANES * LANES;
  return winograd_rows_fit(&g->y) && !job->turned && !job->add && !job->blocked && g->groups == 1 &&
         g->x.stride == 1 && g->x.kernel <= LANES && 4 * wide > 3 * whole &&
         g->outputs >= LEAST_OUTPUTS &&
         g->outputs <= MOST / (WINOGRAD_POINTS * g->channels * g->x.kernel) &&
         WINOGRAD_POINTS * g->channels * (wide + g->x.kernel * g->x.dilation) <= 2 * T_REALS;
}

int64_t conv_points_scratch(const conv_geometry *g) { return plan_of(g).room; }

/* How many of the outputs that are left are summed together: OUTPUTS, or fewer where that comes out even. */
PB_INLINE int64_t together(int64_t left) {
  if (OUTPUTS < 4) return min_i(left, OUTPUTS);
  return left > 6 || left == 4 ? 4 : left == 3 || left == 5 || left == 6 ? 3 : 1;
}

/* [outputs, channels, r, columns] -> [channels, columns, together, points] of outputs that are summed
   together. */
PB_INLINE void point_weights(int r, const conv_geometry *g, const real *w, real *u) {
  const int64_t columns = g->x.kernel;
  for (int64_t o = 0, n; o < g->outputs; o += n) {
    n = together(g->outputs - o);
    for (int64_t i = 0; i < n; i++)
      for (int64_t c = 0; c < g->channels; c++, w += r * columns) {
        vec row[5], out[WINOGRAD_POINTS];
        real lane[WINOGRAD_POINTS][LANES];
#pragma GCC unroll 5
        for (int a = 0; a < r; a++) row[a] = vec_load_part(w + a * columns, columns);
        winograd_rows_weight(r, row, out);
#pragma GCC unroll 6
        for (int f = 0; f < WINOGRAD_POINTS; f++) vec_store(lane[f], out[f]);
        real *to = u + (c * columns * n + i) * WINOGRAD_POINTS;
        for (int64_t b = 0; b < columns; b++, to += n * WINOGRAD_POINTS)
#pragma GCC unroll 6
          for (int f = 0; f < WINOGRAD_POINTS; f++) to[f] = lane[f][b];
      }
    u += n * g->channels * columns * WINOGRAD_POINTS;
  }
}

/* A tile of outputs: `outputs` of them, r rows of the kernel, LANES columns. */
typedef struct {
  const conv_geometry *g;
  const points_plan *p;
  int64_t channel; /* from one channel's points to the next */
  int64_t rows;    /* of outputs that there are, of `step` */
  int64_t lanes;   /* of columns */
  bool pooled;
} points_tile;

/* The larger of neighbours. */
PB_INLINE void store_pairs(real *out, int64_t n, vec v) {
  v = vec_in_order(vec_top(vec_firsts(v, v), vec_seconds(v, v)));
  vec_store_part(out, n, v);
}

PB_INLINE void tile(int r, int outputs, const points_tile *s, const real *t, const real *u,
                    const real *start, real *out) {
  vec sum[OUTPUTS * WINOGRAD_POINTS];
  const int64_t columns = s->g->x.kernel, right = s->g->x.dilation, channels = s->g->channels;
  const int64_t pitch = s->p->t_pitch;
#pragma GCC unroll 4
  for (int o = 0; o < outputs; o++)
#pragma GCC unroll 6
    for (int f = 0; f < WINOGRAD_POINTS; f++)
      sum[o * WINOGRAD_POINTS + f] = vec_set(start && winograd_rows_start(r, f) ? start[o] : 0);
  for (int64_t c = 0; c < channels; c++, t += s->channel) {
    const real *low = t, *high = t + 3 * pitch; /* few addresses, for registers are few */
    for (int64_t b = 0; b < columns;
         b++, low += right, high += right, u += outputs * WINOGRAD_POINTS)
#pragma GCC unroll 6
      for (int f = 0; f < WINOGRAD_POINTS; f++) {
        vec x = vec_keep(vec_load(f < 3 ? low + f * pitch : high + (f - 3) * pitch));
#pragma GCC unroll 4
        for (int o = 0; o < outputs; o++)
          sum[o * WINOGRAD_POINTS + f] += vec_set(u[o * WINOGRAD_POINTS + f]) * x;
      }
  }
  const int64_t half = s->pooled ? 2 : 1, width = s->g->x.out / half;
#pragma GCC unroll 4
  for (int o = 0; o < outputs; o++, out += s->g->y.out / half * width) {
    vec y[4], first = vec_set(start && r != 5 ? start[o] : 0);
    winograd_rows_output(r, sum + o * WINOGRAD_POINTS, y);
#pragma GCC unroll 4
    for (int k = 0; k < WINOGRAD_POINTS + 1 - r; k++) {
      vec row = r == 5 ? y[k] : first + y[k];
      if (k >= s->rows) break;
      if (s->pooled) {
        if (k % 2)
          store_pairs(out + k / 2 * width, s->lanes / 2,
                      vec_top(r == 5 ? y[k - 1] : first + y[k - 1], row));
      } else if (s->lanes == LANES) {
        vec_store(out + k * width, row);
      } else {
        vec_store_part(out + k * width, s->lanes, row);
      }
    }
  }
}

/* All outputs at one vector of columns. */
PB_INLINE void all_outputs(int r, const points_tile *s, const real *t, const real *u,
                           const real *start, real *out) {
  int64_t half = s->pooled ? 2 : 1, plane = (s->g->y.out / half) * (s->g->x.out / half);
  int64_t outputs = s->g->outputs;
  int64_t kernel = s->g->channels * s->g->x.kernel * WINOGRAD_POINTS;
  for (int64_t o = 0, n; o < outputs; o += n) {
    const real *weights = u + o * kernel, *first = start ? start + o : NULL;
    real *to = out + o * plane;
    n = together(outputs - o);
    if (OUTPUTS == 4 && n == 4) tile(r, OUTPUTS, s, t, weights, first, to);
    else if (OUTPUTS == 4 && n == 3) tile(r, 3, s, t, weights, first, to);
    else if (OUTPUTS == 2 && n == 2) tile(r, 2, s, t, weights, first, to);
    else tile(r, 1, s, t, weights, first, to);
  }
}

/* Rows [first, last) of tiles of one image. */
PB_INLINE void some_tiles(int r, const conv_sweep_job *job, const points_plan *p, int64_t first,
                          int64_t last, const real *in, real *out, real *scratch) {
  const conv_geometry *g = &job->g;
  int64_t tiles = last - first, row = first * p->step, half = job->pooled ? 2 : 1;
  int64_t high = g->y.out / half, wide = g->x.out / half, reach = wide * half;
  conv_tile copy =
      conv_load_tile(in, g->channels, g->y.in, g->x.in, row - g->y.pad, tiles * p->step + r - 1,
                     -g->x.pad, p->wide, 1, false, scratch + p->copy);
  real *t = scratch + p->t;
  winograd_points_of_rows(g->channels, tiles, p->step, p->wide, copy.base, copy.plane, p->t_pitch,
                          t);
  points_tile s = {.g = g,
                   .p = p,
                   .channel = tiles * p->wide,
                   .lanes = min_i(LANES, reach),
                   .pooled = job->pooled != NULL};
  for (int64_t i = 0; i < tiles; i++, row += p->step) {
    s.rows = min_i(p->step, g->y.out - row);
    for (int64_t j = 0; j < reach; j += LANES) {
      int64_t at = reach < LANES ? 0 : min_i(j, reach - LANES); /* the last vectors overlap */
      all_outputs(r, &s, t + i * p->wide + at, scratch, job->start, out + (row * wide + at) / half);
    }
  }
  int64_t begin = first * p->step / half, end = min_i(high, row / half);
  conv_finish_planes(job, g->outputs, (end - begin) * wide, high * wide, out + begin * wide);
}

void conv_by_points(const conv_sweep_job *job, const pb_lane *lane) {
  if (!WINOGRAD_ROWS) return; /* which leaves the code out */
  const conv_geometry *g = &job->g;
  points_plan p = plan_of(g);
  real *u = lane->scratch;
  int64_t begin, end;
  int64_t half = job->pooled ? 2 : 1, plane = (g->y.out / half) * (g->x.out / half);
  share(lane, lane->n * p.tiles, 1, &begin, &end);
  if (begin < end && g->y.kernel == 5) point_weights(5, g, job->weight, u);
  else if (begin < end) point_weights(3, g, job->weight, u);
  for (int64_t at = begin, next; at < end; at = next) {
    int64_t image = at / p.tiles, first = at - image * p.tiles;
    int64_t last = min_i(p.tiles, min_i(first + p.band, first + end - at));
    const real *in = job->in + image * g->channels * g->y.in * g->x.in;
    real *out = (job->pooled ? job->pooled : job->out) + image * g->outputs * plane;
    next = at + last - first;
    if (g->y.kernel == 5) some_tiles(5, job, &p, first, last, in, out, u);
    else some_tiles(3, job, &p, first, last, in, out, u);
  }
}
