/* A sweep with outputs in the lanes of vectors, for small plain images.
 *
 * Where rows are much shorter than vectors, lanes of columns would be empty. Where outputs fill vectors,
 * LANES of them stand side by side instead: their weights are turned once, a pixel is broadcast to them,
 * and what comes out is turned back. Sums run as everywhere, so the bits are the same.
 */
#include "ops/conv_sweep.h"

enum {
  LEAST = 4,                         /* positions of a row in a register tile: at least, */
  PIECE = 12,                        /* and at most */
  PAIR = VEC_REGISTERS == 32 ? 2 : 1 /* rows of one */
};

/* Some channels of an image, and the weights of LANES outputs for them. */
typedef struct {
  int64_t channels, rows, columns; /* of the kernel */
  int64_t plane, pitch, down, right;
  const real *weight; /* [channels, rows, columns, LANES] */
  vec start;
  bool add;
} outputs_terms;

/* r x c positions, each LANES outputs. */
PB_INLINE void tile(int r, int c, const outputs_terms *s, const real *in, real *out,
                    int64_t out_row) {
  vec sum[PAIR * PIECE];
#pragma GCC unroll 2
  for (int i = 0; i < r; i++)
#pragma GCC unroll 12
    for (int j = 0; j < c; j++)
      sum[i * c + j] = s->add ? vec_load(out + i * out_row + j * LANES) : s->start;
  const real *w = s->weight;
  const int64_t rows = s->rows, columns = s->columns, pitch = s->pitch, right = s->right;
  for (int64_t k = 0; k < s->channels; k++)
    for (int64_t a = 0; a < rows; a++) {
      const real *x = in + k * s->plane + a * s->down;
      for (int64_t b = 0; b < columns; b++, w += LANES, x += right) {
        vec weight = vec_keep(vec_load(w));
#pragma GCC unroll 2
        for (int i = 0; i < r; i++)
#pragma GCC unroll 12
          for (int j = 0; j < c; j++) sum[i * c + j] += vec_set(x[i * pitch + j]) * weight;
      }
    }
#pragma GCC unroll 2
  for (int i = 0; i < r; i++)
#pragma GCC unroll 12
    for (int j = 0; j < c; j++) vec_store(out + i * out_row + j * LANES, sum[i * c + j]);
}

PB_INLINE void some_rows(int r, int64_t c, const outputs_terms *s, const real *in, real *out,
                         int64_t out_row) {
  switch (c) {
    case LEAST: tile(r, LEAST, s, in, out, out_row); break;
    case 5: tile(r, 5, s, in, out, out_row); break;
    case 6: tile(r, 6, s, in, out, out_row); break;
    case 7: tile(r, 7, s, in, out, out_row); break;
    case 8: tile(r, 8, s, in, out, out_row); break;
    case 9: tile(r, 9, s, in, out, out_row); break;
    case 10: tile(r, 10, s, in, out, out_row); break;
    case 11: tile(r, 11, s, in, out, out_row); break;
    default: tile(r, PIECE, s, in, out, out_row);
  }
}

/* Rows are cut into pieces of one length, of which the last is shorter. */
static int64_t piece_of(int64_t wide) {
  int64_t pieces = (wide + PIECE - 1) / PIECE;
  return (wide + pieces - 1) / pieces;
}

static bool pieces_fit(int64_t wide) { return (wide - 1) % piece_of(wide) + 1 >= LEAST; }

/* Positions [high, wide] of the image `in`. */
static void positions(const outputs_terms *s, int64_t high, int64_t wide, const real *in,
                      real *out) {
  int64_t piece = piece_of(wide);
  for (int64_t i = 0; i < high;) {
    int64_t r = min_i(PAIR, high - i);
    for (int64_t j = 0; j < wide; j += piece) {
      int64_t n = min_i(piece, wide - j);
      const real *from = in + i * s->pitch + j;
      real *to = out + (i * wide + j) * LANES;
      if (r == PAIR) some_rows(PAIR, n, s, from, to, wide * LANES);
      else some_rows(1, n, s, from, to, wide * LANES);
    }
    i += r;
  }
}

