/* Losses and metrics as plain loops over doubles, one row at a time, and their uses. */
#ifndef PB_TEST_REFERENCE_LOSS_H
#define PB_TEST_REFERENCE_LOSS_H

#include <math.h>

#include "test/reference.h"

/* A row: predictions y and targets t [c], which are a class number where there is a `label`. */
typedef struct {
  const pb_attr *a;
  const double *y, *t;
  int64_t c, label; /* or -1 */
} row;

/* log of the sum of exponentials, of numbers of any size. */
static double log_sum(const double *z, int64_t n) {
  double top = z[0], sum = 0;
  for (int64_t i = 1; i < n; i++) top = fmax(top, z[i]);
  for (int64_t i = 0; i < n; i++) sum += exp(z[i] - top);
  return top + log(sum);
}

static double target_of(row r, int64_t i) { return r.label < 0 ? r.t[i] : (double)(i == r.label); }

static double squared_error_of(row r) {
  double sum = 0;
  for (int64_t i = 0; i < r.c; i++) sum += r.a[0].f * pow(r.y[i] - r.t[i], 2);
  return sum;
}

static double absolute_error_of(row r) {
  double sum = 0;
  for (int64_t i = 0; i < r.c; i++) sum += fabs(r.y[i] - r.t[i]) / (double)r.c;
  return sum;
}

static double huber_of(row r) {
  double sum = 0, delta = r.a[0].f;
  for (int64_t i = 0; i < r.c; i++) {
    double e = fabs(r.y[i] - r.t[i]), inner = fmin(e, delta);
    sum += (inner * inner / 2 + delta * (e - inner)) / (double)r.c;
  }
  return sum;
}

static double log_cosh_of(row r) {
  double sum = 0;
  for (int64_t i = 0; i < r.c; i++) sum += log(cosh(r.y[i] - r.t[i])) / (double)r.c;
  return sum;
}

static double quantile_of(row r) {
  double sum = 0, q = r.a[0].f;
  for (int64_t i = 0; i < r.c; i++) {
    double e = r.t[i] - r.y[i];
    sum += fmax(q * e, (q - 1) * e) / (double)r.c;
  }
  return isnan(r.y[0]) ? (double)NAN : sum;
}

static double poisson_of(row r) {
  double sum = 0;
  for (int64_t i = 0; i < r.c; i++) {
    double y = r.y[i], t = r.t[i];
    sum += (r.a[0].i ? exp(y) - t * y : y - t * log(y + r.a[1].f)) / (double)r.c;
  }
  return sum;
}

static double cosine_similarity_of(row r) {
  double yt = 0, yy = 0, tt = 0;
  for (int64_t i = 0; i < r.c; i++)
    yt += r.y[i] * r.t[i], yy += r.y[i] * r.y[i], tt += r.t[i] * r.t[i];
  return 1 - yt / sqrt(yy * tt);
}

static double softmax_cross_entropy_of(row r) {
  double sum = 0, s = r.a[0].f;
  for (int64_t i = 0; i < r.c; i++)
    sum += ((1 - s) * target_of(r, i) + s / (double)r.c) * (log_sum(r.y, r.c) - r.y[i]);
  return sum;
}

static double sigmoid_cross_entropy_of(row r) {
  double sum = 0, s = r.a[0].f;
  for (int64_t i = 0; i < r.c; i++) {
    double z = r.y[i], u = (1 - s) * r.t[i] + s / 2, rest = log1p(exp(-fabs(z)));
    sum += (u * (fmax(-z, 0) + rest) + (1 - u) * (fmax(z, 0) + rest)) / (double)r.c;
  }
  return sum;
}

static double kl_divergence_of(row r) {
  double sum = 0;
  for (int64_t i = 0; i < r.c; i++) sum += r.t[i] * (log(r.t[i]) - r.y[i] + log_sum(r.y, r.c));
  return sum;
}

static double hinge_of(row r) {
  double sum = 0;
  for (int64_t i = 0; i < r.c; i++)
    sum += pow(fmax(0, 1 - (r.t[i] > 0 ? 1 : -1) * r.y[i]), r.a[0].i ? 2 : 1) / (double)r.c;
  return sum;
}

static double class_hinge_of(row r) {
  double worst = 0;
  for (int64_t i = 0; i < r.c; i++)
    if (i != r.label) worst = fmax(worst, 1 + r.y[i] - r.y[r.label]);
  return pow(worst, r.a[0].i ? 2 : 1);
}

static double sigmoid_focal_of(row r) {
  double sum = 0, alpha = r.a[1].f;
  for (int64_t i = 0; i < r.c; i++) {
    bool on = r.t[i] > 0.5;
    double p = 1 / (1 + exp(on ? -r.y[i] : r.y[i])), a = alpha < 0 ? 1 : on ? alpha : 1 - alpha;
    sum -= a * pow(1 - p, r.a[0].f) * log(p) / (double)r.c;
  }
  return sum;
}

