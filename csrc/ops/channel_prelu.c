/* channel_prelu: y = x where x > 0, a_c x elsewhere, with one a for each channel of images.
 *
 *     x [C, H, W]   a [C]   ->   y [C, H, W]
 *
 * dx = dy or a_c dy;   da_c = sum of dy x over x <= 0, over rows and places. See prelu.c.
 */
#include "ops/columns.h"
#include "ops/planes.h"

enum { X, SLOPE };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  const pb_shape *a = &in[SLOPE];
  if (!is_image(&in[X]) || a->batched || a->ndim != 1 || a->dim[0] != in[X].dim[0]) return false;
  r->out = in[X];
  r->flops = pb_shape_size(&in[X]);
  return true;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *s = shape_of(lane, k->in[X]);
  int width = side_by_side(lane, s);
  int64_t begin, end, size = unit_size(lane, k->in[X], width);
  share_units(lane, s, width, &begin, &end);
  for (int64_t u = begin; u < end; u++) {
    const real *x = (const real *)lane->ptr[k->in[X]] + u * size;
    real *y = (real *)lane->ptr[k->out] + u * size;
    real a = ((const real *)lane->ptr[k->in[SLOPE]])[u % s->dim[0]];
    for (int64_t i = 0; i < size; i++) y[i] = x[i] > 0 ? x[i] : a * x[i];
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *s = shape_of(lane, k->in[X]);
  int width = side_by_side(lane, s);
  int64_t begin, end, size = unit_size(lane, k->in[X], width);
  share_units(lane, s, width, &begin, &end);
  for (int64_t u = begin; u < end; u++) {
    const real *x = (const real *)lane->ptr[k->in[X]] + u * size;
    const real *dy = (const real *)lane->ptr[k->dout] + u * size;
    real *dx = (real *)lane->ptr[k->din[X]] + u * size;
    real a = ((const real *)lane->ptr[k->in[SLOPE]])[u % s->dim[0]];
    for (int64_t i = 0; i < size; i++) {
      real d = x[i] > 0 ? dy[i] : a * dy[i];
      dx[i] = k->add[X] ? dx[i] + d : d;
    }
  }
}

/* Threads share the channels, so that no sum is cut. */
static void backward_param(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *s = shape_of(lane, k->in[X]);
  int width = side_by_side(lane, s);
  int64_t begin, end, size = unit_size(lane, k->in[X], width), blocks = blocks_of(lane, width);
  share(lane, s->dim[0], 1, &begin, &end);
  for (int64_t c = begin; c < end; c++) {
    double sum = 0;
    for (int64_t n = 0; n < blocks; n++) {
      const real *x = (const real *)lane->ptr[k->in[X]] + (n * s->dim[0] + c) * size;
      const real *dy = (const real *)lane->ptr[k->dout] + (n * s->dim[0] + c) * size;
      for (int64_t i = 0; i < size; i++) sum += x[i] > 0 ? 0 : (double)dy[i] * (double)x[i];
    }
    hand_over(k, lane, SLOPE, c, 1, &sum);
  }
}

PB_OP(channel_prelu) = {.name = "channel_prelu",
                        .attrs = "",
                        .min_in = 2,
                        .max_in = 2,
                        .params = 1,
                        .flags = PB_USES_X | PB_BLOCKED,
                        .infer = infer,
                        .forward = forward,
                        .backward_in = backward_in,
                        .backward_param = backward_param};
