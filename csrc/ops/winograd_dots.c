/* Winograd's F(2x2, 3x3): the gradient of the weights, summed over all tiles of all images.
 *
 *     dU[16][O][C] = sum over tiles of (A dy A') (B' d B)      dw = G' dU G
 *
 * The 16 elements are made a row of four at a time, so that many tiles of few elements are in cache
 * and the dot products of gemm_nt are long. Sums run over the lanes of a vector of partial sums, then
 * over runs of tiles, in an order that depends on the shapes alone.
 */
#include "ops/gemm.h"
#include "ops/winograd.h"

enum {
  TILES = 66, /* at a time, at most */
  V_BYTES = 192 * 1024,
  OUTPUTS = 16,           /* of dy's transform at a time */
  SUM_BYTES = 1024 * 1024 /* of dU */
};

typedef struct {
  int64_t across, tiles, step; /* tiles of a row, of an image, at a time */
  int64_t outputs;             /* of a call */
  int64_t vpitch, dpitch, upitch;
  int64_t front; /* V and A dy A', or in their place dw at the end */
} plan;

static plan plan_of(const conv_geometry *g) {
  plan p = {.across = (g->x.out + 1) / 2};
  p.tiles = p.across * ((g->y.out + 1) / 2);
  p.step = run_length(V_BYTES, 4 * g->channels, TILES);
  p.outputs = SUM_BYTES / (16 * g->channels * (int64_t)sizeof(real)) / OUTPUTS * OUTPUTS;
  if (p.outputs < OUTPUTS) p.outputs = OUTPUTS;
  p.outputs = min_i(p.outputs, g->outputs);
  p.vpitch = winograd_pitch(g->channels * p.step * LANES);
  p.dpitch = winograd_pitch(OUTPUTS * p.step * LANES);
  p.upitch = p.outputs * g->channels;
  p.front = 4 * (p.vpitch + p.dpitch);
  if (p.front < 9 * p.upitch) p.front = 9 * p.upitch;
  return p;
}

int64_t winograd_dots_outputs(const conv_geometry *g) { return plan_of(g).outputs; }

int64_t winograd_dots_scratch(const conv_geometry *g) {
  plan p = plan_of(g);
  return p.front + 16 * p.upitch + OUTPUTS * g->channels;
}

/* Row i of V = B' d B. */
static void transform_inputs(const conv_geometry *g, const plan *p, int i, const real *x,
                             int64_t begin, int64_t end, real *v) {
  winograd_run r = {0};
  int64_t size = g->y.in * g->x.in * LANES;
  while (winograd_next(&r, begin, end, p->across, p->tiles))
    for (int64_t c = 0; c < g->channels; c++) {
      const real *plane = x + (r.block * g->channels + c) * size;
      int64_t top = 2 * r.y - g->y.pad, left = 2 * r.x - g->x.pad;
      if (i == 0 && c + 1 < g->channels)
        winograd_fetch(false, plane + size, g->y.in, g->x.in, top, left, 4, 2 * r.count + 2);
      winograd_input(i, plane, g->y.in, g->x.in, top, left, r.count, p->vpitch,
                     v + (c * p->step + r.done) * LANES);
    }
}

/* Row i of A dy A', with the sign of elements 3 left out, of neighbouring tiles. */
PB_INLINE void gradient_row(int i, winograd_row a, winograd_row b, int64_t columns, int64_t pitch,
                            real *d) {
  for (int64_t c = 0; c < columns; c += 2, d += LANES) {
    vec e[2] = {vec_set(0), vec_set(0)};
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      if (c + j >= columns) continue;
      vec y0 = vec_load(a.at + (c + j) * a.step), y1 = vec_load(b.at + (c + j) * b.step);
      e[j] = i == 0 ? y0 : i == 1 ? y0 + y1 : i == 2 ? y0 - y1 : y1;
    }
    vec_store(d, e[0]);
    vec_store(d + pitch, e[0] + e[1]);
    vec_store(d + 2 * pitch, e[0] - e[1]);
    vec_store(d + 3 * pitch, e[1]);
  }
}

