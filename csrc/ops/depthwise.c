/* Depthwise convolutions, with as many groups as channels: every output sees one channel.
 *
 *     y[c m + q, p] = sum_t weight[c m + q, t] x[c, p stride + t dilation - pad],    0 <= q < m
 *
 * There are a few multiplications for every number that is read, so that a sweep goes over a plane once,
 * while it is in the first-level cache.
 */
#include "ops/conv_blocked.h"

enum {
  WIDE = 8,          /* neighbouring positions of a register tile */
  GROUP = 3,         /* rows, and columns, of the kernel whose gradients are summed together */
  MANY = 4,          /* outputs of a channel */
  LARGEST = 1 << 12, /* kernel */
  OUTPUTS = 256      /* of a call of dots, at most */
};

/* Where many outputs see one channel, the general sweep, which reads it once for all, is better. */
static bool fits(const conv_geometry *g) {
  return g->groups == g->channels && g->outputs < MANY * g->channels && g->y.kernel <= LARGEST &&
         g->x.kernel <= LARGEST;
}

/* --- sweeps -------------------------------------------------------------------------------------- */

/* One plane from another, along one path of each axis. */
typedef struct {
  conv_path y, x;
  int64_t height, width, out_width; /* of what is read; of what is written */
  int64_t kernel;                   /* columns of the kernel */
  const real *in, *weight;
  real *out;
  real start;
  bool add;
} plane;

/* Taps t of [0, taps) whose input p * stride + at + t * at_step lies in [0, size). */
static void valid_taps(const conv_path *a, int64_t p, int64_t size, int64_t *begin, int64_t *end) {
  int64_t t = 0, first = p * a->stride + a->at;
  while (t < a->taps && (first + t * a->at_step < 0 || first + t * a->at_step >= size)) t++;
  *begin = t;
  while (t < a->taps && first + t * a->at_step >= 0 && first + t * a->at_step < size) t++;
  *end = t;
}

