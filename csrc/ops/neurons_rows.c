/* neurons_rows: the values of some units, in rows.
 *
 *     x [U], in the blocks of neurons.h -> y [K]     y[n, k] = f( x[units[k], n] )
 *
 *     dx[units[k], n] = dz[n, k], and 0 for all other units
 */
#include "ops/neurons.h"

enum { UNITS };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  const int32_t *units = attr[UNITS].code;
  if (!units || units[0] < 1 || !in[0].batched || in[0].ndim != 1) return false;
  for (int32_t k = 1; k <= units[0]; k++)
    if (units[k] < 0 || units[k] >= in[0].dim[0]) return false;
  r->out = (pb_shape){.ndim = 1, .batched = true, .dim = {units[0]}};
  r->flops = units[0];
  return true;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const int32_t *code = k->attr[UNITS].code, *unit = code + 1;
  int64_t count = code[0], units = lane->plan->tensor[k->in[0]].size, begin, end;
  share_blocks(lane, &begin, &end);
  real *y = lane->ptr[k->out];
  for (int64_t n = begin; n < end; n += SAMPLES) {
    int64_t width = min_i(SAMPLES, end - n);
    const real *x = (const real *)lane->ptr[k->in[0]] + n * units;
    for (int64_t l = 0; l < width; l++)
      for (int64_t j = 0; j < count; j++) y[(n + l) * count + j] = x[unit[j] * width + l];
  }
  if (k->activation && end > begin)
    k->activation->map(k->activation_attr, (end - begin) * count, y + begin * count,
                       y + begin * count);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  const int32_t *code = k->attr[UNITS].code, *unit = code + 1;
  int64_t count = code[0], units = lane->plan->tensor[k->in[0]].size, begin, end;
  share_blocks(lane, &begin, &end);
  const real *dy = lane->ptr[k->dout];
  for (int64_t n = begin; n < end; n += SAMPLES) {
    int64_t width = min_i(SAMPLES, end - n);
    real *dx = (real *)lane->ptr[k->din[0]] + n * units;
    if (!k->add[0]) memset(dx, 0, (size_t)(units * width) * sizeof(real));
    for (int64_t l = 0; l < width; l++)
      for (int64_t j = 0; j < count; j++) dx[unit[j] * width + l] += dy[(n + l) * count + j];
  }
}

PB_OP(neurons_rows) = {.name = "neurons_rows",
                       .attrs = "units:code",
                       .min_in = 1,
                       .max_in = 1,
                       .flags = PB_FUSES,
                       .infer = infer,
                       .forward = forward,
                       .backward_in = backward_in};
