/* expression: a program of elementwise steps, run over tiles that stay in the first cache, so that a
 * chain of k functions reads its inputs once and writes once.
 *
 *     v_0 .. v_{nin-1} = inputs        v_i = step_i(v_a, v_b, v_c), a, b, c < i        y = last v
 *
 * An input of y's shape is read where it lies; one that broadcasts to it is spread within the tile
 * (its gradient is a sum, which is the business of `broadcast`).
 *
 *     dx of the inputs: the tile's values are made once more, then the steps are swept in reverse.
 *
 * "program" holds four numbers a step: its kind (steps.h), and what its operands are, values by their
 * index; a constant has the halves of a double instead.
 */
#include "ops/steps.h"

enum {
  WORDS = 4,
  MOST_STEPS = 64,
  MOST_VALUES = PB_MAX_IN + MOST_STEPS,
  CACHE = 24 * 1024, /* bytes of a tile's values and their gradients */
  MOST_TILE = 512,
  GRAIN = 64 /* tiles are multiples of it */
};

/* Where an input's element for element e of y is: (e / div) % mod, or e / div for mod 0. */
typedef struct {
  int64_t div, mod;
} spread;

/* False where the input does not broadcast to y, or not in this simple way. */
static bool spread_of(const pb_shape *x, const pb_shape *y, spread *s) {
  int d = y->ndim - 1, skip = y->ndim - x->ndim;
  *s = (spread){1, 1};
  if (skip < 0 || (x->batched && !y->batched)) return false;
  for (int k = 0; k < x->ndim; k++)
    if (x->dim[k] != 1 && x->dim[k] != y->dim[k + skip]) return false;
  for (; d >= 0 && (d < skip || x->dim[d - skip] == 1); d--) s->div *= y->dim[d];
  for (; d >= skip && x->dim[d - skip] == y->dim[d]; d--) s->mod *= y->dim[d];
  bool rest = false;
  for (; d >= 0; d--) {
    rest |= y->dim[d] != 1;
    if (d >= skip && x->dim[d - skip] != 1) return false;
  }
  if (!x->batched) return true;
  if (s->mod == 1) { /* one number of each row, so far */
    for (int k = 0; k < y->ndim && rest; k++) s->div = pb_shape_size(y);
    rest = false;
  }
  s->mod = 0;
  return !rest;
}

static void widest(const pb_shape *in, int nin, pb_shape *y) {
  *y = (pb_shape){0};
  for (int j = 0; j < nin; j++) {
    y->batched |= in[j].batched;
    if (in[j].ndim > y->ndim) y->ndim = in[j].ndim;
  }
  for (int d = 0; d < y->ndim; d++) {
    y->dim[d] = 1;
    for (int j = 0; j < nin; j++) {
      int own = d - (y->ndim - in[j].ndim);
      if (own >= 0 && in[j].dim[own] != 1) y->dim[d] = in[j].dim[own];
    }
  }
}

static int steps_of(const pb_attr *attr) { return attr[0].code[0] / WORDS; }
static const int32_t *step_at(const pb_attr *attr, int i) { return attr[0].code + 1 + WORDS * i; }

static bool program_fits(const pb_attr *attr, int nin) {
  int steps = attr[0].code[0] / WORDS;
  if (steps < 1 || steps > MOST_STEPS || attr[0].code[0] % WORDS) return false;
  for (int i = 0; i < steps; i++) {
    const int32_t *s = step_at(attr, i);
    if (s[0] < 0 || s[0] >= steps_count) return false;
    const step_kind *kind = &steps_table[s[0]];
    for (int k = 0; k < kind->operands; k++)
      if (s[1 + k] < 0 || s[1 + k] >= nin + i) return false;
    bool given = kind->op && kind->operands == 2; /* the second is the op's attribute */
    if (given && (s[2] < nin || step_at(attr, s[2] - nin)[0] != 0)) return false;
  }
  return steps_table[step_at(attr, steps - 1)[0]].operands > 0;
}

static int64_t tile_of(int values) {
  int64_t n = CACHE / (2 * values * (int64_t)sizeof(real)) / GRAIN * GRAIN;
  return n < GRAIN ? GRAIN : n > MOST_TILE ? MOST_TILE : n;
}

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  spread s;
  if (!attr[0].code || nin < 1 || !program_fits(attr, nin)) return false;
  widest(in, nin, &r->out);
  for (int j = 0; j < nin; j++)
    if (!spread_of(&in[j], &r->out, &s)) return false;
  int values = nin + steps_of(attr);
  r->scratch = 2 * values * tile_of(values);
  r->flops = 4 * steps_of(attr) * pb_shape_size(&r->out);
  return true;
}

/* --- a tile ------------------------------------------------------------------------------------- */

typedef struct {
  const pb_instr *k;
  const pb_lane *lane;
  int nin, steps, values;
  int64_t tile, begin, end; /* elements of y */
  spread spread[PB_MAX_IN];
  bool whole[PB_MAX_IN]; /* read where it lies */
  const real *value[MOST_VALUES];
  real *room[MOST_VALUES];  /* where a value can be made */
  bool wanted[MOST_VALUES]; /* backward: depends on an input with a gradient */
  real *adjoint[MOST_VALUES];
} machine;

