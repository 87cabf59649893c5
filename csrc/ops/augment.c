/* augment: in training every image is mirrored, scaled, sheared, turned, bent and moved at random;
 * y = x otherwise.
 *
 *     y_c(p) = x_c(q),    q = F S^-1 H^-1 R^-1 (p - t) + d(p),    p from the image's middle
 *
 * x is read between its pixels by bilinear interpolation and is `fill` beyond them. Of each image,
 * with u uniform in [-1, 1):
 *
 *     t   shift u by shift u pixels, and by whole pixels from -crop to crop: a crop of the image with
 *         that margin around it
 *     R   a turn by rotation u degrees
 *     H   upright lines lean by shear u degrees
 *     S   width and height times (1 + scale)^u, and the width times, the height by (1 + stretch)^u
 *     F   flips & 1: left and right, flips & 2: top and bottom, each changed in every other image
 *     d   a smooth field: elastic distortion
 *
 * Simard, Steinkraus and Platt ("Best practices for convolutional neural networks applied to visual
 * document analysis", ICDAR 2003) draw u for every pixel, convolve with a Gaussian of standard
 * deviation `sigma` pixels, and multiply by `elastic`. Here a cubic B-spline of the same variance
 * stands for the Gaussian, with its knots sqrt(3) sigma apart and as large a displacement in the mean
 * square: elastic^2 / 12 pi sigma^2. So a field is a few dozen numbers.
 *
 * All of it is a function of (seed, node, step, image).
 */
#include "ops/elementwise.h"
#include "ops/image.h"
#include "ops/vec.h"

enum { SHIFT, ROTATION, SCALE, STRETCH, SHEAR, FLIPS, CROP, ELASTIC, SIGMA, FILL, HEIGHT, WIDTH };

enum { MARGIN = 3, GRAIN = 16 }; /* one before the image, two behind it; reals of a row's blocks */

#define DEGREE 0.017453292519943295
#define SPLINE_SQUARE 0.47936507936507937 /* 151/315: integral of the cubic B-spline's square */
#define ROOT_4_PI 3.5449077018110321

/* One image's map from (row, column) to where it is read, in pixels of the padded image. */
typedef struct {
  double xx, xy, yx, yy, x, y;
} affine;

/* The plan of a call: sizes, and where a thread's scratch holds what. */
typedef struct {
  int64_t height, width, channels, pitch, plane, row; /* row: width rounded up to whole blocks */
  int64_t down, across, blocks;                       /* knots; blocks of random numbers an image */
  double spacing, amplitude;
  real *image, *along, *upright, *fx, *fy, *dx, *dy, *knots, *bent;
  int32_t *at, *base; /* where a row's pixels are read; the first knot that bends a column */
} layout;

static layout layout_of(const pb_attr *attr, int64_t size) {
  layout a = {.height = attr[HEIGHT].i, .width = attr[WIDTH].i};
  a.channels = size / (a.height * a.width);
  a.pitch = a.width + MARGIN;
  a.plane = (a.height + MARGIN) * a.pitch;
  a.row = (a.width + GRAIN - 1) / GRAIN * GRAIN;
  a.spacing = 1.7320508075688772 * attr[SIGMA].f;
  a.amplitude = attr[ELASTIC].f / (ROOT_4_PI * attr[SIGMA].f * SPLINE_SQUARE);
  a.blocks = 1;
  if (attr[ELASTIC].f == 0) return a;
  a.down = (int64_t)((double)(a.height - 1) / a.spacing) + 4;
  a.across = (int64_t)((double)(a.width - 1) / a.spacing) + 4;
  a.blocks += (2 * a.down * a.across + RANDOM_BLOCK - 1) / RANDOM_BLOCK;
  return a;
}

