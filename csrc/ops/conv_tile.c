/* Tiles of images with their margins of zeros. */
#include "ops/conv.h"

static int64_t within(int64_t x, int64_t low, int64_t high) {
  return x < low ? low : x > high ? high : x;
}

/* Rows of n reals, in vectors where they are short, for a call takes as long as many. Up to a vector of
   reals behind each row changes too. */
static void copy_rows(int64_t rows, int64_t n, const real *in, int64_t in_pitch, real *out,
                      int64_t out_pitch) {
  if (n < LANES) {
    for (; rows > 0; rows--, in += in_pitch, out += out_pitch) vec_store(out, vec_load_part(in, n));
    return;
  }
  if (n <= 2 * LANES) {
    for (int64_t end = n - LANES; rows > 0; rows--, in += in_pitch, out += out_pitch) {
      vec first = vec_load(in), last = vec_load(in + end);
      vec_store(out, first), vec_store(out + end, last);
    }
    return;
  }
  for (; rows > 0; rows--, in += in_pitch, out += out_pitch)
    if (n > 8 * LANES) memcpy(out, in, (size_t)n * sizeof *out);
    else {
      vec last = vec_load(in + n - LANES);
      for (int64_t i = 0; i < n - LANES; i += LANES) vec_store(out + i, vec_load(in + i));
      vec_store(out + n - LANES, last);
    }
}

/* In vectors, for the margin of a row is too short for a call. */
static void clear(int64_t n, real *out) {
  vec zero = vec_keep(vec_set(0));
  for (; n >= LANES; n -= LANES, out += LANES) vec_store(out, zero);
  if (n > 0) vec_store_part(out, n, zero);
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
  int64_t above = within(-top, 0, rows), below = within(height - top, above, rows);
  for (int64_t c = 0; c < channels; c++, copy += t.plane) {
    for (int64_t r = 0; split && r < rows; r++) {
      bool outside = r < above || r >= below;
      const real *row = in + (outside ? 0 : (c * height + top + r) * width);
      copy_phases(row, outside ? 0 : width, left, t.phase, stride, copy + r * t.row);
    }
    if (split) continue;
    clear(above * t.row, copy);
    if (begin < end && above < below)
      copy_rows(below - above, (end - begin) * cell,
                in + ((c * height + top + above) * width + left + begin) * cell, width * cell,
                copy + above * t.row + begin * cell, t.row);
    for (int64_t r = above; r < below && end - begin < columns; r++) {
      clear(begin * cell, copy + r * t.row);
      clear((columns - end) * cell, copy + r * t.row + end * cell);
    }
    clear((rows - below) * t.row, copy + below * t.row);
  }
  vec_store(copy, vec_set(0));
  return t;
}
