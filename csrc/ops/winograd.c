/* Winograd's F(2x2, 3x3): outputs from inputs, or input gradients from output gradients.
 *
 * A few tiles at a time, of all images, go through
 *     V[16][C][tiles] = B' d B      M[16][outputs][tiles] = U V      y = A' M A
 * so that V, and M of some outputs, stay in the second-level cache.
 */
#include "ops/winograd.h"

#include "ops/gemm.h"
#include "ops/largest.h"

/* One direction: inputs [channels, height, width] and outputs [outputs, rows, columns]. */
typedef struct {
  int64_t channels, outputs, height, width, rows, columns, top, left;
  int64_t across, tiles; /* tiles of a row, of an image */
  int64_t step;          /* tiles at a time */
  int64_t upitch, vpitch, mpitch;
} plan;

enum {
  TILES = 66, /* at a time, at most */
  V_BYTES = 192 * 1024,
  OUTPUTS = 16,  /* of M at a time */
  LEAST = 16,    /* channels and outputs: with fewer the transforms take what the products save */
  MOST = 1 << 14 /* with more, U would be large beyond reason */
};

static plan plan_of(const conv_geometry *g, bool turned) {
  plan p = {.channels = turned ? g->outputs : g->channels,
            .outputs = turned ? g->channels : g->outputs,
            .height = turned ? g->y.out : g->y.in,
            .width = turned ? g->x.out : g->x.in,
            .rows = turned ? g->y.in : g->y.out,
            .columns = turned ? g->x.in : g->x.out,
            .top = turned ? 2 - g->y.pad : g->y.pad,
            .left = turned ? 2 - g->x.pad : g->x.pad};
  p.across = (p.columns + 1) / 2;
  p.tiles = p.across * ((p.rows + 1) / 2);
  p.step = run_length(V_BYTES, 16 * p.channels, TILES);
  p.upitch = winograd_pitch(p.outputs * p.channels);
  p.vpitch = winograd_pitch(p.channels * p.step * LANES);
  p.mpitch = winograd_pitch(OUTPUTS * p.step * LANES);
  return p;
}

static int64_t sweep_scratch(const conv_geometry *g, bool turned) {
  plan p = plan_of(g, turned);
  return 16 * (p.upitch + p.vpitch + p.mpitch) + 2 * p.step * LANES;
}

/* U = G g G'. Turned round, g is rotated by half a turn, which makes elements 0 and 3 change places, and
   channels and outputs do. */
static void transform_weights(const conv_geometry *g, bool turned, const real *w, int64_t pitch,
                              real *u) {
  static const int straight[] = {0, 1, 2, 3}, rotated[] = {3, 1, 2, 0};
  const int *to = turned ? rotated : straight;
  for (int64_t o = 0; o < g->outputs; o++)
    for (int64_t c = 0; c < g->channels; c++, w += 9) {
      real h[4][3], *out = u + (turned ? c * g->outputs + o : o * g->channels + c);
      for (int j = 0; j < 3; j++) {
        real even = (real)0.5 * (w[j] + w[6 + j]), odd = (real)0.5 * w[3 + j];
        h[0][j] = w[j], h[1][j] = even + odd, h[2][j] = even - odd, h[3][j] = w[6 + j];
      }
      for (int i = 0; i < 4; i++) {
        real even = (real)0.5 * (h[i][0] + h[i][2]), odd = (real)0.5 * h[i][1];
        real *row = out + 4 * to[i] * pitch;
        row[to[0] * pitch] = h[i][0], row[pitch] = even + odd;
        row[2 * pitch] = even - odd, row[to[3] * pitch] = h[i][2];
      }
    }
}

static void transform_inputs(const plan *p, const real *in, int64_t begin, int64_t end, real *v) {
  winograd_run r = {0};
  while (winograd_next(&r, begin, end, p->across, p->tiles)) {
    const real *plane = in + r.block * p->channels * p->height * p->width * LANES;
    real *out = v + r.done * LANES;
    int64_t size = p->height * p->width * LANES, top = 2 * r.y - p->top, left = 2 * r.x - p->left;
    for (int64_t c = 0; c < p->channels; c++, plane += size, out += p->step * LANES) {
      if (c + 1 < p->channels)
        winograd_fetch(false, plane + size, p->height, p->width, top, left, 4, 2 * r.count + 2);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++)
        winograd_input(i, plane, p->height, p->width, top, left, r.count, p->vpitch,
                       out + 4 * i * p->vpitch);
    }
  }
}

/* Two rows of A' M A, `columns` of them, stored or added; and the largest of each tile, unless `top` is
   NULL. */