/* Deals the scratch out; the answer is how much there must be. */
static int64_t deal(layout *a, real *scratch) {
  int64_t used = 0;
  real **part[] = {&a->image, &a->along, &a->upright, &a->fx,   &a->fy,
                   &a->dx,    &a->dy,    &a->knots,   &a->bent, NULL};
  int64_t bent = a->blocks > 1;
  int64_t length[] = {a->channels * a->plane,
                      4 * a->row * bent,
                      4 * a->height * bent,
                      a->row,
                      a->row,
                      a->row * bent,
                      a->row * bent,
                      RANDOM_BLOCK * (a->blocks - 1),
                      2 * a->down * a->row};
  for (int i = 0; part[i]; i++) {
    if (scratch) *part[i] = scratch + used;
    used += length[i];
  }
  if (scratch) a->at = (int32_t *)(scratch + used), a->base = a->at + a->row;
  return used + 2 * a->row;
}

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  const double most = 1e6;
  bool fine = image_within(attr[SHIFT].f, 0, most) && image_within(attr[ROTATION].f, 0, 180) &&
              image_within(attr[SCALE].f, 0, 1e3) && image_within(attr[STRETCH].f, 0, 1e3) &&
              image_within(attr[SHEAR].f, 0, 80) && attr[FLIPS].i >= 0 && attr[FLIPS].i <= 3 &&
              attr[CROP].i >= 0 && attr[CROP].i <= (int64_t)most &&
              image_within(attr[ELASTIC].f, 0, most) && image_within(attr[SIGMA].f, 0.5, most) &&
              isfinite((real)attr[FILL].f);
  int64_t size = pb_shape_size(&in[0]);
  if (!fine || size > INT32_MAX || !image_infer(attr[HEIGHT].i, attr[WIDTH].i, 20, in, r))
    return false;
  layout a = layout_of(attr, size);
  r->scratch = deal(&a, NULL);
  return a.plane < INT32_MAX; /* positions have 32 bits */
}

/* A whole number from -most to most. */
static double whole(uint32_t bits, int64_t most) {
  return floor(image_share(bits) * (double)(2 * most + 1)) - (double)most;
}

static affine draw(const pb_attr *attr, const layout *a, const uint32_t *bits) {
  double tx = image_spread(bits[0], attr[SHIFT].f) + whole(bits[8], attr[CROP].i);
  double ty = image_spread(bits[1], attr[SHIFT].f) + whole(bits[9], attr[CROP].i);
  double angle = image_spread(bits[2], attr[ROTATION].f * DEGREE), c = cos(angle), s = sin(angle);
  double size = exp(image_spread(bits[3], log1p(attr[SCALE].f)));
  double stretch = exp(image_spread(bits[4], log1p(attr[STRETCH].f)));
  double lean = tan(image_spread(bits[5], attr[SHEAR].f * DEGREE));
  double wide = size * stretch, high = size / stretch;
  if (attr[FLIPS].i & 1 && bits[6] >> 31) wide = -wide;
  if (attr[FLIPS].i & 2 && bits[7] >> 31) high = -high;
  affine m = {
      .xx = (c + lean * s) / wide, .xy = (s - lean * c) / wide, .yx = -s / high, .yy = c / high};
  double cx = 0.5 * (double)(a->width - 1), cy = 0.5 * (double)(a->height - 1);
  m.x = cx + 1 - m.xx * (cx + tx) - m.xy * (cy + ty);
  m.y = cy + 1 - m.yx * (cx + tx) - m.yy * (cy + ty);
  return m;
}

/* weight <- the cubic B-spline's at the four knots around each of n pixels: [4][pitch]. */
static void spline(int64_t n, int64_t pitch, double spacing, double amplitude, real *weight) {
  for (int64_t j = 0; j < n; j++) {
    double t = (double)j / spacing, f = t - floor(t), g = 1 - f;
    weight[j] = (real)(amplitude * g * g * g / 6);
    weight[pitch + j] = (real)(amplitude * (2.0 / 3 - f * f + f * f * f / 2));
    weight[2 * pitch + j] = (real)(amplitude * (2.0 / 3 - g * g + g * g * g / 2));
    weight[3 * pitch + j] = (real)(amplitude * f * f * f / 6);
  }
}

