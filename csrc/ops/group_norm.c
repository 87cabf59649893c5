/* group_norm: the channels of an image in groups, each shifted and scaled to mean 0 and deviation 1
 * over its own values; then y = gamma h + beta by channel.
 *
 *     x [C, H, W]   gamma, beta [C] (both or none)   ->   y [C, H, W]
 *
 * With h = r (x - mean), r = 1 / sqrt(variance + eps), g = gamma dy and means over a group:
 *     dx = r (g - mean of g - h mean of g h)
 *     dgamma_c = sum over rows and places of dy h        dbeta_c = likewise of dy
 *
 * As many groups as channels are instance normalisation. Wu and He, "Group normalization", ECCV
 * 2018. Sums are in doubles; backward makes the means anew. Threads share samples and groups, of
 * the parameters' gradients the groups.
 */
#include "ops/columns.h"
#include "ops/planes.h"

enum { X, GAMMA, BETA };
enum { GROUPS, EPS };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  int64_t groups = attr[GROUPS].i;
  if (!is_image(&in[X]) || nin == GAMMA + 1 || groups < 1 || in[X].dim[0] % groups) return false;
  for (int j = GAMMA; j < nin; j++)
    if (in[j].batched || in[j].ndim != 1 || in[j].dim[0] != in[X].dim[0]) return false;
  r->out = in[X];
  r->flops = 8 * pb_shape_size(&in[X]);
  return attr[EPS].f > 0;
}

/* One group of one sample, or of those of a block: number i % width is theirs. */
typedef struct {
  int width;
  int64_t groups, channels, plane;       /* channels of a group, reals of a plane */
  double mean[SIDE], scale[SIDE], count; /* count: values of a group */
  const real *gamma, *beta;              /* of its first channel, or NULL */
} group;

static group groups_of(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *x = shape_of(lane, k->in[X]);
  group g = {.width = side_by_side(lane, x), .groups = k->attr[GROUPS].i};
  g.channels = x->dim[0] / g.groups;
  g.plane = unit_size(lane, k->in[X], g.width);
  g.count = (double)(g.channels * x->dim[1] * x->dim[2]);
  return g;
}