static void transform_gradients(const conv_geometry *g, const plan *p, int i, const real *dy,
                                int64_t first, int64_t last, int64_t begin, int64_t end, real *d) {
  winograd_run r = {0};
  while (winograd_next(&r, begin, end, p->across, p->tiles)) {
    int64_t columns = min_i(2 * r.count, g->x.out - 2 * r.x);
    int64_t size = g->y.out * g->x.out * LANES;
    for (int64_t o = first; o < last; o++) {
      const real *plane = dy + (r.block * g->outputs + o) * size + 2 * r.x * LANES;
      if (i == 0 && o + 1 < g->outputs)
        winograd_fetch(false, plane + size, g->y.out, g->x.out, 2 * r.y, 0, 2, columns);
      winograd_row a = winograd_row_of(plane, g->y.out, g->x.out, 2 * r.y);
      winograd_row b = winograd_row_of(plane, g->y.out, g->x.out, 2 * r.y + 1);
      real *out = d + ((o - first) * p->step + r.done) * LANES;
      switch (i) {
        case 0: gradient_row(0, a, b, columns, p->dpitch, out); break;
        case 1: gradient_row(1, a, b, columns, p->dpitch, out); break;
        case 2: gradient_row(2, a, b, columns, p->dpitch, out); break;
        default: gradient_row(3, a, b, columns, p->dpitch, out);
      }
    }
  }
}

/* dw = G' dU G; elements 3 still have the wrong sign. */
static void transform_sums(int64_t count, int64_t pitch, const real *u, real *dw) {
  for (int64_t n = 0; n < count; n++, u++, dw += 9) {
    real h[3][4];
    for (int j = 0; j < 4; j++) {
      const real *uj = u + j * pitch;
      real even = (real)0.5 * (uj[4 * pitch] + uj[8 * pitch]);
      h[0][j] = uj[0] + even, h[2][j] = even - uj[12 * pitch];
      h[1][j] = (real)0.5 * (uj[4 * pitch] - uj[8 * pitch]);
    }
    for (int i = 0; i < 3; i++) {
      real even = (real)0.5 * (h[i][1] + h[i][2]);
      dw[3 * i] = h[i][0] + even, dw[3 * i + 2] = even - h[i][3];
      dw[3 * i + 1] = (real)0.5 * (h[i][1] - h[i][2]);
    }
  }
}

/* One row of dU of outputs [first, last), from tiles [begin, end), whose V is there. */
static void add_products(const conv_geometry *g, const plan *p, int64_t outputs, int64_t tiles,
                         const real *d, const real *v, real *product, real *u) {
  for (int j = 0; j < 4; j++, u += p->upitch) {
    gemm_nt(outputs, g->channels, tiles * LANES, d + j * p->dpitch, p->step * LANES,
            v + j * p->vpitch, p->step * LANES, product, g->channels);
    for (int64_t n = 0; n < outputs * g->channels; n++) u[n] += product[n];
  }
}

const real *winograd_dots(const conv_geometry *g, const real *x, const real *dy, int64_t blocks,
                          int64_t first, int64_t last, plane_sum *sums, real *scratch) {
  (void)sums;
  plan p = plan_of(g);
  real *v = scratch, *d = v + 4 * p.vpitch, *u = scratch + p.front, *product = u + 16 * p.upitch;
  int64_t tiles = blocks * p.tiles;
  memset(u, 0, (size_t)(16 * p.upitch) * sizeof *u);
  for (int64_t at = 0; at < tiles; at += p.step)
    for (int i = 0; i < 4; i++) {
      int64_t stop = min_i(at + p.step, tiles);
      transform_inputs(g, &p, i, x, at, stop, v);
      for (int64_t o = first; o < last; o += OUTPUTS) {
        int64_t end = min_i(o + OUTPUTS, last);
        transform_gradients(g, &p, i, dy, o, end, at, stop, d);
        add_products(g, &p, end - o, stop - at, d, v, product,
                     u + 4 * i * p.upitch + (o - first) * g->channels);
      }
    }
  transform_sums((last - first) * g->channels, p.upitch, u, v);
  return v;
}
