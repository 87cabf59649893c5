/* Convolutions against loops over every tap, of all sizes about those of tiles, with padding on one side
 * or on all: of blocked tensors Winograd's along both axes or down the columns, pointwise, depthwise and
 * general ones, of plain images those with outputs in the lanes of vectors and those by points, also with
 * the pooling behind them.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "test/test.h"

enum { X, WEIGHT, BIAS, Y, DY, DX, DWEIGHT, DBIAS, TENSORS };
enum { POOLED = TENSORS }; /* of the plan, besides those */
enum { GROUPS = 8, ATTRS };

typedef struct {
  const pb_table *table;
  const pb_op *op;
  pb_plan *plan;
  pb_instr instr, pool; /* side by side, as in a plan */
  int64_t side;         /* images side by side: the lanes of blocks, or 1 */
  pb_inferred inferred;
  int64_t n, count[TENSORS]; /* images; reals of each tensor */
  void *before[TENSORS];     /* what they hold at first */
} problem;

static int64_t blocks_of(const problem *p) { return (p->n + p->side - 1) / p->side; }

static pb_shape images(bool blocked, int64_t c, int64_t h, int64_t w) {
  return (pb_shape){.ndim = 3, .batched = true, .blocked = blocked, .dim = {c, h, w}};
}

/* Numbers in [-1, 1), and zeros in the gradients of rows that are not there. */
static void fill(problem *p, rng *r) {
  int64_t lanes = p->side;
  for (int i = 0; i < TENSORS; i++) {
    const pb_shape *s = &p->plan->tensor[i].shape;
    p->count[i] = pb_shape_size(s) * (s->batched ? blocks_of(p) * lanes : 1);
    p->before[i] = exact_alloc(p->count[i] * p->table->real_size);
    int64_t block = pb_shape_size(s) * lanes;
    for (int64_t k = 0; k < p->count[i]; k++) {
      bool there = !s->batched || k / block * lanes + k % lanes < p->n;
      put_real(p->table, p->before[i], k, there || i == X ? rng_uniform(r) : 0);
    }
  }
}

static bool problem_new(problem *p, const pb_table *t, rng *r, bool blocked, const int64_t *size,
                        const int64_t *attr, bool relu, bool add) {
  int64_t groups = attr[GROUPS], side = blocked ? t->lanes : 1;
  *p = (problem){.table = t, .op = pb_find_op(t, "conv"), .side = side};
  p->n = 1 + rng_below(r, blocked ? 2 * side : 3);
  pb_shape in[] = {images(blocked, size[0], size[2], size[3]),
                   {.ndim = 4, .dim = {size[1], size[0] / groups, size[4], size[5]}},
                   {.ndim = 1, .dim = {size[1]}}};
  p->instr = (pb_instr){.op = p->op,
                        .nin = 3,
                        .in = {X, WEIGHT, BIAS},
                        .out = Y,
                        .dout = DY,
                        .din = {DX, DWEIGHT, DBIAS},
                        .add = {add, add, add},
                        .saved = -1,
                        .affine = -1,
                        .activation = relu ? pb_find_op(t, "relu") : NULL};
  for (int i = 0; i < ATTRS; i++) p->instr.attr[i].i = attr[i];
  if (!p->op->infer(p->instr.attr, in, 3, &p->inferred)) return false;
  p->plan = pb_plan_new(t, blocks_of(p) * side);
  pb_plan_reserve(p->plan, TENSORS + 1, 1, 1);
  pb_shape out = p->inferred.out;
  out.blocked = blocked;
  const pb_shape shape[] = {in[0], in[1], in[2], out, out, in[0], in[1], in[2]};
  for (int i = 0; i < TENSORS; i++) {
    p->plan->tensor[i].shape = shape[i];
    p->plan->tensor[i].size = pb_shape_size(&shape[i]);
  }
  p->pool = (pb_instr){.op = pb_find_op(t, "max_pool"),
                       .nin = 1,
                       .in = {Y},
                       .out = POOLED,
                       .saved = -1,
                       .affine = -1,
                       .activation = p->instr.activation,
                       .attr = {{2}, {2}, {2}, {2}}};
  pb_inferred pooled;
  if (p->pool.op->infer(p->pool.attr, &out, 1, &pooled)) {
    pb_tensor *last = &p->plan->tensor[POOLED];
    last->shape = pooled.out, last->size = pb_shape_size(&pooled.out);
  }
  fill(p, r);
  return true;
}

static void problem_free(problem *p) {
  for (int i = 0; i < TENSORS; i++) exact_free(p->before[i]);
  pb_plan_free(p->plan);
}

/* One part of `parts`, with scratch of its own. */
static pb_lane lane_of(const problem *p, void **ptr, int part, int parts) {
  return (pb_lane){.ptr = ptr,
                   .n = p->n,
                   .part = part,
                   .parts = parts,
                   .plan = p->plan,
                   .scratch = exact_alloc(p->inferred.scratch * p->table->real_size)};
}

