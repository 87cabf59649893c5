/* view: elements of each row, picked by strides:
 *
 *     y[i_1, .., i_d] = x[offset + sum_k i_k strides_k]        y has shape `dims`
 *
 * So permutations of axes, slices with steps of either sign, and other shapes are one op.
 *
 *     dx = 0 but at the elements that were picked, to which dy is added
 */
#include "ops/elementwise.h"

enum { DIMS, STRIDES, OFFSET };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  const int32_t *dims = attr[DIMS].code, *strides = attr[STRIDES].code;
  if (!dims || !strides || dims[0] != strides[0] || dims[0] > PB_MAX_DIMS) return false;
  int64_t first = attr[OFFSET].i, last = first, size = pb_shape_size(&in[0]);
  if (first < 0 || first >= size) return false;
  r->out = (pb_shape){.ndim = dims[0], .batched = in[0].batched};
  for (int d = 0; d < dims[0]; d++) {
    int64_t reach = ((int64_t)dims[1 + d] - 1) * strides[1 + d];
    if (dims[1 + d] < 1) return false;
    r->out.dim[d] = dims[1 + d];
    if (reach < 0) first += reach;
    else last += reach;
    if (first < 0 || last >= size) return false;
  }
  r->flops = pb_shape_size(&r->out);
  return r->flops > 0;
}

/* The axes that cannot be merged with the one behind. */
typedef struct {
  int n;
  int64_t length[PB_MAX_DIMS + 1], stride[PB_MAX_DIMS + 1];
} axes;

static axes axes_of(const pb_instr *k) {
  const int32_t *dims = k->attr[DIMS].code, *strides = k->attr[STRIDES].code;
  axes a = {1, {1}, {1}}; /* from the last to the first */
  for (int d = dims[0]; d > 0; d--) {
    int top = a.n - 1;
    if (dims[d] == 1) continue;
    if (a.length[top] == 1) a.length[top] = dims[d], a.stride[top] = strides[d];
    else if (strides[d] == a.stride[top] * a.length[top]) a.length[top] *= dims[d];
    else a.length[a.n] = dims[d], a.stride[a.n++] = strides[d];
  }
  return a;
}

/* Where run r of y, along the last axis, begins in x. */
static int64_t place_of(const axes *a, int64_t r) {
  int64_t at = 0;
  for (int i = 1; i < a->n; i++) at += r % a->length[i] * a->stride[i], r /= a->length[i];
  return at;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const pb_tensor *x = &lane->plan->tensor[k->in[0]], *y = &lane->plan->tensor[k->out];
  axes a = axes_of(k);
  int64_t length = a.length[0], stride = a.stride[0], runs = y->size / length, begin, end;
  const real *from = (const real *)lane->ptr[k->in[0]] + k->attr[OFFSET].i;
  share(lane, (y->shape.batched ? lane->n : 1) * runs, 1, &begin, &end);
  for (int64_t r = begin; r < end; r++) {
    const real *in = from + r / runs * x->size + place_of(&a, r % runs);
    real *out = (real *)lane->ptr[k->out] + r * length;
    if (stride == 1) memcpy(out, in, (size_t)length * sizeof *out);
    else
      for (int64_t i = 0; i < length; i++) out[i] = in[i * stride];
  }
}

/* Elements may be picked more than once: a row is one thread's. */
static void backward_in(const pb_instr *k, const pb_lane *lane) {
  const pb_tensor *x = &lane->plan->tensor[k->in[0]], *y = &lane->plan->tensor[k->out];
  axes a = axes_of(k);
  int64_t length = a.length[0], stride = a.stride[0], runs = y->size / length, begin, end;
  share(lane, x->shape.batched ? lane->n : 1, 1, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    const real *dy = (const real *)lane->ptr[k->dout] + n * y->size;
    real *dx = (real *)lane->ptr[k->din[0]] + n * x->size;
    if (!k->add[0]) memset(dx, 0, (size_t)x->size * sizeof *dx);
    dx += k->attr[OFFSET].i;
    for (int64_t r = 0; r < runs; r++, dy += length) {
      real *out = dx + place_of(&a, r);
      if (stride == 1)
        for (int64_t i = 0; i < length; i++) out[i] += dy[i];
      else
        for (int64_t i = 0; i < length; i++) out[i * stride] += dy[i];
    }
  }
}

PB_OP(view) = {.name = "view",
               .attrs = "dims:code strides:code offset:int",
               .min_in = 1,
               .max_in = 1,
               .infer = infer,
               .forward = forward,
               .backward_in = backward_in};
