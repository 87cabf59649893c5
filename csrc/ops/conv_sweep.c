/* The forward sweep of a convolution, and, turned round, its gradient by the input.
 *
 *     out[o, first + j step] (+)= start[o] + sum_{c, t} weight[o, c, tap t] in[c, j stride + at t]
 *
 * for the paths j, t of conv.h along both axes. Tiles of outputs by vectors of positions stay in
 * registers while the sum runs: a weight is broadcast to all positions, and a tap is an offset.
 */
#include "ops/conv.h"

enum {
  DEPTH = 512,   /* terms of a sum before it goes back to memory: weights and tile stay in cache */
  WEIGHTS = 128, /* outputs whose weights are used together */
  MOST = VEC_REGISTERS == 32 ? 8 : 6 /* vectors of positions in a register tile */
};

/* --- register tiles ----------------------------------------------------------------------------- */

typedef struct {
  int64_t depth;
  const int64_t *at, *weight_at; /* of a term: from a position's input, from an output's weights */
  const real *weight;
  int64_t ldw;       /* between the weights of two outputs */
  const real *start; /* or NULL */
  bool add;          /* to what is there, instead of start */
  bool whole;        /* all vectors are, and without gaps in the output */
  int64_t ldc, step; /* in the output: between channels, between a vector's lanes */
} terms;

/* Where a vector of positions reads and writes; `lanes` of it are wanted. */
typedef struct {
  const real *in;
  real *out;
  int64_t lanes;
} position;

static vec load_lanes(const real *c, int64_t lanes, int64_t step) {
  if (lanes == LANES && step == 1) return vec_load(c);
  if (step == 1) return vec_load_part(c, lanes);
  real lane[LANES] = {0};
  for (int64_t i = 0; i < lanes; i++) lane[i] = c[i * step];
  return vec_load(lane);
}

static void store_lanes(real *c, int64_t lanes, int64_t step, vec v) {
  if (lanes == LANES && step == 1) vec_store(c, v);
  else if (step == 1) vec_store_part(c, lanes, v);
  else {
    real lane[LANES];
    vec_store(lane, v);
    for (int64_t i = 0; i < lanes; i++) c[i * step] = lane[i];
  }
}

/* Outputs [o, o + m) at v positions. Everything is read before the first store, which might be
   anywhere for all that the compiler knows. */
