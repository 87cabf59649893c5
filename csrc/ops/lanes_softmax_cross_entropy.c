/* lanes_softmax_cross_entropy: softmax_cross_entropy of logits in lanes, without weights.
 *
 *     z [C, P]   target [N, 1] or [N, C]   ->   loss [N]      dz [C, P], zeros beyond the batch
 *
 * With u = (1 - smoothing) t + smoothing / C:
 *     loss_n = sum_c u_nc (log_sum_n - z_nc)      dz_nc = (sum_d u_nd exp(z_nc - log_sum_n) - u_nc) / N
 */
#include "ops/lanes.h"
#include "ops/math.h"

enum { LOGITS, TARGET };
enum { SMOOTHING };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  if (!in_lanes(&in[LOGITS]) || !in[TARGET].batched) return false;
  int64_t c = in[LOGITS].dim[0], width = pb_shape_size(&in[TARGET]);
  r->out = (pb_shape){.ndim = 1, .batched = true, .dim = {1}};
  r->saved_row = 1; /* log sum_c exp z_c */
  r->flops = 10 * c;
  r->pitch = in[LOGITS].dim[1];
  return c > 1 && (width == 1 || width == c);
}

typedef struct {
  const real *z, *t;
  int64_t c, pitch, width;
} batch;

static batch batch_of(const pb_instr *k, const pb_lane *lane) {
  const pb_tensor *z = &lane->plan->tensor[k->in[LOGITS]];
  return (batch){lane->ptr[k->in[LOGITS]], lane->ptr[k->in[TARGET]], z->shape.dim[0],
                 z->shape.dim[1], lane->plan->tensor[k->in[TARGET]].size};
}

static int64_t class_at(batch b, int64_t n) {
  return b.t[n] >= 0 && b.t[n] < (real)b.c ? (int64_t)b.t[n] : -1;
}

static void log_sums(batch b, int64_t first, real *sums) {
  real top[LANES], sum[LANES];
  for (int i = 0; i < LANES; i++) top[i] = b.z[first + i], sum[i] = 0;
  for (int64_t c = 1; c < b.c; c++) {
    const real *z = b.z + c * b.pitch + first;
    for (int i = 0; i < LANES; i++) top[i] = z[i] > top[i] ? z[i] : top[i];
  }
  for (int64_t c = 0; c < b.c; c++) {
    const real *z = b.z + c * b.pitch + first;
    for (int i = 0; i < LANES; i++) sum[i] += r_exp(z[i] - top[i]);
  }
  for (int i = 0; i < LANES; i++) sums[i] = top[i] + r_log(sum[i]);
}

static double loss_of(batch b, int64_t n, double log_sum, double smoothing) {
  double total = 0, spread = 0;
  if (b.width == 1) {
    int64_t label = class_at(b, n);
    total = label < 0 ? (double)NAN : log_sum - (double)b.z[label * b.pitch + n];
  }
  for (int64_t c = 0; c < b.c && b.width > 1; c++)
    total += (double)b.t[n * b.c + c] * (log_sum - (double)b.z[c * b.pitch + n]);
  for (int64_t c = 0; c < b.c && smoothing > 0; c++)
    spread += log_sum - (double)b.z[c * b.pitch + n];
  return (1 - smoothing) * total + smoothing / (double)b.c * spread;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  batch b = batch_of(k, lane);
  real *saved = k->saved < 0 ? NULL : lane->ptr[k->saved], sums[LANES];
  double *loss = lane->ptr[k->out];
  for (int64_t first = 0; first < lane->n && lane->part == 0; first += LANES) {
    log_sums(b, first, sums);
    for (int64_t n = first; n < min_i(lane->n, first + LANES); n++) {
      loss[n] = loss_of(b, n, (double)sums[n - first], k->attr[SMOOTHING].f);
      if (saved) saved[n] = sums[n - first];
    }
  }
}

/* u_nc of all classes of sample n, taken away from dz. */
static void take_targets(batch b, int64_t n, real part, real *dz) {
  int64_t label = b.width == 1 ? class_at(b, n) : -1;
  if (label >= 0) dz[label * b.pitch + n] -= part;
  for (int64_t c = 0; c < b.c && b.width > 1; c++) dz[c * b.pitch + n] -= part * b.t[n * b.c + c];
}

/* How much target there is in sample n: 1 but for a user's probabilities, which sum to about 1. */
static real mass_of(batch b, int64_t n, real part, real rest) {
  real mass = b.width == 1 ? 1 : 0;
  for (int64_t c = 0; c < b.c && b.width > 1; c++) mass += b.t[n * b.c + c];
  return part * mass + rest * (real)b.c;
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  batch b = batch_of(k, lane);
  const real *saved = lane->ptr[k->saved];
  real *dz = lane->ptr[k->din[LOGITS]], scale = (real)(1 / lane->total);
  real part = (real)(1 - k->attr[SMOOTHING].f) * scale;
  real rest = (real)(k->attr[SMOOTHING].f / (double)b.c) * scale;
  if (lane->part > 0) return;
  for (int64_t first = 0; first < b.pitch; first += LANES) {
    real sums[LANES] = {0}, mass[LANES] = {0}, least[LANES] = {0};
    for (int64_t n = first; n < min_i(lane->n, first + LANES); n++)
      sums[n - first] = saved[n], mass[n - first] = mass_of(b, n, part, rest),
               least[n - first] = rest;
    for (int64_t c = 0; c < b.c; c++) {
      const real *z = b.z + c * b.pitch + first;
      real *to = dz + c * b.pitch + first;
      for (int i = 0; i < LANES; i++) {
        real g = r_exp(z[i] - sums[i]) * mass[i] - least[i];
        to[i] = mass[i] == 0 ? (k->add[LOGITS] ? to[i] : 0) : g + (k->add[LOGITS] ? to[i] : 0);
      }
    }
  }
  for (int64_t n = 0; n < lane->n; n++) take_targets(b, n, part, dz);
}

PB_OP(lanes_softmax_cross_entropy) = {.name = "lanes_softmax_cross_entropy",
                                      .attrs = "smoothing:float",
                                      .min_in = 2,
                                      .max_in = 2,
                                      .flags = PB_PER_ROW | PB_USES_X,
                                      .infer = infer,
                                      .forward = forward,
                                      .backward_in = backward_in};
