/* feed: gathers rows of a user's array into the batch.
 *
 *     y[n, j] = scale * array[index[n], j]
 *     y[n, j] = (array[index[n], j] - offset[j]) * factor[j]     where columns are scaled apart
 *
 *     offset, factor [size of a row] running (both or none)   ->   y [..]
 *
 * At inference a batch normalisation behind it is a scale and a shift of y's columns in the same pass.
 *
 * The array may hold any real or integer type and have any strides; it is never copied whole, and
 * uint8 images stay uint8 until here. Blocked rows are turned a strip at a time, and the last block is
 * filled up as in to_blocks.c.
 */
#include "core/rows.h"
#include "ops/blocks.h"
#include "ops/gather.h"

enum { SOURCE, SCALE };
enum { OFFSET, FACTOR };
enum { STRIP = 64 }; /* numbers of a row that are read at a time: they stay in the first cache */

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  int64_t size = pb_shape_size(&r->out); /* the output's shape is the caller's to choose */
  for (int j = 0; j < nin; j++)
    if (in[j].batched || in[j].ndim != 1 || in[j].dim[0] != size) return false;
  /* A value from far memory takes as long as many operations: worth sharing between threads. */
  r->flops = 16 * size;
  return r->out.batched && (nin == 0 || (nin == FACTOR + 1 && attr[SCALE].f == 1));
}

/* In doubles, since offsets may be large beside what is left of the values. */
static void scale_columns(const pb_source *s, const char *row, int64_t count, const double *offset,
                          const double *factor, real *y) {
  double x[STRIP];
  for (int64_t at = 0; at < count; at += STRIP) {
    int64_t n = min_i(STRIP, count - at);
    pb_read_doubles(s->dtype, row + at * s->col_stride, s->col_stride, n, x);
    for (int64_t j = at; j < at + n; j++) y[j] = (real)((x[j - at] - offset[j]) * factor[j]);
  }
}

/* A row's columns scaled and shifted, where the last axis has fewer than the row, all along it. */
static void adjust(const pb_instr *k, const pb_lane *lane, int64_t size, real *y) {
  int64_t columns = lane->plan->tensor[k->affine].shape.dim[1];
  const real *scale = lane->ptr[k->affine], *shift = scale + columns;
  for (int64_t at = 0; at < size; at += columns)
    for (int64_t j = 0; j < columns; j++) y[at + j] = y[at + j] * scale[j] + shift[j];
}

static const void *row_of(const pb_instr *k, const pb_lane *lane, int64_t n) {
  const pb_source *s = &lane->source[k->attr[SOURCE].i];
  int64_t row = lane->index ? lane->index[n] : lane->first_row + n;
  return (const char *)s->data + row * s->row_stride;
}

/* Columns [begin, begin + count) of row n of the batch. */
static void read_columns(const pb_instr *k, const pb_lane *lane, int64_t n, int64_t begin,
                         int64_t count, real *y) {
  const pb_source *s = &lane->source[k->attr[SOURCE].i];
  const char *from = (const char *)row_of(k, lane, n) + begin * s->col_stride;
  if (k->nin > FACTOR)
    scale_columns(s, from, count, (const double *)lane->ptr[k->in[OFFSET]] + begin,
                  (const double *)lane->ptr[k->in[FACTOR]] + begin, y);
  else gather(s->dtype, from, s->col_stride, count, k->attr[SCALE].f, y);
}

/* Where row n of the batch can be read as it lies: reals that nothing is done to. */
static const real *as_it_lies(const pb_instr *k, const pb_lane *lane, int64_t n) {
  const pb_source *s = &lane->source[k->attr[SOURCE].i];
  bool own = s->dtype == (PB_REAL_BITS == 32 ? PB_F32 : PB_F64) && s->col_stride == sizeof(real);
  return own && k->nin == 0 && k->attr[SCALE].f == 1 ? row_of(k, lane, n) : NULL;
}

/* A cut of LANES rows of the batch, into its place in their block. */
static void read_cut(const pb_instr *k, const pb_lane *lane, cut c, real *y) {
  real strip[LANES * STRIP];
  const real *row[LANES];
  for (int64_t l = 0; l < LANES; l++) row[l] = as_it_lies(k, lane, min_i(c.n + l, lane->n - 1));
  if (row[0]) {
    for (int64_t l = 0; l < LANES; l++) row[l] += c.at;
    into_block(row, c.count, false, y);
    return;
  }
  for (int64_t l = 0; l < LANES; l++) row[l] = strip + l * STRIP;
  for (int64_t at = 0; at < c.count; at += STRIP) {
    int64_t count = min_i(STRIP, c.count - at);
    for (int64_t l = 0; l < LANES; l++)
      read_columns(k, lane, min_i(c.n + l, lane->n - 1), c.at + at, count, strip + l * STRIP);
    into_block(row, count, false, y + at * LANES);
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  int64_t cols = lane->source[k->attr[SOURCE].i].cols, begin, end;
  real *y = lane->ptr[k->out];
  if (lane->plan->tensor[k->out].shape.blocked) {
    share_cuts(lane, cols, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
      cut c = cut_at(cols, i);
      read_cut(k, lane, c, y + c.n * cols + c.at * LANES);
    }
    return;
  }
  share(lane, lane->n, 1, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    read_columns(k, lane, n, 0, cols, y + n * cols);
    if (k->affine >= 0) adjust(k, lane, cols, y + n * cols);
  }
}

PB_OP(feed) = {.name = "feed",
               .attrs = "source:int scale:float",
               .max_in = 2,
               .running = 2,
               .flags = PB_SOURCE | PB_AFFINE,
               .infer = infer,
               .forward = forward};
