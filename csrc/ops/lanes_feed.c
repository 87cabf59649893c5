/* lanes_feed: feed for tiny nets, whose samples lie side by side in the lanes of vectors.
 *
 *     y[j, n] = scale * array[index[n], j] for n < N, else 0        y [C, P]
 */
#include "ops/lanes.h"

enum { SOURCE, SCALE };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)in, (void)nin;
  if (!in_lanes(&r->out)) return false;
  r->flops = r->out.dim[0];
  r->pitch = r->out.dim[1];
  return true;
}

#define GATHER_AS(T, wide) \
  for (int64_t n = 0; n < lane->n; n++) { \
    int64_t i = lane->index ? lane->index[n] : lane->first_row + n; \
    const char *row = (const char *)s->data + i * s->row_stride; \
    for (int64_t j = 0; j < s->cols; j++) \
      y[j * pitch + n] = (real)((wide) * (const T *)(row + j * s->col_stride) * (wide)scale); \
  } \
  break
#define GATHER(T) GATHER_AS(T, real)

static void forward(const pb_instr *k, const pb_lane *lane) {
  const pb_source *s = &lane->source[k->attr[SOURCE].i];
  int64_t pitch = lane->plan->tensor[k->out].shape.dim[1];
  real *y = lane->ptr[k->out];
  double scale = k->attr[SCALE].f;
  if (lane->n < pitch) memset(y, 0, (size_t)(s->cols * pitch) * sizeof *y);
  switch (s->dtype) {
    case PB_F32: GATHER(float);
    case PB_F64: GATHER_AS(double, double);
    case PB_U8: GATHER(uint8_t);
    case PB_I8: GATHER(int8_t);
    case PB_U16: GATHER(uint16_t);
    case PB_I16: GATHER(int16_t);
    case PB_U32: GATHER(uint32_t);
    case PB_I32: GATHER(int32_t);
    case PB_U64: GATHER(uint64_t);
    case PB_I64: GATHER(int64_t);
    default: break;
  }
}

PB_OP(lanes_feed) = {.name = "lanes_feed",
                     .attrs = "source:int scale:float",
                     .flags = PB_SOURCE,
                     .infer = infer,
                     .forward = forward};
