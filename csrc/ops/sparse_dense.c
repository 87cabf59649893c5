/* sparse_dense: a fully connected layer on the rows of a sparse array (CSR), gathered here.
 *
 *     y[n, o] = f( sum_k x[k] weight[o, column[k]] + bias[o] )    k: the entries of row index[n]
 *
 *     weight [O, I]   bias [O] (optional)   ->   y [O]            x = scale * data
 *
 * With dz = dy f'(z), which stands in dy's place:
 *     dweight[o, column[k]] += dz[n, o] x[k]      dbias = sum_n dz
 *
 * No row is ever made dense: the work grows with the entries. They are read in tiles of a fixed
 * number, whose distinct columns, in ascending order, get numbers ("slots"). For sixteen outputs at
 * a time, the weights in those columns are packed side by side, [slots][16], so that an entry is one
 * multiply-add of a vector, and columns that many rows have are read once.
 *
 * Entries of one row in one column add up. An optimiser to which a zero gradient means nothing
 * (pb_optim.lazy) is handed the packed weights and gradients; others update the whole matrix, as their
 * state decays everywhere. How outputs are shared between threads changes no sum.
 */
#include "ops/gather.h"
#include "ops/gradient.h"
#include "ops/vec.h"

enum { SOURCE, SCALE };
enum { WEIGHT, BIAS };
enum {
  TILE = 8192, /* entries: their packed weights and gradients fit the second cache */
  LINE = 16,   /* outputs that are worked on together */
  VECS = LINE / LANES,
  PACK = 64 /* columns packed at a time: the block stays in the first cache */
};

static int64_t words(int64_t inputs) { return inputs / 64 + 1; }

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr;
  const pb_shape *w = &in[WEIGHT];
  if (w->batched || w->ndim != 2) return false;
  if (nin > BIAS && (in[BIAS].batched || in[BIAS].ndim != 1 || in[BIAS].dim[0] != w->dim[0]))
    return false;
  int64_t inputs = w->dim[1], slots = min_i(TILE, inputs);
  r->out = (pb_shape){.ndim = 1, .batched = true, .dim = {w->dim[0]}};
  r->scratch = 2 * slots * LINE + 4 * TILE + 2 * words(inputs) + slots + inputs + LINE * inputs;
  r->flops = 2 * w->dim[0] * (inputs / 64 + 1); /* nobody knows how many entries there will be */
  return true;
}

/* Entries of some rows, and what is worked out from them. */
typedef struct {
  int32_t entries, runs, slots;
  real *value;
  int32_t *slot;      /* of each entry */
  int32_t *row, *end; /* of each run of entries: its row of the batch, and the entry behind it */
  int32_t *column;    /* of each slot */
  int32_t *slot_of;   /* of each column that has one */
  uint64_t *seen;     /* a bit for each column */
  real *w, *g;        /* packed, [slots][LINE] */
  real *rows;         /* [LINE][inputs] */
  int64_t from_row, from_entry; /* where the tile begins, -1 for nothing read */
  int64_t next_row, next_entry; /* ... and where the next one does */
} tile;

/* `infer` has counted. The packed arrays come first: they lie on cache lines. */
static tile tile_in(real *scratch, int64_t inputs) {
  int64_t slots = min_i(TILE, inputs);
  tile t = {.from_row = -1, .w = scratch, .g = scratch + slots * LINE};
  t.value = t.g + slots * LINE;
  t.slot = (int32_t *)(t.value + TILE);
  t.row = (int32_t *)(t.value + 2 * TILE);
  t.end = (int32_t *)(t.value + 3 * TILE);
  real *rest = t.value + 4 * TILE;
  t.seen = (uint64_t *)rest;
  t.column = (int32_t *)(rest + 2 * words(inputs));
  t.slot_of = (int32_t *)(rest + 2 * words(inputs) + slots);
  t.rows = rest + 2 * words(inputs) + slots + inputs;
  return t;
}

