/* What the convolutions share: their geometry, and the two sums that all of them are made of.
 *
 *     conv_sweep   y from x and the weights, and with the axes turned round x's gradient from y's
 *     conv_dots    the weights' gradient from x and y's gradient
 *
 * Both read a tile of the image at a time, copied with its margin of zeros to where a tap of the
 * kernel is a fixed distance from a position. There is no matrix of patches. Sums of one element run
 * over channels, then the kernel's rows, then its columns, whatever the tiles are; those of Winograd's
 * ways (winograd.h, winograd_rows.h) in an order of their own, which depends on shapes alone.
 *
 * A position's vector is either LANES columns of one image, or, in blocked tensors, one pixel of LANES
 * images.
 */
#ifndef PB_CONV_H
#define PB_CONV_H

#include "ops/vec.h"

/* One axis: position p of `out` meets kernel element k at p * stride + k * dilation - pad of `in`. */
typedef struct {
  int64_t in, out, kernel, stride, dilation, pad;
} conv_axis;

/* A convolution of images [channels, y.in, x.in] to [outputs, y.out, x.out]. */
typedef struct {
  int64_t channels, outputs, groups;
  conv_axis y, x;
} conv_geometry;

/* What a sweep computes, for images [begin, end) or, blocked, blocks of LANES of them:
 *     out[o] (+)= start[o] + sum of weights and in;     then activation f, if any
 * Turned round it goes from [outputs, y.out, x.out] to [channels, y.in, x.in]. A gradient of `value`,
 * which f made, ends as out f' instead. */
typedef struct {
  conv_geometry g;
  bool turned, blocked, add;
  const real *in, *weight, *start; /* start NULL for zeros */
  const real *value;               /* or NULL */
  real *out;                       /* NULL where only the pooled values are wanted */
  real *
      pooled; /* or NULL: f of the largest of 2 x 2 outputs each, where conv_sweep_pools; out is then
                   without f */
  const pb_op *activation;
  const pb_attr *activation_attr;
} conv_sweep_job;

#define conv_sweep PB_NAME(pb_conv_sweep)
#define conv_sweep_pools PB_NAME(pb_conv_sweep_pools)
#define conv_sweep_scratch PB_NAME(pb_conv_sweep_scratch)
#define conv_dots PB_NAME(pb_conv_dots)
#define conv_dots_scratch PB_NAME(pb_conv_dots_scratch)

/* This thread's part of a job. */
void conv_sweep(const conv_sweep_job *, const pb_lane *);
/* Whether a sweep can pool what it makes while it is in registers, and keep it as well. */
bool conv_sweep_pools(const conv_geometry *, bool blocked, bool keeps);
/* Reals of scratch that it needs, for either layout. */
int64_t conv_sweep_scratch(const conv_geometry *, bool turned);

/* The end of a sweep over n reals of job->out. */
PB_INLINE void conv_finish(const conv_sweep_job *job, int64_t n, real *out) {
  const pb_op *f = job->activation;
  if (f && job->value)
    f->chain(job->activation_attr, n, NULL, job->value + (out - job->out), out, out);
  else if (f) f->map(job->activation_attr, n, out, out);
}

/* The same over n reals of each of several planes: at once where these are whole. */
PB_INLINE void conv_finish_planes(const conv_sweep_job *job, int64_t planes, int64_t n,
                                  int64_t plane, real *out) {
  if (n == plane) n *= planes, planes = 1;
  for (int64_t i = 0; i < planes && job->activation; i++) conv_finish(job, n, out + i * plane);
}

/* The gradient of the weights from x, the image, and dy, one value of a position; and of the bias, which
 * is a sum of `signal` over each of its channels. */
typedef struct {
  conv_geometry g;
  bool blocked;
  const real *x, *dy, *signal;
  int64_t signals;
} conv_dots_job;

/* This thread's part of the parameters. */
void conv_dots(const conv_dots_job *, const pb_instr *, const pb_lane *);
int64_t conv_dots_scratch(const conv_geometry *);

/* --- one axis, as a sweep sees it ------------------------------------------------------------- */

/* Position p < count reads input p * stride + at + t * at_step under kernel element tap + t * tap_step,
 * t < taps, and is output first + p * step. */
typedef struct {
  int64_t count, first, step, stride, taps, at, at_step, tap, tap_step;
} conv_path;

/* Forward there is one path. Turned round, outputs of the same residue by the stride read the same
 * kernel elements, so that there are `stride` paths and no multiplications by inserted zeros. */
PB_INLINE conv_path path_of(const conv_axis *a, bool turned, int64_t phase) {
  if (!turned) return (conv_path){a->out, 0, 1, a->stride, a->kernel, -a->pad, a->dilation, 0, 1};
  int64_t reach = phase + a->pad, period = 1, tap = 0;
  while (period * a->dilation % a->stride) period++;
  while (tap < period && (reach - tap * a->dilation) % a->stride) tap++;
  int64_t taps = tap < period && tap < a->kernel ? (a->kernel - 1 - tap) / period + 1 : 0;
  return (conv_path){.count = phase < a->in ? (a->in - 1 - phase) / a->stride + 1 : 0,
                     .first = phase,
                     .step = a->stride,
                     .stride = 1,
                     .taps = taps,
                     .at = taps ? (reach - tap * a->dilation) / a->stride : 0,
                     .at_step = -(period * a->dilation / a->stride),
                     .tap = tap,
                     .tap_step = period};
}

/* The first input of position 0, and how far apart its first and last are. */
PB_INLINE int64_t path_low(const conv_path *p) {
  return p->at + (p->at_step < 0 && p->taps ? (p->taps - 1) * p->at_step : 0);
}
PB_INLINE int64_t path_reach(const conv_path *p) {
  return p->taps ? (p->taps - 1) * (p->at_step < 0 ? -p->at_step : p->at_step) : 0;
}

/* --- tiles ------------------------------------------------------------------------------------- */

enum { CONV_TILE = 32 * 1024 }; /* reals of a copied tile, unless a single position takes more */

/* A tile of some channels of an image, copied with zeros around it or seen where it lies: pitches in
 * reals, and the distance of its columns. Columns whose numbers differ by the stride are neighbours in
 * a copy of plain rows, so that positions are. */
typedef struct {
  const real *base;
  int64_t plane, row, unit; /* unit: from one vector of positions to the next */
  int64_t phase, stride;    /* column c lies at c % stride * phase + c / stride * cell */
  int64_t cell;
} conv_tile;

PB_INLINE int64_t tile_column(const conv_tile *t, int64_t c) {
  if (t->stride == 1) return c * t->cell; /* divisions take long */
  return c % t->stride * t->phase + c / t->stride * t->cell;
}

/* Reals of a copy, with a vector to read over its end. */
PB_INLINE int64_t tile_size(int64_t channels, int64_t rows, int64_t columns, int64_t stride,
                            int64_t cell) {
  return channels * rows * ((columns + stride - 1) / stride * stride) * cell + LANES;
}

#define conv_load_tile PB_NAME(pb_conv_load_tile)
/* `channels` planes [height, width] from `in` on: rows [top, top + rows), columns [left, left +
 * columns), zeros outside. `stride` is that of the positions along a row. */
conv_tile conv_load_tile(const real *in, int64_t channels, int64_t height, int64_t width,
                         int64_t top, int64_t rows, int64_t left, int64_t columns, int64_t stride,
                         bool blocked, real *copy);

#endif
