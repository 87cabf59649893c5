/* Convolutions of single pixels, kernel 1 x 1 and stride 1: a matrix product over channels.
 *
 *     y[o, p] = sum_c weight[o, c] x[c, p]      dweight[o, c] = sum_p dy[o, p] x[c, p]
 *
 * The planes of an image lie far apart, so a run of pixels of all channels is first copied to where it is
 * dense.
 */
#include "ops/conv_blocked.h"
#include "ops/gemm.h"

enum {
  MOST = 1 << 20,         /* channels and outputs */
  RUN_BYTES = 128 * 1024, /* of a run of all channels */
  RUN = 96,               /* pixels, at most: a multiple of gemm.h's register tiles */
  OUTPUTS = 16,           /* whose products are made at a time */
  SUM_BYTES = 512 * 1024  /* of dw */
};

static bool fits(const conv_geometry *g) {
  const conv_axis *y = &g->y, *x = &g->x;
  return g->groups == 1 && y->kernel == 1 && x->kernel == 1 && y->stride == 1 && x->stride == 1 &&
         y->pad == 0 && x->pad == 0 && y->in == y->out && x->in == x->out && g->channels <= MOST &&
         g->outputs <= MOST;
}

static int64_t run_of(int64_t channels) { return run_length(RUN_BYTES, channels, RUN); }

/* Rows [channels, count * LANES] from planes of `size` pixels, to rows of `run` pixels. */
static void copy_run(const real *in, int64_t channels, int64_t size, int64_t count, int64_t run,
                     real *out) {
  for (int64_t c = 0; c < channels; c++, in += size * LANES, out += run * LANES) {
    if (c + 1 < channels) run_fetch(false, in + size * LANES, count);
    for (int64_t i = 0; i < count * LANES; i += LANES) vec_store(out + i, vec_load(in + i));
  }
}

/* Asks for part `part` of `parts` of the channels of a run, while the products of the one before are made. */
static void fetch_run(const real *in, int64_t channels, int64_t size, int64_t count, int64_t part,
                      int64_t parts) {
  int64_t begin = channels * part / parts, end = channels * (part + 1) / parts;
  for (int64_t c = begin; c < end; c++) run_fetch_far(in + c * size * LANES, count);
}

/* --- sweeps -------------------------------------------------------------------------------------- */

static int64_t sweep_scratch(const conv_geometry *g, bool turned) {
  int64_t channels = turned ? g->outputs : g->channels;
  return channels * run_of(channels) * LANES;
}

static void sweep(const conv_sweep_job *job, const pb_lane *lane) {
  const conv_geometry *g = &job->g;
  bool turned = job->turned;
  int64_t channels = turned ? g->outputs : g->channels, outputs = turned ? g->channels : g->outputs;
  int64_t rs = turned ? 1 : g->channels, cs = turned ? g->channels : 1; /* of the weights */
  int64_t size = g->y.in * g->x.in, run = run_of(channels), runs = (size + run - 1) / run;
  real *x = lane->scratch;
  int64_t begin, end;
  share(lane, (lane->n + LANES - 1) / LANES * runs, 1, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    int64_t block = n / runs, at = n % runs * run, count = min_i(run, size - at);
    copy_run(job->in + (block * channels * size + at) * LANES, channels, size, count, run, x);
    real *y = job->out + (block * outputs * size + at) * LANES;
    int64_t later = (n + 1) / runs, later_at = (n + 1) % runs * run;
    const real *next = job->in + (later * channels * size + later_at) * LANES;
    for (int64_t o = 0; o < outputs; o += OUTPUTS) {
      int64_t last = min_i(o + OUTPUTS, outputs);
      if (n + 1 < end)
        fetch_run(next, channels, size, min_i(run, size - later_at), o / OUTPUTS,
                  (outputs + OUTPUTS - 1) / OUTPUTS);
      for (int64_t i = o; i < last; i++) {
        real *to = y + i * size * LANES;
        run_fetch(true, to, count);
        if (job->value) run_fetch(false, job->value + (to - job->out), count);
      }
      const real *weight = job->weight + o * rs;
      real *to = y + o * size * LANES;
      gemm_n(last - o, count * LANES, channels, weight, rs, cs, x, run * LANES, job->add,
             job->start ? job->start + o : NULL, to, size * LANES);
      for (int64_t i = o; i < last; i++, to += size * LANES) conv_finish(job, count * LANES, to);
    }
  }
}

/* --- the gradient of the weights ----------------------------------------------------------------- */

static int64_t dots_outputs(const conv_geometry *g) {
  int64_t fit = SUM_BYTES / (g->channels * (int64_t)sizeof(real)) / OUTPUTS * OUTPUTS;
  return min_i(g->outputs, fit < OUTPUTS ? OUTPUTS : fit);
}

static int64_t dots_scratch(const conv_geometry *g) {
  int64_t run = run_of(g->channels) * LANES;
  return g->channels * run + (OUTPUTS + dots_outputs(g)) * g->channels;
}

static const real *dots(const conv_geometry *g, const real *x, const real *dy, int64_t blocks,
                        int64_t first, int64_t last, plane_sum *sums, real *scratch) {
  int64_t size = g->y.in * g->x.in, channels = g->channels, run = run_of(channels);
  real *xs = scratch, *product = xs + channels * run * LANES;
  real *dw = product + OUTPUTS * channels;
  memset(dw, 0, (size_t)((last - first) * channels) * sizeof *dw);
  for (int64_t b = 0; b < blocks; b++)
    for (int64_t at = 0; at < size; at += run) {
      int64_t count = min_i(run, size - at);
      copy_run(x + (b * channels * size + at) * LANES, channels, size, count, run, xs);
      bool more = at + run < size || b + 1 < blocks;
      int64_t later = at + run < size ? at + run : 0;
      const real *next = x + ((later ? b : b + 1) * channels * size + later) * LANES;
      for (int64_t o = first; o < last; o += OUTPUTS) {
        int64_t rows = min_i(OUTPUTS, last - o);
        if (more)
          fetch_run(next, channels, size, min_i(run, size - later), (o - first) / OUTPUTS,
                    (last - first + OUTPUTS - 1) / OUTPUTS);
        const real *from = dy + ((b * g->outputs + o) * size + at) * LANES;
        for (int64_t i = 0; i < OUTPUTS && o + OUTPUTS + i < last; i++)
          run_fetch(false, from + (OUTPUTS + i) * size * LANES, count);
        gemm_nt(rows, channels, count * LANES, from, size * LANES, xs, run * LANES, product,
                channels);
        real *sum = dw + (o - first) * channels;
        for (int64_t i = 0; i < rows * channels; i++) sum[i] += product[i];
        for (int64_t i = 0; i < rows && sums; i++) /* runs are of even lengths, but for the last */
          plane_sum_add(&sums[o - first + i], count, from + i * size * LANES);
      }
    }
  return dw;
}

const conv_way conv_pointwise = {fits,         sweep,        sweep_scratch, dots,
                                 dots_outputs, dots_scratch, .sums = true};
