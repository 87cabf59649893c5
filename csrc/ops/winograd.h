/* Winograd's minimal filtering F(2x2, 3x3): 3 x 3 convolutions with 16 multiplications where there
 * were 36 (A. Lavin, S. Gray, Fast algorithms for convolutional neural networks, CVPR 2016).
 *
 * A tile of 2 x 2 outputs reads 4 x 4 inputs d. With the kernel g of one pair of channels,
 *     y = A' [ (G g G') * (B' d B) ] A          (* element by element)
 *
 *          1  0 -1  0             1   0   0             1  1  1  0
 *     B' = 0  1  1  0       G =  1/2 1/2 1/2       A' = 0  1 -1 -1
 *          0 -1  1  0            1/2-1/2 1/2
 *          0  1  0 -1             0   0   1
 *
 * Summed over channels, each of the 16 elements is a matrix product over channels and tiles. The
 * gradient of the weights is the same sum turned round, summed over tiles:
 *     dg = G' [ (A dy A') * (B' d B) ] G
 *
 * Tensors are blocked, so that the transforms are arithmetic on whole vectors. All coefficients are 1
 * and 1/2, and errors are like those of direct sums (root mean square, float32, 32 channels: 1.9e-7 of
 * y's, where a direct sum has 3.0e-7): within 32 roundings of the sum of the terms' magnitudes, unless
 * the tile's other pixels are much larger. One that is not finite makes its whole tile NaN.
 */
#ifndef PB_WINOGRAD_H
#define PB_WINOGRAD_H

#include "ops/conv_blocked.h"

#define winograd_dots PB_NAME(pb_winograd_dots)
#define winograd_dots_outputs PB_NAME(pb_winograd_dots_outputs)
#define winograd_dots_scratch PB_NAME(pb_winograd_dots_scratch)
const real *winograd_dots(const conv_geometry *, const real *x, const real *dy, int64_t blocks,
                          int64_t first, int64_t last, plane_sum *sums, real *scratch);
int64_t winograd_dots_outputs(const conv_geometry *);
int64_t winograd_dots_scratch(const conv_geometry *);

/* Reals from one of the 16 elements to the next: a cache line more than they take, so that a tile's
   elements do not all fall into the same few places of the first-level cache. */
PB_INLINE int64_t winograd_pitch(int64_t size) {
  const int64_t line = PB_ALIGN / (int64_t)sizeof(real);
  return (size + line - 1) / line * line + line;
}

/* Neighbouring tiles of one row of tiles: `count` from column `x` of row `y` on, of one block of
   images; `done` tiles of the run came before them. */
typedef struct {
  int64_t block, y, x, count, done;
} winograd_run;

/* Makes *r the next piece of tiles [begin, end), counted over all blocks; false at the end. Starts
   where r->count is 0 and r->done is 0. */
PB_INLINE bool winograd_next(winograd_run *r, int64_t begin, int64_t end, int64_t across,
                             int64_t tiles) {
  r->done += r->count;
  int64_t at = begin + r->done, tile = at % tiles;
  if (at >= end) return false;
  r->block = at / tiles, r->y = tile / across, r->x = tile % across;
  r->count = min_i(across - r->x, end - at);
  return true;
}

/* Asks for the part of `rows` rows of `columns` pixels from (top, left) on that lies in a plane. */
PB_INLINE void winograd_fetch(bool write, const real *plane, int64_t height, int64_t width,
                              int64_t top, int64_t left, int64_t rows, int64_t columns) {
  int64_t bottom = min_i(height, top + rows), right = min_i(width, left + columns);
  if (left < 0) left = 0;
  for (int64_t y = top < 0 ? 0 : top; y < bottom; y++)
    run_fetch(write, plane + (y * width + left) * LANES, right - left);
}

/* A row of an image [.., LANES], or of zeros where there is none. */
typedef struct {
  const real *at;
  int64_t step;
} winograd_row;

PB_INLINE winograd_row winograd_row_of(const real *plane, int64_t height, int64_t width,
                                       int64_t y) {
  static const real zeros[LANES];
  if (y < 0 || y >= height) return (winograd_row){zeros, 0};
  return (winograd_row){plane + y * width * LANES, LANES};
}

/* Column c of row i of B' d, made from rows a and b of d. */
PB_INLINE vec winograd_column(bool plus, winograd_row a, winograd_row b, int64_t width, int64_t c) {
  if (c < 0 || c >= width) return vec_set(0);
  vec va = vec_load(a.at + c * a.step), vb = vec_load(b.at + c * b.step);
  return plus ? va + vb : va - vb;
}

/* Row i of B' d B of `count` tiles, of which the first begins at column `left`. */
PB_INLINE void winograd_input_row(bool plus, winograd_row a, winograd_row b, int64_t width,
                                  int64_t left, int64_t count, int64_t pitch, real *v) {
  vec d0 = winograd_column(plus, a, b, width, left);
  vec d1 = winograd_column(plus, a, b, width, left + 1);
  int64_t c = left + 2, last = left + 2 * count, inside = min_i(last, width - 2);
  for (; c <= last; c += 2, v += LANES) {
    vec d2, d3;
    if (c <= inside) {
      vec a2 = vec_load(a.at + c * a.step), b2 = vec_load(b.at + c * b.step);
      vec a3 = vec_load(a.at + (c + 1) * a.step), b3 = vec_load(b.at + (c + 1) * b.step);
      d2 = plus ? a2 + b2 : a2 - b2, d3 = plus ? a3 + b3 : a3 - b3;
    } else {
      d2 = winograd_column(plus, a, b, width, c), d3 = winograd_column(plus, a, b, width, c + 1);
    }
    vec_store(v, d0 - d2);
    vec_store(v + pitch, d1 + d2);
    vec_store(v + 2 * pitch, d2 - d1);
    vec_store(v + 3 * pitch, d1 - d3);
    d0 = d2, d1 = d3;
  }
}

/* Row i, 0 <= i < 4, of V = B' d B of tiles whose first input is (top, left) of a plane. */
PB_INLINE void winograd_input(int i, const real *plane, int64_t height, int64_t width, int64_t top,
                              int64_t left, int64_t count, int64_t pitch, real *v) {
  winograd_row a = winograd_row_of(plane, height, width, top + (i == 0 ? 0 : i == 2 ? 2 : 1));
  winograd_row b = winograd_row_of(plane, height, width, top + (i == 2 ? 1 : i == 3 ? 3 : 2));
  if (i == 1) winograd_input_row(true, a, b, width, left, count, pitch, v);
  else winograd_input_row(false, a, b, width, left, count, pitch, v);
}

#endif