/* knots <- random numbers in [-1, 1); bent <- their splines along the rows, [2][down][row]. */
static void bend(const pb_instr *k, const pb_lane *lane, const layout *a, int64_t image) {
  uint32_t bits[RANDOM_BLOCK];
  for (int64_t b = 1; b < a->blocks; b++) {
    random_block(lane->seed, (uint32_t)k->node, (uint64_t)lane->step,
                 (uint64_t)(image * a->blocks + b), bits);
    real *to = a->knots + (b - 1) * RANDOM_BLOCK;
    for (int i = 0; i < RANDOM_BLOCK; i++)
      to[i] = (real)(int32_t)(bits[i] ^ 1u << 31) * (real)(1 / 2147483648.0);
  }
  const real *w = a->along;
  for (int64_t line = 0; line < 2 * a->down; line++) {
    const real *z = a->knots + line * a->across;
    real *to = a->bent + line * a->row;
    for (int64_t j = 0; j < a->width; j++) {
      const real *near = z + a->base[j];
      to[j] = w[j] * near[0] + w[a->row + j] * near[1] + w[2 * a->row + j] * near[2] +
              w[3 * a->row + j] * near[3];
    }
  }
}

/* dx, dy <- the displacements of the pixels of row i. */
static void bent_row(const layout *a, int64_t i) {
  const real *w = a->upright + i;
  const real *from = a->bent + (int64_t)((double)i / a->spacing) * a->row;
  for (int part = 0; part < 2; part++, from += a->down * a->row) {
    real *to = part ? a->dy : a->dx, w0 = w[0], w1 = w[a->height], w2 = w[2 * a->height],
         w3 = w[3 * a->height];
    for (int64_t j = 0; j < a->row; j++)
      to[j] = w0 * from[j] + w1 * from[a->row + j] + w2 * from[2 * a->row + j] +
              w3 * from[3 * a->row + j];
  }
}

/* at, fx, fy <- where n pixels of a row are read: the upper left of four neighbours, and how far from
   it. */
PB_INLINE void place(const layout *a, const real *restrict start, const real *restrict dx,
                     const real *restrict dy, int32_t *restrict at, real *restrict fx,
                     real *restrict fy) {
  const real xx = start[0], x0 = start[1], right = (real)(a->width + 1);
  const real yx = start[2], y0 = start[3], below = (real)(a->height + 1);
  const int32_t pitch = (int32_t)a->pitch, n = (int32_t)a->row;
  for (int32_t j = 0; j < n; j++) {
    real x = xx * (real)j + x0, y = yx * (real)j + y0;
    if (dx) x += dx[j], y += dy[j];
    fx[j] = clip(x, 0, right), fy[j] = clip(y, 0, below);
  }
  for (int32_t j = 0; j < n; j++) { /* in one loop with the clipping, gcc makes branches of it */
    int32_t left = (int32_t)fx[j], top = (int32_t)fy[j];
    at[j] = top * pitch + left, fx[j] -= (real)left, fy[j] -= (real)top;
  }
}

static void locate(const layout *a, const affine *m, int64_t i, bool bent) {
  const real start[4] = {(real)m->xx, (real)(m->xy * (double)i + m->x), (real)m->yx,
                         (real)(m->yy * (double)i + m->y)};
  if (bent) place(a, start, a->dx, a->dy, a->at, a->fx, a->fy);
  else place(a, start, NULL, NULL, a->at, a->fx, a->fy);
}

#if defined(__AVX2__) && PB_REAL_BITS == 32
/* (p[0], p[1]) of two positions, and of four. */
PB_INLINE __m128 two_pairs(const real *p, const real *q) {
  double a, b;
  memcpy(&a, p, sizeof a), memcpy(&b, q, sizeof b);
  return _mm_castpd_ps(_mm_set_pd(b, a));
}
PB_INLINE __m256 four_pairs(const real *image, const int32_t *at) {
  __m128 low = two_pairs(image + at[0], image + at[1]);
  return _mm256_insertf128_ps(_mm256_castps128_ps256(low), two_pairs(image + at[4], image + at[5]),
                              1);
}

