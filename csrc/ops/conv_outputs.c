/* A sweep with outputs in the lanes of vectors, for small plain images.
 *
 * Where rows are much shorter than vectors, lanes of columns would be empty. Where outputs fill vectors,
 * LANES of them stand side by side instead: their weights are turned once, a pixel is broadcast to them,
 * and what comes out is turned back. Kernels of three and five rows take fewer multiplications, in float32
 * (winograd_rows.h); all other sums run as everywhere, so that the bits are the same.
 */
#include "ops/conv_sweep.h"
#include "ops/winograd_rows.h"

enum {
  LEAST = 4,                         /* positions of a row in a register tile: at least, */
  PIECE = 12,                        /* and at most */
  PAIR = VEC_REGISTERS == 32 ? 2 : 1 /* rows of one */
};

/* Some channels of an image, and the weights of LANES outputs for them. */
typedef struct {
  int64_t channels, rows, columns; /* of the kernel */
  int64_t plane, pitch, down, right;
  const real *weight; /* [channels, rows, columns, LANES] */
  vec start;
  bool add;
} outputs_terms;

/* r x c positions, each LANES outputs. */
PB_INLINE void tile(int r, int c, const outputs_terms *s, const real *in, real *out,
                    int64_t out_row) {
  vec sum[PAIR * PIECE];
#pragma GCC unroll 2
  for (int i = 0; i < r; i++)
#pragma GCC unroll 12
    for (int j = 0; j < c; j++)
      sum[i * c + j] = s->add ? vec_load(out + i * out_row + j * LANES) : s->start;
  const real *w = s->weight;
  const int64_t rows = s->rows, columns = s->columns, pitch = s->pitch, right = s->right;
  for (int64_t k = 0; k < s->channels; k++)
    for (int64_t a = 0; a < rows; a++) {
      const real *x = in + k * s->plane + a * s->down;
      for (int64_t b = 0; b < columns; b++, w += LANES, x += right) {
        vec weight = vec_keep(vec_load(w));
#pragma GCC unroll 2
        for (int i = 0; i < r; i++)
#pragma GCC unroll 12
          for (int j = 0; j < c; j++) sum[i * c + j] += vec_set(x[i * pitch + j]) * weight;
      }
    }
#pragma GCC unroll 2
  for (int i = 0; i < r; i++)
#pragma GCC unroll 12
    for (int j = 0; j < c; j++) vec_store(out + i * out_row + j * LANES, sum[i * c + j]);
}

PB_INLINE void some_rows(int r, int64_t c, const outputs_terms *s, const real *in, real *out,
                         int64_t out_row) {
  switch (c) {
    case LEAST: tile(r, LEAST, s, in, out, out_row); break;
    case 5: tile(r, 5, s, in, out, out_row); break;
    case 6: tile(r, 6, s, in, out, out_row); break;
    case 7: tile(r, 7, s, in, out, out_row); break;
    case 8: tile(r, 8, s, in, out, out_row); break;
    case 9: tile(r, 9, s, in, out, out_row); break;
    case 10: tile(r, 10, s, in, out, out_row); break;
    case 11: tile(r, 11, s, in, out, out_row); break;
    default: tile(r, PIECE, s, in, out, out_row);
  }
}

/* Rows are cut into pieces of one length, of which the last is shorter. */
static int64_t piece_of(int64_t wide) {
  int64_t pieces = (wide + PIECE - 1) / PIECE;
  return (wide + pieces - 1) / pieces;
}

static bool pieces_fit(int64_t wide) { return (wide - 1) % piece_of(wide) + 1 >= LEAST; }

/* Positions [high, wide] of the image `in`. */
static void positions(const outputs_terms *s, int64_t high, int64_t wide, const real *in,
                      real *out) {
  int64_t piece = piece_of(wide);
  for (int64_t i = 0; i < high;) {
    int64_t r = min_i(PAIR, high - i);
    for (int64_t j = 0; j < wide; j += piece) {
      int64_t n = min_i(piece, wide - j);
      const real *from = in + i * s->pitch + j;
      real *to = out + (i * wide + j) * LANES;
      if (r == PAIR) some_rows(PAIR, n, s, from, to, wide * LANES);
      else some_rows(1, n, s, from, to, wide * LANES);
    }
    i += r;
  }
}

/* Rows of n reals, a pitch apart, as columns; and back. The last vectors of them overlap. */
static void turn_in(int64_t n, const real *rows, int64_t pitch, real *out) {
  for (int64_t at = 0; at < n; at += LANES) {
    int64_t first = min_i(at, n - LANES);
    vec v[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) v[i] = vec_load(rows + i * pitch + first);
    vec_turn(v);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) vec_store(out + (first + i) * LANES, v[i]);
  }
}

