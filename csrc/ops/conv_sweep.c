/* The forward sweep of a convolution, and, turned round, its gradient by the input.
 *
 *     out[o, first + j step] (+)= start[o] + sum_{c, t} weight[o, c, tap t] in[c, j stride + at t]
 *
 * for the paths j, t of conv.h along both axes.
 */
#include "ops/conv_sweep.h"

#include "ops/conv_blocked.h"

enum { DEPTH = 512 }; /* terms of a sum before it goes back to memory: the tile stays in cache */

enum {
  JOINED_BYTES = 24 * 1024
}; /* of a tile whose rows are joined: it stays in the first cache */

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

/* About half of n, in whole units. */
static int64_t half_of(int64_t n, int64_t unit) { return ((n + 1) / 2 + unit - 1) / unit * unit; }

/* The largest tile of at most s->rows x s->columns positions whose copy fits CONV_TILE: whole rows
   first. Both are cut into whole windows of `window` positions. */
static void cut_tile(conv_sweep_part *s, int64_t window) {
  const conv_geometry *g = &s->job->g;
  bool turned = s->job->turned;
  int64_t units = s->units * window;
  while (s->rows > window &&
         copy_size(g, turned, s->chunk, s->rows, s->columns, s->cell) > CONV_TILE)
    s->rows = half_of(s->rows, window);
  while (s->columns > units &&
         copy_size(g, turned, s->chunk, s->rows, s->columns, s->cell) > CONV_TILE)
    s->columns = half_of(s->columns, units);
}

/* Room for a list of so many, in whole cache lines. */
static int64_t list_room(int64_t n) { return (n + 7) / 8 * 8; }

int64_t conv_sweep_scratch(const conv_geometry *g, bool turned) {
  int64_t chunk = chunk_of(g, turned), taps = g->y.kernel * g->x.kernel;
  int64_t lists = 2 * list_room(chunk * taps) * (int64_t)(sizeof(int64_t) / sizeof(real));
  int64_t least =
      most(copy_size(g, turned, chunk, 1, LANES, 1), copy_size(g, turned, chunk, 2, 2, LANES));
  const conv_way *way = conv_way_for(g);
  if (conv_takes_points(&(conv_sweep_job){.g = *g, .turned = turned}))
    least = most(least, conv_points_scratch(g));
  return most(way ? way->sweep_scratch(g, turned) : 0, lists + most(CONV_TILE, least) + LANES);
}

/* Where the terms of the sum lie in this tile, or with `apart` in those of the kernel's columns, that far
   apart, and their weights; in the order in which they add up. */
static int64_t list_terms(const conv_sweep_part *s, const conv_tile *t, const conv_path *y,
                          const conv_path *x, int64_t channels, int64_t apart) {
  const conv_geometry *g = &s->job->g;
  int64_t taps = g->y.kernel * g->x.kernel, own = g->channels / g->groups;
  int64_t step = s->job->turned ? own * taps : taps, n = 0;
  int64_t top = path_low(y), left = path_low(x);
  for (int64_t i = 0; i < y->taps; i++)
    for (int64_t j = 0; j < x->taps; j++, n++) {
      s->at[n] = (y->at + i * y->at_step - top) * t->row +
                 (apart ? j * apart : tile_column(t, x->at + j * x->at_step - left));
      s->weight_at[n] = (y->tap + i * y->tap_step) * g->x.kernel + x->tap + j * x->tap_step;
    }
  for (int64_t k = n; n < channels * k; n += k) {
    const int64_t *at = s->at + n - k, *weight_at = s->weight_at + n - k;
    int64_t *restrict next_at = s->at + n, *restrict next_weight_at = s->weight_at + n;
    for (int64_t i = 0; i < k; i++) {
      next_at[i] = at[i] + t->plane;
      next_weight_at[i] = weight_at[i] + step;
    }
  }
  return n;
}

/* Whether so few columns leave too much of their vectors empty. A tile is then copied once for every
   column of the kernel, moved by it, so that a row's positions are followed by the next row's. */
static bool joins_rows(const conv_sweep_part *s) {
  const conv_sweep_job *job = s->job;
  const conv_geometry *g = &job->g;
  int64_t width = s->out_width, whole = (width + LANES - 1) / LANES * LANES;
  int64_t rows = s->rows + paths_reach(&g->y, job->turned);
  return !job->blocked && g->y.stride == 1 && g->x.stride == 1 && s->columns == width &&
         4 * width <= 3 * whole && s->outputs >= 4 &&
         g->x.kernel * s->chunk * rows * width * (int64_t)sizeof(real) <= JOINED_BYTES;
}

/* A tile in blocks that are pooled, whose windows begin at its first position. What is left below and
   beside them is only kept. */
