/* Users' arrays: gathering rows of any type and strides, and looking for bad values in them. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "test/draft.h"
#include "test/reference.h"

static const int64_t item_size[PB_DTYPES] = {4, 8, 1, 1, 2, 2, 4, 4, 8, 8};

/* An array in exactly the memory that its strides reach. */
typedef struct {
  pb_source s;
  char *memory;
} array;

static int64_t magnitude(int64_t x) { return x < 0 ? -x : x; }

static array array_new(pb_dtype type, int64_t rows, int64_t cols, int64_t row_stride,
                       int64_t col_stride) {
  int64_t height = (rows - 1) * row_stride, width = (cols - 1) * col_stride;
  array a = {.memory = exact_alloc(magnitude(height) + magnitude(width) + item_size[type])};
  a.s = (pb_source){.dtype = type,
                    .rows = rows,
                    .cols = cols,
                    .row_stride = row_stride,
                    .col_stride = col_stride};
  a.s.data = a.memory - (height < 0 ? height : 0) - (width < 0 ? width : 0);
  return a;
}

static void *item(const array *a, int64_t row, int64_t col) {
  return (char *)a->s.data + row * a->s.row_stride + col * a->s.col_stride;
}

static void put(const array *a, int64_t row, int64_t col, double v) {
  void *x = item(a, row, col);
  switch (a->s.dtype) {
    case PB_F32: *(float *)x = (float)v; break;
    case PB_F64: *(double *)x = v; break;
    case PB_U8: *(uint8_t *)x = (uint8_t)v; break;
    case PB_I8: *(int8_t *)x = (int8_t)v; break;
    case PB_U16: *(uint16_t *)x = (uint16_t)v; break;
    case PB_I16: *(int16_t *)x = (int16_t)v; break;
    case PB_U32: *(uint32_t *)x = (uint32_t)v; break;
    case PB_I32: *(int32_t *)x = (int32_t)v; break;
    case PB_U64: *(uint64_t *)x = (uint64_t)v; break;
    default: *(int64_t *)x = (int64_t)v;
  }
}

/* The item times `scale` as the table's real: doubles are rounded once, after the product, and all
   other types become reals first. */
static double get(const pb_table *t, const array *a, int64_t row, int64_t col, double scale) {
  const void *x = item(a, row, col);
  bool f64 = t->real_size == 8;
  double v = 0;
  switch (a->s.dtype) {
    case PB_F32: v = *(const float *)x; break;
    case PB_F64: return as_real(t, *(const double *)x * scale);
    case PB_U8: v = *(const uint8_t *)x; break;
    case PB_I8: v = *(const int8_t *)x; break;
    case PB_U16: v = *(const uint16_t *)x; break;
    case PB_I16: v = *(const int16_t *)x; break;
    case PB_U32: v = *(const uint32_t *)x; break;
    case PB_I32: v = *(const int32_t *)x; break;
    case PB_U64:
      v = f64 ? (double)*(const uint64_t *)x : (double)(float)*(const uint64_t *)x;
      break;
    default: v = f64 ? (double)*(const int64_t *)x : (double)(float)*(const int64_t *)x;
  }
  return as_real(t, as_real(t, v) * as_real(t, scale));
}

static void fill(const array *a, rng *r) {
  for (int64_t i = 0; i < a->s.rows; i++)
    for (int64_t j = 0; j < a->s.cols; j++) {
      uint64_t bits = rng_bits(r);
      if (a->s.dtype <= PB_F64) put(a, i, j, 10 * rng_uniform(r));
      else memcpy(item(a, i, j), &bits, (size_t)item_size[a->s.dtype]); /* the type's whole range */
    }
}

static array random_array(rng *r, pb_dtype type, int64_t rows, int64_t cols) {
  static const int64_t steps[] = {1, 1, 1, 2, 3, -1, -2, 0};
  int64_t col_stride = item_size[type] * steps[rng_below(r, 8)];
  int64_t row_stride = item_size[type] * steps[rng_below(r, 8)] * (cols + rng_below(r, 3));
  array a = array_new(type, rows, cols, row_stride, col_stride);
  fill(&a, r);
  return a;
}

/* --- feed ---------------------------------------------------------------------------------------- */

/* Gathers `n` rows in the order of `index` (NULL: from row `first` on) in `parts` parts. */
static void gather(const model *m, const array *a, const int64_t *index, int64_t first, int64_t n,
                   int parts, void *y) {
  const pb_instr *k = &m->plan->instr[0];
  void *ptr[] = {y};
  for (int part = 0; part < parts; part++) {
    pb_lane lane = {.ptr = ptr,
                    .n = n,
                    .part = part,
                    .parts = parts,
                    .source = &a->s,
                    .index = index,
                    .first_row = first,
                    .plan = m->plan};
    k->op->forward(k, &lane);
  }
}