static void turn_out(int64_t n, const real *in, real *rows, int64_t pitch) {
  for (int64_t i = 0; i < LANES && n < LANES; i++)
    for (int64_t at = 0; at < n; at++) rows[i * pitch + at] = in[at * LANES + i];
  for (int64_t at = 0; at < n && n >= LANES; at += LANES) {
    int64_t first = min_i(at, n - LANES);
    vec v[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) v[i] = vec_load(in + (first + i) * LANES);
    vec_turn(v);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) vec_store(rows + i * pitch + first, v[i]);
  }
}

/* --- with fewer multiplications, see winograd_rows.h ----------------------------------------------- */

/* [kernel, LANES] of `columns` columns -> [points][columns, LANES], `pitch` reals apart. */
PB_INLINE void point_weights(int r, int64_t channels, int64_t columns, const real *turned,
                             int64_t pitch, real *u) {
  for (int64_t c = 0; c < channels; c++, turned += r * columns * LANES)
    for (int64_t b = 0; b < columns; b++, u += LANES) {
      vec g[5], out[WINOGRAD_POINTS];
#pragma GCC unroll 5
      for (int a = 0; a < r; a++) g[a] = vec_load(turned + (a * columns + b) * LANES);
      winograd_rows_weight(r, g, out);
#pragma GCC unroll 6
      for (int f = 0; f < WINOGRAD_POINTS; f++) vec_store(u + f * pitch, out[f]);
    }
}

PB_INLINE void rows_of_point(int r, vec start, const real *m, int64_t pitch, vec *y) {
  vec in[WINOGRAD_POINTS];
#pragma GCC unroll 6
  for (int f = 0; f < WINOGRAD_POINTS; f++) in[f] = vec_load(m + f * pitch);
  winograd_rows_output(r, in, y);
#pragma GCC unroll 4
  for (int k = 0; k < WINOGRAD_POINTS + 1 - r; k++) y[k] = start + y[k];
}

/* [points][tiles, wide, LANES] -> the rows [high, wide, LANES] */
PB_INLINE void rows_of_points(int r, int64_t high, int64_t wide, vec start, const real *m,
                              int64_t pitch, real *out) {
  int step = WINOGRAD_POINTS + 1 - r;
  for (int64_t i = 0; i < high; i += step)
    for (int64_t j = 0; j < wide; j++, m += LANES) {
      vec y[4];
      rows_of_point(r, start, m, pitch, y);
#pragma GCC unroll 4
      for (int k = 0; k < step; k++)
        if (i + k < high) vec_store(out + ((i + k) * wide + j) * LANES, y[k]);
    }
}

/* The same, and of 2 x 2 each the largest: [high / 2, wide / 2, LANES]. */
PB_INLINE void pools_of_points(int r, int64_t high, int64_t wide, vec start, const real *m,
                               int64_t pitch, real *out) {
  int step = WINOGRAD_POINTS + 1 - r;
  for (int64_t i = 0; i < high; i += step, m += wide * LANES)
    for (int64_t j = 0; j + 1 < wide; j += 2) {
      vec a[4], b[4];
      rows_of_point(r, start, m + j * LANES, pitch, a);
      rows_of_point(r, start, m + (j + 1) * LANES, pitch, b);
#pragma GCC unroll 2
      for (int k = 0; k < step; k += 2)
        if (i + k + 1 < high)
          vec_store(out + ((i + k) / 2 * (wide / 2) + j / 2) * LANES,
                    vec_top(vec_top(a[k], a[k + 1]), vec_top(b[k], b[k + 1])));
    }
}

/* The sizes of the parts, and their places in the scratch. */
typedef struct {
  int64_t step, tiles, bands, high, wide;
  int64_t u_pitch, t_pitch, m_pitch;
  int64_t u, t, m, sums, copy, room;
} points_plan;

static int64_t padded(const conv_axis *a) {
  return (a->out - 1) + (a->kernel - 1) * a->dilation + 1;
}

