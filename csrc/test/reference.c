#include "test/reference.h"

#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "test/reference_loss.h"

int64_t case_columns(const op_case *c, int j) {
  const pb_shape *s = &c->in[j];
  return s->ndim ? s->dim[s->ndim - 1] : 1;
}

double reference_activation(const char *name, const pb_attr *attr, double z) {
#define IS(text) (strcmp(name, text) == 0)
  const double scale = 1.0507009873554804934, alpha = 1.6732632423543772848;
  if (IS("relu")) return z > 0 ? z : 0;
  if (IS("tanh")) return tanh(z);
  if (IS("sigmoid")) return 1 / (1 + exp(-z));
  if (IS("exp")) return exp(z);
  if (IS("log")) return log(z);
  if (IS("erf")) return erf(z);
  if (IS("step")) return z >= 0 ? 1 : isnan(z) ? z : 0;
  if (IS("leaky_relu")) return z > 0 ? z : attr[0].f * z;
  if (IS("elu")) return z > 0 ? z : attr[0].f * expm1(z);
  if (IS("selu")) return z > 0 ? scale * z : scale * alpha * expm1(z);
  if (IS("gelu")) return z * erfc(-z * sqrt(0.5)) / 2;
  if (IS("gelu_tanh")) return z / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (z + 0.044715 * z * z * z)));
  if (IS("silu")) return z / (1 + exp(-z));
  if (IS("mish")) return z * tanh(log1p(exp(z)));
  if (IS("softplus")) return log1p(exp(z));
  if (IS("softsign")) return z / (1 + fabs(z));
  if (IS("hard_sigmoid")) return z < -3 ? 0 : z > 3 ? 1 : z / 6 + 0.5;
  if (IS("hard_tanh")) return z < -1 ? -1 : z > 1 ? 1 : z;
  return z;
#undef IS
}

static void elementwise(const op_case *c, int64_t n, int64_t size, const double *const *in,
                        double *out) {
  for (int64_t i = 0; i < n * size; i++) out[i] = reference_activation(c->op, c->attr, in[0][i]);
}

static void dense(const op_case *c, int64_t n, int64_t size, const double *const *in, double *out) {
  int64_t inputs = c->in[1].dim[1], outputs = c->in[1].dim[0];
  for (int64_t r = 0; r < n * size / outputs; r++)
    for (int64_t o = 0; o < outputs; o++) {
      double z = c->nin > 2 ? in[2][o] : 0;
      for (int64_t i = 0; i < inputs; i++) z += in[0][r * inputs + i] * in[1][o * inputs + i];
      out[r * outputs + o] =
          c->activation ? reference_activation(c->activation, c->activation_attr, z) : z;
    }
}

static void softmax(const op_case *c, int64_t n, int64_t size, const double *const *in,
                    double *out) {
  int64_t classes = case_columns(c, 0);
  for (int64_t r = 0; r < n * size / classes; r++) {
    const double *x = in[0] + r * classes;
    for (int64_t i = 0; i < classes; i++) out[r * classes + i] = exp(x[i] - log_sum(x, classes));
  }
}

static void log_softmax(const op_case *c, int64_t n, int64_t size, const double *const *in,
                        double *out) {
  softmax(c, n, size, in, out);
  for (int64_t i = 0; i < n * size; i++) out[i] = log(out[i]);
}

static void prelu(const op_case *c, int64_t n, int64_t size, const double *const *in, double *out) {
  int64_t slopes = case_columns(c, 1);
  for (int64_t i = 0; i < n * size; i++)
    out[i] = in[0][i] > 0 ? in[0][i] : in[1][i % slopes] * in[0][i];
}

static void maxout(const op_case *c, int64_t n, int64_t size, const double *const *in,
                   double *out) {
  int64_t pieces = c->attr[0].i;
  for (int64_t i = 0; i < n * size; i++) {
    out[i] = in[0][i * pieces];
    for (int64_t p = 1; p < pieces; p++)
      if (!(in[0][i * pieces + p] <= out[i])) out[i] = in[0][i * pieces + p];
  }
}

/* Element i keeps its place in the stream whatever the batch is. */
static uint32_t random_bits(int64_t i) {
  uint64_t index = (uint64_t)(i / 64 * 16 + i % 16);
  return pb_philox(REFERENCE_SEED, REFERENCE_NODE, REFERENCE_STEP, index).v[i % 64 / 16];
}

