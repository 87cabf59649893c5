#include "ops/conv_product.h"

#include "ops/largest.h"

enum {
  WEIGHTS = 128,                      /* outputs whose weights are used together */
  MOST = VEC_REGISTERS == 32 ? 8 : 6, /* vectors of positions in a register tile */
  /* Four outputs by three vectors fill sixteen registers, and three by four. */
  WIDE = VEC_REGISTERS == 32 ? 6 : 3,
  FLAT = VEC_REGISTERS == 32 ? 8 : 4
};

/* Where a vector of positions reads and writes; `lanes` of it are wanted. */
typedef struct {
  const real *in;
  real *out, *pooled; /* either may be NULL; of four that are pooled the first one's counts */
  int64_t lanes;
} position;

/* Out of line, for a tile has dozens of them and seldom comes here. */
PB_OUTLINE vec load_lanes(const real *c, int64_t lanes, int64_t step) {
  if (lanes == LANES && step == 1) return vec_load(c);
  if (step == 1) return vec_load_part(c, lanes);
  real lane[LANES] = {0};
  for (int64_t i = 0; i < lanes; i++) lane[i] = c[i * step];
  return vec_load(lane);
}

PB_OUTLINE void store_lanes(real *c, int64_t lanes, int64_t step, vec v) {
  if (lanes == LANES && step == 1) vec_store(c, v);
  else if (step == 1) vec_store_part(c, lanes, v);
  else {
    real lane[LANES];
    vec_store(lane, v);
    for (int64_t i = 0; i < lanes; i++) c[i * step] = lane[i];
  }
}

/* Outputs [o, o + m) at v positions. */
PB_INLINE void tile(int m, int v, const conv_terms *s, int64_t o, const position *p) {
  vec sum[4 * MOST];
  const int64_t ldw = s->ldw, ldc = s->ldc, step = s->step, depth = s->depth, *at = s->at,
                *weight_at = s->weight_at;
  const real *w = s->weight + o * ldw, *in[MOST];
  const bool whole = s->whole;
#pragma GCC unroll 8
  for (int j = 0; j < v; j++) in[j] = p[j].in;
  if (s->add) {
#pragma GCC unroll 8
    for (int j = 0; j < v; j++)
#pragma GCC unroll 8
      for (int i = 0; i < m; i++)
        sum[i * v + j] = whole ? vec_load(p[j].out + (o + i) * ldc)
                               : load_lanes(p[j].out + (o + i) * ldc, p[j].lanes, step);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < m; i++) {
      vec start = vec_set(s->start ? s->start[o + i] : 0);
#pragma GCC unroll 8
      for (int j = 0; j < v; j++) sum[i * v + j] = start;
    }
  }
  for (int64_t t = 0; t < depth; t++) {
    int64_t there = at[t], from = weight_at[t];
    vec x[MOST], a[8];
    if (m < v) { /* whichever leaves the sums their registers */
#pragma GCC unroll 8
      for (int i = 0; i < m; i++) a[i] = vec_set(w[i * ldw + from]);
#pragma GCC unroll 8
      for (int j = 0; j < v; j++) {
        x[j] = vec_keep(vec_load(in[j] + there));
#pragma GCC unroll 8
        for (int i = 0; i < m; i++) sum[i * v + j] += a[i] * x[j];
      }
      continue;
    }
#pragma GCC unroll 8
    for (int j = 0; j < v; j++) x[j] = vec_keep(vec_load(in[j] + there));
#pragma GCC unroll 8
    for (int i = 0; i < m; i++) {
      a[i] = vec_set(w[i * ldw + from]);
#pragma GCC unroll 8
      for (int j = 0; j < v; j++) sum[i * v + j] += a[i] * x[j];
    }
  }
  if (v == FLAT && p->pooled) {
#pragma GCC unroll 2
    for (int j = 0; j + 3 < v; j += 4)
#pragma GCC unroll 8
      for (int i = 0; i < m; i++) {
        const vec *window = sum + i * v + j;
        vec top = vec_top(vec_top(vec_top(window[0], window[1]), window[2]), window[3]);
        vec_store(p[j].pooled + (o + i) * s->ld_pooled, top);
      }
    if (!p->out) return;
  }
