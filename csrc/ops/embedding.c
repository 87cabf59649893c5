/* embedding: rows of a table by their numbers.
 *
 *     x [L] whole numbers in [0, V)   weight [V, D]   ->   y [L, D],   y[l] = weight[x[l]]
 *
 * dweight[v] = sum of dy[l] over all l with x[l] = v, in the order of the rows. Numbers are checked
 * before a run; one that names no row all the same, because the user's array has changed, gives NaN.
 * Threads share the rows of the table, so that no sum is cut.
 */
#include "ops/planes.h"

enum { X, WEIGHT };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  const pb_shape *x = &in[X], *w = &in[WEIGHT];
  if (!x->batched || x->ndim != 1 || w->batched || w->ndim != 2) return false;
  r->out = (pb_shape){.ndim = 2, .batched = true, .dim = {x->dim[0], w->dim[1]}};
  r->flops = pb_shape_size(&r->out);
  return r->flops > 0;
}

/* The row of the table that a number names, or -1. */
PB_INLINE int64_t row_of(real x, int64_t rows) {
  if (!(x >= 0 && x < (real)rows)) return -1;
  int64_t row = (int64_t)x;
  return (real)row == x && row < rows ? row : -1;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *w = shape_of(lane, k->in[WEIGHT]);
  const real *x = lane->ptr[k->in[X]], *weight = lane->ptr[k->in[WEIGHT]];
  real *y = lane->ptr[k->out];
  int64_t begin, end, depth = w->dim[1];
  share(lane, lane->n * shape_of(lane, k->in[X])->dim[0], 1, &begin, &end);
  for (int64_t i = begin; i < end; i++) {
    int64_t row = row_of(x[i], w->dim[0]);
    if (row >= 0) memcpy(y + i * depth, weight + row * depth, (size_t)depth * sizeof *y);
    else
      for (int64_t d = 0; d < depth; d++) y[i * depth + d] = (real)NAN;
  }
}

static void backward_param(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *w = shape_of(lane, k->in[WEIGHT]);
  if (k->din[WEIGHT] < 0) return;
  const real *x = lane->ptr[k->in[X]], *dy = lane->ptr[k->dout];
  real *g = lane->ptr[k->din[WEIGHT]];
  int64_t begin, end, depth = w->dim[1], count = lane->n * shape_of(lane, k->in[X])->dim[0];
  share(lane, w->dim[0], 1, &begin, &end);
  if (!k->add[WEIGHT]) memset(g + begin * depth, 0, (size_t)((end - begin) * depth) * sizeof *g);
  for (int64_t i = 0; i < count; i++) {
    int64_t row = row_of(x[i], w->dim[0]);
    if (row < begin || row >= end) continue;
    for (int64_t d = 0; d < depth; d++) g[row * depth + d] += dy[i * depth + d];
  }
}

PB_OP(embedding) = {.name = "embedding",
                    .attrs = "",
                    .min_in = 2,
                    .max_in = 2,
                    .params = 1,
                    .flags = PB_USES_X | PB_WHOLE,
                    .infer = infer,
                    .forward = forward,
                    .backward_param = backward_param};