/* `count` outputs from position p of row j on, which all read taps [t, t_end) of rows [s, s_end). */
PB_INLINE void outputs(int count, const plane *a, int64_t j, int64_t p, int64_t s, int64_t s_end,
                       int64_t t, int64_t t_end) {
  vec sum[WIDE];
  int64_t step = a->x.stride * LANES, out_step = a->x.step * LANES;
  real *out =
      a->out + ((a->y.first + j * a->y.step) * a->out_width + a->x.first) * LANES + p * out_step;
#pragma GCC unroll 8
  for (int i = 0; i < count; i++)
    sum[i] = a->add ? vec_load(out + i * out_step) : vec_set(a->start);
  for (; s < s_end; s++) {
    int64_t row = j * a->y.stride + a->y.at + s * a->y.at_step;
    const real *in = a->in + (row * a->width + p * a->x.stride + a->x.at) * LANES;
    const real *weight = a->weight + (a->y.tap + s * a->y.tap_step) * a->kernel + a->x.tap;
    for (int64_t k = t; k < t_end; k++) {
      vec w = vec_set(weight[k * a->x.tap_step]);
      const real *at = in + k * a->x.at_step * LANES;
#pragma GCC unroll 8
      for (int i = 0; i < count; i++) sum[i] += w * vec_load(at + i * step);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < count; i++) vec_store(out + i * out_step, sum[i]);
}

/* Positions [low, high) of an axis read no tap outside of [0, size). */
static void inside(const conv_path *a, int64_t size, int64_t *low, int64_t *high) {
  int64_t first = path_low(a), last = first + path_reach(a);
  *low = min_i(a->count, first < 0 ? (-first + a->stride - 1) / a->stride : 0);
  *high = last < size ? min_i(a->count, (size - 1 - last) / a->stride + 1) : 0;
  if (*high < *low) *high = *low;
}

static void sweep_plane(const plane *a) {
  int64_t low, high, s, s_end, t, t_end;
  inside(&a->x, a->width, &low, &high);
  for (int64_t j = 0; j < a->y.count; j++) {
    valid_taps(&a->y, j, a->height, &s, &s_end);
    for (int64_t p = 0; p < a->x.count;) {
      if (p >= low && p + WIDE <= high) {
        outputs(WIDE, a, j, p, s, s_end, 0, a->x.taps);
        p += WIDE;
      } else if (p >= low && p + WIDE / 2 <= high) {
        outputs(WIDE / 2, a, j, p, s, s_end, 0, a->x.taps);
        p += WIDE / 2;
      } else {
        valid_taps(&a->x, p, a->width, &t, &t_end);
        outputs(1, a, j, p, s, s_end, t, t_end);
        p++;
      }
    }
  }
}

/* A plane along all its paths. */
static void sweep_paths(const conv_geometry *g, bool turned, plane a) {
  for (int64_t i = 0; i < (turned ? g->y.stride : 1); i++)
    for (int64_t j = 0; j < (turned ? g->x.stride : 1); j++) {
      a.y = path_of(&g->y, turned, i), a.x = path_of(&g->x, turned, j);
      sweep_plane(&a);
    }
}

static void sweep(const conv_sweep_job *job, const pb_lane *lane) {
  const conv_geometry *g = &job->g;
  bool turned = job->turned;
  int64_t many = g->outputs / g->channels, taps = g->y.kernel * g->x.kernel;
  int64_t x_size = g->y.in * g->x.in * LANES, y_size = g->y.out * g->x.out * LANES;
  int64_t written = turned ? g->channels : g->outputs, begin, end;
  share(lane, (lane->n + LANES - 1) / LANES * written, 1, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    int64_t block = n / written, at = n % written, first = turned ? at * many : at;
    int64_t size = turned ? x_size : y_size;
    real *out = job->out + n * size;
    plane a = {.height = turned ? g->y.out : g->y.in,
               .width = turned ? g->x.out : g->x.in,
               .out_width = turned ? g->x.in : g->x.out,
               .kernel = g->x.kernel,
               .out = out,
               .start = job->start ? job->start[at] : 0,
               .add = job->add};
    for (int64_t o = first; o < first + (turned ? many : 1); o++, a.add = true) {
      a.in = turned ? job->in + (block * g->outputs + o) * y_size
                    : job->in + (block * g->channels + o / many) * x_size;
      a.weight = job->weight + o * taps;
      sweep_paths(g, turned, a);
    }
    conv_finish(job, size, out);
  }
}

static int64_t sweep_scratch(const conv_geometry *g, bool turned) {
  return (void)g, (void)turned, 0;
}

/* --- the gradient of the weights ----------------------------------------------------------------- */

static int64_t dots_outputs(const conv_geometry *g) { return min_i(OUTPUTS, g->outputs); }

/* Vectors of sums of one output: whole groups of rows, and then whole groups of vec_sums. */
static int64_t sums_of(const conv_geometry *g) {
  int64_t rows = (g->y.kernel + GROUP - 1) / GROUP * GROUP;
  return (rows * g->x.kernel + LANES - 1) / LANES * LANES;
}

static int64_t dots_scratch(const conv_geometry *g) {
  int64_t found = dots_outputs(g) * g->y.kernel * g->x.kernel + LANES;
  return sums_of(g) * LANES + found;
}

PB_INLINE vec pixel(const real *row, int64_t step, int64_t column, int64_t width) {
  return column < 0 || column >= width ? vec_set(0) : vec_load(row + column * step);
}

/* sum[s][t] += dy[p] x_s[p stride + at + t dilation] over one row of dy, for the rows x_s of GROUP rows of the
   kernel, of which those outside the image are zeros that do not move on. */
PB_INLINE void dots_row(int columns, const conv_axis *a, int64_t tap, const real *dy,
                        const real *const *x, const int64_t *step, real *sums, int64_t pitch) {
  vec sum[GROUP * GROUP];
  int64_t at = tap * a->dilation - a->pad, reach = (columns - 1) * a->dilation;
#pragma GCC unroll 3
  for (int s = 0; s < GROUP; s++)
#pragma GCC unroll 3
    for (int t = 0; t < columns; t++) sum[s * columns + t] = vec_load(sums + s * pitch + t * LANES);
  for (int64_t p = 0; p < a->out; p++) {
    vec d = vec_load(dy + p * LANES);
    int64_t c = p * a->stride + at;
    if (c >= 0 && c + reach < a->in) {
#pragma GCC unroll 3
      for (int s = 0; s < GROUP; s++)
#pragma GCC unroll 3
        for (int t = 0; t < columns; t++)
          sum[s * columns + t] += d * vec_load(x[s] + (c + t * a->dilation) * step[s]);
    } else {
#pragma GCC unroll 3
      for (int s = 0; s < GROUP; s++)
#pragma GCC unroll 3
        for (int t = 0; t < columns; t++)
          sum[s * columns + t] += d * pixel(x[s], step[s], c + t * a->dilation, a->in);
    }
  }
#pragma GCC unroll 3
  for (int s = 0; s < GROUP; s++)
#pragma GCC unroll 3
    for (int t = 0; t < columns; t++) vec_store(sums + s * pitch + t * LANES, sum[s * columns + t]);
}

/* All taps of one pair of planes, summed in vectors sums[taps + ...]. */
static void dots_plane(const conv_geometry *g, const real *x, const real *dy, real *sums) {
  static const real zeros[LANES];
  int64_t pitch = g->x.kernel * LANES;
  for (int64_t k = 0; k < g->y.kernel; k += GROUP)
    for (int64_t j = 0; j < g->y.out; j++) {
      const real *row[GROUP];
      int64_t step[GROUP];
      for (int s = 0; s < GROUP; s++) {
        int64_t r = j * g->y.stride + (k + s) * g->y.dilation - g->y.pad;
        bool seen = k + s < g->y.kernel && r >= 0 && r < g->y.in;
        row[s] = seen ? x + r * g->x.in * LANES : zeros, step[s] = seen ? LANES : 0;
      }
      const real *d = dy + j * g->x.out * LANES;
      int64_t t = 0;
      for (; t + GROUP <= g->x.kernel; t += GROUP)
        dots_row(GROUP, &g->x, t, d, row, step, sums + (k * g->x.kernel + t) * LANES, pitch);
      for (; t < g->x.kernel; t++)
        dots_row(1, &g->x, t, d, row, step, sums + (k * g->x.kernel + t) * LANES, pitch);
    }
}

static const real *dots(const conv_geometry *g, const real *x, const real *dy, int64_t blocks,
                        int64_t first, int64_t last, plane_sum *sums, real *scratch) {
  int64_t many = g->outputs / g->channels, taps = g->y.kernel * g->x.kernel;
  int64_t room = sums_of(g);
  int64_t x_size = g->y.in * g->x.in * LANES, y_size = g->y.out * g->x.out * LANES;
  real *taps_sums = scratch, *dw = scratch + room * LANES;
  for (int64_t o = first; o < last; o++) {
    memset(taps_sums, 0, (size_t)(room * LANES) * sizeof *taps_sums);
    for (int64_t b = 0; b < blocks; b++) {
      const real *from = dy + (b * g->outputs + o) * y_size;
      dots_plane(g, x + (b * g->channels + o / many) * x_size, from, taps_sums);
      if (sums) plane_sum_add(&sums[o - first], y_size / LANES, from);
    }
    for (int64_t t = 0; t < taps; t += LANES) {
      vec group[LANES];
      for (int i = 0; i < LANES; i++) group[i] = vec_load(taps_sums + (t + i) * LANES);
      vec_store(dw + (o - first) * taps + t, vec_sums(group));
    }
  }
  return dw;
}

const conv_way conv_depthwise = {fits,         sweep,        sweep_scratch, dots,
                                 dots_outputs, dots_scratch, .sums = true};