/* All phases, cut into `parts`; every tensor, and scratch, ends where it ends. */
static void run(const problem *p, int parts, void **ptr) {
  int64_t real = p->table->real_size;
  for (int i = 0; i < TENSORS; i++) {
    ptr[i] = exact_alloc(p->count[i] * real);
    memcpy(ptr[i], p->before[i], (size_t)(p->count[i] * real));
  }
  for (int part = 0; part < parts; part++) {
    pb_lane lane = lane_of(p, ptr, part, parts);
    p->op->forward(&p->instr, &lane);
    p->op->backward_in(&p->instr, &lane);
    p->op->backward_param(&p->instr, &lane);
    exact_free(lane.scratch);
  }
}

/* --- loops over every tap ------------------------------------------------------------------------- */

typedef struct {
  double *sum[TENSORS], *size[TENSORS]; /* what should be there; sums of magnitudes */
} wanted;

/* Element i of an image, of block b, in lane l. */
static int64_t place(const problem *p, int tensor, int64_t b, int64_t i, int64_t l) {
  int64_t size = pb_shape_size(&p->plan->tensor[tensor].shape);
  return (b * size + i) * p->side + l;
}

static void term(wanted *w, int tensor, int64_t at, double value) {
  w->sum[tensor][at] += value, w->size[tensor][at] += fabs(value);
}

/* Winograd's sums of one column of a kernel are made of the same points: the largest counts. */
static void level_columns(const problem *p, double *size) {
  const int64_t *k = p->plan->tensor[WEIGHT].shape.dim;
  for (int64_t i = 0; i < k[0] * k[1] * k[3]; i++) {
    double *column = size + i / k[3] * k[2] * k[3] + i % k[3], most = 0;
    for (int64_t u = 0; u < k[2]; u++) most = fmax(most, column[u * k[3]]);
    for (int64_t u = 0; u < k[2]; u++) column[u * k[3]] = most;
  }
}

/* One pair of a pixel and a tap, of all images. */
static void pair(const problem *p, wanted *w, int64_t y, int64_t x, int64_t weight) {
  const pb_table *t = p->table;
  double factor = get_real(t, p->before[WEIGHT], weight);
  for (int64_t n = 0; n < p->n; n++) {
    int64_t b = n / p->side, l = n % p->side;
    int64_t at = place(p, X, b, x, l), to = place(p, Y, b, y, l);
    double in = get_real(t, p->before[X], at), dy = get_real(t, p->before[DY], to);
    term(w, Y, to, factor * in);
    term(w, DX, at, factor * dy);
    term(w, DWEIGHT, weight, in * dy);
  }
}

static void pixel(const problem *p, wanted *w, int64_t o, int64_t i, int64_t j) {
  const int64_t *x = p->plan->tensor[X].shape.dim, *k = p->plan->tensor[WEIGHT].shape.dim;
  const int64_t *y = p->plan->tensor[Y].shape.dim;
  const pb_attr *a = p->instr.attr;
  int64_t group = o / (y[0] / a[GROUPS].i), here = (o * y[1] + i) * y[2] + j;
  for (int64_t n = 0; n < p->n; n++) {
    int64_t at = place(p, Y, n / p->side, here, n % p->side);
    term(w, Y, at, get_real(p->table, p->before[BIAS], o));
    term(w, DBIAS, o, get_real(p->table, p->before[DY], at));
  }
  for (int64_t c = 0; c < k[1]; c++)
    for (int64_t u = 0; u < k[2]; u++)
      for (int64_t v = 0; v < k[3]; v++) {
        int64_t h = i * a[0].i + u * a[2].i - a[4].i, s = j * a[1].i + v * a[3].i - a[6].i;
        if (h < 0 || h >= x[1] || s < 0 || s >= x[2]) continue;
        pair(p, w, here, ((group * k[1] + c) * x[1] + h) * x[2] + s,
             ((o * k[1] + c) * k[2] + u) * k[3] + v);
      }
}