#pragma GCC unroll 8
  for (int j = 0; j < v; j++) {
    real *out = p[j].out + o * ldc;
    int64_t lanes = p[j].lanes;
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
      if (whole) vec_store(out + i * ldc, sum[i * v + j]);
      else store_lanes(out + i * ldc, lanes, step, sum[i * v + j]);
  }
}

/* Whichever divides the outputs. */
static int vectors_of(int64_t outputs) {
  if (outputs == 1) return MOST;
  return outputs % 3 == 0 && outputs % 4 != 0 ? FLAT : WIDE;
}

/* Outputs [o, end) at as many positions as go together. */
PB_OUTLINE void tile_flat(const conv_terms *s, int64_t o, int64_t end, const position *p) {
  for (; o + 3 <= end; o += 3) tile(3, FLAT, s, o, p);
  for (; o < end; o++) tile(1, FLAT, s, o, p);
}

static void tile_full(const conv_terms *s, int64_t outputs, int v, int64_t o, int64_t end,
                      const position *p) {
  if (v == FLAT) {
    tile_flat(s, o, end, p);
    return;
  }
  if (MOST != FLAT && outputs == 1) {
    tile(1, MOST, s, o, p);
    return;
  }
  for (; o + 4 <= end; o += 4) tile(4, WIDE, s, o, p);
  for (; o < end; o++)
    if (o + 2 <= end) tile(2, WIDE, s, o++, p);
    else tile(1, WIDE, s, o, p);
}

static void tile_single(const conv_terms *s, int64_t o, int64_t end, const position *p) {
  for (; o + 8 <= end; o += 8) tile(8, 1, s, o, p);
  for (; o + 6 <= end; o += 6) tile(6, 1, s, o, p);
  for (; o + 2 <= end; o += 2) tile(2, 1, s, o, p);
  if (o < end) tile(1, 1, s, o, p);
}

/* Window by window, so that all four of one stand in registers; the last one fills up the last tile. */
static void product_pooled(const conv_terms *sum, int64_t outputs, const conv_rectangle *r) {
  int64_t wide = r->columns / 2, windows = r->rows / 2 * wide;
  for (int64_t o = 0; o < outputs; o += WEIGHTS)
    for (int64_t n = 0, row = 0, column = 0; n < windows;) {
      position p[FLAT];
      for (int k = 0; k < FLAT; k += 4) {
        const real *in = r->in + 2 * (row * r->in_row + column * r->in_column);
        real *out = r->out ? r->out + 2 * (row * r->out_row + column * r->out_column) : NULL;
        for (int i = 0; i < 4; i++) {
          p[k + i].in = in + i / 2 * r->in_row + i % 2 * r->in_column;
          p[k + i].out = out ? out + i / 2 * r->out_row + i % 2 * r->out_column : NULL;
          p[k + i].lanes = LANES;
        }
        p[k].pooled = r->pooled + row * r->pooled_row + column * LANES;
        if (++n < windows && ++column == wide) column = 0, row++;
      }
      tile_flat(sum, o, min_i(outputs, o + WEIGHTS), p);
    }
}

void conv_product(const conv_terms *sum, int64_t outputs, const conv_rectangle *r) {
  if (r->pooled) {
    product_pooled(sum, outputs, r);
    return;
  }
  int64_t total = r->rows * r->columns;
  int vectors = vectors_of(outputs);
  for (int64_t o = 0; o < outputs; o += WEIGHTS) {
    int64_t o_end = min_i(outputs, o + WEIGHTS), row = 0, column = 0;
    for (int64_t n = 0; n < total;) {
      position p[MOST];
      int count = (int)min_i(vectors, total - n);
      for (int k = 0; k < count; k++) {
        p[k].pooled = NULL;
        p[k].in = r->in + row * r->in_row + column * r->in_column;
        p[k].out = r->out + row * r->out_row + column * r->out_column;
        if (++column < r->columns) {
          p[k].lanes = LANES;
        } else {
          p[k].lanes = r->edge, p[k].in -= r->back, p[k].out -= r->back;
          column = 0, row++;
        }
      }
      if (count == vectors) tile_full(sum, outputs, vectors, o, o_end, p);
      else
        for (int k = 0; k < count; k++) tile_single(sum, o, o_end, p + k);
      n += count;
    }
  }
}