/* Number i of `start` or `column`. */
static int64_t index_at(const pb_source *s, const void *array, int64_t i) {
  return s->wide ? ((const int64_t *)array)[i] : ((const int32_t *)array)[i];
}

/* Entries [*begin, *end) of a row; within the array whatever has happened to its numbers since they
   were checked. */
static void row_span(const pb_source *s, int64_t row, int64_t *begin, int64_t *end) {
  *begin = index_at(s, s->start, row), *end = index_at(s, s->start, row + 1);
  if (*begin < 0 || *end > s->entries || *begin > *end) *begin = *end = 0;
}

/* Numbers the columns of the tile's entries. */
static void number_columns(tile *t, int64_t inputs) {
  memset(t->seen, 0, (size_t)words(inputs) * sizeof *t->seen);
  for (int32_t e = 0; e < t->entries; e++)
    t->seen[t->slot[e] / 64] |= UINT64_C(1) << (t->slot[e] % 64);
  t->slots = 0;
  for (int64_t i = 0; i < words(inputs); i++) {
    uint64_t word = t->seen[i];
    for (int32_t c = (int32_t)i * 64; word; word >>= 1, c++)
      if (word & 1) t->slot_of[c] = t->slots, t->column[t->slots++] = c;
  }
  for (int32_t e = 0; e < t->entries; e++) t->slot[e] = t->slot_of[t->slot[e]];
}

/* Reads the tile that begins at entry `k` of the batch's row `n`; false when nothing is left. */
static bool read_tile(tile *t, const pb_instr *op, const pb_lane *lane, int64_t n, int64_t k) {
  const pb_source *s = &lane->source[op->attr[SOURCE].i];
  if (n >= lane->n) return false;
  if (t->from_row == n && t->from_entry == k) return true; /* it is the one at hand */
  t->from_row = n, t->from_entry = k;
  t->entries = t->runs = 0;
  for (; n < lane->n; n++, k = 0) {
    int64_t begin, end, size = s->col_stride;
    row_span(s, lane->index ? lane->index[n] : lane->first_row + n, &begin, &end);
    int64_t count = min_i(end - begin - k, TILE - t->entries);
    if (count <= 0) continue;
    gather(s->dtype, (const char *)s->data + (begin + k) * size, size, count, op->attr[SCALE].f,
           t->value + t->entries);
    for (int64_t i = 0; i < count; i++) {
      int64_t c = index_at(s, s->column, begin + k + i);
      bool inside = c >= 0 && c < s->cols; /* checked before, but the user may write to it */
      t->slot[t->entries + i] = inside ? (int32_t)c : 0;
      if (!inside) t->value[t->entries + i] = 0;
    }
    t->entries += (int32_t)count;
    t->row[t->runs] = (int32_t)n, t->end[t->runs++] = t->entries;
    if (t->entries == TILE) {
      k += count;
      break;
    }
  }
  t->next_row = n, t->next_entry = k;
  number_columns(t, s->cols);
  return true;
}

/* t->w <- weights of `width` outputs in the tile's columns, the rest zeros. */
static void pack(const tile *t, const real *w, int64_t inputs, int width) {
  for (int32_t begin = 0; begin < t->slots; begin += PACK) {
    int32_t end = begin + PACK < t->slots ? begin + PACK : t->slots;
    for (int i = 0; i < LINE; i++)
      for (int32_t j = begin; j < end; j++)
        t->w[j * LINE + i] = i < width ? w[i * inputs + t->column[j]] : 0;
  }
}

static void unpack(const tile *t, real *w, int64_t inputs, int width) {
  for (int32_t begin = 0; begin < t->slots; begin += PACK) {
    int32_t end = begin + PACK < t->slots ? begin + PACK : t->slots;
    for (int i = 0; i < width; i++)
      for (int32_t j = begin; j < end; j++) w[i * inputs + t->column[j]] = t->w[j * LINE + i];
  }
}