static void pooled_tile(const conv_sweep_part *s, const conv_terms *sum, conv_rectangle r,
                        real *pooled) {
  int64_t rows = r.rows / 2 * 2, columns = r.columns / 2 * 2;
  conv_rectangle windows = r, below = r, beside = r;
  windows.rows = beside.rows = rows, windows.columns = columns;
  windows.pooled = pooled, windows.pooled_row = s->out_width / 2 * s->cell;
  conv_product(sum, s->outputs, &windows);
  if (!r.out) return;
  below.in += rows * r.in_row, below.out += rows * r.out_row, below.rows -= rows;
  beside.in += columns * r.in_column, beside.out += columns * r.out_column,
      beside.columns -= columns;
  conv_product(sum, s->outputs, &below);
  conv_product(sum, s->outputs, &beside);
}

/* Positions [j, j_end) x [i, i_end) of one pair of paths, for all groups. */
PB_OUTLINE void one_tile(const conv_sweep_part *s, const conv_path *y, const conv_path *x,
                         int64_t j, int64_t j_end, int64_t i, int64_t i_end) {
  const conv_sweep_job *job = s->job;
  const conv_geometry *g = &job->g;
  int64_t taps = g->y.kernel * g->x.kernel, own = g->channels / g->groups;
  int64_t plane = s->height * s->width * s->cell;
  int64_t out_plane = s->out_height * s->out_width * s->cell;
  int64_t pooled_width = s->out_width / 2 * s->cell;
  int64_t pooled_plane = s->out_height / 2 * pooled_width;
  int64_t group_weights = g->outputs / g->groups * own * taps;
  int64_t ldw = job->turned ? taps : own * taps;
  int64_t rows = (j_end - j - 1) * y->stride + path_reach(y) + 1;
  int64_t columns = (i_end - i - 1) * x->stride + path_reach(x) + 1;
  for (int64_t group = 0; group < g->groups; group++)
    for (int64_t c = 0; c < s->depth; c += s->chunk) {
      int64_t channels = min_i(s->chunk, s->depth - c);
      int64_t wide = s->flat ? s->out_width : columns, apart = s->flat ? channels * rows * wide : 0;
      conv_tile t = {0};
      for (int64_t k = 0; k < (s->flat ? x->taps : 1); k++)
        t = conv_load_tile(s->in + (group * s->depth + c) * plane, channels, s->height, s->width,
                           j * y->stride + path_low(y), rows,
                           s->flat ? x->at + k * x->at_step : i * x->stride + path_low(x), wide,
                           x->stride, job->blocked, s->copy + k * apart);
      int64_t positions = s->flat ? (j_end - j) * wide : i_end - i;
      int64_t units = (positions + s->units - 1) / s->units;
      int64_t edge = job->blocked ? LANES : positions - (units - 1) * LANES;
      bool add = job->add || c > 0, gapless = job->blocked || x->step == 1;
      bool twice = edge < LANES && units > 1 && gapless && !add;
      conv_terms sum = {.depth = list_terms(s, &t, y, x, channels, apart),
                        .at = s->at,
                        .weight_at = s->weight_at,
                        .weight = job->weight + group * group_weights +
                                  c * (job->turned ? own * taps : taps) + s->first * ldw,
                        .ldw = ldw,
                        .start = job->start ? job->start + group * s->outputs + s->first : NULL,
                        .add = add,
                        .whole = gapless && (edge == LANES || twice),
                        .ldc = out_plane,
                        .step = job->blocked ? 1 : x->step,
                        .ld_pooled = pooled_plane};
      conv_rectangle r = {
          .rows = s->flat ? 1 : j_end - j,
          .columns = units,
          .in = s->flat ? s->copy : t.base,
          .in_row = y->stride * t.row,
          .in_column = t.unit,
          .out = s->out ? s->out + (group * s->outputs + s->first) * out_plane +
                              ((y->first + j * y->step) * s->out_width + x->first + i * x->step) *
                                  s->cell
                        : NULL,
          .out_row = y->step * s->out_width * s->cell,
          .out_column = s->units * x->step * s->cell,
          .edge = edge,
          .back = twice ? LANES - edge : 0};
      if (s->pooled && c + channels == s->depth)
        pooled_tile(
            s, &sum, r,
            s->pooled + group * s->outputs * pooled_plane + j / 2 * pooled_width + i / 2 * s->cell);
      else conv_product(&sum, s->last - s->first, &r);
    }
}

/* --- all images ------------------------------------------------------------------------------------ */

/* What comes last over rows [begin, end) of positions, `phases` rows of the output each. */
PB_OUTLINE void finish(const conv_sweep_part *s, int64_t begin, int64_t end, int64_t phases) {
  const conv_geometry *g = &s->job->g;
  int64_t half = s->pooled ? 2 : 1, row = s->out_width / half * s->cell;
  int64_t height = s->out_height / half, top = begin * phases / half * row;
  int64_t size = min_i(height, end * phases / half) * row - top;
  int64_t first = g->groups > 1 ? 0 : s->first;
  int64_t last = g->groups > 1 ? s->outputs * g->groups : s->last;
  for (int64_t o = first; o < last && s->job->activation; o++)
    conv_finish(s->job, size, (s->pooled ? s->pooled : s->out) + o * height * row + top);
}

