/* dense: a fully connected layer, optionally with its activation fused.
 *
 *     y[n, o] = f( sum_i x[n, i] weight[o, i] + bias[o] )
 *
 *     x [.., I]   weight [O, I]   bias [O] (optional)   ->   y [.., O]
 *
 * At inference a batch normalisation behind it, before or after f, is a scale and a shift of y's columns
 * in the same pass.
 *
 * With dz = dy f'(z), which stands in dy's place:
 *     dx = dz weight      dweight = dz' x      dbias = sum_n dz
 *
 * At the batch sizes of training (16..256 rows) a BLAS call spends much of its time packing its
 * operands. The products of gemm.h read them where they lie; big ones, which no longer fit the
 * cache, go to BLAS in panels whose width does not depend on the number of threads.
 */
#include "core/blas.h"
#include "ops/ahead.h"
#include "ops/elementwise.h"
#include "ops/gemm.h"
#include "ops/gradient.h"
#include "ops/vec.h"

#if PB_REAL_BITS == 32
#define blas_gemm pb_sgemm
#else
#define blas_gemm pb_dgemm
#endif

enum {
  X,
  WEIGHT,
  BIAS,
  SHORT = 2 * LANES, /* inputs so few that dot products would be mostly folding */
  UPDATE_ROWS = 4,
  LEAST = 256 /* rows, inputs and outputs of a product for BLAS */
};

/* While x stays in a core's second-level cache, reading operands where they lie beats packing them,
   measured by a tenth or more; with larger batches BLAS wins by a fifth. */
#define BLAS_BYTES (3 * 512 * 1024)

/* Columns of one BLAS call. Each packs the whole other operand again, and yet there must be calls for
   several threads; the number of threads may have no say in it. */
static int64_t panel_of(int64_t columns) { return columns >= 2048 ? 512 : 256; }

/* Rows of dweight that are made before the optimiser takes them: few enough to stay in the first
   cache, or a BLAS call's worth where a layer is big enough for BLAS. */
static int64_t update_rows(int64_t inputs, int64_t outputs) {
  bool big = inputs * outputs * (int64_t)sizeof(real) > BLAS_BYTES;
  return min_i(outputs, big ? panel_of(outputs) : UPDATE_ROWS);
}

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr;
  const pb_shape *x = &in[X], *w = &in[WEIGHT];
  if (!x->batched || x->ndim < 1 || w->batched || w->ndim != 2) return false;
  int64_t inputs = x->dim[x->ndim - 1], outputs = w->dim[0];
  if (w->dim[1] != inputs) return false;
  if (nin > BIAS && (in[BIAS].batched || in[BIAS].ndim != 1 || in[BIAS].dim[0] != outputs))
    return false;
  r->out = *x;
  r->out.dim[x->ndim - 1] = outputs;
  int64_t packed = inputs < SHORT ? inputs * outputs : 0;
  int64_t update = update_rows(inputs, outputs) * inputs + outputs;
  r->scratch = packed > update ? packed : update;
  r->flops = 2 * outputs * pb_shape_size(x);
  return true;
}

typedef struct {
  int64_t rows, inputs, outputs;
} sizes;

static sizes sizes_of(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *w = &lane->plan->tensor[k->in[WEIGHT]].shape;
  const pb_tensor *x = &lane->plan->tensor[k->in[X]];
  int64_t rows = x->shape.ndim == 1 ? lane->n : lane->n * (x->size / w->dim[1]);
  return (sizes){rows, w->dim[1], w->dim[0]};
}

static bool use_blas(sizes s) {
  return pb_have_blas() && s.rows * s.inputs * (int64_t)sizeof(real) > BLAS_BYTES &&
         s.rows >= LEAST && s.inputs >= LEAST && s.outputs >= LEAST;
}

/* The part [begin, end) of `columns` and [*top, *bottom) of `rows` that is this thread's: cut by
   columns, unless there are too few. */
static void cut(const pb_lane *lane, int64_t rows, int64_t columns, int64_t grain, int64_t *top,
                int64_t *bottom, int64_t *begin, int64_t *end) {
  *top = *begin = 0, *bottom = rows, *end = columns;
  if (columns >= 2 * grain * lane->parts) share(lane, columns, grain, begin, end);
  else share(lane, rows, 4, top, bottom);
}

