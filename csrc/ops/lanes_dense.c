/* lanes_dense: dense for tiny layers, with samples in the lanes of vectors.
 *
 *     y[o, n] = f( sum_i weight[o, i] x[i, n] + bias[o] )
 *
 *     x [I, P]   weight [O, I]   bias [O] (optional)   ->   y [O, P]
 *
 * With dz = dy f'(z), which stands in dy's place:
 *     dx[i, n] = sum_o weight[o, i] dz[o, n]      dweight[o, i] = sum_n dz[o, n] x[i, n]
 */
#include "ops/elementwise.h"
#include "ops/gradient.h"
#include "ops/lanes.h"

enum { X, WEIGHT, BIAS, BLOCK = 4 };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr;
  const pb_shape *x = &in[X], *w = &in[WEIGHT];
  if (!in_lanes(x) || w->batched || w->ndim != 2 || w->dim[1] != x->dim[0]) return false;
  if (nin > BIAS && (in[BIAS].batched || in[BIAS].ndim != 1 || in[BIAS].dim[0] != w->dim[0]))
    return false;
  r->out = *x;
  r->out.dim[0] = w->dim[0];
  r->scratch = pb_shape_size(w) + w->dim[0] + LANES;
  r->flops = 2 * pb_shape_size(w);
  r->pitch = x->dim[1];
  return true;
}

typedef struct {
  int64_t inputs, outputs, pitch;
} sizes;

static sizes sizes_of(const pb_instr *k, const pb_lane *lane) {
  const pb_tensor *tensor = lane->plan->tensor;
  const int64_t *w = tensor[k->in[WEIGHT]].shape.dim;
  return (sizes){w[1], w[0], tensor[k->in[X]].shape.dim[1]};
}

/* One vector of m results: y[j] (+)= start[j] + sum_k w[j ws + k wk] x[k]. */
PB_INLINE void block(int m, int64_t depth, const real *w, int64_t ws, int64_t wk, const real *start,
                     const real *x, int64_t pitch, bool add, real *y) {
  vec sum[BLOCK];
#pragma GCC unroll 4
  for (int j = 0; j < m; j++) {
    sum[j] = vec_set(start ? start[j] : 0);
    if (add) sum[j] += vec_load(y + j * pitch);
  }
  for (int64_t k = 0; k < depth; k++) {
    vec xv = vec_load(x + k * pitch);
#pragma GCC unroll 4
    for (int j = 0; j < m; j++) sum[j] += vec_set(w[j * ws + k * wk]) * xv;
  }
#pragma GCC unroll 4
  for (int j = 0; j < m; j++) vec_store(y + j * pitch, sum[j]);
}

/* y[j] (+)= start[j] + sum_k w[j ws + k wk] x[k] for `count` rows j of all samples. */
static void product(int64_t count, int64_t depth, const real *w, int64_t ws, int64_t wk,
                    const real *start, const real *x, int64_t pitch, bool add, real *y) {
  for (int64_t n = 0; n < pitch; n += LANES) {
    int64_t j = 0;
    for (; j + BLOCK <= count; j += BLOCK)
      block(BLOCK, depth, w + j * ws, ws, wk, start ? start + j : NULL, x + n, pitch, add,
            y + j * pitch + n);
    for (; j < count; j++)
      block(1, depth, w + j * ws, ws, wk, start ? start + j : NULL, x + n, pitch, add,
            y + j * pitch + n);
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  sizes s = sizes_of(k, lane);
  if (lane->part > 0) return;
  real *y = lane->ptr[k->out];
  product(s.outputs, s.inputs, lane->ptr[k->in[WEIGHT]], s.inputs, 1,
          k->nin > BIAS ? lane->ptr[k->in[BIAS]] : NULL, lane->ptr[k->in[X]], s.pitch, false, y);
  if (k->activation) k->activation->map(k->activation_attr, s.outputs * s.pitch, y, y);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  sizes s = sizes_of(k, lane);
  if (lane->part > 0) return;
  product(s.inputs, s.outputs, lane->ptr[k->in[WEIGHT]], 1, s.inputs, NULL, lane->ptr[k->dout],
          s.pitch, k->add[X], lane->ptr[k->din[X]]);
  chain_signals(k, lane, 0, s.inputs * s.pitch);
}

/* Sums over the lanes, gathered until there are LANES of them to be folded together. */
typedef struct {
  vec waiting[LANES];
  int count;
  real *out;
} folding;

PB_INLINE void fold(folding *f) {
  vec_store(f->out, vec_sums(f->waiting));
  f->out += LANES;
  f->count = 0;
}

PB_INLINE void add_sum(folding *f, vec v) {
  f->waiting[f->count++] = v;
  if (f->count == LANES) fold(f);
}

PB_INLINE void finish(folding *f) {
  if (f->count == 0) return;
  while (f->count < LANES) f->waiting[f->count++] = vec_set(0);
  fold(f);
}

/* g <- dweight [O, I], and behind it dbias [O] where there is a bias. */
static void gradients(sizes s, const real *dz, const real *x, bool bias, real *g) {
  folding f = {.out = g};
  for (int64_t o = 0; o < s.outputs; o++)
    for (int64_t i = 0; i < s.inputs; i++) {
      vec sum = vec_load(dz + o * s.pitch) * vec_load(x + i * s.pitch);
      for (int64_t n = LANES; n < s.pitch; n += LANES)
        sum += vec_load(dz + o * s.pitch + n) * vec_load(x + i * s.pitch + n);
      add_sum(&f, sum);
    }
  for (int64_t o = 0; o < s.outputs && bias; o++) {
    vec sum = vec_load(dz + o * s.pitch);
    for (int64_t n = LANES; n < s.pitch; n += LANES) sum += vec_load(dz + o * s.pitch + n);
    add_sum(&f, sum);
  }
  finish(&f);
}

/* A parameter's gradient goes to the optimiser, or into the gradient vector. */
PB_INLINE void hand_over(const pb_instr *k, const pb_lane *lane, int j, int64_t count,
                         const real *g) {
  if (k->fused_update) {
    update_parameters(lane, k->in[j], 0, count, g);
    return;
  }
  if (k->din[j] < 0) return;
  real *d = lane->ptr[k->din[j]];
  for (int64_t i = 0; i < count; i++) d[i] = g[i] + (k->add[j] ? d[i] : 0);
}

static void backward_param(const pb_instr *k, const pb_lane *lane) {
  sizes s = sizes_of(k, lane);
  if (lane->part > 0) return;
  const real *dz = lane->ptr[k->dout];
  real *g = lane->scratch;
  gradients(s, dz, lane->ptr[k->in[X]], k->nin > BIAS, g);
  hand_over(k, lane, WEIGHT, s.inputs * s.outputs, g);
  if (k->nin > BIAS) hand_over(k, lane, BIAS, s.outputs, g + s.inputs * s.outputs);
}

PB_OP(lanes_dense) = {.name = "lanes_dense",
                      .attrs = "",
                      .min_in = 2,
                      .max_in = 3,
                      .params = 2,
                      .flags = PB_USES_X | PB_FUSES | PB_CHAINS,
                      .infer = infer,
                      .forward = forward,
                      .backward_in = backward_in,
                      .backward_param = backward_param};
