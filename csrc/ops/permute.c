/* permute: the axes of a row in another order: axis i of y is axis axes[i] of x.
 *
 *     y[j_0, .., j_k] = x[..] where index axes[i] of x is j_i        dx is dy, put back
 */
#include "ops/planes.h"

enum { AXES };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  const int32_t *axes = attr[AXES].code;
  if (!axes || axes[0] != in[0].ndim || in[0].ndim > PB_MAX_DIMS) return false;
  bool taken[PB_MAX_DIMS] = {false};
  r->out = in[0];
  for (int i = 0; i < in[0].ndim; i++) {
    int32_t axis = axes[1 + i];
    if (axis < 0 || axis >= in[0].ndim || taken[axis]) return false;
    taken[axis] = true;
    r->out.dim[i] = in[0].dim[axis];
  }
  r->flops = 4 * pb_shape_size(&in[0]); /* values from all over the row */
  return true;
}

/* Walks over y in its order, and calls its place in x by `stride`: the last two axes in loops. */
typedef struct {
  int64_t size[PB_MAX_DIMS], stride[PB_MAX_DIMS]; /* of y's axes, in x; leading ones are 1 long */
} walk;

static walk walk_of(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *x = shape_of(lane, k->in[0]);
  const int32_t *axes = k->attr[AXES].code + 1;
  int64_t of_x[PB_MAX_DIMS], step = 1;
  for (int i = x->ndim - 1; i >= 0; i--) of_x[i] = step, step *= x->dim[i];
  walk w;
  for (int i = 0; i < PB_MAX_DIMS; i++) {
    int own = i - (PB_MAX_DIMS - x->ndim);
    w.size[i] = own < 0 ? 1 : x->dim[axes[own]];
    w.stride[i] = own < 0 ? 0 : of_x[axes[own]];
  }
  return w;
}

/* One row of y against one of x, values `width` reals wide: y <- x, or x (+)= y when `back`. */
PB_INLINE void row(const walk *w, int64_t width, bool back, bool add, real *x, real *y) {
  const int64_t *n = w->size, *s = w->stride;
  enum { I = PB_MAX_DIMS - 2, J = PB_MAX_DIMS - 1 };
  int64_t at[PB_MAX_DIMS - 2] = {0}, from = 0;
  for (bool more = true; more;) {
    for (int64_t i = 0; i < n[I]; i++)
      for (int64_t j = 0; j < n[J]; j++, y += width) {
        real *v = x + (from + i * s[I] + j * s[J]) * width;
        for (int64_t l = 0; l < width; l++) {
          if (!back) y[l] = v[l];
          else v[l] = add ? v[l] + y[l] : y[l];
        }
      }
    more = false;
    for (int a = I - 1; a >= 0 && !more; a--) {
      from += s[a];
      more = ++at[a] < n[a];
      if (!more) from -= n[a] * s[a], at[a] = 0;
    }
  }
}

PB_INLINE void rows(const pb_instr *k, const pb_lane *lane, int32_t x, int32_t y, bool back) {
  walk w = walk_of(k, lane);
  int width = side_by_side(lane, shape_of(lane, k->in[0]));
  int64_t begin, end, size = lane->plan->tensor[k->out].size * width;
  share(lane, shape_of(lane, k->out)->batched ? blocks_of(lane, width) : 1, 1, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    real *of_x = (real *)lane->ptr[x] + n * size, *of_y = (real *)lane->ptr[y] + n * size;
    if (width == 1) row(&w, 1, back, k->add[0], of_x, of_y);
    else row(&w, width, back, k->add[0], of_x, of_y);
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  rows(k, lane, k->in[0], k->out, false);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  rows(k, lane, k->din[0], k->dout, true);
}

PB_OP(permute) = {.name = "permute",
                  .attrs = "axes:code",
                  .min_in = 1,
                  .max_in = 1,
                  .flags = PB_BLOCKED,
                  .infer = infer,
                  .forward = forward,
                  .backward_in = backward_in};