/* Mean and scale of the group whose values begin at x. */
static void look(group *g, const pb_instr *k, const pb_lane *lane, int64_t number, const real *x) {
  double zero[SIDE] = {0}, none[SIDE], squares[SIDE];
  plane_sums(g->channels * g->plane, g->width, x, zero, x, zero, g->mean, none);
  for (int i = 0; i < SIDE; i++) g->mean[i] /= g->count;
  plane_sums(g->channels * g->plane, g->width, x, g->mean, x, g->mean, none, squares);
  for (int i = 0; i < SIDE; i++) {
    double variance = squares[i] / g->count;
    g->scale[i] = variance <= DBL_MAX ? 1 / sqrt(variance + k->attr[EPS].f) : NAN;
  }
  g->gamma = k->nin > GAMMA ? (real *)lane->ptr[k->in[GAMMA]] + number * g->channels : NULL;
  g->beta = k->nin > GAMMA ? (real *)lane->ptr[k->in[BETA]] + number * g->channels : NULL;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  group g = groups_of(k, lane);
  int64_t begin, end, size = g.channels * g.plane;
  share(lane, blocks_of(lane, g.width) * g.groups, 1, &begin, &end);
  for (int64_t u = begin; u < end; u++) {
    const real *x = (const real *)lane->ptr[k->in[X]] + u * size;
    real *y = (real *)lane->ptr[k->out] + u * size;
    look(&g, k, lane, u % g.groups, x);
    for (int64_t c = 0; c < g.channels; c++, x += g.plane, y += g.plane) {
      double gamma = g.gamma ? (double)g.gamma[c] : 1, beta = g.beta ? (double)g.beta[c] : 0;
      double scale[SIDE];
      for (int i = 0; i < SIDE; i++) scale[i] = gamma * g.scale[i];
      for (int64_t at = 0; at < g.plane; at += SIDE) {
        int64_t n = min_i(SIDE, g.plane - at);
        for (int64_t i = 0; i < n; i++)
          y[at + i] = (real)(((double)x[at + i] - g.mean[i]) * scale[i] + beta);
      }
      if (k->activation) k->activation->map(k->activation_attr, g.plane, y, y);
    }
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  group g = groups_of(k, lane);
  const double zero[SIDE] = {0};
  int64_t begin, end, size = g.channels * g.plane;
  share(lane, blocks_of(lane, g.width) * g.groups, 1, &begin, &end);
  for (int64_t u = begin; u < end; u++) {
    const real *x = (const real *)lane->ptr[k->in[X]] + u * size;
    const real *dy = (const real *)lane->ptr[k->dout] + u * size;
    real *dx = (real *)lane->ptr[k->din[X]] + u * size;
    look(&g, k, lane, u % g.groups, x);
    double shift[SIDE] = {0}, tilt[SIDE] = {0};
    for (int64_t c = 0; c < g.channels; c++) {
      double gamma = g.gamma ? (double)g.gamma[c] : 1, s[SIDE], t[SIDE];
      plane_sums(g.plane, g.width, dy + c * g.plane, zero, x + c * g.plane, g.mean, s, t);
      for (int i = 0; i < SIDE; i++) shift[i] += gamma * s[i], tilt[i] += gamma * t[i];
    }
    for (int i = 0; i < SIDE; i++)
      shift[i] /= g.count, tilt[i] *= g.scale[i] * g.scale[i] / g.count;
    for (int64_t c = 0; c < g.channels; c++, x += g.plane, dy += g.plane, dx += g.plane) {
      double gamma = g.gamma ? (double)g.gamma[c] : 1;
      for (int64_t at = 0; at < g.plane; at += SIDE) {
        int64_t n = min_i(SIDE, g.plane - at);
        for (int64_t i = 0; i < n; i++) {
          double h = ((double)x[at + i] - g.mean[i]) * tilt[i];
          real d = (real)(g.scale[i] * (gamma * (double)dy[at + i] - shift[i] - h));
          dx[at + i] = k->add[X] ? dx[at + i] + d : d;
        }
      }
      clear_beyond(lane, u / g.groups, g.width, g.plane, dx);
    }
  }
}

static void backward_param(const pb_instr *k, const pb_lane *lane) {
  group g = groups_of(k, lane);
  const double zero[SIDE] = {0};
  int64_t begin, end, size = g.channels * g.plane, blocks = blocks_of(lane, g.width);
  share(lane, g.groups, 1, &begin, &end);
  for (int64_t of = begin; of < end && k->nin > GAMMA; of++)
    for (int64_t first = 0; first < g.channels; first += BLOCK) {
      double dgamma[BLOCK] = {0}, dbeta[BLOCK] = {0};
      int64_t n = min_i(BLOCK, g.channels - first);
      for (int64_t b = 0; b < blocks; b++) {
        int64_t at = (b * g.groups + of) * size;
        const real *x = (const real *)lane->ptr[k->in[X]] + at;
        const real *dy = (const real *)lane->ptr[k->dout] + at;
        look(&g, k, lane, of, x);
        for (int64_t c = 0; c < n; c++) {
          double s[SIDE], t[SIDE];
          int64_t begins = (first + c) * g.plane;
          plane_sums(g.plane, g.width, dy + begins, zero, x + begins, g.mean, s, t);
          for (int i = 0; i < g.width; i++) dgamma[c] += t[i] * g.scale[i], dbeta[c] += s[i];
        }
      }
      hand_over(k, lane, GAMMA, of * g.channels + first, n, dgamma);
      hand_over(k, lane, BETA, of * g.channels + first, n, dbeta);
    }
}

PB_OP(group_norm) = {.name = "group_norm",
                     .attrs = "groups:int eps:float",
                     .min_in = 1,
                     .max_in = 3,
                     .params = 2,
                     .flags = PB_USES_X | PB_FUSES | PB_BLOCKED,
                     .infer = infer,
                     .forward = forward,
                     .backward_in = backward_in,
                     .backward_param = backward_param};