static void check_values(const problem *p, void *const *ptr) {
  static const char *const name[] = {"", "", "", "y", "", "dx", "dweight", "dbias"};
  wanted w;
  for (int i = 0; i < TENSORS; i++) {
    w.sum[i] = exact_alloc(p->count[i] * 8), w.size[i] = exact_alloc(p->count[i] * 8);
    for (int64_t k = 0; k < p->count[i] && i > DY && p->instr.add[0]; k++)
      term(&w, i, k, get_real(p->table, p->before[i], k));
  }
  const int64_t *y = p->plan->tensor[Y].shape.dim;
  for (int64_t o = 0; o < y[0]; o++)
    for (int64_t i = 0; i < y[1]; i++)
      for (int64_t j = 0; j < y[2]; j++) pixel(p, &w, o, i, j);
  level_columns(p, w.size[DWEIGHT]);
  /* Winograd's sums hold their neighbours' terms too, which cancel. */
  double epsilon = 32 * (p->table->real_size == 8 ? DBL_EPSILON : FLT_EPSILON);
  for (int i = Y; i < TENSORS; i++)
    for (int64_t k = 0; k < p->count[i] && i != DY; k++) {
      bool there = i > DX || k / (p->count[i] / blocks_of(p)) * p->side + k % p->side < p->n;
      double found = get_real(p->table, ptr[i], k), sum = w.sum[i][k];
      if (i == Y && p->instr.activation && sum < 0) sum = 0;
      /* x counts as what a relu made: dx ends as its error signals. */
      if (i == DX && p->instr.activation && !(get_real(p->table, p->before[X], k) > 0)) sum = 0;
      if (i == Y && !there) continue;
      if (!CHECK(fabs(found - sum) <= epsilon * (1 + w.size[i][k]),
                 "%d images, %d to %d channels: %s[%d] = %.9g, wanted %.9g", (int)p->n,
                 (int)p->plan->tensor[X].shape.dim[0], (int)y[0], name[i], (int)k, found, sum))
        break;
    }
  for (int i = 0; i < TENSORS; i++) exact_free(w.sum[i]), exact_free(w.size[i]);
}

/* Forward alone, into POOLED and in training also Y: both instructions, or the first with the second's
   work. */
static void run_pooled(const problem *p, bool joined, int parts, void **ptr) {
  int64_t real = p->table->real_size, rows = blocks_of(p) * p->side;
  bool unwritten = joined && !pb_trains(p->plan);
  for (int i = 0; i < TENSORS; i++) ptr[i] = p->before[i];
  ptr[Y] = exact_alloc(unwritten ? 0 : p->count[Y] * real);
  ptr[POOLED] = exact_alloc(p->plan->tensor[POOLED].size * rows * real);
  problem both = *p;
  both.instr.activation = NULL, both.instr.joined = joined;
  for (int k = 0; k < (joined ? 1 : 2); k++)
    for (int part = 0; part < parts; part++) {
      pb_lane lane = lane_of(p, ptr, part, parts);
      (k ? both.pool : both.instr).op->forward(k ? &both.pool : &both.instr, &lane);
      exact_free(lane.scratch);
    }
}

static void check_pooled(const problem *p, bool trains) {
  static const int parts[] = {1, 2, 7};
  pb_instr plain = p->instr;
  plain.activation = NULL;
  p->plan->ninstr = trains;
  if (!p->plan->tensor[POOLED].size || !p->op->joins(p->plan, &plain, &p->pool)) return;
  int64_t real = p->table->real_size, rows = blocks_of(p) * p->side;
  size_t pooled = (size_t)(p->plan->tensor[POOLED].size * rows * real);
  size_t kept = trains ? (size_t)(p->count[Y] * real) : 0;
  void *apart[TENSORS + 1], *joined[TENSORS + 1];
  run_pooled(p, false, 1, apart);
  for (int k = 0; k < 3; k++) {
    run_pooled(p, true, parts[k], joined);
    CHECK(memcmp(apart[POOLED], joined[POOLED], pooled) == 0,
          "%d parts: pooled values have other bits", parts[k]);
    CHECK(memcmp(apart[Y], joined[Y], kept) == 0, "%d parts: outputs have other bits", parts[k]);
    exact_free(joined[Y]), exact_free(joined[POOLED]);
  }
  exact_free(apart[Y]), exact_free(apart[POOLED]);
}

static void check_problem(const problem *p) {
  static const int parts[] = {1, 2, 3, 20};
  void *one[TENSORS], *many[TENSORS];
  run(p, 1, one);
  check_values(p, one);
  for (int k = 1; k < 4; k++) {
    run(p, parts[k], many);
    for (int i = 0; i < TENSORS; i++) {
      CHECK(memcmp(one[i], many[i], (size_t)(p->count[i] * p->table->real_size)) == 0,
            "%d parts: tensor %d has other bits", parts[k], i);
      exact_free(many[i]);
    }
  }
  for (int i = 0; i < TENSORS; i++) exact_free(one[i]);
  check_pooled(p, false), check_pooled(p, true);
}

/* --- sweeps ---------------------------------------------------------------------------------------- */

static int64_t pick(rng *r, int64_t low, int64_t high) {
  return low + rng_below(r, high - low + 1);
}

