/* Winograd's minimal filtering down the columns of an image: M outputs of a kernel of R rows, M + R = 7,
 * from six rows d with six multiplications instead of M R, F(2, 5) and F(4, 3).
 *
 *     y = A' [ (G g) * (B' d) ]
 *
 * evaluates both polynomials at the points 0, 1, -1, 1/2, -2 and infinity (A. Toom 1963, S. Cook 1966,
 * S. Winograd 1980), of which B. Barabasz et al., Error analysis and improving the accuracy of Winograd
 * convolution, TOMS 46, 2020, found that few others round less: y's error, root mean square, float32,
 * 150 terms, is 2.5e-7 of y's for pixels above 0 and 3.6e-7 for those of both signs, where a direct sum
 * has 2.2e-7. The weights' gradient of 64 such images errs by 4.7e-7 of its own, where direct sums one
 * after another have 7.6e-7. A pixel that is not finite makes all M outputs of its column NaN.
 */
#ifndef PB_WINOGRAD_ROWS_H
#define PB_WINOGRAD_ROWS_H

#include "ops/conv.h"
#include "ops/largest.h"

enum {
  WINOGRAD_POINTS = 6,
  /* Of float32 alone: float64 is there for its last digits. */
  WINOGRAD_ROWS = PB_REAL_BITS == 32 && VEC_BYTES >= 32
};

PB_INLINE bool winograd_rows_fit(const conv_axis *a) {
  return WINOGRAD_ROWS && a->stride == 1 && a->dilation == 1 && (a->kernel == 3 || a->kernel == 5);
}
/* M: outputs of a tile. */
PB_INLINE int64_t winograd_rows_out(int64_t kernel) { return WINOGRAD_POINTS + 1 - kernel; }

/* B' d */
PB_INLINE void winograd_rows_input(const vec *d, vec *t) {
  vec even = d[4] - d[2], odd = d[3] - d[1];
  t[0] = (d[0] - d[2]) + (even + (real)1.5 * odd);
  t[1] = (even + odd) + (real)1.5 * (d[2] + d[3]);
  t[2] = (even - odd) + (real)1.5 * (d[3] - d[2]);
  t[3] = even + 2 * odd;
  t[4] = even - (real)0.5 * odd;
  t[5] = (d[5] - d[3]) + ((real)1.5 * even - odd);
}

/* G g, of a kernel of r rows. */
PB_INLINE void winograd_rows_weight(int r, const vec *g, vec *u) {
  vec zero = vec_set(0), g3 = r == 5 ? g[3] : zero, g4 = r == 5 ? g[4] : zero;
  vec even = g[0] + (g[2] + g4), odd = g[1] + g3;
  u[0] = g[0];
  u[1] = (even + odd) * (real)(1.0 / 3);
  u[2] = (odd - even) * (real)(1.0 / 3);
  u[3] = (16 * g[0] + 4 * g[2] + g4 + (8 * g[1] + 2 * g3)) * (real)(-1.0 / 15);
  u[4] = (g[0] + 4 * g[2] + 16 * g4 - (2 * g[1] + 8 * g3)) * (real)(1.0 / 15);
  u[5] = g[r - 1];
}

/* A' m, of a kernel of r rows. What is added to all of y goes to m[0] and m[5] at the start where
   winograd_rows_start says so, and to y itself elsewhere. */
PB_INLINE bool winograd_rows_start(int r, int point) { return r == 5 && point % 5 == 0; }

PB_INLINE void winograd_rows_output(int r, const vec *m, vec *y) {
  vec plus = m[1] + m[2], minus = m[1] - m[2];
  y[0] = (m[0] + plus) + (m[3] + m[4]);
  y[1] = (minus + (real)0.5 * m[3]) - 2 * m[4];
  if (r == 5) {
    y[1] += m[5];
    return;
  }
  y[2] = (plus + (real)0.25 * m[3]) + 4 * m[4];
  y[3] = ((minus + (real)0.125 * m[3]) - 8 * m[4]) + m[5];
}

/* Tiles of `step` rows of images [channels, .., wide] -> [points][channels, tiles, wide], points `pitch`
   reals apart. Up to a vector behind them changes too. */
PB_INLINE void winograd_points_of_rows(int64_t channels, int64_t tiles, int64_t step, int64_t wide,
                                       const real *in, int64_t plane, int64_t pitch, real *t) {
  for (int64_t c = 0; c < channels; c++)
    for (int64_t i = 0; i < tiles; i++, t += wide)
      for (int64_t j = 0; j < wide; j += LANES) {
        const real *row = in + c * plane + i * step * wide + j;
        vec d[WINOGRAD_POINTS], out[WINOGRAD_POINTS];
#pragma GCC unroll 6
        for (int k = 0; k < WINOGRAD_POINTS; k++)
          d[k] = j + LANES <= wide ? vec_load(row + k * wide)
                                   : vec_load_part(row + k * wide, wide - j);
        winograd_rows_input(d, out);
#pragma GCC unroll 6
        for (int f = 0; f < WINOGRAD_POINTS; f++) vec_store(t + f * pitch + j, out[f]);
      }
}

#endif