static void check_array(const pb_table *t, rng *r, const array *a, double scale) {
  int64_t n = 1 + rng_below(r, 9), index[9], first = rng_below(r, a->s.rows);
  bool shuffled = rng_below(r, 2);
  if (!shuffled && n > a->s.rows - first) n = a->s.rows - first;
  for (int64_t i = 0; i < n; i++) index[i] = rng_below(r, a->s.rows);
  draft d = draft_new(t, n);
  draft_feed(&d, 0, scale, draft_rows(&d, a->s.cols));
  model m = model_new(&d);
  if (model_seal(&m)) {
    void *y = exact_alloc(n * a->s.cols * t->real_size);
    gather(&m, a, shuffled ? index : NULL, first, n, 1 + (int)rng_below(r, 3), y);
    for (int64_t i = 0; i < n * a->s.cols; i++) {
      int64_t row = shuffled ? index[i / a->s.cols] : first + i / a->s.cols;
      double wanted = get(t, a, row, i % a->s.cols, scale);
      if (!CHECK(get_real(t, y, i) == wanted, "type %d, strides %d %d: %.17g, wanted %.17g",
                 (int)a->s.dtype, (int)a->s.row_stride, (int)a->s.col_stride, get_real(t, y, i),
                 wanted))
        break;
    }
    exact_free(y);
  }
  model_free(&m);
}

void check_feed(const pb_table *t) {
  rng r = {11};
  for (int i = 0; i < 400; i++) {
    array a =
        random_array(&r, (pb_dtype)(i % PB_DTYPES), 1 + rng_below(&r, 20), 1 + rng_below(&r, 40));
    check_array(t, &r, &a, i % 3 == 0 ? 1 : i % 3 == 1 ? 1.0 / 255 : -2.5);
    exact_free(a.memory);
  }
}

/* --- checks of values ----------------------------------------------------------------------------- */

/* The first item that is NaN or beyond +-limit, in the order of rows. */
static int64_t first_bad(const array *a, double limit, int64_t *col) {
  for (int64_t i = 0; i < a->s.rows; i++)
    for (int64_t j = 0; j < a->s.cols; j++)
      if (!(fabs(get(table_at(1), a, i, j, 1)) <= limit)) {
        *col = j;
        return i;
      }
  return -1;
}

static void finite_values(void) {
  static const double bad[] = {NAN, INFINITY, -INFINITY};
  rng r = {12};
  for (int i = 0; i < 600; i++) {
    pb_dtype type = (pb_dtype)(i % PB_DTYPES);
    array a = random_array(&r, type, 1 + rng_below(&r, 20), 1 + rng_below(&r, 40));
    int64_t col = -7, wanted_col = -7;
    CHECK(pb_check_finite(&a.s, DBL_MAX, &col) == -1, "type %d: found what is not there",
          (int)type);
    for (int64_t k = rng_below(&r, 3); k >= 0 && type <= PB_F64; k--)
      put(&a, rng_below(&r, a.s.rows), rng_below(&r, a.s.cols), bad[rng_below(&r, 3)]);
    double limit = i / PB_DTYPES % 2 ? 9.5 : DBL_MAX; /* the numbers lie in [-10, 10) */
    int64_t wanted = type <= PB_F64 ? first_bad(&a, limit, &wanted_col) : -1;
    int64_t found = pb_check_finite(&a.s, limit, &col);
    CHECK(found == wanted && col == wanted_col, "type %d: row %d column %d, wanted %d %d",
          (int)type, (int)found, (int)col, (int)wanted, (int)wanted_col);
    exact_free(a.memory);
  }
  double largest[] = {1.7e308, -1.7e308, 5e-324, 0.0};
  pb_source s = source_of(largest, 2, 2);
  int64_t col;
  CHECK(pb_check_finite(&s, DBL_MAX, &col) == -1, "large numbers are numbers");
}

static void labels(void) {
  static const double wrong[] = {-1, 10, 0.5, 9.5, NAN, INFINITY, -1e-9, 1e30};
  rng r = {13};
  for (int i = 0; i < 600; i++) {
    pb_dtype type = (pb_dtype)(i % PB_DTYPES);
    int64_t rows = 1 + rng_below(&r, 30), stride = item_size[type] * (1 + rng_below(&r, 3));
    array a = array_new(type, rows, 1, i % 4 == 0 ? -stride : stride, item_size[type]);
    for (int64_t k = 0; k < rows; k++) put(&a, k, 0, (double)rng_below(&r, 10));
    CHECK(pb_check_labels(&a.s, 10) == -1, "type %d: good labels refused", (int)type);
    int64_t row = rng_below(&r, rows);
    put(&a, row, 0, type <= PB_F64 ? wrong[i / PB_DTYPES % 8] : 100);
    CHECK(pb_check_labels(&a.s, 10) == row, "type %d: label %g passes", (int)type,
          wrong[i / PB_DTYPES % 8]);
    exact_free(a.memory);
  }
  static const int8_t minus[] = {0, -1};
  pb_source s = {.data = minus, .dtype = PB_I8, .rows = 2, .cols = 1, .row_stride = 1};
  CHECK(pb_check_labels(&s, 300) == 1, "a negative label passes");
  static const uint64_t huge[] = {UINT64_MAX};
  s = (pb_source){.data = huge, .dtype = PB_U64, .rows = 1, .cols = 1, .row_stride = 8};
  CHECK(pb_check_labels(&s, INT32_MAX) == 0, "a huge label passes");
}

const test tests_sources[] = {
    {"finite values", finite_values, NULL},
    {"labels", labels, NULL},
    {0},
};