static double number_of(const int32_t *step) {
  uint64_t bits = (uint32_t)step[1] | (uint64_t)(uint32_t)step[2] << 32;
  double number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

static void start(machine *m, const pb_instr *k, const pb_lane *lane) {
  const pb_tensor *y = &lane->plan->tensor[k->out];
  m->k = k, m->lane = lane, m->nin = k->nin, m->steps = steps_of(k->attr);
  m->values = m->nin + m->steps, m->tile = tile_of(m->values);
  share(lane, (y->shape.batched ? lane->n : 1) * y->size, m->tile, &m->begin, &m->end);
  real *room = lane->scratch;
  for (int v = 0; v < m->values; v++, room += m->tile) m->value[v] = m->room[v] = room;
  for (int v = 0; v < m->values; v++, room += m->tile) m->adjoint[v] = room;
  for (int j = 0; j < m->nin; j++) {
    const pb_tensor *x = &lane->plan->tensor[k->in[j]];
    spread_of(&x->shape, &y->shape, &m->spread[j]);
    m->whole[j] = x->size == y->size && x->shape.batched == y->shape.batched;
  }
  for (int i = 0; i < m->steps; i++) {
    const int32_t *s = step_at(k->attr, i);
    for (int64_t e = 0; s[0] == 0 && e < m->tile; e++) m->room[m->nin + i][e] = (real)number_of(s);
  }
}

static void load(machine *m, int j, int64_t at, int64_t n) {
  const real *x = m->lane->ptr[m->k->in[j]];
  spread s = m->spread[j];
  if (m->whole[j]) {
    m->value[j] = x + at;
    return;
  }
  int64_t from = at / s.div, left = s.div - at % s.div;
  if (s.mod) from %= s.mod;
  for (int64_t i = 0; i < n;) {
    int64_t run = min_i(left, n - i);
    for (int64_t e = 0; e < run; e++) m->room[j][i + e] = x[from];
    i += run, left = s.div;
    if (++from == s.mod) from = 0;
  }
}

/* The values of elements [at, at + n), but for the last steps. */
static void run(machine *m, int64_t at, int64_t n, int steps, real *y) {
  for (int j = 0; j < m->nin; j++) load(m, j, at, n);
  for (int i = 0; i < steps; i++) {
    const int32_t *s = step_at(m->k->attr, i);
    const step_kind *kind = &steps_table[s[0]];
    if (kind->operands == 0) continue;
    real *out = y && i == steps - 1 ? y + at : m->room[m->nin + i];
    const real *in[OPERANDS] = {m->value[s[1]]};
    for (int k = 1; k < kind->operands; k++) in[k] = m->value[s[1 + k]];
    if (kind->op) {
      pb_attr attr[PB_MAX_ATTR] = {{.f = kind->operands > 1 ? (double)in[1][0] : 0}};
      kind->op->map(attr, n, in[0], out);
    } else {
      kind->map(n, in, out);
    }
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  machine m;
  start(&m, k, lane);
  for (int64_t at = m.begin; at < m.end; at += m.tile)
    run(&m, at, min_i(m.tile, m.end - at), m.steps, lane->ptr[k->out]);
}

/* --- backward ----------------------------------------------------------------------------------- */

static void find_wanted(machine *m) {
  for (int j = 0; j < m->nin; j++) m->wanted[j] = m->whole[j] && m->k->din[j] >= 0;
  for (int i = 0; i < m->steps; i++) {
    const int32_t *s = step_at(m->k->attr, i);
    const step_kind *kind = &steps_table[s[0]];
    bool wanted = false;
    for (int k = 0; k < kind->operands; k++) wanted |= m->wanted[s[1 + k]];
    m->wanted[m->nin + i] = wanted && (kind->chain || (kind->op && kind->op->chain));
  }
}

/* One step back: what the gradient d of its value adds to those of its operands. */
static void sweep(machine *m, int i, int64_t n, const real *d) {
  const int32_t *s = step_at(m->k->attr, i);
  const step_kind *kind = &steps_table[s[0]];
  const real *in[OPERANDS] = {0}, *out = m->value[m->nin + i];
  real *din[OPERANDS] = {0};
  for (int k = 0; k < kind->operands; k++) {
    in[k] = m->value[s[1 + k]];
    din[k] = m->wanted[s[1 + k]] ? m->adjoint[s[1 + k]] : NULL;
  }
  if (!kind->op) {
    kind->chain(n, in, out, d, din);
    return;
  }
  pb_attr attr[PB_MAX_ATTR] = {{.f = kind->operands > 1 ? (double)in[1][0] : 0}};
  real tile[MOST_TILE];
  kind->op->chain(attr, n, in[0], out, d, tile);
  for (int64_t e = 0; e < n; e++) din[0][e] += tile[e];
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  machine m;
  start(&m, k, lane);
  find_wanted(&m);
  int last = m.values - 1;
  for (int64_t at = m.begin; at < m.end; at += m.tile) {
    int64_t n = min_i(m.tile, m.end - at);
    run(&m, at, n, m.steps, NULL);
    for (int v = 0; v < last; v++) {
      bool input = v < m.nin;
      if (!m.wanted[v] && !(input && m.whole[v] && k->din[v] >= 0)) continue;
      if (input) m.adjoint[v] = (real *)lane->ptr[k->din[v]] + at;
      if (!input || !k->add[v]) memset(m.adjoint[v], 0, (size_t)n * sizeof(real));
    }
    for (int i = m.steps - 1; i >= 0; i--)
      if (m.wanted[m.nin + i])
        sweep(&m, i, n,
              m.nin + i == last ? (const real *)lane->ptr[k->dout] + at : m.adjoint[m.nin + i]);
  }
}

PB_OP(expression) = {.name = "expression",
                     .attrs = "program:code",
                     .min_in = 1,
                     .max_in = PB_MAX_IN,
                     .flags = PB_USES_X,
                     .infer = infer,
                     .forward = forward,
                     .backward_in = backward_in};
