/* erase: in training, with probability `rate`, a rectangle of an image is overwritten by `fill` in
 * all its channels; y = x otherwise.
 *
 * Its area is a share of the image's, uniform in [low, high]; its height over its width is
 * aspect^u, u uniform in [-1, 1); its place is uniform among those inside the image. A rectangle
 * that does not fit is drawn again, up to ten times. Zhong, Zheng, Kang, Li and Yang, "Random erasing
 * data augmentation", 2017.
 */
#include "ops/image.h"

enum { RATE, LOW, HIGH, ASPECT, FILL, HEIGHT, WIDTH };

enum { TRIES = 10 };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  return image_within(attr[RATE].f, 0, 1) && image_within(attr[LOW].f, 0, 1) &&
         image_within(attr[HIGH].f, attr[LOW].f, 1) && image_within(attr[ASPECT].f, 1, 1e3) &&
         isfinite((real)attr[FILL].f) && image_infer(attr[HEIGHT].i, attr[WIDTH].i, 2, in, r);
}

static void erase(const pb_attr *attr, const uint32_t *bits, int64_t channels, real *y) {
  int64_t height = attr[HEIGHT].i, width = attr[WIDTH].i;
  for (int k = 0; k < TRIES; k++) {
    const uint32_t *b = bits + 4 * (k + 1);
    double share = attr[LOW].f + (attr[HIGH].f - attr[LOW].f) * image_share(b[0]);
    double area = share * (double)(height * width);
    double aspect = exp(image_spread(b[1], log(attr[ASPECT].f)));
    int64_t h = (int64_t)floor(sqrt(area * aspect) + 0.5);
    int64_t w = (int64_t)floor(sqrt(area / aspect) + 0.5);
    if (h > height || w > width) continue;
    int64_t top = (int64_t)(image_share(b[2]) * (double)(height - h + 1));
    int64_t left = (int64_t)(image_share(b[3]) * (double)(width - w + 1));
    for (int64_t c = 0; c < channels; c++)
      for (int64_t i = top; i < top + h; i++)
        for (int64_t j = left; j < left + w; j++)
          y[(c * height + i) * width + j] = (real)attr[FILL].f;
    return;
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  uint32_t bits[RANDOM_BLOCK];
  int64_t begin, end, size = lane->plan->tensor[k->out].size;
  real *y = lane->ptr[k->out];
  share(lane, lane->n, 1, &begin, &end);
  memcpy(y + begin * size, (const real *)lane->ptr[k->in[0]] + begin * size,
         (size_t)((end - begin) * size) * sizeof *y);
  for (int64_t n = begin; lane->training && n < end; n++) {
    random_block(lane->seed, (uint32_t)k->node, (uint64_t)lane->step, (uint64_t)n, bits);
    if (image_share(bits[0]) < k->attr[RATE].f)
      erase(k->attr, bits, size / (k->attr[HEIGHT].i * k->attr[WIDTH].i), y + n * size);
  }
}

PB_OP(erase) = {.name = "erase",
                .attrs =
                    "rate:float low:float high:float aspect:float fill:float height:int "
                    "width:int",
                .min_in = 1,
                .max_in = 1,
                .flags = PB_RANDOM,
                .infer = infer,
                .forward = forward};