static points_plan points_of(const conv_sweep_part *s) {
  const conv_geometry *g = &s->job->g;
  int64_t columns = g->x.kernel, step = winograd_rows_out(g->y.kernel);
  points_plan p = {.step = step, .tiles = (g->y.out + step - 1) / step, .wide = padded(&g->x)};
  p.bands = (p.tiles + PAIR - 1) / PAIR;
  p.high = p.tiles * step + g->y.kernel - 1;
  p.u_pitch = s->chunk * columns * LANES;
  p.t_pitch = s->chunk * p.tiles * p.wide + LANES; /* with a vector to write over its end */
  p.m_pitch = p.tiles * g->x.out * LANES;
  p.u = s->chunk * g->y.kernel * columns * LANES;
  p.t = p.u + WINOGRAD_POINTS * p.u_pitch;
  p.m = p.t + WINOGRAD_POINTS * p.t_pitch;
  p.sums = p.m + WINOGRAD_POINTS * p.m_pitch;
  p.copy = p.sums + g->y.out * g->x.out * LANES;
  p.room = p.copy + tile_size(s->chunk, p.high, p.wide, 1, 1);
  return p;
}

/* By the geometry alone, for other sums have other bits. */
static bool takes_points(const conv_sweep_part *s) {
  const conv_geometry *g = &s->job->g;
  return winograd_rows_fit(&g->y) && points_of(s).room <= CONV_TILE;
}

/* Bands [first, last) of PAIR rows of tiles of one image, LANES outputs from o on. */
static void by_points(const conv_sweep_part *s, const points_plan *p, int64_t first, int64_t last,
                      bool turn, int64_t o, const real *image, real *out, real *scratch) {
  const conv_geometry *g = &s->job->g;
  int64_t r = g->y.kernel, columns = g->x.kernel, taps = r * columns, plane = g->y.in * g->x.in;
  int64_t half = s->job->pooled ? 2 : 1;
  bool margin = p->high != g->y.in || p->wide != g->x.in || g->y.pad || g->x.pad;
  real *u = scratch + p->u, *t = scratch + p->t, *sums = scratch + p->sums;
  for (int64_t c = 0; c < g->channels; c += s->chunk) {
    int64_t channels = min_i(s->chunk, g->channels - c);
    const real *in = image + c * plane;
    if (margin)
      in = conv_load_tile(in, channels, g->y.in, g->x.in, -g->y.pad, p->high, -g->x.pad, p->wide, 1,
                          false, scratch + p->copy)
               .base;
    if (turn) {
      turn_in(channels * taps, s->job->weight + (o * g->channels + c) * taps, g->channels * taps,
              scratch);
      if (r == 5) point_weights(5, channels, columns, scratch, p->u_pitch, u);
      else point_weights(3, channels, columns, scratch, p->u_pitch, u);
    }
    winograd_points_of_rows(channels, p->tiles, p->step, p->wide, in, p->high * p->wide, p->t_pitch,
                            t);
    for (int64_t band = first; band < last; band++) {
      int64_t tile = band * PAIR, tiles = min_i(PAIR, p->tiles - tile), row = tile * p->step;
      /* points of several chunks add up; those of one stay in the first cache */
      real *m = scratch + p->m + (s->chunk < g->channels ? tile * g->x.out * LANES : 0);
      for (int f = 0; f < WINOGRAD_POINTS; f++) {
        outputs_terms terms = {.channels = channels,
                               .rows = 1,
                               .columns = columns,
                               .plane = p->tiles * p->wide,
                               .pitch = p->wide,
                               .right = g->x.dilation,
                               .weight = u + f * p->u_pitch,
                               .start = vec_set(0),
                               .add = c > 0};
        positions(&terms, tiles, g->x.out, t + f * p->t_pitch + tile * p->wide, m + f * p->m_pitch);
      }
      if (c + channels < g->channels) continue;
      int64_t high = min_i(tiles * p->step, g->y.out - row), wide = g->x.out;
      vec start = s->job->start ? vec_load(s->job->start + o) : vec_set(0);
      real *to = sums + row / half * (wide / half) * LANES;
      if (s->job->pooled && r == 5) pools_of_points(5, high, wide, start, m, p->m_pitch, to);
      else if (s->job->pooled) pools_of_points(3, high, wide, start, m, p->m_pitch, to);
      else if (r == 5) rows_of_points(5, high, wide, start, m, p->m_pitch, to);
      else rows_of_points(3, high, wide, start, m, p->m_pitch, to);
    }
  }
  int64_t wide = g->x.out / half, count = g->y.out / half * wide;
  int64_t begin = first * PAIR * p->step / half * wide;
  int64_t n = min_i(count, last * PAIR * p->step / half * wide) - begin;
  out += o * count + begin;
  turn_out(n, sums + begin * LANES, out, count);
  conv_finish_planes(s->job, LANES, n, count, out);
}

