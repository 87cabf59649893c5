/* take: slices of a table by their numbers.
 *
 *     x [A, inner..]   index [outer..]   ->   y [outer.., inner..]      y[o] = x[index[o]]
 *
 * The table may be the same for all rows of the batch or a row's own, and so may the numbers. A number
 * that names no slice gives NaN, which stops a training, and passes no gradient on.
 *
 *     dx[a] = sum of dy[o] over all o with index[o] = a
 */
#include "ops/real.h"

enum { X, INDEX };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  int inner = in[X].ndim - 1;
  if (inner < 0 || inner + in[INDEX].ndim > PB_MAX_DIMS) return false;
  r->out =
      (pb_shape){.ndim = inner + in[INDEX].ndim, .batched = in[X].batched || in[INDEX].batched};
  for (int d = 0; d < in[INDEX].ndim; d++) r->out.dim[d] = in[INDEX].dim[d];
  for (int d = 0; d < inner; d++) r->out.dim[in[INDEX].ndim + d] = in[X].dim[1 + d];
  r->flops = pb_shape_size(&r->out);
  return r->flops > 0;
}

typedef struct {
  int64_t slices, length, outer; /* A, how long one is, how many are taken of each row */
  int64_t rows, x_row, index_row;
} sizes;

static sizes sizes_of(const pb_instr *k, const pb_lane *lane) {
  const pb_tensor *x = &lane->plan->tensor[k->in[X]], *i = &lane->plan->tensor[k->in[INDEX]];
  int64_t slices = x->shape.dim[0];
  return (sizes){slices,
                 x->size / slices,
                 i->size,
                 x->shape.batched || i->shape.batched ? lane->n : 1,
                 x->shape.batched ? x->size : 0,
                 i->shape.batched ? i->size : 0};
}

static int64_t slice_of(sizes s, const real *index, int64_t r) {
  real at = index[r / s.outer * s.index_row + r % s.outer];
  return at >= 0 && at < (real)s.slices ? (int64_t)at : -1;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  sizes s = sizes_of(k, lane);
  int64_t begin, end;
  share(lane, s.rows * s.outer, 1, &begin, &end);
  for (int64_t r = begin; r < end; r++) {
    int64_t at = slice_of(s, lane->ptr[k->in[INDEX]], r);
    const real *x = (const real *)lane->ptr[k->in[X]] + r / s.outer * s.x_row + at * s.length;
    real *y = (real *)lane->ptr[k->out] + r * s.length;
    if (at >= 0) memcpy(y, x, (size_t)s.length * sizeof *y);
    else
      for (int64_t i = 0; i < s.length; i++) y[i] = (real)NAN;
  }
}

/* Rows are shared where each has its own table, else the columns of a slice: no sum is cut. */
static void backward_in(const pb_instr *k, const pb_lane *lane) {
  sizes s = sizes_of(k, lane);
  if (k->din[X] >= 0) {
    int64_t top = 0, bottom = s.rows, begin = 0, end = s.length;
    real *dx = lane->ptr[k->din[X]];
    if (s.x_row) share(lane, s.rows, 1, &top, &bottom);
    else share(lane, s.length, 16, &begin, &end);
    size_t width = (size_t)(end - begin) * sizeof *dx;
    for (int64_t n = top; n < (s.x_row ? bottom : 1) && !k->add[X] && begin < end; n++)
      for (int64_t a = 0; a < s.slices; a++)
        memset(dx + n * s.x_row + a * s.length + begin, 0, width);
    for (int64_t r = top * s.outer; r < bottom * s.outer; r++) {
      int64_t at = slice_of(s, lane->ptr[k->in[INDEX]], r);
      const real *dy = (const real *)lane->ptr[k->dout] + r * s.length;
      real *to = dx + r / s.outer * s.x_row + at * s.length;
      for (int64_t i = begin; i < end && at >= 0; i++) to[i] += dy[i];
    }
  }
  if (k->din[INDEX] >= 0 && !k->add[INDEX] && lane->part == 0) {
    int64_t rows = s.index_row ? s.rows : 1;
    memset(lane->ptr[k->din[INDEX]], 0, (size_t)(rows * s.outer) * sizeof(real));
  }
}

PB_OP(take) = {.name = "take",
               .attrs = "",
               .min_in = 2,
               .max_in = 2,
               .flags = PB_USES_X,
               .infer = infer,
               .forward = forward,
               .backward_in = backward_in};
