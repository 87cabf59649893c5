/* channel_batch_norm: each channel of images shifted and scaled to mean beta and deviation gamma, over
 * the rows and the places of a plane.
 *
 *     x [C, H, W]   mean, variance [C] running   gamma, beta [C] (both or none)   ->   y [C, H, W]
 *
 * The equations are batch_norm's with M = N H W. Threads share the channels, so that no sum is cut.
 */
#include "ops/batch_norm.h"
#include "ops/planes.h"

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  return is_image(&in[X]) && batch_norm_infer(attr, in, nin, in[X].dim[0], r);
}

/* Where the planes of a channel lie: `blocks` of them, of `size` reals each, `step` reals apart. */
typedef struct {
  int64_t blocks, size, step;
  int width;
} planes;

static planes planes_of(const pb_instr *k, const pb_lane *lane) {
  int width = side_by_side(lane, shape_of(lane, k->in[X]));
  int64_t size = unit_size(lane, k->in[X], width);
  return (planes){blocks_of(lane, width), size, size * all_columns(k, lane), width};
}

/* Sums over a channel of a - a_shift, and of that times b - b_shift. */
static void channel_sums(const planes *p, const pb_lane *lane, const real *a, double a_shift,
                         const real *b, double b_shift, double *sum, double *product) {
  double s[SIDE], t[SIDE], shift[SIDE], other[SIDE];
  for (int i = 0; i < SIDE; i++) shift[i] = a_shift, other[i] = b_shift;
  *sum = *product = 0;
  for (int64_t n = 0; n < p->blocks; n++) {
    plane_sums(p->size, p->width, a + n * p->step, shift, b + n * p->step, other, s, t);
    int64_t own = min_i(p->width, lane->n - n * p->width);
    for (int64_t i = 0; i < own; i++) *sum += s[i], *product += t[i];
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  planes p = planes_of(k, lane);
  int64_t begin, end;
  share(lane, all_columns(k, lane), 1, &begin, &end);
  for (int64_t c = begin; c < end; c++) {
    const real *x = (const real *)lane->ptr[k->in[X]] + c * p.size;
    real *y = (real *)lane->ptr[k->out] + c * p.size;
    columns b = block_at(k, lane, c, c + 1);
    if (of_batch(k, lane)) {
      double mean, variance, none;
      channel_sums(&p, lane, x, 0, x, 0, &mean, &none);
      mean /= (double)b.rows;
      channel_sums(&p, lane, x, mean, x, mean, &none, &variance);
      variance /= (double)b.rows;
      fill(&b, k, lane, &mean, &variance);
      keep(k, lane, c, 1, &mean, &variance);
    }
    real mean = (real)b.mean[0], scale = (real)(b.scale[0] * b.gamma[0]), beta = (real)b.beta[0];
    for (int64_t n = 0; n < p.blocks; n++, x += p.step, y += p.step) {
      for (int64_t i = 0; i < p.size; i++) y[i] = (x[i] - mean) * scale + beta;
      if (k->activation) k->activation->map(k->activation_attr, p.size, y, y);
    }
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  planes p = planes_of(k, lane);
  int64_t begin, end;
  share(lane, all_columns(k, lane), 1, &begin, &end);
  for (int64_t c = begin; c < end; c++) {
    const real *x = (const real *)lane->ptr[k->in[X]] + c * p.size;
    const real *dy = (const real *)lane->ptr[k->dout] + c * p.size;
    real *dx = (real *)lane->ptr[k->din[X]] + c * p.size;
    columns b = block_at(k, lane, c, c + 1);
    double mean = b.mean[0], slope = b.gamma[0] * b.scale[0], shift = 0, tilt = 0;
    if (of_batch(k, lane)) channel_sums(&p, lane, dy, 0, x, mean, &shift, &tilt);
    tilt *= b.scale[0] * b.scale[0] / (double)b.rows, shift /= (double)b.rows;
    real centre = (real)mean, factor = (real)slope, less = (real)shift, lean = (real)tilt;
    for (int64_t n = 0; n < p.blocks; n++, x += p.step, dy += p.step, dx += p.step) {
      for (int64_t i = 0; i < p.size; i++) {
        real d = factor * (dy[i] - less - (x[i] - centre) * lean);
        dx[i] = k->add[X] ? dx[i] + d : d;
      }
      clear_beyond(lane, n, p.width, p.size, dx);
    }
  }
}

static void backward_param(const pb_instr *k, const pb_lane *lane) {
  planes p = planes_of(k, lane);
  int64_t begin, end;
  share(lane, all_columns(k, lane), 1, &begin, &end);
  for (int64_t c = begin; c < end && k->nin > GAMMA; c++) {
    const real *x = (const real *)lane->ptr[k->in[X]] + c * p.size;
    const real *dy = (const real *)lane->ptr[k->dout] + c * p.size;
    columns b = block_at(k, lane, c, c + 1);
    double dgamma, dbeta;
    channel_sums(&p, lane, dy, 0, x, b.mean[0], &dbeta, &dgamma);
    dgamma *= b.scale[0];
    hand_over(k, lane, GAMMA, c, 1, &dgamma);
    hand_over(k, lane, BETA, c, 1, &dbeta);
  }
}

BATCH_NORM_OP(channel_batch_norm, PB_BLOCKED)