/* Rows [begin, end) of positions of all paths of one image. */
static void band(const conv_sweep_part *s, int64_t begin, int64_t end) {
  const conv_sweep_job *job = s->job;
  const conv_geometry *g = &job->g;
  int64_t phases = job->turned ? g->y.stride : 1, x_phases = job->turned ? g->x.stride : 1;
  for (int64_t a = 0; a < phases; a++) {
    conv_path y = path_of(&g->y, job->turned, a);
    int64_t last = min_i(end, y.count);
    for (int64_t b = 0; b < x_phases && begin < last; b++) {
      conv_path x = path_of(&g->x, job->turned, b);
      for (int64_t i = 0; i < x.count; i += s->columns)
        one_tile(s, &y, &x, begin, last, i, min_i(x.count, i + s->columns));
    }
  }
}

static conv_sweep_part part_of(const conv_sweep_job *job) {
  const conv_geometry *g = &job->g;
  bool turned = job->turned;
  return (conv_sweep_part){.job = job,
                           .depth = (turned ? g->outputs : g->channels) / g->groups,
                           .outputs = (turned ? g->channels : g->outputs) / g->groups,
                           .height = turned ? g->y.out : g->y.in,
                           .width = turned ? g->x.out : g->x.in,
                           .out_height = turned ? g->y.in : g->y.out,
                           .out_width = turned ? g->x.in : g->x.out,
                           .cell = job->blocked ? LANES : 1,
                           .units = job->blocked ? 1 : LANES,
                           .chunk = chunk_of(g, turned)};
}

bool conv_sweep_pools(const conv_geometry *g, bool blocked, bool keeps) {
  conv_sweep_job job = {.g = *g, .blocked = blocked};
  conv_sweep_part s = part_of(&job);
  const conv_way *way = conv_way_for(g);
  if (blocked) return way ? way->pools : keeps || s.chunk == s.depth; /* or sums go to memory */
  return !keeps && (conv_takes_points(&job) || conv_pools_outputs(&s));
}

void conv_sweep(const conv_sweep_job *job, const pb_lane *lane) {
  const conv_geometry *g = &job->g;
  const conv_way *way = job->blocked ? conv_way_for(g) : NULL;
  if (way && !(way->straight && (job->turned || job->add))) {
    way->sweep(job, lane);
    return;
  }
  if (conv_takes_points(job)) {
    conv_by_points(job, lane);
    return;
  }
  bool turned = job->turned;
  conv_sweep_part s = part_of(job);
  if (conv_takes_outputs(&s, lane)) {
    conv_by_outputs(&s, lane);
    return;
  }
  int64_t positions = path_of(&g->y, turned, 0).count, images = lane->n;
  if (job->blocked) images = (images + LANES - 1) / LANES;
  s.rows = positions, s.columns = path_of(&g->x, turned, 0).count;
  s.at = lane->scratch;
  s.weight_at = s.at + list_room(s.chunk * g->y.kernel * g->x.kernel);
  s.copy = (real *)(s.weight_at + (s.weight_at - s.at));
  int64_t window = job->pooled ? 2 : 1;
  bool skips = conv_skips_margin(job);
  if (skips) s.rows = positions = g->y.in;
  else cut_tile(&s, window);
  /* Outputs and tiles may be cut as the threads like: no sum depends on them. */
  int64_t cuts = 1;
  if (images % lane->parts && g->groups == 1 && !job->blocked && !skips &&
      s.outputs >= LEAST_OUTPUTS * lane->parts)
    cuts = lane->parts;
  while (cuts == 1 && s.rows > window &&
         images * ((positions + s.rows - 1) / s.rows) < 4 * lane->parts && images % lane->parts)
    s.rows = half_of(s.rows, window);
  s.flat = !skips && joins_rows(&s);
  int64_t bands = (positions + s.rows - 1) / s.rows, first, last;
  share(lane, images * bands * cuts, 1, &first, &last);
  int64_t in_size = s.depth * g->groups * s.height * s.width * s.cell;
  int64_t planes = s.outputs * g->groups, out_size = planes * s.out_height * s.out_width * s.cell;
  int64_t pooled_size = planes * (s.out_height / 2) * (s.out_width / 2) * s.cell;
  for (int64_t n = first; n < last; n++) {
    int64_t cut = n % (cuts * bands) / bands, image = n / (cuts * bands);
    int64_t begin = n % bands * s.rows, end = min_i(positions, begin + s.rows);
    s.first = s.outputs * cut / cuts, s.last = s.outputs * (cut + 1) / cuts;
    s.in = job->in + image * in_size;
    s.out = job->out ? job->out + image * out_size : NULL;
    s.pooled = job->pooled ? job->pooled + image * pooled_size : NULL;
    if (skips) conv_without_margin(&s, begin, end);
    else band(&s, begin, end);
    finish(&s, begin, end, turned && !skips ? g->y.stride : 1);
  }
}