/* Box and Muller's rule for elements i and i + 32 of a block of 64. */
static double random_normal(int64_t i) {
  int64_t first = i / 64 * 64 + i % 32;
  double radius = sqrt(-2 * log(((double)random_bits(first) + 0.5) / 4294967296.0));
  double angle = 8 * atan(1) * (double)random_bits(first + 32) / 4294967296.0;
  return radius * (i % 64 < 32 ? cos(angle) : sin(angle));
}

static void gaussian_noise(const op_case *c, int64_t n, int64_t size, const double *const *in,
                           double *out) {
  for (int64_t i = 0; i < n * size; i++)
    out[i] = in[0][i] + (c->training ? c->attr[0].f * random_normal(i) : 0);
}

static void gaussian_dropout(const op_case *c, int64_t n, int64_t size, const double *const *in,
                             double *out) {
  double deviation = c->training ? sqrt(c->attr[0].f / (1 - c->attr[0].f)) : 0;
  for (int64_t i = 0; i < n * size; i++) out[i] = in[0][i] * (1 + deviation * random_normal(i));
}

static void alpha_dropout(const op_case *c, int64_t n, int64_t size, const double *const *in,
                          double *out) {
  double rate = c->attr[0].f, s = -1.0507009873554805 * 1.6732632423543772;
  double a = pow((1 - rate) * (1 + rate * s * s), -0.5), b = -a * rate * s;
  for (int64_t i = 0; i < n * size; i++) {
    bool kept = (double)random_bits(i) >= floor(rate * 4294967296.0);
    out[i] = c->training ? a * (kept ? in[0][i] : s) + b : in[0][i];
  }
}

static void dropout(const op_case *c, int64_t n, int64_t size, const double *const *in,
                    double *out) {
  double rate = c->attr[0].f;
  for (int64_t i = 0; i < n * size; i++) {
    bool kept = (double)random_bits(i) >= floor(rate * 4294967296.0);
    if (c->training) out[i] = kept ? in[0][i] / (1 - rate) : 0;
    else out[i] = in[0][i];
  }
}

/* Values of column c; mean and variance are theirs in training, and the running ones otherwise. */
static void batch_norm(const op_case *c, int64_t n, int64_t size, const double *const *in,
                       double *out) {
  int64_t columns = case_columns(c, 0), rows = n * size / columns;
  for (int64_t j = 0; j < columns; j++) {
    double mean = in[1][j], variance = in[2][j];
    if (c->training) {
      mean = variance = 0;
      for (int64_t r = 0; r < rows; r++) mean += in[0][r * columns + j] / (double)rows;
      for (int64_t r = 0; r < rows; r++)
        variance += pow(in[0][r * columns + j] - mean, 2) / (double)rows;
    }
    for (int64_t r = 0; r < rows; r++) {
      double h = (in[0][r * columns + j] - mean) / sqrt(variance + c->attr[1].f);
      out[r * columns + j] = c->nin > 3 ? in[3][j] * h + in[4][j] : h;
    }
  }
}

/* layer_norm, and rms_norm, which is not centred. */
static void row_norm(const op_case *c, int64_t n, int64_t size, const double *const *in,
                     double *out) {
  int64_t columns = case_columns(c, 0);
  for (int64_t r = 0; r < n * size / columns; r++) {
    const double *x = in[0] + r * columns;
    double mean = 0, square = 0;
    for (int64_t i = 0; i < columns && strcmp(c->op, "layer_norm") == 0; i++)
      mean += x[i] / (double)columns;
    for (int64_t i = 0; i < columns; i++) square += pow(x[i] - mean, 2) / (double)columns;
    for (int64_t i = 0; i < columns; i++) {
      double h = (x[i] - mean) / sqrt(square + c->attr[0].f);
      out[r * columns + i] = (c->nin > 1 ? in[1][i] * h : h) + (c->nin > 2 ? in[2][i] : 0);
    }
  }
}

static void batch_norm_affine(const op_case *c, int64_t n, int64_t size, const double *const *in,
                              double *out) {
  int64_t columns = n * size / 2;
  for (int64_t j = 0; j < columns; j++) {
    out[j] = (c->nin > 2 ? in[2][j] : 1) / sqrt(in[1][j] + c->attr[0].f);
    out[columns + j] = (c->nin > 2 ? in[3][j] : 0) - in[0][j] * out[j];
  }
}

