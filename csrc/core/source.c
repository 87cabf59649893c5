/* Reading users' arrays: is every value a number, is every label a class? */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rows.h"
#include "pybp.h"

static const void *row_of(const pb_source *s, int64_t row) {
  return (const char *)s->data + row * s->row_stride;
}

/* Rows are scanned without a branch, so that the compiler vectorises; only a bad row is searched.
   The bits of magnitudes are ordered as they are, with infinity and then NaN behind them. */
#define BOUNDED_ROW(T, bits, name) \
  static inline bool name(const char *x, int64_t n, int64_t stride, T limit) { \
    const bits sign = (bits)1 << (8 * sizeof(T) - 1); \
    bits most, at, beyond = 0; \
    memcpy(&most, &limit, sizeof most); \
    for (int64_t i = 0; i < n; i++) { \
      memcpy(&at, x + i * stride, sizeof at); \
      beyond |= most - (at & ~sign); /* its sign, where it is negative */ \
    } \
    return !(beyond & sign); \
  }
BOUNDED_ROW(float, uint32_t, bounded_f32)
BOUNDED_ROW(double, uint64_t, bounded_f64)

static bool bounded(const pb_source *s, int64_t row, int64_t col, int64_t n, double limit) {
  const char *x = (const char *)row_of(s, row) + col * s->col_stride;
  float narrow = limit < FLT_MAX ? (float)limit : FLT_MAX;
  if (s->dtype == PB_F64)
    return s->col_stride == 8 ? bounded_f64(x, n, 8, limit)
                              : bounded_f64(x, n, s->col_stride, limit);
  return s->col_stride == 4 ? bounded_f32(x, n, 4, narrow)
                            : bounded_f32(x, n, s->col_stride, narrow);
}

int64_t pb_check_finite(const pb_source *s, double limit, int64_t *col) {
  if (s->dtype != PB_F32 && s->dtype != PB_F64) return -1;
  for (int64_t r = 0; r < s->rows; r++) {
    if (bounded(s, r, 0, s->cols, limit)) continue;
    int64_t c = 0;
    while (bounded(s, r, c, 1, limit)) c++;
    *col = c;
    return r;
  }
  return -1;
}

#define AS_DOUBLES(T) \
  if (stride == sizeof(T)) \
    for (int64_t j = 0; j < count; j++) y[j] = (double)((const T *)from)[j]; \
  else \
    for (int64_t j = 0; j < count; j++) \
      y[j] = (double)*(const T *)((const char *)from + j * stride); \
  break

void pb_read_doubles(pb_dtype dtype, const void *from, int64_t stride, int64_t count, double *y) {
  switch (dtype) {
    case PB_F32: AS_DOUBLES(float);
    case PB_F64: AS_DOUBLES(double);
    case PB_U8: AS_DOUBLES(uint8_t);
    case PB_I8: AS_DOUBLES(int8_t);
    case PB_U16: AS_DOUBLES(uint16_t);
    case PB_I16: AS_DOUBLES(int16_t);
    case PB_U32: AS_DOUBLES(uint32_t);
    case PB_I32: AS_DOUBLES(int32_t);
    case PB_U64: AS_DOUBLES(uint64_t);
    case PB_I64: AS_DOUBLES(int64_t);
    default: break;
  }
}

static double value(const pb_source *s, int64_t row) {
  double x = NAN;
  pb_read_doubles(s->dtype, row_of(s, row), 0, 1, &x);
  return x;
}

int64_t pb_check_labels(const pb_source *s, int64_t classes) {
  for (int64_t r = 0; r < s->rows; r++) {
    double v = value(s, r);
    if (!(v >= 0 && v < (double)classes && v == floor(v))) return r;
  }
  return -1;
}

/* --- sparse arrays ------------------------------------------------------------------------------ */

static int64_t index_at(const pb_source *s, const void *array, int64_t i) {
  return s->wide ? ((const int64_t *)array)[i] : ((const int32_t *)array)[i];
}

pb_flaw pb_check_sparse(const pb_source *s, double limit, int64_t *row, int64_t *entry) {
  int64_t size = s->dtype == PB_F64 ? 8 : 4;
  pb_source values = {
      .data = s->data, .dtype = s->dtype, .rows = 1, .col_stride = size, .row_stride = size};
  for (int64_t r = *entry = *row = 0; r < s->rows; r++) {
    int64_t begin = index_at(s, s->start, r), end = index_at(s, s->start, r + 1);
    *row = r;
    if (begin < 0 || begin > end || end > s->entries) return PB_BAD_START;
    for (int64_t i = begin; i < end; i++) {
      int64_t c = index_at(s, s->column, i);
      *entry = i;
      if (c < 0 || c >= s->cols) return PB_BAD_COLUMN;
    }
    int64_t col;
    values.data = (const char *)s->data + begin * size;
    values.cols = end - begin;
    if (pb_check_finite(&values, limit, &col) >= 0) {
      *entry = begin + col;
      return PB_BAD_VALUE;
    }
  }
  return PB_FINE;
}

/* --- a plan's arrays ------------------------------------------------------------------------------- */

/* Whether the array has the form, and as many columns, as the instruction reads. */
static bool columns_fit(const pb_plan *p, const pb_instr *k, const pb_source *s) {
  bool sparse = k->op->flags & PB_SPARSE;
  if (sparse != (s->start != NULL && s->column != NULL)) return false;
  if (sparse) {
    const pb_shape *w = &p->tensor[k->in[0]].shape;
    return s->cols == w->dim[w->ndim - 1];
  }
  const pb_tensor *y = &p->tensor[k->out];
  return s->cols == (y->shape.batched ? y->size : y->shape.dim[0]);
}

bool pb_sources_fit(const pb_plan *p, const pb_source *source, int64_t rows) {
  for (int32_t i = 0; i < p->ninstr; i++) {
    const pb_instr *k = &p->instr[i];
    if (k->phase != PB_FORWARD || !(k->op->flags & PB_SOURCE)) continue;
    const pb_source *s = &source[k->attr[0].i];
    if (s->rows < rows || !columns_fit(p, k, s)) return false;
    if ((unsigned)s->dtype >= PB_DTYPES) return false;
  }
  if (p->weights < 0) return true;
  const pb_source *w = &source[p->weights];
  return w->dtype == PB_F64 && w->rows >= rows && w->cols == 1;
}