static double softmax_focal_of(row r) {
  double sum = 0;
  for (int64_t i = 0; i < r.c; i++) {
    double log_p = r.y[i] - log_sum(r.y, r.c);
    sum -= target_of(r, i) * pow(1 - exp(log_p), r.a[0].f) * log_p;
  }
  return sum;
}

/* How many of the predictions come before i: the larger, and of the equal ones the first. */
static int64_t rank_of(const double *y, int64_t c, int64_t i) {
  int64_t rank = 0;
  for (int64_t j = 0; j < c; j++) rank += y[j] > y[i] || (j < i && y[j] == y[i]);
  return rank;
}

static double top_k_accuracy_of(row r) {
  for (int64_t i = 0; i < r.c; i++)
    if (r.label < 0 ? rank_of(r.t, r.c, i) == 0 : i == r.label)
      return rank_of(r.y, r.c, i) < r.a[0].i;
  return 0;
}

static double accuracy_of(row r) {
  double right = 0;
  pb_attr one = {.i = 1};
  row top = r;
  top.a = &one;
  if (!r.a[0].i) return top_k_accuracy_of(top);
  for (int64_t i = 0; i < r.c; i++) right += (r.y[i] > r.a[1].f) == (r.t[i] > 0.5);
  return right / (double)r.c;
}

static double positives_of(row r) {
  double count = 0;
  for (int64_t i = 0; i < r.c; i++) {
    bool predicted = r.y[i] > r.a[0].f, is = r.t[i] > 0.5;
    count += r.a[1].i == 0 ? predicted && is : r.a[1].i == 1 ? predicted : is;
  }
  return count;
}

static double row_weight_of(row r) { return (void)r, 1; }

/* The op made of a row's function; by place, the mean over the places of the last axis. */
#define PER_ROW(name, by_place) \
  static void name(const op_case *c, int64_t n, int64_t size, const double *const *in, \
                   double *out) { \
    const pb_shape *y = &c->in[0]; \
    int64_t places = by_place ? pb_shape_size(y) / y->dim[y->ndim - 1] : 1; \
    int64_t columns = pb_shape_size(y) / places, width = pb_shape_size(&c->in[1]) / places; \
    for (int64_t r = 0; r < n * size; r++) { \
      out[r] = 0; \
      for (int64_t p = r * places; p < (r + 1) * places; p++) { \
        row one = {c->attr, in[0] + p * columns, in[1] + p * width, columns, -1}; \
        if (c->fill[1] == CLASS) one.label = (int64_t)one.t[0]; \
        out[r] += name##_of(one) / (double)places * (c->nin > 2 ? in[2][r] : 1); \
      } \
    } \
  }
PER_ROW(squared_error, false)
PER_ROW(absolute_error, false)
PER_ROW(huber, false)
PER_ROW(log_cosh, false)
PER_ROW(quantile, false)
PER_ROW(poisson, false)
PER_ROW(cosine_similarity, false)
PER_ROW(softmax_cross_entropy, true)
PER_ROW(sigmoid_cross_entropy, false)
PER_ROW(kl_divergence, true)
PER_ROW(hinge, false)
PER_ROW(class_hinge, true)
PER_ROW(sigmoid_focal, false)
PER_ROW(softmax_focal, true)
PER_ROW(top_k_accuracy, true)
PER_ROW(accuracy, false)
PER_ROW(positives, false)
PER_ROW(row_weight, false)

#define LOSS(name, c, width, kind, by_mean, count, ...) \
  {.op = #name, \
   .nin = count, \
   .in = {ROW(c), ROW(width), ROW(1)}, \
   .fill = {SIGNED, kind, WEIGHTS}, \
   .attr = {__VA_ARGS__}, \
   .mean = by_mean, \
   .forward = name}
/* Without weights and with. */
#define LOSSES(name, c, width, kind, ...) \
  LOSS(name, c, width, kind, true, 2, __VA_ARGS__), LOSS(name, c, width, kind, true, 3, __VA_ARGS__)
#define SQUARED(c, factor, by_mean) \
  LOSS(squared_error, c, c, SIGNED, by_mean, 2, {.f = factor}, {.i = by_mean}), \
      LOSS(squared_error, c, c, SIGNED, by_mean, 3, {.f = factor}, {.i = by_mean})
#define CROSS_ENTROPY(x, t, kind, size) \
  {.op = "softmax_cross_entropy", \
   .nin = 2, \
   .in = {x, t}, \
   .fill = {SIGNED, kind}, \
   .mean = true, \
   .span = size, \
   .forward = softmax_cross_entropy}
