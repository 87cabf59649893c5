/* Tiles of images with their margins of zeros. */
#include "ops/conv.h"

static int64_t within(int64_t x, int64_t low, int64_t high) {
  return x < low ? low : x > high ? high : x;
}

/* n reals, of short rows in vectors: a call takes as long as many. */
PB_INLINE void copy_reals(const real *in, int64_t n, real *out) {
  if (n < LANES || n > 8 * LANES) {
    memcpy(out, in, (size_t)n * sizeof *out);
    return;
  }
  for (int64_t i = 0; i + LANES < n; i += LANES) vec_store(out + i, vec_load(in + i));
  vec_store(out + n - LANES, vec_load(in + n - LANES));
}

/* `columns` reals, zeros but in [begin, end), which are the row's from `in` on. */
PB_INLINE void copy_row(const real *in, int64_t begin, int64_t end, int64_t columns, real *out) {
  for (int64_t i = 0; i < begin; i++) out[i] = 0;
  if (begin < end) copy_reals(in, end - begin, out + begin);
  for (int64_t i = end; i < columns; i++) out[i] = 0;
}

/* Columns [left, ..) with those of one residue side by side. */
static void copy_phases(const real *in, int64_t width, int64_t left, int64_t phase, int64_t stride,
                        real *out) {
  for (int64_t p = 0; p < stride; p++)
    for (int64_t i = 0; i < phase; i++) {
      int64_t c = left + i * stride + p;
      out[p * phase + i] = c >= 0 && c < width ? in[c] : 0;
    }
}

conv_tile conv_load_tile(const real *in, int64_t channels, int64_t height, int64_t width,
                         int64_t top, int64_t rows, int64_t left, int64_t columns, int64_t stride,
                         bool blocked, real *copy) {
  int64_t cell = blocked ? LANES : 1;
  bool inside = top >= 0 && left >= 0 && top + rows <= height && left + columns <= width;
  conv_tile t = {.cell = cell, .stride = 1, .unit = blocked ? stride * LANES : LANES};
  if (inside && blocked) {
    t.row = width * cell, t.plane = height * t.row;
    t.base = in + top * t.row + left * cell;
    return t;
  }
  bool split = !blocked && stride > 1;
  t.phase = split ? (columns + stride - 1) / stride : 0;
  if (split) t.stride = stride;
  t.row = split ? t.phase * stride : columns * cell;
  t.plane = rows * t.row;
  t.base = copy;
  int64_t begin = within(-left, 0, columns), end = within(width - left, begin, columns);
  const real *first = in + (left + begin) * cell;
  for (int64_t c = 0; c < channels; c++)
    for (int64_t r = top; r < top + rows; r++, copy += t.row) {
      bool outside = r < 0 || r >= height;
      int64_t row = outside ? 0 : (c * height + r) * width * cell;
      if (split) copy_phases(in + row, outside ? 0 : width, left, t.phase, stride, copy);
      else if (outside) memset(copy, 0, (size_t)t.row * sizeof *copy);
      else copy_row(first + row, begin * cell, end * cell, t.row, copy);
    }
  memset(copy, 0, LANES * sizeof *copy);
  return t;
}