/* All images and outputs, a band at a time where whole images are too few for the threads. */
static void by_outputs_and_points(const conv_sweep_part *s, const pb_lane *lane) {
  const conv_geometry *g = &s->job->g;
  points_plan p = points_of(s);
  int64_t items = lane->n * (g->outputs / LANES), half = s->job->pooled ? 2 : 1, begin, end;
  real *out = s->job->pooled ? s->job->pooled : s->job->out;
  share(lane, items * p.bands, items % lane->parts ? 1 : p.bands, &begin, &end);
  for (int64_t at = begin, next; at < end; at = next) {
    int64_t item = at / p.bands, image = item % lane->n, o = item / lane->n * LANES;
    next = min_i(end, (item + 1) * p.bands);
    bool turn = image == 0 || at == begin || s->chunk < g->channels;
    by_points(s, &p, at - item * p.bands, next - item * p.bands, turn, o,
              s->job->in + image * g->channels * g->y.in * g->x.in,
              out + image * g->outputs * (g->y.out / half) * (g->x.out / half), lane->scratch);
  }
}

/* --- all sums -------------------------------------------------------------------------------------- */

/* Whether outputs fill vectors, and columns do not. */
static bool outputs_fit(const conv_sweep_part *s) {
  const conv_sweep_job *job = s->job;
  const conv_geometry *g = &job->g;
  int64_t wide = g->x.out, whole = (wide + LANES - 1) / LANES * LANES, count = g->y.out * wide;
  int64_t last = (g->channels - 1) % s->chunk + 1; /* channels of the last chunk */
  return LANES > 1 && !job->turned && !job->add && !job->blocked && g->groups == 1 &&
         g->y.stride == 1 && g->x.stride == 1 && 4 * wide <= 3 * whole && pieces_fit(wide) &&
         count >= 2 * LANES && last * g->y.kernel * g->x.kernel >= LANES && g->outputs % LANES == 0;
}

bool conv_pools_outputs(const conv_sweep_part *s) { return outputs_fit(s) && takes_points(s); }

bool conv_takes_outputs(const conv_sweep_part *s, const pb_lane *lane) {
  const conv_geometry *g = &s->job->g;
  if (!outputs_fit(s)) return false;
  int64_t terms = s->chunk * g->y.kernel * g->x.kernel, count = g->y.out * g->x.out;
  int64_t copy = tile_size(s->chunk, padded(&g->y), padded(&g->x), 1, 1);
  return takes_points(s) || ((terms + count) * LANES + copy <= CONV_TILE &&
                             lane->n * (g->outputs / LANES) % lane->parts == 0);
}

void conv_by_outputs(const conv_sweep_part *s, const pb_lane *lane) {
  const conv_sweep_job *job = s->job;
  const conv_geometry *g = &job->g;
  if (takes_points(s)) {
    by_outputs_and_points(s, lane);
    return;
  }
  int64_t taps = g->y.kernel * g->x.kernel, count = g->y.out * g->x.out, begin, end;
  int64_t high = padded(&g->y), wide = padded(&g->x), plane = g->y.in * g->x.in;
  bool margin = high != g->y.in || wide != g->x.in || g->y.pad || g->x.pad;
  real *turned = lane->scratch, *sums = turned + s->chunk * taps * LANES;
  real *copy = sums + count * LANES;
  share(lane, lane->n * (g->outputs / LANES), 1, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    int64_t image = n % lane->n, o = n / lane->n * LANES;
    const real *in = job->in + image * g->channels * plane;
    for (int64_t c = 0; c < g->channels; c += s->chunk) {
      int64_t channels = min_i(s->chunk, g->channels - c);
      outputs_terms terms = {.channels = channels,
                             .rows = g->y.kernel,
                             .columns = g->x.kernel,
                             .plane = margin ? high * wide : plane,
                             .pitch = margin ? wide : g->x.in,
                             .right = g->x.dilation,
                             .weight = turned,
                             .start = job->start ? vec_load(job->start + o) : vec_set(0),
                             .add = c > 0};
      terms.down = g->y.dilation * terms.pitch;
      const real *from = in + c * plane;
      if (margin)
        from = conv_load_tile(from, channels, g->y.in, g->x.in, -g->y.pad, high, -g->x.pad, wide, 1,
                              false, copy)
                   .base;
      if (image == 0 || n == begin || s->chunk < g->channels)
        turn_in(channels * taps, job->weight + (o * g->channels + c) * taps, g->channels * taps,
                turned);
      positions(&terms, g->y.out, g->x.out, from, sums);
    }
    real *out = job->out + (image * g->outputs + o) * count;
    turn_out(count, sums, out, count);
    conv_finish_planes(job, LANES, count, count, out);
  }
}
