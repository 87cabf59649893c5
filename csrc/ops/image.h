/* What the ops share that disturb images in training, each image by random numbers of its own, and
 * leave them alone otherwise.
 */
#ifndef PB_IMAGE_H
#define PB_IMAGE_H

#include "ops/random.h"

/* Rows that hold images of height x width, one per channel: [C, H, W], or the same numbers flat. */
PB_INLINE bool image_infer(int64_t height, int64_t width, int flops, const pb_shape *in,
                           pb_inferred *r) {
  int64_t size = pb_shape_size(&in[0]);
  if (!in[0].batched || height < 1 || width < 1 || height > size || width > size / height)
    return false;
  r->out = in[0];
  r->flops = flops * size;
  return size % (height * width) == 0;
}

/* A random number as one of [0, 1), and as one of [-most, most). */
PB_INLINE double image_share(uint32_t bits) { return bits * (1 / 4294967296.0); }
PB_INLINE double image_spread(uint32_t bits, double most) {
  return most * (2 * image_share(bits) - 1);
}

/* Whether an amount can be one: not NaN either. */
PB_INLINE bool image_within(double value, double low, double high) {
  return value >= low && value <= high;
}

#endif
