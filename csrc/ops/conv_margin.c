/* Gradients by the input, in blocks, without a margin of zeros.
 *
 * The gradient of a small image under a large kernel would be sums of zeros for the most part. Each
 * column of the kernel can be added by itself, to the columns that it meets, from the rows that it
 * meets: no zeros, and no copies.
 */
#include "ops/conv_sweep.h"

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

bool conv_skips_margin(const conv_sweep_job *job) {
  const conv_geometry *g = &job->g;
  if (!job->turned || !job->blocked || job->start) return false;
  double all = (double)(g->y.in * g->x.in) / (double)(g->y.stride * g->x.stride);
  double met = (double)(g->y.out * g->x.out);
  return all > 1.2 * met && g->outputs / g->groups * g->y.kernel >= 16;
}

/* The kernel's rows [*first, *last) that row i of the image meets, a stride apart in *period. */
static void rows_met(const conv_axis *a, int64_t i, int64_t *first, int64_t *last,
                     int64_t *period) {
  conv_path p = path_of(a, true, i % a->stride);
  int64_t at = i / a->stride + p.at, low = 0, high = p.taps;
  while (low < high && at + low * p.at_step >= a->out) low++;
  while (low < high && at + (high - 1) * p.at_step < 0) high--;
  *first = p.tap + low * p.tap_step, *last = p.tap + high * p.tap_step, *period = p.tap_step;
}

/* Adds what one column b of the kernel's rows in the lists meets, to `rows` rows from row i on. */
static void add_column(const conv_sweep_part *s, conv_terms *sum, const real *weight, int64_t b,
                       int64_t i, int64_t rows, const real *in, real *out) {
  const conv_axis *x = &s->job->g.x;
  int64_t shift = b * x->dilation - x->pad, left = 0, right = x->out;
  while (left < right && left * x->stride + shift < 0) left++;
  while (left < right && (right - 1) * x->stride + shift >= x->in) right--;
  if (left == right) return;
  sum->weight = weight + b;
  conv_rectangle r = {.rows = rows,
                      .columns = right - left,
                      .in = in + left * LANES,
                      .in_row = x->out * LANES,
                      .in_column = LANES,
                      .out = out + (i * x->in + left * x->stride + shift) * LANES,
                      .out_row = x->in * LANES,
                      .out_column = x->stride * LANES,
                      .edge = LANES};
  conv_product(sum, s->outputs, &r);
}

/* Rows [i, i + rows) of the image's gradient, which meet the kernel's rows [first, last). */
static void add_rows(const conv_sweep_part *s, int64_t i, int64_t rows, int64_t first, int64_t last,
                     int64_t period) {
  const conv_geometry *g = &s->job->g;
  const conv_axis *y = &g->y, *x = &g->x;
  int64_t taps = y->kernel * x->kernel, own = s->outputs * taps, row = x->in * LANES;
  int64_t plane = y->out * x->out * LANES, out_plane = y->in * row;
  int64_t most_channels = most(1, s->chunk * taps / y->kernel);
  for (int64_t c = 0; c < s->outputs * g->groups && !s->job->add; c++)
    memset(s->out + c * out_plane + i * row, 0, (size_t)(rows * row) * sizeof(real));
  for (int64_t group = 0; group < g->groups && first < last; group++)
    for (int64_t o = 0, n; o < s->depth; o += n) {
      conv_terms sum = {.at = s->at,
                        .weight_at = s->weight_at,
                        .ldw = taps,
                        .add = true,
                        .whole = true,
                        .ldc = out_plane,
                        .step = 1};
      n = min_i(most_channels, s->depth - o);
      for (int64_t c = 0; c < n; c++)
        for (int64_t a = first; a < last; a += period, sum.depth++) {
          int64_t from = (i + y->pad - a * y->dilation) / y->stride;
          s->at[sum.depth] = c * plane + from * x->out * LANES;
          s->weight_at[sum.depth] = c * own + a * x->kernel;
        }
      for (int64_t b = 0; b < x->kernel; b++)
        add_column(s, &sum, s->job->weight + (group * s->depth + o) * own, b, i, rows,
                   s->in + (group * s->depth + o) * plane, s->out + group * s->outputs * out_plane);
    }
}

/* Rows [begin, end) of the gradient: those together that meet the same rows of the kernel. */
void conv_without_margin(const conv_sweep_part *s, int64_t begin, int64_t end) {
  const conv_axis *y = &s->job->g.y;
  for (int64_t i = begin, rows; i < end; i += rows) {
    int64_t first, last, period, a, b;
    rows_met(y, i, &first, &last, &period);
    for (rows = 1; y->stride == 1 && i + rows < end; rows++) {
      rows_met(y, i + rows, &a, &b, &period);
      if (a != first || b != last) break;
    }
    add_rows(s, i, rows, first, last, period);
  }
}
