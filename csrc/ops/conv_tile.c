/* Tiles of images with their margins of zeros. */
#include "ops/conv.h"

static int64_t within(int64_t x, int64_t low, int64_t high) {
  return x < low ? low : x > high ? high : x;
}

/* A row of cells, zeros where it leaves the image; `in` is the image's row. */
static void copy_row(const real *in, int64_t width, int64_t left, int64_t columns, int64_t cell,
                     real *out) {
  int64_t begin = within(-left, 0, columns), end = within(width - left, begin, columns);
  for (int64_t i = 0; i < begin * cell; i++) out[i] = 0;
  if (begin < end)
    memcpy(out + begin * cell, in + (left + begin) * cell,
           (size_t)((end - begin) * cell) * sizeof *out);
  for (int64_t i = end * cell; i < columns * cell; i++) out[i] = 0;
}

/* The same with columns of one residue side by side. */
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
  for (int64_t c = 0; c < channels; c++)
    for (int64_t r = top; r < top + rows; r++, copy += t.row) {
      bool outside = r < 0 || r >= height;
      const real *row = outside ? in : in + (c * height + r) * width * cell;
      if (split) copy_phases(row, outside ? 0 : width, left, t.phase, stride, copy);
      else copy_row(row, outside ? 0 : width, left, columns, cell, copy);
    }
  memset(copy, 0, LANES * sizeof *copy);
  return t;
}
