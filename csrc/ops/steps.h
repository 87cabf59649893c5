/* The steps of which expressions are made: functions of one, two or three numbers, over tiles.
 *
 * map writes out = f(x, y, z); chain adds d df/dx to dx, and so on, where these are wanted. Functions
 * that are ops of their own, such as tanh, are steps by their op's map and chain.
 */
#ifndef PB_STEPS_H
#define PB_STEPS_H

#include "ops/elementwise.h"
#include "ops/math.h"

enum { OPERANDS = 3 };

typedef void step_map(int64_t n, const real *const *in, real *out);
typedef void step_chain(int64_t n, const real *const *in, const real *out, const real *d,
                        real *const *din);

typedef struct {
  int operands;    /* those of an op with an attribute: x and the attribute, a constant */
  const pb_op *op; /* or the two that follow */
  step_map *map;
  step_chain *chain; /* NULL where the derivative is 0 or does not exist */
} step_kind;

/* Operands may be the same register, never parts of each other. */
#if defined(__clang__)
#define EACH _Pragma("clang loop vectorize(assume_safety)") for (int64_t i = 0; i < n; i++)
#elif defined(__GNUC__)
#define EACH _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++)
#else
#define EACH for (int64_t i = 0; i < n; i++)
#endif

/* In the expressions below: x, y, z are operands, v the step's value. */
#define X_ const real x = in[0][i];
#define XY_ X_ const real y = in[1][i];
#define XV_ X_ const real v = out[i];
#define XYV_ XY_ const real v = out[i];

#define FLAT1(name, f) \
  static void name##_map(int64_t n, const real *const *in, real *out) { \
    EACH { X_ out[i] = f; } \
  }
#define FLAT2(name, f) \
  static void name##_map(int64_t n, const real *const *in, real *out) { \
    EACH { XY_ out[i] = f; } \
  }

#define STEP1(name, f, fx) \
  FLAT1(name, f) \
  static void name##_chain(int64_t n, const real *const *in, const real *out, const real *d, \
                           real *const *din) { \
    real *dx = din[0]; \
    EACH { \
      XV_(void) x, (void)v; \
      dx[i] += d[i] * (fx); \
    } \
  }

#define STEP2(name, f, fx, fy) \
  FLAT2(name, f) \
  static void name##_chain(int64_t n, const real *const *in, const real *out, const real *d, \
                           real *const *din) { \
    real *dx = din[0], *dy = din[1]; \
    if (dx) EACH { \
        XYV_(void) x, (void)y, (void)v; \
        dx[i] += d[i] * (fx); \
      } \
    if (dy) EACH { \
        XYV_(void) x, (void)y, (void)v; \
        dy[i] += d[i] * (fy); \
      } \
  }

#if PB_REAL_BITS == 32
#define LIBM(name) name##f
#else
#define LIBM(name) name
#endif
#define R(number) ((real)(number))

/* --- one operand ------------------------------------------------------------------------------- */