/* y[top:bottom, begin:end] = x weight', by whichever product suits the sizes. */
static void multiply(sizes s, const real *x, const real *w, real *scratch, int64_t top,
                     int64_t bottom, int64_t begin, int64_t end, real *y) {
  int64_t rows = bottom - top, columns = end - begin;
  x += top * s.inputs, w += begin * s.inputs, y += top * s.outputs + begin;
  if (s.inputs >= SHORT || s.rows < 4) {
    gemm_nt(rows, columns, s.inputs, x, s.inputs, w, s.inputs, y, s.outputs);
    return;
  }
  for (int64_t o = 0; o < columns; o++)
    for (int64_t i = 0; i < s.inputs; i++) scratch[i * columns + o] = w[o * s.inputs + i];
  gemm_n(rows, columns, s.inputs, x, s.inputs, 1, scratch, columns, false, NULL, y, s.outputs);
}

/* row += bias, then row = scale row + shift, or without either. */
static void adjust(int64_t n, const real *bias, const real *scale, const real *shift, real *row) {
  if (bias)
    for (int64_t o = 0; o < n; o++) row[o] += bias[o];
  if (scale)
    for (int64_t o = 0; o < n; o++) row[o] = row[o] * scale[o] + shift[o];
}

/* y += bias, then y = f(y), over a block of rows and columns; with the columns scaled and shifted
   before f or after it, where there is something to do so. */
static void finish(const pb_instr *k, const pb_lane *lane, const real *bias, int64_t outputs,
                   int64_t top, int64_t bottom, int64_t begin, int64_t end, real *y) {
  const pb_op *f = k->activation;
  const pb_attr *attr = k->activation_attr;
  const real *scale = k->affine >= 0 ? (const real *)lane->ptr[k->affine] + begin : NULL;
  const real *shift = scale ? scale + outputs : NULL;
  const real *early = k->affine_last ? NULL : scale, *late = k->affine_last ? scale : NULL;
  bool whole = begin == 0 && end == outputs && !late;
  int64_t columns = end - begin;
  if (bias) bias += begin;
  for (int64_t n = top; n < bottom; n++) {
    real *row = y + n * outputs + begin;
    adjust(columns, bias, early, shift, row);
    if (f && !whole) f->map(attr, columns, row, row);
    adjust(columns, NULL, late, shift, row);
  }
  if (f && whole && bottom > top)
    f->map(attr, (bottom - top) * outputs, y + top * outputs, y + top * outputs);
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  sizes s = sizes_of(k, lane);
  const real *x = lane->ptr[k->in[X]], *w = lane->ptr[k->in[WEIGHT]];
  const real *bias = k->nin > BIAS ? lane->ptr[k->in[BIAS]] : NULL;
  real *y = lane->ptr[k->out];
  if (!use_blas(s)) {
    int64_t top, bottom, begin, end;
    cut(lane, s.rows, s.outputs, 16, &top, &bottom, &begin, &end);
    multiply(s, x, w, lane->scratch, top, bottom, begin, end, y);
    finish(k, lane, bias, s.outputs, top, bottom, begin, end, y);
    return;
  }
  int64_t first, last;
  int64_t panel = panel_of(s.outputs);
  share(lane, (s.outputs + panel - 1) / panel, 1, &first, &last);
  for (int64_t o = first * panel; o < min_i(s.outputs, last * panel); o += panel) {
    int64_t end = min_i(s.outputs, o + panel);
    blas_gemm(false, true, s.rows, end - o, s.inputs, x, s.inputs, w + o * s.inputs, s.inputs, 0,
              y + o, s.outputs);
    finish(k, lane, bias, s.outputs, 0, s.rows, o, end, y);
  }
}

