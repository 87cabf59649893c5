/* The activations over their whole range, against the C library in double. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "test/reference.h"
#include "test/test.h"

static const pb_attr none[PB_MAX_ATTR];

enum { COUNT = 1003 }; /* odd, so that loops have tails */

/* Largest error of the map over [from, to], relative to the value, in units of the last place. */
static double worst_error(const pb_table *t, const char *name, double from, double to) {
  void *x = exact_alloc(COUNT * t->real_size), *y = exact_alloc(COUNT * t->real_size);
  for (int i = 0; i < COUNT; i++) put_real(t, x, i, from + (to - from) * i / (COUNT - 1));
  pb_find_op(t, name)->map(none, COUNT, x, y);
  double worst = 0, unit = t->real_size == 8 ? DBL_EPSILON : FLT_EPSILON;
  for (int i = 0; i < COUNT; i++) {
    double wanted = reference_activation(name, none, get_real(t, x, i));
    double error = fabs(get_real(t, y, i) - wanted);
    if (wanted != 0) error /= fabs(wanted);
    if (!(error / unit <= worst)) worst = error / unit;
  }
  exact_free(x), exact_free(y);
  return worst;
}

static void accuracy_of_maps(const pb_table *t) {
  static const struct {
    const char *name;
    double from, to;
  } ranges[] = {{"tanh", -1e-6, 1e-6}, {"tanh", -0.5, 0.5},   {"tanh", -8, 8},
                {"tanh", -30, 30},     {"tanh", 1e-30, 1e-3}, {"sigmoid", -1, 1},
                {"sigmoid", -80, 80},  {"relu", -1e30, 1e30}, {"identity", -1e30, 1e30}};
  for (int i = 0; i < 9; i++) {
    double worst = worst_error(t, ranges[i].name, ranges[i].from, ranges[i].to);
    CHECK(worst <= 4, "%s on [%g, %g]: off by %g units in the last place", ranges[i].name,
          ranges[i].from, ranges[i].to, worst);
  }
}

/* Infinite arguments give the limits, and NaN stays. */
static void limits_of_maps(const pb_table *t) {
  static const struct {
    const char *name;
    double low, high;
  } ends[] = {{"tanh", -1, 1}, {"sigmoid", 0, 1}, {"relu", 0, INFINITY}};
  for (int i = 0; i < 3; i++) {
    double x[3], y[3];
    put_real(t, x, 0, -INFINITY), put_real(t, x, 1, INFINITY), put_real(t, x, 2, NAN);
    pb_find_op(t, ends[i].name)->map(none, 3, x, y);
    double tiny = t->real_size == 8 ? DBL_MIN : FLT_MIN;
    CHECK(fabs(get_real(t, y, 0) - ends[i].low) <= tiny, "%s(-inf) = %g", ends[i].name,
          get_real(t, y, 0));
    CHECK(get_real(t, y, 1) == ends[i].high, "%s(inf) = %g", ends[i].name, get_real(t, y, 1));
    CHECK(isnan(get_real(t, y, 2)), "%s(NaN) = %g", ends[i].name, get_real(t, y, 2));
  }
}

/* An element's bits do not depend on where in the array it stands, nor on the array's length. */
static void bits_of_maps(const pb_table *t) {
  for (int k = 0; t->ops[k]; k++) {
    const pb_op *op = t->ops[k];
    if (!op->map) continue;
    void *x = exact_alloc(100 * t->real_size), *y = exact_alloc(100 * t->real_size);
    void *dx = exact_alloc(100 * t->real_size);
    rng r = {3};
    for (int i = 0; i < 100; i++) put_real(t, x, i, 5 * rng_uniform(&r));
    op->map(none, 100, x, y);
    if (op->chain) op->chain(none, 100, x, y, x, dx);
    for (int i = 0; i < 100; i++) {
      double one[2] = {0};
      int64_t at = i * t->real_size;
      op->map(none, 1, (char *)x + at, one);
      CHECK(memcmp((char *)y + at, one, (size_t)t->real_size) == 0, "%s alone differs", op->name);
      if (!op->chain) continue;
      op->chain(none, 1, (char *)x + at, (char *)y + at, (char *)x + at, one);
      CHECK(memcmp((char *)dx + at, one, (size_t)t->real_size) == 0, "%s' alone differs", op->name);
    }
    op->map(none, 100, x, x);
    CHECK(memcmp(x, y, (size_t)(100 * t->real_size)) == 0, "%s in place differs", op->name);
    exact_free(x), exact_free(y), exact_free(dx);
  }
}

const test tests_math[] = {
    {"accuracy of activations", NULL, accuracy_of_maps},
    {"limits of activations", NULL, limits_of_maps},
    {"bits of activations", NULL, bits_of_maps},
    {0},
};
