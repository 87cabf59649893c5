/* prelu: y = x where x > 0, a_c x elsewhere, with one a for each place c of the last axis or for all.
 *
 *     x [.., C]   a [C] or [1]   ->   y [.., C]
 *
 * dx = dy or a_c dy;   da_c = sum of dy x over x <= 0, over all axes but the last.
 * He, Zhang, Ren and Sun, ICCV 2015.
 */
#include "ops/columns.h"
#include "ops/elementwise.h"

enum { X, SLOPE };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  const pb_shape *x = &in[X], *a = &in[SLOPE];
  if (!x->batched || x->ndim < 1 || a->batched || a->ndim != 1) return false;
  return (a->dim[0] == 1 || a->dim[0] == x->dim[x->ndim - 1]) && same_shape_infer(attr, in, nin, r);
}

typedef struct {
  int64_t rows, columns;
  const real *x, *a;
  int64_t step; /* from one column's a to the next's */
} view;

static view view_of(const pb_instr *k, const pb_lane *lane) {
  return (view){.rows = rows_of(k, lane),
                .columns = columns_of(k, lane),
                .x = lane->ptr[k->in[X]],
                .a = lane->ptr[k->in[SLOPE]],
                .step = lane->plan->tensor[k->in[SLOPE]].size > 1};
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  view v = view_of(k, lane);
  real *y = lane->ptr[k->out];
  int64_t begin, end;
  share(lane, v.rows, 1, &begin, &end);
  for (int64_t n = begin * v.columns; n < end * v.columns; n += v.columns)
    for (int64_t c = 0; c < v.columns; c++)
      y[n + c] = v.x[n + c] > 0 ? v.x[n + c] : v.a[c * v.step] * v.x[n + c];
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  view v = view_of(k, lane);
  const real *dy = lane->ptr[k->dout];
  real *dx = lane->ptr[k->din[X]];
  bool add = k->add[X];
  int64_t begin, end;
  share(lane, v.rows, 1, &begin, &end);
  for (int64_t n = begin * v.columns; n < end * v.columns; n += v.columns)
    for (int64_t c = 0; c < v.columns; c++) {
      real d = v.x[n + c] > 0 ? dy[n + c] : v.a[c * v.step] * dy[n + c];
      dx[n + c] = add ? dx[n + c] + d : d;
    }
}

/* sum[c] of columns [begin, begin + count) */
static void take_sums(const view *v, const real *dy, int64_t begin, int64_t count, double *sum) {
  for (int64_t c = 0; c < count; c++) sum[c] = 0;
  for (int64_t n = 0; n < v->rows; n++)
    for (int64_t c = 0; c < count; c++) {
      int64_t at = n * v->columns + begin + c;
      sum[c] += v->x[at] > 0 ? 0 : (double)dy[at] * (double)v->x[at];
    }
}

/* Columns are shared; a slope that all columns share is one thread's, whose sum is not cut. */
static void backward_param(const pb_instr *k, const pb_lane *lane) {
  view v = view_of(k, lane);
  const real *dy = lane->ptr[k->dout];
  double sum[BLOCK], total = 0;
  bool shared = lane->plan->tensor[k->in[SLOPE]].size == 1;
  int64_t begin = 0, end = v.columns;
  if (shared && lane->part > 0) return;
  if (!shared) share(lane, v.columns, GRAIN, &begin, &end);
  for (; begin < end; begin += BLOCK) {
    int64_t count = min_i(BLOCK, end - begin);
    take_sums(&v, dy, begin, count, sum);
    if (!shared) hand_over(k, lane, SLOPE, begin, count, sum);
    for (int64_t c = 0; c < count; c++) total += sum[c];
  }
  if (shared) hand_over(k, lane, SLOPE, 0, 1, &total);
}

PB_OP(prelu) = {.name = "prelu",
                .attrs = "",
                .min_in = 2,
                .max_in = 2,
                .params = 1,
                .flags = PB_USES_X,
                .infer = infer,
                .forward = forward,
                .backward_in = backward_in,
                .backward_param = backward_param};
