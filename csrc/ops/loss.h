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

/* What targets hold: a value for each output; or, the outputs' last axis being exclusive classes, masses
   of them at every place of the other axes; or either these or a class number for every place. The
   value of a row is then the mean over its places. */
enum { BY_VALUE, BY_MASS, BY_CLASS };

PB_INLINE int64_t places_of(const pb_shape *prediction, int kind) {
  int64_t classes = prediction->ndim ? prediction->dim[prediction->ndim - 1] : 0;
  return kind == BY_VALUE || classes < 1 ? 1 : pb_shape_size(prediction) / classes;
}

PB_INLINE bool loss_infer(const pb_shape *in, int nin, int kind, pb_inferred *r) {
  int64_t c = pb_shape_size(&in[PREDICTION]), t = pb_shape_size(&in[TARGET]);
  bool fits = t == c || (kind == BY_CLASS && t == places_of(&in[PREDICTION], kind));
  r->out = (pb_shape){.ndim = 1, .batched = true, .dim = {1}};
  r->flops = 10 * c;
  bool weighable = nin <= WEIGHT || (in[WEIGHT].batched && pb_shape_size(&in[WEIGHT]) == 1);
  return in[PREDICTION].batched && in[TARGET].batched && fits && weighable;
}

/* One row of a loss, or one place of a row: prediction y [c], target t [width]. `saved` [c] is what
   forward may keep for backward, or NULL; backward puts scale dvalue/dy into dy, or adds it. */
typedef struct {
  const real *y, *t;
  int64_t c, width;
  real *saved, *dy;
  real scale;
  bool add;
} loss_row;

PB_INLINE loss_row row_at(const pb_instr *k, const pb_lane *lane, int64_t n, int64_t places) {
  int64_t c = lane->plan->tensor[k->in[PREDICTION]].size / places;
  int64_t width = lane->plan->tensor[k->in[TARGET]].size / places;
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

PB_INLINE void forward_rows(const pb_instr *k, const pb_lane *lane, value_of_row *value, int kind) {
  double *out = lane->ptr[k->out];
  int64_t places = places_of(&lane->plan->tensor[k->in[PREDICTION]].shape, kind);
  const real *weight = k->nin > WEIGHT ? lane->ptr[k->in[WEIGHT]] : NULL;
  int64_t begin, end;
  share(lane, lane->n, 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    double total = 0;
    for (int64_t p = 0; p < places; p++)
      total += value(k->attr, row_at(k, lane, n * places + p, places));
    out[n] = total / (double)places;
    if (weight) out[n] = weight[n] == 0 ? 0 : (double)weight[n] * out[n];
  }
}

/* `unit` is what the row's value has been multiplied by, and its slope not yet. */
PB_INLINE void backward_rows(const pb_instr *k, const pb_lane *lane, slope_of_row *slope,
                             double unit, bool mean, int kind) {
  int64_t places = places_of(&lane->plan->tensor[k->in[PREDICTION]].shape, kind);
  const real *weight = k->nin > WEIGHT ? lane->ptr[k->in[WEIGHT]] : NULL;
  if (mean) unit = lane->total > 0 ? unit / lane->total : 0;
  int64_t begin, end;
  share(lane, lane->n, 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    real scale = (real)((weight ? unit * (double)weight[n] : unit) / (double)places);
    for (int64_t p = n * places; p < (n + 1) * places; p++) {
      loss_row r = row_at(k, lane, p, places);
      r.dy = (real *)lane->ptr[k->din[PREDICTION]] + p * r.c;
      r.scale = scale, r.add = k->add[PREDICTION];
      if (scale != 0) slope(k->attr, r);
      else if (!r.add) memset(r.dy, 0, (size_t)r.c * sizeof *r.dy);
    }
  }
}

/* Defines the row of a metric `op_name` of targets of a kind from value(attr, row). */
#define PB_METRIC(op_name, attributes, kind) \
  static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) { \
    (void)attr; \
    return loss_infer(in, nin, kind, r); \
  } \
  static void forward(const pb_instr *k, const pb_lane *lane) { \
    const pb_attr *attr = k->attr; \
    (void)attr; \
    forward_rows(k, lane, value, kind); \
  } \
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
#define PB_LOSS(op_name, attributes, kind, saves, unit, by_mean) \
  static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) { \
    (void)attr; \
    r->saved_row = (saves) ? pb_shape_size(&in[PREDICTION]) : 0; \
    return loss_infer(in, nin, kind, r); \
  } \
  PB_LOSS_ROW(op_name, attributes, kind, unit, by_mean)

/* The same for a file that has a shape rule of its own. */
#define PB_LOSS_ROW(op_name, attributes, kind, unit, by_mean) \
  static void forward(const pb_instr *k, const pb_lane *lane) { \
    forward_rows(k, lane, value, kind); \
  } \
  static void backward_in(const pb_instr *k, const pb_lane *lane) { \
    const pb_attr *attr = k->attr; \
    double c = (double)lane->plan->tensor[k->in[PREDICTION]].size; \
    (void)attr, (void)c; \
    backward_rows(k, lane, slope, unit, by_mean, kind); \
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
  PB_LOSS(op_name, attributes, BY_VALUE, false, unit, by_mean)

#endif