#define BINARY_CROSS_ENTROPY(x, size) \
  {.op = "sigmoid_cross_entropy", \
   .nin = 2, \
   .in = {x, x}, \
   .fill = {SIGNED, BITS}, \
   .mean = true, \
   .span = size, \
   .forward = sigmoid_cross_entropy}
#define TIED(name, c, width, kind, ...) \
  {.op = #name, \
   .nin = 2, \
   .in = {ROW(c), ROW(width)}, \
   .fill = {TIES, kind}, \
   .attr = {__VA_ARGS__}, \
   .forward = name}

#define LOSS_USES \
  CROSS_ENTROPY(ROW(2), ROW(1), CLASS, 0), CROSS_ENTROPY(ROW(10), ROW(1), CLASS, 0), \
      CROSS_ENTROPY(ROW(10), ROW(10), MASSES, 0), CROSS_ENTROPY(ROW(37), SCALAR, CLASS, 30), \
      CROSS_ENTROPY(ROW(5), ROW(1), CLASS, 1000), CROSS_ENTROPY(GRID(2, 3), ROW(6), MASSES, 0), \
      CROSS_ENTROPY(GRID(4, 3), ROW(4), CLASS, 0), CROSS_ENTROPY(ROW(1), ROW(1), MASSES, 0), \
      BINARY_CROSS_ENTROPY(ROW(1), 0), BINARY_CROSS_ENTROPY(ROW(3), 12), \
      BINARY_CROSS_ENTROPY(ROW(19), 0), BINARY_CROSS_ENTROPY(ROW(2), 1000), \
      SQUARED(1, 0.5, false), SQUARED(3, 1.0, false), SQUARED(10, 0.1, true), \
      LOSSES(absolute_error, 1, 1, SIGNED, {.i = 0}), \
      LOSSES(absolute_error, 11, 11, SIGNED, {.i = 0}), LOSSES(huber, 5, 5, SIGNED, {.f = 0.7}), \
      LOSSES(log_cosh, 5, 5, SIGNED, {.i = 0}), LOSSES(quantile, 5, 5, SIGNED, {.f = 0.9}), \
      LOSSES(poisson, 5, 5, BITS, {.i = 1}, {.f = 1e-8}), \
      LOSSES(poisson, 3, 3, BITS, {.i = 0}, {.f = 3}), \
      LOSSES(cosine_similarity, 5, 5, SIGNED, {.i = 0}), \
      LOSSES(softmax_cross_entropy, 10, 1, CLASS, {.f = 0.1}), \
      LOSSES(softmax_cross_entropy, 3, 3, MASSES, {.f = 0.1}), \
      LOSSES(sigmoid_cross_entropy, 3, 3, BITS, {.f = 0.1}), \
      LOSSES(kl_divergence, 5, 5, MASSES, {.i = 0}), LOSSES(hinge, 1, 1, BITS, {.i = 0}), \
      LOSSES(hinge, 5, 5, BITS, {.i = 1}), LOSSES(class_hinge, 10, 1, CLASS, {.i = 0}), \
      LOSSES(class_hinge, 2, 1, CLASS, {.i = 1}), \
      LOSSES(sigmoid_focal, 3, 3, BITS, {.f = 2}, {.f = -1}), \
      LOSSES(sigmoid_focal, 3, 3, BITS, {.f = 1.5}, {.f = 0.25}), \
      LOSSES(softmax_focal, 10, 1, CLASS, {.f = 2}), \
      LOSSES(softmax_focal, 3, 3, MASSES, {.f = 0.5}), LOSSES(accuracy, 2, 1, CLASS, {.i = 0}), \
      LOSSES(accuracy, 10, 1, CLASS, {.i = 0}), LOSSES(accuracy, 10, 10, MASSES, {.i = 0}), \
      LOSSES(accuracy, 1, 1, BITS, {.i = 1}, {.f = 0}), \
      LOSSES(accuracy, 4, 4, BITS, {.i = 1}, {.f = 0.5}), TIED(accuracy, 5, 1, CLASS, {.i = 0}), \
      TIED(accuracy, 5, 5, TIES, {.i = 0}), LOSSES(top_k_accuracy, 10, 1, CLASS, {.i = 3}), \
      TIED(top_k_accuracy, 5, 5, TIES, {.i = 2}), \
      LOSSES(positives, 4, 4, BITS, {.f = 0.5}, {.i = 0}), \
      LOSSES(positives, 4, 4, BITS, {.f = 0.5}, {.i = 1}), \
      LOSSES(positives, 1, 1, BITS, {.f = 0.5}, {.i = 2}), \
      LOSSES(row_weight, 3, 1, CLASS, {.i = 0})

#endif