/* size: channels, outputs, height, width, kernel's height and width. */
static void sweep(const pb_table *t, bool blocked, uint64_t seed, int count,
                  void (*choose)(rng *, int64_t *size, int64_t *attr)) {
  rng r = {seed};
  for (int i = 0; i < count;) {
    int64_t size[6], attr[ATTRS] = {1, 1, 1, 1, 0, 0, 0, 0, 1};
    choose(&r, size, attr);
    problem p;
    if (!problem_new(&p, t, &r, blocked, size, attr, i % 2, i % 3 == 0)) continue;
    check_problem(&p);
    problem_free(&p);
    i++;
  }
}

static void choose_winograd(rng *r, int64_t *size, int64_t *attr) {
  size[0] = pick(r, 16, 35), size[1] = pick(r, 16, 35);
  size[2] = pick(r, 1, 9), size[3] = pick(r, 1, 9), size[4] = size[5] = 3;
  for (int side = 4; side < 8; side++) attr[side] = pick(r, 0, 2);
}

static void choose_pointwise(rng *r, int64_t *size, int64_t *attr) {
  size[0] = pick(r, 1, 40), size[1] = pick(r, 1, 40);
  size[2] = pick(r, 1, 12), size[3] = pick(r, 1, 12), size[4] = size[5] = 1;
  attr[5] = pick(r, 0, 5) == 0; /* with padding it is a general one */
}

static void choose_depthwise(rng *r, int64_t *size, int64_t *attr) {
  size[0] = attr[GROUPS] = pick(r, 1, 5), size[1] = size[0] * pick(r, 1, 3);
  size[2] = pick(r, 1, 12), size[3] = pick(r, 1, 22);
  size[4] = pick(r, 1, 5), size[5] = pick(r, 1, 7);
  for (int i = 0; i < 4; i++) attr[i] = pick(r, 1, 3);
  for (int i = 4; i < 8; i++) attr[i] = pick(r, 0, 4);
}

static void choose_general(rng *r, int64_t *size, int64_t *attr) {
  choose_depthwise(r, size, attr);
  attr[GROUPS] = pick(r, 1, 3);
  size[0] = attr[GROUPS] * pick(r, 1, 4), size[1] = attr[GROUPS] * pick(r, 1, 7);
}

/* Narrow images with outputs that fill vectors, of more channels than are read at a time. */
static void choose_narrow(rng *r, int64_t *size, int64_t *attr) {
  size[0] = pick(r, 1, 24), size[1] = 16;
  size[2] = pick(r, 2, 10), size[3] = pick(r, 4, 24);
  size[4] = pick(r, 1, 5), size[5] = pick(r, 1, 5);
  attr[2] = pick(r, 0, 3) ? 1 : 2, attr[3] = pick(r, 1, 2);
  for (int side = 4; side < 8; side++) attr[side] = pick(r, 0, 2);
}

/* Blocks of few channels, and of many with kernels of five rows, by points. */
static void choose_blocked_points(rng *r, int64_t *size, int64_t *attr) {
  size[0] = pick(r, 3, 9), size[1] = pick(r, 3, 19);
  size[2] = pick(r, 1, 12), size[3] = pick(r, 1, 12);
  size[4] = pick(r, 0, 1) ? 3 : 5, size[5] = pick(r, 2, 6);
  attr[3] = pick(r, 1, 2);
  for (int side = 4; side < 8; side++) attr[side] = pick(r, 0, 2);
}

/* Columns that fill vectors, under kernels of three and five rows. */
static void choose_points(rng *r, int64_t *size, int64_t *attr) {
  size[0] = pick(r, 1, 3), size[1] = pick(r, 3, 9);
  size[2] = pick(r, 1, 12), size[3] = pick(r, 12, 40);
  size[4] = pick(r, 0, 1) ? 3 : 5, size[5] = pick(r, 1, 7);
  attr[3] = pick(r, 1, 2);
  for (int side = 4; side < 8; side++) attr[side] = pick(r, 0, 2);
}

static void winograd(const pb_table *t) { sweep(t, true, 1, 12, choose_winograd); }
static void pointwise(const pb_table *t) { sweep(t, true, 2, 25, choose_pointwise); }
static void depthwise(const pb_table *t) { sweep(t, true, 3, 60, choose_depthwise); }
static void general(const pb_table *t) { sweep(t, true, 4, 40, choose_general); }
static void narrow(const pb_table *t) { sweep(t, false, 5, 30, choose_narrow); }
static void points(const pb_table *t) { sweep(t, false, 6, 40, choose_points); }
static void blocked_points(const pb_table *t) { sweep(t, true, 7, 40, choose_blocked_points); }

const test tests_conv[] = {
    {"3 x 3 by Winograd", NULL, winograd}, {"single pixels", NULL, pointwise},
    {"depthwise", NULL, depthwise},        {"narrow, with outputs in the lanes", NULL, narrow},
    {"by points", NULL, points},           {"blocks by points", NULL, blocked_points},
    {"all others", NULL, general},         {0},
};