/* Pixels j to j + 7: neighbours in a row are read together, which is quicker than gathering. */
PB_INLINE void sample_eight(const layout *a, const real *image, int64_t j, real *y) {
  __m256 fx = _mm256_loadu_ps(a->fx + j), row[2];
  for (int k = 0; k < 2; k++) {
    const real *from = image + k * a->pitch;
    __m256 p = four_pairs(from, a->at + j), q = four_pairs(from, a->at + j + 2);
    __m256 left = _mm256_shuffle_ps(p, q, 0x88), right = _mm256_shuffle_ps(p, q, 0xDD);
    row[k] = _mm256_fmadd_ps(fx, _mm256_sub_ps(right, left), left);
  }
  __m256 down = _mm256_sub_ps(row[1], row[0]);
  _mm256_storeu_ps(y + j, _mm256_fmadd_ps(_mm256_loadu_ps(a->fy + j), down, row[0]));
}
#endif

/* A row of one channel, from its padded image. */
static void sample(const layout *a, const real *restrict image, real *restrict y) {
  const int32_t *restrict at = a->at;
  const real *restrict fx = a->fx, *restrict fy = a->fy;
  int64_t j = 0;
#if defined(__AVX2__) && PB_REAL_BITS == 32
  for (; j + 8 <= a->width; j += 8) sample_eight(a, image, j, y);
  if (j < a->width && a->width > 8) sample_eight(a, image, a->width - 8, y), j = a->width;
#endif
  for (; j < a->width; j++) {
    const real *p = image + at[j], *q = p + a->pitch;
    real above = p[0] + fx[j] * (p[1] - p[0]), under = q[0] + fx[j] * (q[1] - q[0]);
    y[j] = above + fy[j] * (under - above);
  }
}

static void transform(const pb_instr *k, const pb_lane *lane, layout *a, int64_t image,
                      const real *x, real *y) {
  uint32_t bits[RANDOM_BLOCK];
  random_block(lane->seed, (uint32_t)k->node, (uint64_t)lane->step, (uint64_t)(image * a->blocks),
               bits);
  affine m = draw(k->attr, a, bits);
  for (int64_t row = 0; row < a->channels * a->height; row++)
    memcpy(a->image + row / a->height * a->plane + (row % a->height + 1) * a->pitch + 1,
           x + row * a->width, (size_t)a->width * sizeof *x);
  bool bent = a->blocks > 1;
  if (bent) bend(k, lane, a, image);
  for (int64_t i = 0; i < a->height; i++) {
    if (bent) bent_row(a, i);
    locate(a, &m, i, bent);
    for (int64_t c = 0; c < a->channels; c++)
      sample(a, a->image + c * a->plane, y + (c * a->height + i) * a->width);
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  int64_t begin, end, size = lane->plan->tensor[k->out].size;
  const real *x = lane->ptr[k->in[0]];
  real *y = lane->ptr[k->out];
  share(lane, lane->n, 1, &begin, &end);
  if (!lane->training) {
    memcpy(y + begin * size, x + begin * size, (size_t)((end - begin) * size) * sizeof *y);
    return;
  }
  layout a = layout_of(k->attr, size);
  deal(&a, lane->scratch);
  const real fill = (real)k->attr[FILL].f;
  for (int64_t i = 0; i < a.channels * a.plane; i++) a.image[i] = fill;
  if (a.blocks > 1) {
    memset(a.bent, 0, (size_t)(2 * a.down * a.row) * sizeof *a.bent);
    for (int64_t j = 0; j < a.width; j++) a.base[j] = (int32_t)((double)j / a.spacing);
    spline(a.width, a.row, a.spacing, a.amplitude, a.along);
    spline(a.height, a.height, a.spacing, 1, a.upright);
  }
  for (int64_t n = begin; n < end; n++) transform(k, lane, &a, n, x + n * size, y + n * size);
}

PB_OP(augment) = {.name = "augment",
                  .attrs =
                      "shift:float rotation:float scale:float stretch:float shear:float "
                      "flips:int crop:int elastic:float sigma:float fill:float height:int "
                      "width:int",
                  .min_in = 1,
                  .max_in = 1,
                  .flags = PB_RANDOM,
                  .infer = infer,
                  .forward = forward};
