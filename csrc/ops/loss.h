/* What losses and metrics share: one double per row, from a row of predictions, its target and, as
 * an optional third input, the row's weight w_n:
 *
 *     out_n = w_n value_n        dy_nc = w_n dvalue_n/dy_nc s
 *
 * s is 1 / sum_n w_n over the whole batch when the batch's loss is the mean over its rows, 0 where
 * that sum is 0, and 1 when the loss is their sum. A row of weight 0 gives 0 whatever it holds, as
 * if it were not there. Without weights all w_n are 1.
 */
#ifndef PB_LOSS_H
#define PB_LOSS_H

#include "ops/real.h"

enum { PREDICTION, TARGET, WEIGHT };

/* Prediction [C] with target [C], or with one class number [1] where `labels` allows it. */
PB_INLINE bool loss_infer(const pb_shape *in, int nin, bool labels, pb_inferred *r) {
  int64_t c = pb_shape_size(&in[PREDICTION]), t = pb_shape_size(&in[TARGET]);
  r->out = (pb_shape){.ndim = 1, .batched = true, .dim = {1}};
  r->flops = 10 * c;
  bool weighable = nin <= WEIGHT || (in[WEIGHT].batched && pb_shape_size(&in[WEIGHT]) == 1);
  return in[PREDICTION].batched && in[TARGET].batched && (t == c || (labels && t == 1)) &&
         weighable;
}

/* One row of a loss: prediction y [c], target t [width]. `saved` [c] is what forward may keep for
   backward, or NULL; backward puts scale dvalue/dy into dy, or adds it. */
typedef struct {
  const real *y, *t;
  int64_t c, width;
  real *saved, *dy;
  real scale;
  bool add;
} loss_row;

PB_INLINE loss_row row_at(const pb_instr *k, const pb_lane *lane, int64_t n) {
  int64_t c = lane->plan->tensor[k->in[PREDICTION]].size;
  int64_t width = lane->plan->tensor[k->in[TARGET]].size;
  return (loss_row){.y = (const real *)lane->ptr[k->in[PREDICTION]] + n * c,
                    .t = (const real *)lane->ptr[k->in[TARGET]] + n * width,
                    .c = c,
                    .width = width,
                    .saved = k->saved < 0 ? NULL : (real *)lane->ptr[k->saved] + n * c};
}

PB_INLINE void put(loss_row r, int64_t i, real g) { r.dy[i] = g * r.scale + (r.add ? r.dy[i] : 0); }

PB_INLINE bool is_label(loss_row r) { return r.width == 1 && r.c > 1; }

/* The row's class, or -1 where the target names none: labels are checked before training, but a
   user's array may change under it. The loss is NaN then, which stops the run. */
PB_INLINE int64_t class_of(loss_row r) {
  return r.t[0] >= 0 && r.t[0] < (real)r.c ? (int64_t)r.t[0] : -1;
}

PB_INLINE int64_t largest(const real *x, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; i++)
    if (x[i] > x[best]) best = i;
  return best;
}

typedef double value_of_row(const pb_attr *, loss_row);
typedef void slope_of_row(const pb_attr *, loss_row);

PB_INLINE void forward_rows(const pb_instr *k, const pb_lane *lane, value_of_row *value) {
  double *out = lane->ptr[k->out];
  const real *weight = k->nin > WEIGHT ? lane->ptr[k->in[WEIGHT]] : NULL;
  int64_t begin, end;
  share(lane, lane->n, 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    out[n] = value(k->attr, row_at(k, lane, n));
    if (weight) out[n] = weight[n] == 0 ? 0 : (double)weight[n] * out[n];
  }
}

/* `unit` is what the row's value has been multiplied by, and its slope not yet. */
PB_INLINE void backward_rows(const pb_instr *k, const pb_lane *lane, slope_of_row *slope,
                             double unit, bool mean) {
  const real *weight = k->nin > WEIGHT ? lane->ptr[k->in[WEIGHT]] : NULL;
  if (mean) unit = lane->total > 0 ? unit / lane->total : 0;
  int64_t begin, end;
  share(lane, lane->n, 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    loss_row r = row_at(k, lane, n);
    r.dy = (real *)lane->ptr[k->din[PREDICTION]] + n * r.c;
    r.scale = (real)(weight ? unit * (double)weight[n] : unit);
    r.add = k->add[PREDICTION];
    if (r.scale != 0) slope(k->attr, r);
    else if (!r.add) memset(r.dy, 0, (size_t)r.c * sizeof *r.dy);
  }
}

/* Defines the row of a metric `op_name` from value(attr, row). */
#define PB_METRIC(op_name, attributes, labels) \
  static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) { \
    (void)attr; \
    return loss_infer(in, nin, labels, r); \
  } \
  static void forward(const pb_instr *k, const pb_lane *lane) { forward_rows(k, lane, value); } \
  PB_OP(op_name) = {.name = #op_name, \
                    .attrs = attributes, \
                    .min_in = 2, \
                    .max_in = 3, \
                    .flags = PB_PER_ROW, \
                    .infer = infer, \
                    .forward = forward}

/* Defines the row of a loss from value(attr, row) and slope(attr, row), which puts the gradient
   divided by `unit`, an expression of `attr` and the number of predictions `c`. The batch's loss is
   the mean over its rows where `by_mean`. Forward saves a copy of the row where `saves`. */
#define PB_LOSS(op_name, attributes, labels, saves, unit, by_mean) \
  static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) { \
    (void)attr; \
    r->saved_row = (saves) ? pb_shape_size(&in[PREDICTION]) : 0; \
    return loss_infer(in, nin, labels, r); \
  } \
  PB_LOSS_ROW(op_name, attributes, unit, by_mean)

/* The same for a file that has a shape rule of its own. */
#define PB_LOSS_ROW(op_name, attributes, unit, by_mean) \
  static void forward(const pb_instr *k, const pb_lane *lane) { forward_rows(k, lane, value); } \
  static void backward_in(const pb_instr *k, const pb_lane *lane) { \
    const pb_attr *attr = k->attr; \
    double c = (double)lane->plan->tensor[k->in[PREDICTION]].size; \
    (void)attr, (void)c; \
    backward_rows(k, lane, slope, unit, by_mean); \
  } \
  PB_OP(op_name) = {.name = #op_name, \
                    .attrs = attributes, \
                    .min_in = 2, \
                    .max_in = 3, \
                    .flags = PB_PER_ROW | PB_USES_X, \
                    .infer = infer, \
                    .forward = forward, \
                    .backward_in = backward_in}

/* A loss that is unit sum_c l(y_c, t_c), from point(attr, y, t) = l in doubles and
   point_slope(attr, y, t) = dl/dy in reals. */
#define PB_POINTWISE_LOSS(op_name, attributes, unit, by_mean) \
  static double value(const pb_attr *attr, loss_row r) { \
    double total = 0, c = (double)r.c; \
    (void)c; \
    for (int64_t i = 0; i < r.c; i++) total += point(attr, (double)r.y[i], (double)r.t[i]); \
    return (unit) * total; \
  } \
  static void slope(const pb_attr *attr, loss_row r) { \
    for (int64_t i = 0; i < r.c; i++) put(r, i, point_slope(attr, r.y[i], r.t[i])); \
  } \
  PB_LOSS(op_name, attributes, false, false, unit, by_mean)

#endif
