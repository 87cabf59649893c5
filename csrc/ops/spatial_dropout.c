/* spatial_dropout: in training whole planes are zeroed, each channel of each row with probability
 * `rate`, and the others divided by 1 - rate; y = x otherwise.
 *
 *     x [C, H, W] -> y [C, H, W]
 *
 * The number of plane n C + c decides, wherever it lies in memory; backward draws it again. Tompson,
 * Goroshin, Jain, LeCun and Bregler, CVPR 2015.
 */
#include "ops/planes.h"
#include "ops/random.h"

enum { RATE };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  if (!is_image(&in[0])) return false;
  r->out = in[0];
  r->flops = 2 * pb_shape_size(&in[0]);
  r->scratch = in[0].dim[0] * SIDE;
  return attr[RATE].f >= 0 && attr[RATE].f < 1;
}

/* What the planes of a block are multiplied by: scale[sample channels + c]. */
static void draw(const pb_instr *k, const pb_lane *lane, int64_t first, int64_t count,
                 real *scale) {
  uint32_t bits[RANDOM_BLOCK], limit = (uint32_t)(k->attr[RATE].f * 4294967296.0);
  real kept = (real)(1 / (1 - k->attr[RATE].f));
  for (int64_t i = 0, known = -1; i < count; i++) {
    int64_t block = (first + i) / RANDOM_BLOCK;
    if (block != known)
      random_block(lane->seed, (uint32_t)k->node, (uint64_t)lane->step, (uint64_t)block, bits);
    known = block;
    scale[i] = bits[(first + i) % RANDOM_BLOCK] >= limit ? kept : 0;
  }
}

/* out (+)= scale in, plane by plane. */
static void drop(const pb_instr *k, const pb_lane *lane, int32_t from, int32_t to, bool add) {
  const pb_shape *s = shape_of(lane, k->out);
  int width = side_by_side(lane, s);
  int64_t begin, end, size = unit_size(lane, k->out, width), channels = s->dim[0];
  real *scale = lane->scratch;
  share(lane, blocks_of(lane, width), 1, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    if (lane->training) draw(k, lane, n * width * channels, channels * width, scale);
    else
      for (int64_t i = 0; i < channels * width; i++) scale[i] = 1;
    for (int64_t c = 0; c < channels; c++) {
      const real *in = (const real *)lane->ptr[from] + (n * channels + c) * size;
      real *out = (real *)lane->ptr[to] + (n * channels + c) * size;
      for (int64_t i = 0; i < size; i += width)
        for (int64_t l = 0; l < width; l++) {
          real v = scale[l * channels + c] * in[i + l];
          out[i + l] = add ? out[i + l] + v : v;
        }
    }
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  drop(k, lane, k->in[0], k->out, false);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  drop(k, lane, k->dout, k->din[0], k->add[0]);
}

PB_OP(spatial_dropout) = {.name = "spatial_dropout",
                          .attrs = "rate:float",
                          .min_in = 1,
                          .max_in = 1,
                          .flags = PB_RANDOM | PB_BLOCKED,
                          .infer = infer,
                          .forward = forward,
                          .backward_in = backward_in};