/* Error signals out of a block of rows and columns of dx. */
static void chain_block(const pb_instr *k, const pb_lane *lane, int64_t inputs, int64_t top,
                        int64_t bottom, int64_t begin, int64_t end) {
  if (begin == 0 && end == inputs) chain_signals(k, lane, top * inputs, (bottom - top) * inputs);
  else
    for (int64_t n = top; n < bottom; n++) chain_signals(k, lane, n * inputs + begin, end - begin);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  sizes s = sizes_of(k, lane);
  const real *dz = lane->ptr[k->dout], *w = lane->ptr[k->in[WEIGHT]];
  real *dx = lane->ptr[k->din[X]];
  if (!use_blas(s)) {
    int64_t top, bottom, begin, end;
    cut(lane, s.rows, s.inputs, 16, &top, &bottom, &begin, &end);
    gemm_n(bottom - top, end - begin, s.outputs, dz + top * s.outputs, s.outputs, 1, w + begin,
           s.inputs, k->add[X], NULL, dx + top * s.inputs + begin, s.inputs);
    chain_block(k, lane, s.inputs, top, bottom, begin, end);
    return;
  }
  int64_t first, last;
  int64_t panel = panel_of(s.inputs);
  share(lane, (s.inputs + panel - 1) / panel, 1, &first, &last);
  for (int64_t i = first * panel; i < min_i(s.inputs, last * panel); i += panel) {
    int64_t end = min_i(s.inputs, i + panel);
    blas_gemm(false, false, s.rows, end - i, s.outputs, dz, s.outputs, w + i, s.inputs, k->add[X],
              dx + i, s.inputs);
    chain_block(k, lane, s.inputs, 0, s.rows, i, end);
  }
}

static void weight_gradient(sizes s, const real *dz, const real *x, int64_t begin, int64_t end,
                            bool add, real *dw) {
  if (use_blas(s))
    blas_gemm(true, false, end - begin, s.inputs, s.rows, dz + begin, s.outputs, x, s.inputs, add,
              dw, s.inputs);
  else
    gemm_n(end - begin, s.inputs, s.rows, dz + begin, 1, s.outputs, x, s.inputs, add, NULL, dw,
           s.inputs);
}

static void bias_gradient(sizes s, const real *dz, int64_t begin, int64_t end, bool add, real *db) {
  if (!add)
    for (int64_t o = begin; o < end; o++) db[o - begin] = 0;
  for (int64_t n = 0; n < s.rows; n++)
    for (int64_t o = begin; o < end; o++) db[o - begin] += dz[n * s.outputs + o];
}

/* The gradients of outputs [begin, end), each handed to the optimiser as soon as it is made. */
static void update_all(const pb_instr *k, const pb_lane *lane, sizes s, const real *dz,
                       const real *x, int64_t begin, int64_t end) {
  real *g = lane->scratch;
  int64_t step = use_blas(s) ? update_rows(s.inputs, s.outputs) : UPDATE_ROWS;
  for (int64_t o = begin; o < end; o += step) {
    int64_t last = min_i(o + step, end);
    if (lane->nnext) fetch_ahead(lane, o, last, s.outputs);
    weight_gradient(s, dz, x, o, last, false, g);
    update_parameters(lane, k->in[WEIGHT], o * s.inputs, (last - o) * s.inputs, g);
  }
  if (k->nin <= BIAS) return;
  bias_gradient(s, dz, begin, end, false, g);
  update_parameters(lane, k->in[BIAS], begin, end - begin, g);
}

static void backward_param(const pb_instr *k, const pb_lane *lane) {
  sizes s = sizes_of(k, lane);
  const real *dz = lane->ptr[k->dout], *x = lane->ptr[k->in[X]];
  int64_t grain = use_blas(s) ? panel_of(s.outputs) : UPDATE_ROWS, begin, end;
  share(lane, s.outputs, grain, &begin, &end);
  if (begin >= end) return;
  if (k->fused_update) {
    update_all(k, lane, s, dz, x, begin, end);
    return;
  }
  int64_t panel = use_blas(s) ? panel_of(s.outputs) : s.outputs;
  for (int64_t o = begin; o < end && k->din[WEIGHT] >= 0; o += panel)
    weight_gradient(s, dz, x, o, min_i(end, o + panel), k->add[WEIGHT],
                    (real *)lane->ptr[k->din[WEIGHT]] + o * s.inputs);
  if (k->nin > BIAS && k->din[BIAS] >= 0)
    bias_gradient(s, dz, begin, end, k->add[BIAS], (real *)lane->ptr[k->din[BIAS]] + begin);
}

PB_OP(dense) = {.name = "dense",
                .attrs = "",
                .min_in = 2,
                .max_in = 3,
                .params = 2,
                .flags = PB_USES_X | PB_FUSES | PB_AFFINE | PB_CHAINS,
                .infer = infer,
                .forward = forward,
                .backward_in = backward_in,
                .backward_param = backward_param};
