/* Faster ways for blocked images of some geometries, and what these share.
 *
 * A vector is a pixel of LANES images. Kernels work on runs of pixels, as many as keep those of all
 * channels in the second-level cache.
 */
#ifndef PB_CONV_BLOCKED_H
#define PB_CONV_BLOCKED_H

#include "ops/conv.h"

/* A sum over planes, of pixels of even and of odd numbers. */
typedef struct {
  vec even, odd;
} plane_sum;

/* Adds `count` pixels, of which the first has an even number. */
PB_INLINE void plane_sum_add(plane_sum *s, int64_t count, const real *x) {
  vec even = s->even, odd = s->odd;
  int64_t i = 0;
  for (; i + 2 <= count; i += 2, x += 2 * LANES) even += vec_load(x), odd += vec_load(x + LANES);
  if (i < count) even += vec_load(x);
  s->even = even, s->odd = odd;
}

typedef struct {
  bool (*fits)(const conv_geometry *); /* whether it can, and whether it pays */
  /* As conv_sweep. */
  void (*sweep)(const conv_sweep_job *, const pb_lane *);
  int64_t (*sweep_scratch)(const conv_geometry *, bool turned);
  /* The gradient of the weights of outputs [first, last), at most dots_outputs of them, from `blocks`
     blocks of x and dy. It lies in `scratch`; its bits do not depend on where outputs are cut.
     Unless `sums` is NULL, sums[last - first] take in dy's planes while these are in cache. */
  const real *(*dots)(const conv_geometry *, const real *x, const real *dy, int64_t blocks,
                      int64_t first, int64_t last, plane_sum *sums, real *scratch);
  int64_t (*dots_outputs)(const conv_geometry *);
  int64_t (*dots_scratch)(const conv_geometry *);
  bool sums;     /* dots knows `sums` */
  bool pools;    /* sweep knows job->pooled */
  bool straight; /* sweep knows no job that is turned or adds */
} conv_way;

#define conv_winograd PB_NAME(pb_conv_winograd)
#define conv_pointwise PB_NAME(pb_conv_pointwise)
#define conv_depthwise PB_NAME(pb_conv_depthwise)
#define conv_points PB_NAME(pb_conv_points)
extern const conv_way conv_winograd, conv_pointwise, conv_depthwise, conv_points;

/* NULL where none fits. */
PB_INLINE const conv_way *conv_way_for(const conv_geometry *g) {
  if (conv_winograd.fits(g)) return &conv_winograd;
  if (conv_pointwise.fits(g)) return &conv_pointwise;
  if (conv_depthwise.fits(g)) return &conv_depthwise;
  return conv_points.fits(g) ? &conv_points : NULL;
}

/* How many pixels, or tiles, that take `vectors` vectors each, go into `bytes`: a multiple of the columns
   that gemm.h holds in registers. */
PB_INLINE int64_t run_length(int64_t bytes, int64_t vectors, int64_t most) {
  const int64_t wide = VEC_REGISTERS == 32 ? 6 : 3;
  int64_t length = min_i(most, bytes / (vectors * VEC_BYTES)) / wide * wide;
  return length < wide ? wide : length;
}

/* Asks for `pixels` pixels, soon to be read, or to be written: runs are short, and those of different
   channels lie so far apart that the machine does not foresee them. */
PB_INLINE void run_fetch(bool write, const real *run, int64_t pixels) {
#ifdef VEC_EXTENSIONS
  const char *end = (const char *)(run + pixels * LANES);
  for (const char *at = (const char *)run; at < end; at += PB_ALIGN)
    if (write) __builtin_prefetch(at, 1);
    else __builtin_prefetch(at, 0);
#else
  (void)write, (void)run, (void)pixels;
#endif
}

/* The same for what is read later: into the second-level cache. */
PB_INLINE void run_fetch_far(const real *run, int64_t pixels) {
#ifdef VEC_EXTENSIONS
  const char *end = (const char *)(run + pixels * LANES);
  for (const char *at = (const char *)run; at < end; at += PB_ALIGN) __builtin_prefetch(at, 0, 2);
#else
  (void)run, (void)pixels;
#endif
}

#endif