/* y[n, o:o+width] += the tile's part of row n. */
static void multiply(const tile *t, int64_t outputs, int width, real *y) {
  real out[LINE];
  for (int32_t r = 0, e = 0; r < t->runs; r++) {
    vec even[VECS], odd[VECS];
    for (int v = 0; v < VECS; v++) even[v] = odd[v] = vec_set(0);
    for (; e + 1 < t->end[r]; e += 2) {
      const real *a = t->w + t->slot[e] * LINE, *b = t->w + t->slot[e + 1] * LINE;
      for (int v = 0; v < VECS; v++) {
        even[v] += vec_set(t->value[e]) * vec_load(a + v * LANES);
        odd[v] += vec_set(t->value[e + 1]) * vec_load(b + v * LANES);
      }
    }
    if (e < t->end[r]) {
      const real *a = t->w + t->slot[e] * LINE;
      for (int v = 0; v < VECS; v++) even[v] += vec_set(t->value[e]) * vec_load(a + v * LANES);
      e++;
    }
    for (int v = 0; v < VECS; v++) vec_store(out + v * LANES, even[v] + odd[v]);
    for (int i = 0; i < width; i++) y[t->row[r] * outputs + i] += out[i];
  }
}

/* t->g <- gradients of the packed weights. */
static void packed_gradient(const tile *t, int64_t outputs, int width, const real *dz) {
  memset(t->g, 0, (size_t)t->slots * LINE * sizeof *t->g);
  for (int32_t r = 0, e = 0; r < t->runs; r++) {
    real line[LINE] = {0};
    vec d[VECS];
    for (int i = 0; i < width; i++) line[i] = dz[t->row[r] * outputs + i];
    for (int v = 0; v < VECS; v++) d[v] = vec_load(line + v * LANES);
    for (; e < t->end[r]; e++) {
      real *g = t->g + t->slot[e] * LINE;
      for (int v = 0; v < VECS; v++)
        vec_store(g + v * LANES, vec_load(g + v * LANES) + vec_set(t->value[e]) * d[v]);
    }
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *shape = &lane->plan->tensor[k->in[WEIGHT]].shape;
  int64_t outputs = shape->dim[0], inputs = shape->dim[1], begin, end;
  const real *w = lane->ptr[k->in[WEIGHT]];
  const real *bias = k->nin > BIAS ? lane->ptr[k->in[BIAS]] : NULL;
  real *y = lane->ptr[k->out];
  share(lane, outputs, 4, &begin, &end);
  if (begin >= end) return;
  for (int64_t n = 0; n < lane->n; n++)
    for (int64_t o = begin; o < end; o++) y[n * outputs + o] = bias ? bias[o] : 0;
  tile t = tile_in(lane->scratch, inputs);
  for (int64_t n = 0, e = 0; read_tile(&t, k, lane, n, e); n = t.next_row, e = t.next_entry)
    for (int64_t o = begin; o < end; o += LINE) {
      int width = (int)min_i(LINE, end - o);
      pack(&t, w + o * inputs, inputs, width);
      multiply(&t, outputs, width, y + o);
    }
  for (int64_t n = 0; k->activation && n < lane->n; n++) {
    real *row = y + n * outputs + begin;
    k->activation->map(k->activation_attr, end - begin, row, row);
  }
}

/* to[LINE][inputs] += the gradient of outputs [o, o + width), tile by tile. */
static void add_gradient(tile *t, const pb_instr *k, const pb_lane *lane, int64_t o, int width,
                         int64_t outputs, int64_t inputs, real *to) {
  const real *dz = (const real *)lane->ptr[k->dout] + o;
  for (int64_t n = 0, e = 0; read_tile(t, k, lane, n, e); n = t->next_row, e = t->next_entry) {
    packed_gradient(t, outputs, width, dz);
    for (int i = 0; i < width; i++)
      for (int32_t j = 0; j < t->slots; j++) to[i * inputs + t->column[j]] += t->g[j * LINE + i];
  }
}

/* Only the columns that are there are touched. */
static void update_lazily(tile *t, const pb_instr *k, const pb_lane *lane, int64_t outputs,
                          int64_t inputs, int64_t begin, int64_t end) {
  const real *dz = lane->ptr[k->dout];
  real *w = lane->ptr[k->in[WEIGHT]];
  for (int64_t n = 0, e = 0; read_tile(t, k, lane, n, e); n = t->next_row, e = t->next_entry)
    for (int64_t o = begin; o < end; o += LINE) {
      int width = (int)min_i(LINE, end - o);
      packed_gradient(t, outputs, width, dz + o);
      pack(t, w + o * inputs, inputs, width);
      lane->plan->optim->update((int64_t)t->slots * LINE, lane->coef, t->w, t->g, NULL);
      unpack(t, w + o * inputs, inputs, width);
    }
}

static void weight_gradient(tile *t, const pb_instr *k, const pb_lane *lane, int64_t outputs,
                            int64_t inputs, int64_t begin, int64_t end) {
  for (int64_t o = begin; o < end; o += LINE) {
    int width = (int)min_i(LINE, end - o);
    real *to = k->fused_update ? t->rows : (real *)lane->ptr[k->din[WEIGHT]] + o * inputs;
    if (k->fused_update || !k->add[WEIGHT]) memset(to, 0, (size_t)(width * inputs) * sizeof *to);
    add_gradient(t, k, lane, o, width, outputs, inputs, to);
    for (int i = 0; k->fused_update && i < width; i++)
      update_parameters(lane, k->in[WEIGHT], (o + i) * inputs, inputs, to + i * inputs);
  }
}

static void bias_gradient(const pb_instr *k, const pb_lane *lane, int64_t outputs, int64_t begin,
                          int64_t end, bool add, real *db) {
  const real *dz = lane->ptr[k->dout];
  if (!add) memset(db, 0, (size_t)(end - begin) * sizeof *db);
  for (int64_t n = 0; n < lane->n; n++)
    for (int64_t o = begin; o < end; o++) db[o - begin] += dz[n * outputs + o];
}

static void backward_param(const pb_instr *k, const pb_lane *lane) {
  const pb_shape *shape = &lane->plan->tensor[k->in[WEIGHT]].shape;
  int64_t outputs = shape->dim[0], inputs = shape->dim[1], begin, end;
  share(lane, outputs, 4, &begin, &end);
  if (begin >= end) return;
  tile t = tile_in(lane->scratch, inputs);
  if (k->fused_update && is_lazy(lane->plan, k->in[WEIGHT]))
    update_lazily(&t, k, lane, outputs, inputs, begin, end);
  else if (k->fused_update || k->din[WEIGHT] >= 0)
    weight_gradient(&t, k, lane, outputs, inputs, begin, end);
  if (k->nin <= BIAS) return;
  if (k->fused_update) {
    real line[LINE];
    for (int64_t o = begin; o < end; o += LINE) {
      int64_t last = min_i(o + LINE, end);
      bias_gradient(k, lane, outputs, o, last, false, line);
      update_parameters(lane, k->in[BIAS], o, last - o, line);
    }
  } else if (k->din[BIAS] >= 0) {
    bias_gradient(k, lane, outputs, begin, end, k->add[BIAS],
                  (real *)lane->ptr[k->din[BIAS]] + begin);
  }
}

PB_OP(sparse_dense) = {.name = "sparse_dense",
                       .attrs = "source:int scale:float",
                       .min_in = 1,
                       .max_in = 2,
                       .params = 2,
                       .flags = PB_SOURCE | PB_SPARSE | PB_FUSES,
                       .infer = infer,
                       .forward = forward,
                       .backward_param = backward_param};
