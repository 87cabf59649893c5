/* The gradient of a convolution's weights, and of its bias.
 *
 *     dweight[o, c, t] = sum over images and positions p of dy[o, p] x[c, p stride + t dilation - pad]
 *     dbias[o]         = sum over images and positions p of dy[o, p]
 *
 * Every element is a vector of partial sums, one per lane, that is folded at the end. A panel of
 * them lives in scratch while all images go by; tiles of them are in registers over a band of rows.
 */
#include "ops/conv_dots.h"

#include "ops/conv_blocked.h"
#include "ops/gradient.h"

enum {
  X,
  WEIGHT,
  BIAS,
  PANEL = 1024, /* elements of dweight that are summed while the images go by once */
  ROW = 4,      /* outputs of a register tile */
  TAPS = VEC_REGISTERS == 32 ? 6 : 3
};

/* sum[i, j] += dy[i, p] x[p + at[j]] over the positions of a band. */
PB_INLINE void dots(int m, int v, int64_t rows, int64_t units, conv_signal d, const real *x,
                    int64_t x_row, int64_t x_unit, const int64_t *at, real *sums, int64_t ld) {
  vec sum[ROW * TAPS];
  const real *from[TAPS];
#pragma GCC unroll 6
  for (int j = 0; j < v; j++) from[j] = x + at[j];
#pragma GCC unroll 4
  for (int i = 0; i < m; i++)
#pragma GCC unroll 6
    for (int j = 0; j < v; j++) sum[i * v + j] = vec_load(sums + (i * ld + j) * LANES);
  for (int64_t r = 0; r < rows; r++) {
    int64_t there = r * x_row;
    const real *dy = d.dy + r * d.row;
    for (int64_t u = 0; u < units; u++, there += x_unit, dy += d.unit) {
      vec xv[TAPS];
#pragma GCC unroll 6
      for (int j = 0; j < v; j++) xv[j] = vec_load(from[j] + there);
#pragma GCC unroll 4
      for (int i = 0; i < m; i++) {
        vec dv = vec_load(dy + i * d.plane);
#pragma GCC unroll 6
        for (int j = 0; j < v; j++) sum[i * v + j] += dv * xv[j];
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < m; i++)
#pragma GCC unroll 6
    for (int j = 0; j < v; j++) vec_store(sums + (i * ld + j) * LANES, sum[i * v + j]);
}

#define DOTS(M, V) \
  dots(M, V, rows, units, e, x->base, x_row, x->unit, at + j, at_sums + j * LANES, ld)
void conv_sum_dots(int64_t outputs, int64_t taps, int64_t rows, int64_t units, conv_signal d,
                   const conv_tile *x, int64_t x_row, const int64_t *at, real *sums, int64_t ld) {
  for (int64_t i = 0; i < outputs;) {
    int64_t left = outputs - i;
    int m = left == 5 || left == 6 ? 3 : (int)min_i(ROW, left); /* 3 + 3 beats 4 + 2 */
    conv_signal e = d;
    e.dy += i * d.plane;
    real *at_sums = sums + i * ld * LANES;
    int64_t j = 0;
    for (; j + TAPS <= taps; j += TAPS)
      if (m == 4) DOTS(4, TAPS);
      else if (m == 3) DOTS(3, TAPS);
      else if (m == 2) DOTS(2, TAPS);
      else DOTS(1, TAPS);
    for (; j < taps; j++)
      if (m == 4) DOTS(4, 1);
      else if (m == 3) DOTS(3, 1);
      else if (m == 2) DOTS(2, 1);
      else DOTS(1, 1);
    i += m;
  }
}

/* --- panels --------------------------------------------------------------------------------------- */

/* Outputs [o, o_end) of one group by its channels [c, c_end): all taps of a channel go together. */
typedef struct {
  int64_t o, o_end, c, c_end;
} panel;

typedef struct {
  const conv_dots_job *job;
  int64_t images, cell, units;
  int64_t channels, taps; /* of a group; of a channel */
  int64_t rows;           /* positions' rows of a band */
  int64_t *at;
  real *sums, *copy, *signal;
} work;

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Channels and outputs of a panel. */
static int64_t panel_channels(const conv_geometry *g) {
  int64_t taps = g->y.kernel * g->x.kernel;
  int64_t pixels = ((g->y.kernel - 1) * g->y.dilation + 1) *
                   ((g->x.out - 1) * g->x.stride + (g->x.kernel - 1) * g->x.dilation + 1);
  int64_t fit = min_i(PANEL / (2 * ROW * taps), CONV_TILE / (2 * LANES * pixels));
  return most(1, min_i(g->channels / g->groups, fit));
}
static int64_t panel_outputs(const conv_geometry *g) {
  int64_t terms = panel_channels(g) * g->y.kernel * g->x.kernel;
  return min_i(g->outputs / g->groups, most(ROW, PANEL / terms / ROW * ROW));
}

static int64_t copy_size(const conv_geometry *g, int64_t channels, int64_t rows, int64_t cell) {
  return tile_size(channels, (rows - 1) * g->y.stride + (g->y.kernel - 1) * g->y.dilation + 1,
                   (g->x.out - 1) * g->x.stride + (g->x.kernel - 1) * g->x.dilation + 1,
                   g->x.stride, cell);
}

/* Reals of dy's rows with zeros up to a whole vector. */
static int64_t signal_size(const conv_geometry *g, int64_t rows) {
  return panel_outputs(g) * rows * ((g->x.out + LANES - 1) / LANES * LANES);
}

/* Rows of positions whose x, and whose dy for a few outputs, stay in the nearest caches. */
static int64_t band_rows(const conv_geometry *g, int64_t cell) {
  int64_t rows = g->y.out, channels = panel_channels(g);
  while (rows > 1 &&
         (copy_size(g, channels, rows, cell) > CONV_TILE || signal_size(g, rows) > CONV_TILE))
    rows = (rows + 1) / 2;
  return rows;
}

static int64_t whole_lines(int64_t n) { return (n + 15) / 16 * 16; }

int64_t conv_dots_scratch(const conv_geometry *g) {
  int64_t channels = panel_channels(g), outputs = panel_outputs(g);
  int64_t terms = channels * g->y.kernel * g->x.kernel;
  int64_t lists = whole_lines(terms) * (int64_t)(sizeof(int64_t) / sizeof(real));
  int64_t sums = whole_lines(outputs * terms + LANES) * (LANES + 1);
  int64_t copy =
      most(CONV_TILE, most(copy_size(g, channels, 1, 1), copy_size(g, channels, 1, LANES)));
  const conv_way *way = conv_way_for(g);
  int64_t plane_sums = way ? way->dots_outputs(g) * 2 * LANES : 0;
  return most(way ? plane_sums + way->dots_scratch(g) : 0,
              lists + sums + whole_lines(copy) + most(CONV_TILE, signal_size(g, 1)) + LANES);
}

/* dy of the panel's outputs in rows [j, j_end) of an image, where the last vector of a row is whole. */
static conv_signal load_signal(const work *w, const real *dy, int64_t outputs, int64_t j,
                               int64_t rows) {
  const conv_geometry *g = &w->job->g;
  int64_t width = g->x.out, padded = (width + LANES - 1) / LANES * LANES;
  if (w->job->blocked || padded == width) {
    int64_t row = width * w->cell;
    return (conv_signal){dy + j * row, g->y.out * row, row, LANES};
  }
  real *copy = w->signal;
  for (int64_t o = 0; o < outputs; o++)
    for (int64_t r = j; r < j + rows; r++, copy += padded) {
      memcpy(copy, dy + (o * g->y.out + r) * width, (size_t)width * sizeof *copy);
      memset(copy + width, 0, (size_t)(padded - width) * sizeof *copy);
    }
  return (conv_signal){w->signal, rows * padded, padded, LANES};
}

/* Where the panel's taps lie from a position. */
static void list_taps(const work *w, const conv_tile *t, int64_t channels) {
  const conv_geometry *g = &w->job->g;
  int64_t *at = w->at;
  for (int64_t c = 0; c < channels; c++)
    for (int64_t i = 0; i < g->y.kernel; i++)
      for (int64_t j = 0; j < g->x.kernel; j++)
        *at++ = c * t->plane + i * g->y.dilation * t->row + tile_column(t, j * g->x.dilation);
}

/* The panel's sums over all images. */
static void sum_panel(const work *w, panel p) {
  const conv_geometry *g = &w->job->g;
  int64_t outputs = p.o_end - p.o, channels = p.c_end - p.c, terms = channels * w->taps;
  int64_t group = p.o / (g->outputs / g->groups);
  int64_t plane = g->y.in * g->x.in * w->cell, signals = g->y.out * g->x.out * w->cell;
  int64_t units = (g->x.out + w->units - 1) / w->units;
  int64_t columns = (g->x.out - 1) * g->x.stride + (g->x.kernel - 1) * g->x.dilation + 1;
  memset(w->sums, 0, (size_t)(outputs * terms * LANES) * sizeof *w->sums);
  for (int64_t n = 0; n < w->images; n++) {
    const real *x = w->job->x + (n * g->channels + group * w->channels + p.c) * plane;
    const real *dy = w->job->dy + (n * g->outputs + p.o) * signals;
    for (int64_t j = 0; j < g->y.out; j += w->rows) {
      int64_t rows = min_i(w->rows, g->y.out - j);
      conv_tile t = conv_load_tile(x, channels, g->y.in, g->x.in, j * g->y.stride - g->y.pad,
                                   (rows - 1) * g->y.stride + (g->y.kernel - 1) * g->y.dilation + 1,
                                   -g->x.pad, columns, g->x.stride, w->job->blocked, w->copy);
      list_taps(w, &t, channels);
      conv_sum_dots(outputs, terms, rows, units, load_signal(w, dy, outputs, j, rows), &t,
                    g->y.stride * t.row, w->at, w->sums, terms);
    }
  }
}

void conv_fold(const real *sums, int64_t count, real *out) {
  vec group[LANES];
  for (int64_t i = 0; i < count; i += LANES) {
    for (int k = 0; k < LANES; k++)
      group[k] = i + k < count ? vec_load(sums + (i + k) * LANES) : vec_set(0);
    vec_store(out + i, vec_sums(group));
  }
}

/* A part of a parameter's gradient goes to the optimiser, or into the gradient vector. */
static void hand_over(const pb_instr *k, const pb_lane *lane, int j, int64_t begin, int64_t count,
                      const real *g) {
  if (k->fused_update) {
    update_parameters(lane, k->in[j], begin, count, g);
    return;
  }
  real *d = (real *)lane->ptr[k->din[j]] + begin;
  for (int64_t i = 0; i < count; i++) d[i] = g[i] + (k->add[j] ? d[i] : 0);
}

static void weights(const work *w, const pb_instr *k, const pb_lane *lane, int64_t begin,
                    int64_t end) {
  const conv_geometry *g = &w->job->g;
  int64_t step = panel_outputs(g), own = g->outputs / g->groups, channels = panel_channels(g);
  for (int64_t o = begin, o_end; o < end; o = o_end) {
    o_end = min_i(min_i(end, o + step), (o / own + 1) * own);
    for (int64_t c = 0; c < w->channels; c += channels) {
      panel p = {o, o_end, c, min_i(w->channels, c + channels)};
      int64_t terms = (p.c_end - c) * w->taps, row = w->channels * w->taps;
      real *found = w->sums + (o_end - o) * terms * LANES;
      sum_panel(w, p);
      conv_fold(w->sums, (o_end - o) * terms, found);
      if (terms == row) hand_over(k, lane, WEIGHT, o * row, (o_end - o) * row, found);
      else
        for (int64_t i = 0; i < o_end - o; i++)
          hand_over(k, lane, WEIGHT, (o + i) * row + c * w->taps, terms, found + i * terms);
    }
  }
}

/* The sum over the planes of output o. */
static void hand_over_sum(const pb_instr *k, const pb_lane *lane, int64_t o, plane_sum s) {
  vec group[LANES] = {s.even + s.odd};
  real found[LANES];
  vec_store(found, vec_sums(group));
  hand_over(k, lane, BIAS, o, 1, found);
}

/* Likewise where there is a faster way, which may sum up for the bias as well. */
static void fast_weights(const conv_way *way, const work *w, const pb_instr *k, const pb_lane *lane,
                         int64_t begin, int64_t end, bool bias) {
  const conv_geometry *g = &w->job->g;
  int64_t step = way->dots_outputs(g), row = w->channels * w->taps;
  plane_sum *sums = lane->scratch;
  for (int64_t o = begin; o < end; o += step) {
    int64_t last = min_i(end, o + step);
    for (int64_t i = 0; i < last - o && bias; i++) sums[i] = (plane_sum){vec_set(0), vec_set(0)};
    const real *found = way->dots(g, w->job->x, w->job->dy, w->images, o, last, bias ? sums : NULL,
                                  (real *)(sums + step));
    hand_over(k, lane, WEIGHT, o * row, (last - o) * row, found);
    for (int64_t i = 0; i < last - o && bias; i++) hand_over_sum(k, lane, o + i, sums[i]);
  }
}

static void biases(const work *w, const pb_instr *k, const pb_lane *lane) {
  int64_t size = lane->plan->tensor[k->out].size / w->job->signals * w->cell, begin, end;
  share(lane, w->job->signals, 1, &begin, &end);
  for (int64_t o = begin; o < end; o++) {
    plane_sum sum = {vec_set(0), vec_set(0)};
    for (int64_t n = 0; n < w->images; n++) {
      const real *dy = w->job->signal + (n * w->job->signals + o) * size;
      int64_t whole = size / LANES;
      plane_sum_add(&sum, whole, dy);
      if (whole * LANES < size) sum.odd += vec_load_part(dy + whole * LANES, size - whole * LANES);
    }
    hand_over_sum(k, lane, o, sum);
  }
}

void conv_dots(const conv_dots_job *job, const pb_instr *k, const pb_lane *lane) {
  const conv_geometry *g = &job->g;
  int64_t terms = panel_channels(g) * g->y.kernel * g->x.kernel;
  work w = {.job = job,
            .images = job->blocked ? (lane->n + LANES - 1) / LANES : lane->n,
            .cell = job->blocked ? LANES : 1,
            .units = job->blocked ? 1 : LANES,
            .channels = g->channels / g->groups,
            .taps = g->y.kernel * g->x.kernel,
            .rows = band_rows(g, job->blocked ? LANES : 1),
            .at = lane->scratch};
  w.copy = (real *)(w.at + whole_lines(terms));
  w.signal = w.copy + whole_lines(most(CONV_TILE, copy_size(g, panel_channels(g), 1, w.cell)));
  w.sums = w.signal + most(CONV_TILE, signal_size(g, 1));
  int64_t begin, end;
  share(lane, g->outputs, 1, &begin, &end);
  const conv_way *way = job->blocked ? conv_way_for(g) : NULL;
  bool weight = k->fused_update || k->din[WEIGHT] >= 0;
  bool bias = k->nin > BIAS && (k->fused_update || k->din[BIAS] >= 0);
  bool both = weight && bias && way && way->sums && job->signal == job->dy;
  if (weight && way) fast_weights(way, &w, k, lane, begin, end, both);
  else if (weight) weights(&w, k, lane, begin, end);
  if (bias && !both) biases(&w, k, lane);
}