/* --- the uses ------------------------------------------------------------------------------------ */

#define DENSE(x, i, o, f) \
  {.op = "dense", .activation = f, .nin = 2, .in = {x, MATRIX(o, i)}, .forward = dense}
#define DENSE_BIAS(x, i, o, f) \
  {.op = "dense", .activation = f, .nin = 3, .in = {x, MATRIX(o, i), VECTOR(o)}, .forward = dense}
#define UNARY(name, ...) {.op = #name, .nin = 1, .in = {__VA_ARGS__}, .forward = elementwise}
#define UNARIES(...) \
  UNARY(identity, __VA_ARGS__), UNARY(relu, __VA_ARGS__), UNARY(tanh, __VA_ARGS__), \
      UNARY(sigmoid, __VA_ARGS__)
#define MORE_UNARIES(...) \
  UNARY(exp, __VA_ARGS__), UNARY(erf, __VA_ARGS__), UNARY(step, __VA_ARGS__), \
      UNARY(selu, __VA_ARGS__), UNARY(gelu, __VA_ARGS__), UNARY(gelu_tanh, __VA_ARGS__), \
      UNARY(silu, __VA_ARGS__), UNARY(mish, __VA_ARGS__), UNARY(softplus, __VA_ARGS__), \
      UNARY(softsign, __VA_ARGS__), UNARY(hard_sigmoid, __VA_ARGS__)