PB_INLINE void output_rows(bool add, const real *m, int64_t pitch, vec start, int64_t columns,
                           real *y0, real *y1, real *top) {
  for (int64_t c = 0; c < columns; c += 2, m += LANES, y0 += 2 * LANES, y1 += 2 * LANES) {
    vec s[4], d[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      const real *mj = m + j * pitch;
      vec m1 = vec_load(mj + 4 * pitch), m2 = vec_load(mj + 8 * pitch);
      s[j] = vec_load(mj) + (m1 + m2);
      d[j] = (m1 - m2) - vec_load(mj + 12 * pitch);
    }
    vec a = start + (s[0] + (s[1] + s[2])), b = start + ((s[1] - s[2]) - s[3]);
    vec e = start + (d[0] + (d[1] + d[2])), f = start + ((d[1] - d[2]) - d[3]);
    vec_store(y0, add ? vec_load(y0) + a : a);
    vec_store(y1, add ? vec_load(y1) + e : e);
    if (c + 1 == columns) return;
    vec_store(y0 + LANES, add ? vec_load(y0 + LANES) + b : b);
    vec_store(y1 + LANES, add ? vec_load(y1 + LANES) + f : f);
    if (!top) continue;
    vec_store(top, vec_top(vec_top(vec_top(a, b), e), f));
    top += LANES;
  }
}

/* Outputs [first, last) of the tiles, `m` being theirs. What nobody wants goes to `spare`: the second half
   of the last row of tiles where that reaches over the image's end, and all that is only pooled. */
static void transform_outputs(const plan *p, const conv_sweep_job *job, const real *m,
                              int64_t first, int64_t last, int64_t begin, int64_t end,
                              real *spare) {
  winograd_run r = {0};
  while (winograd_next(&r, begin, end, p->across, p->tiles)) {
    int64_t columns = min_i(2 * r.count, p->columns - 2 * r.x);
    bool whole = 2 * r.y + 1 < p->rows;
    int64_t size = p->rows * p->columns * LANES;
    int64_t pooled_wide = p->columns / 2, pooled_size = p->rows / 2 * pooled_wide * LANES;
    for (int64_t o = first; o < last; o++) {
      int64_t number = r.block * p->outputs + o;
      real *y0 = spare, *y1 = spare, *top = NULL;
      if (job->out) {
        real *plane = job->out + number * size;
        if (o + 1 < last)
          winograd_fetch(true, plane + size, p->rows, p->columns, 2 * r.y, 2 * r.x, 2, columns);
        y0 = plane + (2 * r.y * p->columns + 2 * r.x) * LANES;
        y1 = whole ? y0 + p->columns * LANES : spare;
      }
      if (job->pooled && whole)
        top = job->pooled + number * pooled_size + (r.y * pooled_wide + r.x) * LANES;
      const real *mo = m + ((o - first) * p->step + r.done) * LANES;
      vec start = vec_set(job->start ? job->start[o] : 0);
      if (job->add) output_rows(true, mo, p->mpitch, start, columns, y0, y1, NULL);
      else output_rows(false, mo, p->mpitch, start, columns, y0, y1, top);
      if (top) conv_finish(job, columns / 2 * LANES, top);
      if (job->pooled) continue;
      conv_finish(job, columns * LANES, y0);
      if (whole) conv_finish(job, columns * LANES, y1);
    }
  }
}

static void sweep(const conv_sweep_job *job, const pb_lane *lane) {
  plan p = plan_of(&job->g, job->turned);
  int64_t all = (lane->n + LANES - 1) / LANES * p.tiles, begin, end;
  share(lane, all, p.step, &begin, &end);
  if (begin >= end) return;
  real *u = lane->scratch, *v = u + 16 * p.upitch, *m = v + 16 * p.vpitch,
       *spare = m + 16 * p.mpitch;
  transform_weights(&job->g, job->turned, job->weight, p.upitch, u);
  for (int64_t at = begin; at < end; at += p.step) {
    int64_t stop = min_i(at + p.step, end);
    transform_inputs(&p, job->in, at, stop, v);
    for (int64_t o = 0; o < p.outputs; o += OUTPUTS) {
      int64_t last = min_i(o + OUTPUTS, p.outputs);
      for (int i = 0; i < 16; i++)
        gemm_n(last - o, (stop - at) * LANES, p.channels, u + i * p.upitch + o * p.channels,
               p.channels, 1, v + i * p.vpitch, p.step * LANES, false, NULL, m + i * p.mpitch,
               p.step * LANES);
      transform_outputs(&p, job, m, o, last, at, stop, spare);
    }
  }
}

static bool fits(const conv_geometry *g) {
  const conv_axis *y = &g->y, *x = &g->x;
  return g->groups == 1 && y->kernel == 3 && x->kernel == 3 && y->stride == 1 && x->stride == 1 &&
         y->dilation == 1 && x->dilation == 1 && y->pad <= 2 && x->pad <= 2 &&
         g->channels >= LEAST && g->channels <= MOST && g->outputs >= LEAST && g->outputs <= MOST;
}

const conv_way conv_winograd = {.fits = fits,
                                .sweep = sweep,
                                .sweep_scratch = sweep_scratch,
                                .dots = winograd_dots,
                                .dots_outputs = winograd_dots_outputs,
                                .dots_scratch = winograd_dots_scratch,
                                .pools = true};