PB_INLINE real sign_of(real x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

STEP1(negative, -x, -1)
STEP1(absolute, r_abs(x), sign_of(x))
STEP1(square, x *x, 2 * x)
STEP1(reciprocal, 1 / x, -v *v)
STEP1(sqrt, LIBM(sqrt)(x), R(0.5) / v)
STEP1(rsqrt, 1 / LIBM(sqrt)(x), R(-0.5) * v / x)
STEP1(expm1, r_expm1(x), v + 1)
STEP1(log1p, LIBM(log1p)(x), 1 / (1 + x))
STEP1(sin, LIBM(sin)(x), LIBM(cos)(x))
STEP1(cos, LIBM(cos)(x), -LIBM(sin)(x))
STEP1(tan, LIBM(tan)(x), 1 + v * v)
STEP1(arcsin, LIBM(asin)(x), 1 / LIBM(sqrt)(1 - x * x))
STEP1(arccos, LIBM(acos)(x), -1 / LIBM(sqrt)(1 - x * x))
STEP1(arctan, LIBM(atan)(x), 1 / (1 + x * x))
STEP1(sinh, LIBM(sinh)(x), LIBM(cosh)(x))
STEP1(cosh, LIBM(cosh)(x), LIBM(sinh)(x))
STEP1(arcsinh, LIBM(asinh)(x), 1 / LIBM(sqrt)(1 + x * x))
STEP1(arccosh, LIBM(acosh)(x), 1 / LIBM(sqrt)(x * x - 1))
STEP1(arctanh, LIBM(atanh)(x), 1 / (1 - x * x))
FLAT1(sign, sign_of(x))
FLAT1(floor, LIBM(floor)(x))
FLAT1(ceil, LIBM(ceil)(x))
FLAT1(round, LIBM(rint)(x))
FLAT1(stop_gradient, x)

/* --- two --------------------------------------------------------------------------------------- */

/* Python's: the remainder has the divisor's sign. */
PB_INLINE real floor_quotient(real x, real y) { return LIBM(floor)(x / y); }
PB_INLINE real remainder_of(real x, real y) {
  real r = LIBM(fmod)(x, y);
  return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}
/* 0 where the power does not depend on the base, and where the exponent's derivative has no value or
   the limit 0, as at 0^2. */
PB_INLINE real power_by_base(real x, real y) { return y == 0 ? 0 : y * LIBM(pow)(x, y - 1); }
PB_INLINE real power_by_exponent(real x, real v) {
  return x > 0 ? v * LIBM(log)(x) : x == 0 && v == 0 ? 0 : x == 0 ? -(real)INFINITY : (real)NAN;
}
/* Equal operands share a maximum's gradient. */
PB_INLINE real share_of(bool mine, bool both) { return both ? R(0.5) : mine ? 1 : 0; }

STEP2(add, x + y, 1, 1)
STEP2(subtract, x - y, 1, -1)
STEP2(multiply, x *y, y, x)
STEP2(divide, x / y, 1 / y, -v / y)
STEP2(power, LIBM(pow)(x, y), power_by_base(x, y), power_by_exponent(x, v))
STEP2(maximum, x > y || x != x ? x : y, share_of(x > y, x == y), share_of(y > x, x == y))
STEP2(minimum, x < y || x != x ? x : y, share_of(x < y, x == y), share_of(y < x, x == y))
STEP2(arctan2, LIBM(atan2)(x, y), y / (x * x + y * y), -x / (x * x + y * y))
STEP2(remainder, remainder_of(x, y), 1, -floor_quotient(x, y))
FLAT2(floor_divide, floor_quotient(x, y))
FLAT2(less, x < y ? 1 : 0)
FLAT2(less_equal, x <= y ? 1 : 0)
FLAT2(equal, x == y ? 1 : 0)
FLAT2(not_equal, x != y ? 1 : 0)

/* --- three: where x is not 0, y, and z elsewhere ------------------------------------------------ */

static void where_map(int64_t n, const real *const *in, real *out) {
  EACH out[i] = in[0][i] != 0 ? in[1][i] : in[2][i];
}
static void where_chain(int64_t n, const real *const *in, const real *out, const real *d,
                        real *const *din) {
  (void)out;
  if (din[1]) EACH din[1][i] += in[0][i] != 0 ? d[i] : 0;
  if (din[2]) EACH din[2][i] += in[0][i] != 0 ? 0 : d[i];
}

/* --- the table --------------------------------------------------------------------------------- */

#define OWN(id, count)
#define FLAT(id, count)
#define OF_OP(id, count) extern PB_OP(id);
#include "ops/steps.def"
#undef OWN
#undef FLAT
#undef OF_OP

#define OF_OP(id, count) {.operands = count, .op = &PB_NAME(pb_op_##id)},
#define OWN(id, count) {.operands = count, .map = id##_map, .chain = id##_chain},
#define FLAT(id, count) {.operands = count, .map = id##_map},
/* Every step, in the order of the numbers in programs. */
static const step_kind steps_table[] = {
    {0}, /* a constant */
#include "ops/steps.def"
};
static const int steps_count = sizeof steps_table / sizeof *steps_table;

#endif