#define WITH_SLOPE(name, x, a) \
  {.op = #name, .nin = 1, .in = {x}, .attr = {{.f = a}}, .forward = elementwise}
#define PRELU(x, slopes) {.op = "prelu", .nin = 2, .in = {x, VECTOR(slopes)}, .forward = prelu}
#define MAXOUT(x, pieces) \
  {.op = "maxout", .nin = 1, .in = {x}, .attr = {{.i = pieces}}, .span = 20, .forward = maxout}
#define LOG_SOFTMAX(x, size) \
  {.op = "log_softmax", .nin = 1, .in = {x}, .span = size, .forward = log_softmax}
#define SOFTMAX(x, size) {.op = "softmax", .nin = 1, .in = {x}, .span = size, .forward = softmax}
#define NOISE(name, rate, train, ...) \
  {.op = #name, \
   .nin = 1, \
   .in = {__VA_ARGS__}, \
   .attr = {{.f = rate}}, \
   .training = train, \
   .forward = name}
#define NOISES(rate, train, ...) \
  NOISE(dropout, rate, train, __VA_ARGS__), NOISE(alpha_dropout, rate, train, __VA_ARGS__), \
      NOISE(gaussian_dropout, rate, train, __VA_ARGS__), \
      NOISE(gaussian_noise, rate, train, __VA_ARGS__)
#define ROW_NORM(name, count, c, ...) \
  {.op = #name, \
   .nin = count, \
   .in = {__VA_ARGS__, VECTOR(c), VECTOR(c)}, \
   .attr = {{.f = 0.1}}, \
   .forward = row_norm}
#define ROW_NORMS(c, ...) \
  ROW_NORM(layer_norm, 1, c, __VA_ARGS__), ROW_NORM(layer_norm, 3, c, __VA_ARGS__), \
      ROW_NORM(rms_norm, 1, c, __VA_ARGS__), ROW_NORM(rms_norm, 2, c, __VA_ARGS__)
#define BATCH_NORM(x, c, count, train) \
  {.op = "batch_norm", \
   .nin = count, \
   .in = {x, VECTOR(c), VECTOR(c), VECTOR(c), VECTOR(c)}, \
   .fill = {SIGNED, SIGNED, ABOUT_ONE}, \
   .attr = {{.f = 0.1}, {.f = 0.1}}, \
   .training = train, \
   .forward = batch_norm}
#define BATCH_NORM_AFFINE(c, count) \
  {.op = "batch_norm_affine", \
   .nin = count, \
   .in = {VECTOR(c), VECTOR(c), VECTOR(c), VECTOR(c)}, \
   .fill = {SIGNED, ABOUT_ONE}, \
   .attr = {{.f = 0.1}}, \
   .forward = batch_norm_affine}
/* Sizes below, at and past the vectors' and the tiles' widths. */
const op_case op_cases[] = {
    DENSE(ROW(1), 1, 1, NULL),
    DENSE_BIAS(ROW(1), 1, 5, "tanh"),
    DENSE_BIAS(ROW(2), 2, 8, "sigmoid"),
    DENSE(ROW(3), 3, 2, "relu"),
    DENSE_BIAS(ROW(5), 5, 33, "relu"),
    DENSE_BIAS(ROW(7), 7, 9, NULL),
    DENSE_BIAS(ROW(9), 9, 7, "identity"),
    DENSE(ROW(15), 15, 16, "tanh"),
    DENSE_BIAS(ROW(16), 16, 17, "sigmoid"),
    DENSE_BIAS(ROW(17), 17, 15, "relu"),
    DENSE(ROW(31), 31, 33, NULL),
    DENSE_BIAS(ROW(33), 33, 31, "relu"),
    DENSE_BIAS(ROW(70), 70, 97, "tanh"),
    DENSE_BIAS(ROW(301), 301, 3, NULL),
    DENSE_BIAS(GRID(3, 6), 6, 10, "relu"),
    DENSE(GRID(2, 37), 37, 5, "tanh"),
    DENSE_BIAS(ROW(5), 5, 18, "softplus"),
    {.op = "dense",
     .activation = "leaky_relu",
     .activation_attr = {{.f = 0.1}},
     .nin = 2,
     .in = {ROW(9), MATRIX(12, 9)},
     .forward = dense},
    UNARIES(SCALAR),
    UNARIES(ROW(1)),
    UNARIES(ROW(5)),
    UNARIES(ROW(64)),
    UNARIES(GRID(3, 7)),
    UNARIES(VECTOR(9)),
    MORE_UNARIES(ROW(5)),
    MORE_UNARIES(ROW(64)),
    MORE_UNARIES(GRID(3, 7)),
    {.op = "log", .nin = 1, .in = {ROW(33)}, .fill = {ABOUT_ONE}, .forward = elementwise},
    {.op = "hard_tanh", .nin = 1, .in = {ROW(33)}, .span = 0.9, .forward = elementwise},
    WITH_SLOPE(leaky_relu, ROW(33), 0.1),
    WITH_SLOPE(elu, GRID(3, 7), 0.5),
    PRELU(ROW(1), 1),
    PRELU(ROW(70), 70),
    PRELU(ROW(70), 1),
    PRELU(GRID(3, 7), 7),
    MAXOUT(ROW(2), 2),
    MAXOUT(ROW(15), 3),
    MAXOUT(GRID(3, 8), 4),
    LOG_SOFTMAX(ROW(1), 0),
    LOG_SOFTMAX(ROW(37), 0),
    LOG_SOFTMAX(GRID(3, 5), 0),
    SOFTMAX(ROW(1), 0),
    SOFTMAX(ROW(2), 0),
    SOFTMAX(ROW(10), 0),
    SOFTMAX(ROW(37), 0),
    SOFTMAX(ROW(10), 1000),
    SOFTMAX(GRID(3, 5), 0),
    NOISES(0.5, true, ROW(1)),
    NOISES(0.0, true, ROW(10)),
    NOISES(0.2, true, ROW(10)),
    NOISES(0.5, true, ROW(64)),
    NOISES(0.9, true, GRID(3, 7)),
    NOISES(0.5, false, ROW(33)),
    ROW_NORMS(1, ROW(1)),
    ROW_NORMS(5, ROW(5)),
    ROW_NORMS(70, ROW(70)),
    ROW_NORMS(17, GRID(3, 17)),
    BATCH_NORM_AFFINE(1, 4),
    BATCH_NORM_AFFINE(17, 2),
    BATCH_NORM_AFFINE(97, 4),
    BATCH_NORM(ROW(1), 1, 5, true),
    BATCH_NORM(ROW(5), 5, 5, true),
    BATCH_NORM(ROW(17), 17, 3, true),
    BATCH_NORM(ROW(97), 97, 5, true),
    BATCH_NORM(GRID(3, 7), 7, 5, true),
    BATCH_NORM(ROW(17), 17, 5, false),
    BATCH_NORM(ROW(5), 5, 3, false),
    LOSS_USES,
    {.op = "feed"},         /* sources.c goes through its uses */
    {.op = "sparse_dense"}, /* ... and sparse.c */
};
const int op_case_count = sizeof op_cases / sizeof *op_cases;