PB_INLINE void tile(int m, int v, const terms *s, int64_t o, const position *p) {
  vec sum[4 * MOST];
  const int64_t ldw = s->ldw, ldc = s->ldc, step = s->step, depth = s->depth, *at = s->at,
                *weight_at = s->weight_at;
  const real *w = s->weight + o * ldw, *in[MOST];
  real *out[MOST];
  int64_t lanes[MOST];
  bool whole = s->whole;
#pragma GCC unroll 8
  for (int j = 0; j < v; j++)
    in[j] = p[j].in, out[j] = p[j].out + o * ldc, lanes[j] = p[j].lanes;
#pragma GCC unroll 6
  for (int i = 0; i < m; i++)
#pragma GCC unroll 8
    for (int j = 0; j < v; j++)
      sum[i * v + j] = !s->add ? vec_set(s->start ? s->start[o + i] : 0)
                       : whole ? vec_load(out[j] + i * ldc)
                               : load_lanes(out[j] + i * ldc, lanes[j], step);
  for (int64_t t = 0; t < depth; t++) {
    int64_t there = at[t], from = weight_at[t];
    vec x[MOST], a[6];
    if (m < v) { /* whichever leaves the sums their registers */
#pragma GCC unroll 6
      for (int i = 0; i < m; i++) a[i] = vec_set(w[i * ldw + from]);
#pragma GCC unroll 8
      for (int j = 0; j < v; j++) {
        x[j] = vec_load(in[j] + there);
#pragma GCC unroll 6
        for (int i = 0; i < m; i++) sum[i * v + j] += a[i] * x[j];
      }
      continue;
    }
#pragma GCC unroll 8
    for (int j = 0; j < v; j++) x[j] = vec_load(in[j] + there);
#pragma GCC unroll 6
    for (int i = 0; i < m; i++) {
      a[i] = vec_set(w[i * ldw + from]);
#pragma GCC unroll 8
      for (int j = 0; j < v; j++) sum[i * v + j] += a[i] * x[j];
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < m; i++)
#pragma GCC unroll 8
    for (int j = 0; j < v; j++)
      if (whole) vec_store(out[j] + i * ldc, sum[i * v + j]);
      else store_lanes(out[j] + i * ldc, lanes[j], step, sum[i * v + j]);
}

/* Four outputs by three vectors fill sixteen registers, and three by four: whichever divides them. */
enum { WIDE = VEC_REGISTERS == 32 ? 6 : 3, FLAT = VEC_REGISTERS == 32 ? 8 : 4 };

static int vectors_of(int64_t outputs) {
  if (outputs == 1) return MOST;
  return outputs % 3 == 0 && outputs % 4 != 0 ? FLAT : WIDE;
}

/* Outputs [o, end) at as many positions as go together. */
static void tile_full(const terms *s, int64_t outputs, int v, int64_t o, int64_t end,
                      const position *p) {
  if (outputs == 1) {
    tile(1, MOST, s, o, p);
    return;
  }
  if (v == FLAT)
    for (; o + 3 <= end; o += 3) tile(3, FLAT, s, o, p);
  else
    for (; o + 4 <= end; o += 4) tile(4, WIDE, s, o, p);
  for (; o < end; o++)
    if (v == FLAT) tile(1, FLAT, s, o, p);
    else if (o + 2 <= end) tile(2, WIDE, s, o++, p);
    else tile(1, WIDE, s, o, p);
}

static void tile_single(const terms *s, int64_t o, int64_t end, const position *p) {
  for (; o + 6 <= end; o += 6) tile(6, 1, s, o, p);
  for (; o + 2 <= end; o += 2) tile(2, 1, s, o, p);
  if (o < end) tile(1, 1, s, o, p);
}

/* --- tiles of the image -------------------------------------------------------------------------- */

typedef struct {
  const conv_sweep_job *job;
  int64_t depth, outputs;      /* channels of a group, read and written */
  int64_t height, width;       /* of the input */
  int64_t out_height, out_width;
  int64_t cell, units;         /* reals of a pixel; positions of a vector */
  int64_t chunk;               /* channels read at a time */
  int64_t rows, columns;       /* positions of a tile */
  int64_t *at, *weight_at;
  real *copy;
} sweep;

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t paths_reach(const conv_axis *a, bool turned) {
  return turned ? (a->kernel - 1) * a->dilation / a->stride + 1 : (a->kernel - 1) * a->dilation;
}

/* How many channels to read at a time: by the geometry alone, since the sums depend on it. */
static int64_t chunk_of(const conv_geometry *g, bool turned) {
  int64_t depth = (turned ? g->outputs : g->channels) / g->groups;
  int64_t taps = g->y.kernel * g->x.kernel;
  if (turned) taps = most(1, taps / (g->y.stride * g->x.stride));
  int64_t pixels = (paths_reach(&g->y, turned) + 1) * (paths_reach(&g->x, turned) + 1);
  int64_t fit = most(1, min_i(DEPTH / taps, CONV_TILE / (4 * LANES * pixels)));
  int64_t chunks = (depth + fit - 1) / fit;
  return (depth + chunks - 1) / chunks;
}

/* Reals of a copy of so many positions. */
static int64_t copy_size(const conv_geometry *g, bool turned, int64_t channels, int64_t rows,
                         int64_t columns, int64_t cell) {
  int64_t sy = turned ? 1 : g->y.stride, sx = turned ? 1 : g->x.stride;
  return tile_size(channels, (rows - 1) * sy + paths_reach(&g->y, turned) + 1,
                   (columns - 1) * sx + paths_reach(&g->x, turned) + 1, sx, cell);
}

/* The largest tile of at most rows x columns positions whose copy fits CONV_TILE: whole rows first. */
static void tile_of(const conv_geometry *g, bool turned, int64_t chunk, int64_t cell, int64_t units,
                    int64_t *rows, int64_t *columns) {
  while (*rows > 1 && copy_size(g, turned, chunk, *rows, *columns, cell) > CONV_TILE)
    *rows = (*rows + 1) / 2;
  while (*columns > units && copy_size(g, turned, chunk, *rows, *columns, cell) > CONV_TILE)
    *columns = ((*columns + 1) / 2 + units - 1) / units * units;
}

/* Room for a list of so many, in whole cache lines. */
static int64_t list_room(int64_t n) { return (n + 7) / 8 * 8; }

int64_t conv_sweep_scratch(const conv_geometry *g, bool turned) {
  int64_t chunk = chunk_of(g, turned), taps = g->y.kernel * g->x.kernel;
  int64_t lists = 2 * list_room(chunk * taps) * (int64_t)(sizeof(int64_t) / sizeof(real));
  int64_t least = most(copy_size(g, turned, chunk, 1, LANES, 1),
                       copy_size(g, turned, chunk, 1, 1, LANES));
  return lists + most(CONV_TILE, least) + LANES;
}

/* Where the terms of the sum lie in this tile, and their weights; in the order in which they add up. */
static int64_t list_terms(const sweep *s, const conv_tile *t, const conv_path *y, const conv_path *x,
                          int64_t channels) {
  const conv_geometry *g = &s->job->g;
  int64_t taps = g->y.kernel * g->x.kernel, own = g->channels / g->groups;
  int64_t step = s->job->turned ? own * taps : taps, n = 0;
  int64_t top = path_low(y), left = path_low(x);
  for (int64_t c = 0; c < channels; c++)
    for (int64_t i = 0; i < y->taps; i++)
      for (int64_t j = 0; j < x->taps; j++, n++) {
        s->at[n] = c * t->plane + (y->at + i * y->at_step - top) * t->row +
                   tile_column(t, x->at + j * x->at_step - left);
        s->weight_at[n] =
            c * step + (y->tap + i * y->tap_step) * g->x.kernel + x->tap + j * x->tap_step;
      }
  return n;
}

/* All outputs of a group at the positions of rows [j, j_end) and columns [i, i_end), row by row. */
static void all_positions(const sweep *s, const terms *sum, const conv_tile *t, const conv_path *y,
                          const conv_path *x, int64_t j, int64_t j_end, int64_t i, int64_t i_end,
                          real *out) {
  bool blocked = s->job->blocked;
  int64_t units = (i_end - i + s->units - 1) / s->units, total = (j_end - j) * units;
  int vectors = vectors_of(s->outputs);
  for (int64_t o = 0; o < s->outputs; o += WEIGHTS) {
    int64_t o_end = min_i(s->outputs, o + WEIGHTS), row = 0, unit = 0;
    for (int64_t n = 0; n < total;) {
      position p[MOST];
      int count = (int)min_i(vectors, total - n);
      for (int k = 0; k < count; k++) {
        int64_t column = i + unit * s->units;
        p[k].in = t->base + row * y->stride * t->row + unit * t->unit;
        p[k].out = out + ((y->first + (j + row) * y->step) * s->out_width + x->first +
                          column * x->step) * s->cell;
        p[k].lanes = blocked ? LANES : min_i(LANES, i_end - column);
        if (++unit == units) unit = 0, row++;
      }
      if (count == vectors) tile_full(sum, s->outputs, vectors, o, o_end, p);
      else
        for (int k = 0; k < count; k++) tile_single(sum, o, o_end, p + k);
      n += count;
    }
  }
}

/* Positions [j, j_end) x [i, i_end) of one pair of paths, for all groups. */
static void one_tile(const sweep *s, const conv_path *y, const conv_path *x, int64_t j,
                     int64_t j_end, int64_t i, int64_t i_end, const real *in, real *out) {
  const conv_sweep_job *job = s->job;
  const conv_geometry *g = &job->g;
  int64_t taps = g->y.kernel * g->x.kernel, own = g->channels / g->groups;
  int64_t plane = s->height * s->width * s->cell;
  int64_t out_plane = s->out_height * s->out_width * s->cell;
  int64_t group_weights = g->outputs / g->groups * own * taps;
  int64_t rows = (j_end - j - 1) * y->stride + path_reach(y) + 1;
  int64_t columns = (i_end - i - 1) * x->stride + path_reach(x) + 1;
  for (int64_t group = 0; group < g->groups; group++)
    for (int64_t c = 0; c < s->depth; c += s->chunk) {
      int64_t channels = min_i(s->chunk, s->depth - c);
      conv_tile t = conv_load_tile(in + (group * s->depth + c) * plane, channels, s->height,
                                   s->width, j * y->stride + path_low(y), rows,
                                   i * x->stride + path_low(x), columns, x->stride, job->blocked,
                                   s->copy);
      terms sum = {.depth = list_terms(s, &t, y, x, channels),
                   .at = s->at,
                   .weight_at = s->weight_at,
                   .weight = job->weight + group * group_weights +
                             c * (job->turned ? own * taps : taps),
                   .ldw = job->turned ? taps : own * taps,
                   .start = job->start ? job->start + group * s->outputs : NULL,
                   .add = job->add || c > 0,
                   .whole = job->blocked || (x->step == 1 && (i_end - i) % LANES == 0),
                   .ldc = out_plane,
                   .step = job->blocked ? 1 : x->step};
      all_positions(s, &sum, &t, y, x, j, j_end, i, i_end, out + group * s->outputs * out_plane);
    }
}

/* Rows [begin, end) of positions of all paths of one image. */
static void band(const sweep *s, int64_t begin, int64_t end, const real *in, real *out) {
  const conv_sweep_job *job = s->job;
  const conv_geometry *g = &job->g;
  int64_t phases = job->turned ? g->y.stride : 1, x_phases = job->turned ? g->x.stride : 1;
  for (int64_t a = 0; a < phases; a++) {
    conv_path y = path_of(&g->y, job->turned, a);
    int64_t last = min_i(end, y.count);
    for (int64_t b = 0; b < x_phases && begin < last; b++) {
      conv_path x = path_of(&g->x, job->turned, b);
      for (int64_t i = 0; i < x.count; i += s->columns)
        one_tile(s, &y, &x, begin, last, i, min_i(x.count, i + s->columns), in, out);
    }
  }
  if (!job->activation) return;
  int64_t row = s->out_width * s->cell, top = begin * phases * row;
  int64_t size = min_i(s->out_height, end * phases) * row - top;
  for (int64_t o = 0; o < s->outputs * g->groups; o++) {
    real *y = out + o * s->out_height * row + top;
    job->activation->map(job->activation_attr, size, y, y);
  }
}

void conv_sweep(const conv_sweep_job *job, const pb_lane *lane) {
  const conv_geometry *g = &job->g;
  bool turned = job->turned;
  sweep s = {.job = job,
             .depth = (turned ? g->outputs : g->channels) / g->groups,
             .outputs = (turned ? g->channels : g->outputs) / g->groups,
             .height = turned ? g->y.out : g->y.in,
             .width = turned ? g->x.out : g->x.in,
             .out_height = turned ? g->y.in : g->y.out,
             .out_width = turned ? g->x.in : g->x.out,
             .cell = job->blocked ? LANES : 1,
             .units = job->blocked ? 1 : LANES,
             .chunk = chunk_of(g, turned)};
  int64_t positions = path_of(&g->y, turned, 0).count, images = lane->n;
  if (job->blocked) images = (images + LANES - 1) / LANES;
  s.rows = positions, s.columns = path_of(&g->x, turned, 0).count;
  s.at = lane->scratch;
  s.weight_at = s.at + list_room(s.chunk * g->y.kernel * g->x.kernel);
  s.copy = (real *)(s.weight_at + (s.weight_at - s.at));
  tile_of(g, turned, s.chunk, s.cell, s.units, &s.rows, &s.columns);
  /* Tiles may be as small as the threads like: no sum depends on them. */
  while (s.rows > 1 && images * ((positions + s.rows - 1) / s.rows) < 4 * lane->parts &&
         images % lane->parts)
    s.rows = (s.rows + 1) / 2;
  int64_t bands = (positions + s.rows - 1) / s.rows, first, last;
  share(lane, images * bands, 1, &first, &last);
  int64_t in_size = s.depth * g->groups * s.height * s.width * s.cell;
  int64_t out_size = s.outputs * g->groups * s.out_height * s.out_width * s.cell;
  for (int64_t n = first; n < last; n++) {
    int64_t image = n / bands, begin = n % bands * s.rows;
    band(&s, begin, min_i(positions, begin + s.rows), job->in + image * in_size,
         job->out + image * out_size);
  }
}