/* Rows of n reals, a pitch apart, as columns; and back. The last vectors of them overlap. */
static void turn_in(int64_t n, const real *rows, int64_t pitch, real *out) {
  for (int64_t at = 0; at < n; at += LANES) {
    int64_t first = min_i(at, n - LANES);
    vec v[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) v[i] = vec_load(rows + i * pitch + first);
    vec_turn(v);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) vec_store(out + (first + i) * LANES, v[i]);
  }
}

static void turn_out(int64_t n, const real *in, real *rows, int64_t pitch) {
  for (int64_t at = 0; at < n; at += LANES) {
    int64_t first = min_i(at, n - LANES);
    vec v[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) v[i] = vec_load(in + (first + i) * LANES);
    vec_turn(v);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) vec_store(rows + i * pitch + first, v[i]);
  }
}

static int64_t padded(const conv_axis *a) {
  return (a->out - 1) + (a->kernel - 1) * a->dilation + 1;
}

bool conv_takes_outputs(const conv_sweep_part *s, const pb_lane *lane) {
  const conv_sweep_job *job = s->job;
  const conv_geometry *g = &job->g;
  int64_t wide = g->x.out, whole = (wide + LANES - 1) / LANES * LANES, count = g->y.out * wide;
  int64_t taps = g->y.kernel * g->x.kernel, terms = s->chunk * taps;
  int64_t last = (g->channels - 1) % s->chunk + 1; /* channels of the last chunk */
  int64_t room =
      terms * LANES + count * LANES + tile_size(s->chunk, padded(&g->y), padded(&g->x), 1, 1);
  return LANES > 1 && !job->turned && !job->blocked && g->groups == 1 && g->y.stride == 1 &&
         g->x.stride == 1 && 4 * wide <= 3 * whole && pieces_fit(wide) && count >= 2 * LANES &&
         last * taps >= LANES && g->outputs % LANES == 0 && room <= CONV_TILE &&
         lane->n * (g->outputs / LANES) % lane->parts == 0;
}

void conv_by_outputs(const conv_sweep_part *s, const pb_lane *lane) {
  const conv_sweep_job *job = s->job;
  const conv_geometry *g = &job->g;
  int64_t taps = g->y.kernel * g->x.kernel, count = g->y.out * g->x.out, begin, end;
  int64_t high = padded(&g->y), wide = padded(&g->x), plane = g->y.in * g->x.in;
  bool margin = high != g->y.in || wide != g->x.in || g->y.pad || g->x.pad;
  real *turned = lane->scratch, *sums = turned + s->chunk * taps * LANES;
  real *copy = sums + count * LANES;
  share(lane, lane->n * (g->outputs / LANES), 1, &begin, &end);
  for (int64_t n = begin; n < end; n++) {
    int64_t image = n % lane->n, o = n / lane->n * LANES;
    const real *in = job->in + image * g->channels * plane;
    for (int64_t c = 0; c < g->channels; c += s->chunk) {
      int64_t channels = min_i(s->chunk, g->channels - c);
      outputs_terms terms = {.channels = channels,
                             .rows = g->y.kernel,
                             .columns = g->x.kernel,
                             .plane = margin ? high * wide : plane,
                             .pitch = margin ? wide : g->x.in,
                             .right = g->x.dilation,
                             .weight = turned,
                             .start = job->start ? vec_load(job->start + o) : vec_set(0),
                             .add = c > 0};
      terms.down = g->y.dilation * terms.pitch;
      const real *from = in + c * plane;
      if (margin)
        from = conv_load_tile(from, channels, g->y.in, g->x.in, -g->y.pad, high, -g->x.pad, wide, 1,
                              false, copy)
                   .base;
      if (image == 0 || n == begin || s->chunk < g->channels)
        turn_in(channels * taps, job->weight + (o * g->channels + c) * taps, g->channels * taps,
                turned);
      positions(&terms, g->y.out, g->x.out, from, sums);
    }
    real *out = job->out + (image * g->outputs + o) * count;
    turn_out(count, sums, out, count);
    for (int64_t k = 0; k < LANES && job->activation; k++) conv_finish(job, count, out + k * count);
  }
}
