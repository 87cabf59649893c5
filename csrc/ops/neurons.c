/* neurons: any acyclic network of single units, U of them, joined by E weighted edges.
 *
 *     s_j = b_j + sum over edges i -> j of w_ij y_i     y_j = f_j(s_j)
 *     s_i = x_i for the I units that come first, the inputs
 *
 *     x [I]   weight [E]   bias [U - I] (optional)   ->   y [U], in the blocks of neurons.h
 *
 * The error signals delta_j = dLoss/ds_j, which PB_DELTA puts in the place of dLoss/dy, are sums over
 * successors only, however many paths lead on from there:
 *
 *     delta_j = f'_j(s_j) (dy_j + sum over edges j -> k of w_jk delta_k)
 *     dx_i = delta_i      dw_ij = sum_n y_i delta_j      db_j = sum_n delta_j
 *
 * Rumelhart, Hinton and Williams, Nature 323, 1986; as a theorem on graphs, Rojas, "Neural Networks",
 * ch. 7, 1996. Units are numbered so that edges lead to higher numbers. A level is one or several
 * runs of units without edges among them that share f. One instruction sweeps over all levels: nets
 * of single units are deep and their levels small, and threads, which share the samples, would meet
 * at every level otherwise. It does one fused multiply-add per edge and vector of samples.
 *
 * Lists:
 *     runs         (end, f) of each run, the units before `end` and from the last run's on
 *     functions    of each f: its row in the table, and its attribute, a double in two halves
 *     incoming     U + 1 starts, then (unit at the other end, edge) of the edges that end in unit 0,
 *                  in unit 1, ..., in the order of their numbers
 *     outgoing     the same for the edges that begin in each unit
 *     ends         (from, to) of each edge
 */
#include "ops/neurons.h"
#include "ops/gradient.h"

enum { X, WEIGHT, BIAS, RUNS = 0, FUNCTIONS, INCOMING, OUTGOING, ENDS, TILE = 256 };

extern const pb_table PB_NAME(pb_table);

typedef struct {
  int64_t inputs, units, edges;
  int32_t nrun;
  const int32_t *run, *function, *incoming, *outgoing, *ends;
} net;

static net net_of(const pb_attr *attr) {
  net g = {.nrun = attr[RUNS].code[0] / 2,
           .run = attr[RUNS].code + 1,
           .function = attr[FUNCTIONS].code + 1,
           .incoming = attr[INCOMING].code + 1,
           .outgoing = attr[OUTGOING].code + 1,
           .edges = attr[ENDS].code[0] / 2,
           .ends = attr[ENDS].code + 1};
  g.units = g.nrun > 0 ? g.run[2 * (g.nrun - 1)] : 0;
  return g;
}

/* A run of units: [begin, end), and what they apply. */
typedef struct {
  int64_t begin, end;
  const pb_op *f;
  pb_attr attr[PB_MAX_ATTR];
} run;

static run run_at(const net *g, int32_t r) {
  const int32_t *row = g->function + 3 * g->run[2 * r + 1];
  run found = {.begin = r > 0 ? g->run[2 * r - 2] : 0,
               .end = g->run[2 * r],
               .f = PB_NAME(pb_table).ops[row[0]]};
  memcpy(&found.attr[0].f, row + 1, sizeof(double));
  return found;
}

/* --- what a sealed plan may rely on --------------------------------------------------------------- */

static bool functions_fit(const pb_attr *attr, const pb_shape *x, bool *reads_x) {
  const int32_t *f = attr[FUNCTIONS].code;
  int32_t known = 0;
  while (PB_NAME(pb_table).ops[known]) known++;
  if (f[0] < 3 || f[0] % 3 != 0) return false;
  for (int32_t k = 1; k < f[0]; k += 3) {
    pb_attr own[PB_MAX_ATTR] = {0};
    pb_inferred r = {0};
    if (f[k] < 0 || f[k] >= known) return false;
    const pb_op *op = PB_NAME(pb_table).ops[f[k]];
    memcpy(&own[0].f, f + k + 1, sizeof(double));
    if (!(op->flags & PB_ELEMENTWISE) || !op->chain || !op->infer(own, x, 1, &r)) return false;
    *reads_x |= (op->flags & PB_USES_X) != 0;
  }
  return true;
}

/* Runs follow each other, one of them ends with the inputs, and each has a function. */
static bool runs_fit(const pb_attr *attr, int64_t inputs) {
  const int32_t *runs = attr[RUNS].code, functions = attr[FUNCTIONS].code[0] / 3;
  int32_t last = 0;
  bool parted = false;
  if (runs[0] < 2 || runs[0] % 2 != 0) return false;
  for (int32_t k = 1; k < runs[0]; k += 2) {
    if (runs[k] <= last || runs[k + 1] < 0 || runs[k + 1] >= functions) return false;
    last = runs[k];
    parted |= last == inputs;
  }
  return parted && last > inputs;
}

/* Whether the list has each edge once, with the unit whose it is and the one at the other end;
   `own` is the place of the former among an edge's two ends. Numbers that rise within a unit's
   edges, each of which knows that unit, cannot occur twice. */
static bool list_fits(const int32_t *code, const net *g, int own) {
  const int32_t *start = code + 1, *pair = start + g->units + 1;
  if (code[0] != g->units + 1 + 2 * g->edges || start[0] != 0 || start[g->units] != g->edges)
    return false;
  for (int64_t u = 0; u < g->units; u++) {
    if (start[u + 1] < start[u] || start[u + 1] > g->edges) return false;
    for (int64_t k = start[u], last = -1; k < start[u + 1]; k++) {
      int64_t edge = pair[2 * k + 1];
      if (edge <= last || edge >= g->edges) return false;
      if (g->ends[2 * edge + own] != u || g->ends[2 * edge + !own] != pair[2 * k]) return false;
      last = edge;
    }
  }
  return true;
}

/* Edges lead out of earlier runs, and none into an input. */
static bool levels_fit(const net *g) {
  const int32_t *start = g->incoming, *pair = start + g->units + 1;
  for (int32_t r = 0; r < g->nrun; r++) {
    run at = run_at(g, r);
    int64_t first = start[at.begin], last = start[at.end];
    if (at.begin < g->inputs && last > first) return false;
    for (int64_t k = first; k < last; k++)
      if (pair[2 * k] < 0 || pair[2 * k] >= at.begin) return false;
  }
  return true;
}

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  const pb_shape *x = &in[X], *w = &in[WEIGHT];
  bool reads_x = false;
  for (int j = RUNS; j <= ENDS; j++)
    if (!attr[j].code) return false;
  if (!x->batched || x->ndim != 1 || w->batched || w->ndim != 1) return false;
  if (!functions_fit(attr, x, &reads_x) || !runs_fit(attr, x->dim[0])) return false;
  net g = net_of(attr);
  g.inputs = x->dim[0];
  if (attr[ENDS].code[0] != 2 * g.edges || g.edges != w->dim[0]) return false;
  if (!list_fits(attr[INCOMING].code, &g, 1) || !list_fits(attr[OUTGOING].code, &g, 0) ||
      !levels_fit(&g))
    return false;
  if (nin > BIAS &&
      (in[BIAS].batched || in[BIAS].ndim != 1 || in[BIAS].dim[0] != g.units - g.inputs))
    return false;
  r->out = (pb_shape){.ndim = 1, .batched = true, .dim = {g.units}};
  r->saved_row = reads_x ? g.units : 0;
  r->flops = 2 * g.edges + g.units;
  return true;
}

/* --- the sweeps ----------------------------------------------------------------------------------- */

/* out[u] (+)= sum of weight[edge] v[unit] over the list's edges, for units u in [begin, end), and their
   biases, where there are any. */
PB_INLINE void sum_edges(const net *g, const int32_t *list, int64_t begin, int64_t end,
                         const real *weight, const real *bias, bool add, const real *v,
                         int64_t width, real *out) {
  const int32_t *pair = list + g->units + 1;
  for (int64_t u = begin; u < end; u++) {
    line sum = {0};
    if (add) sum = line_load(out + u * width, width);
    if (bias)
      for (int j = 0; j < VECTORS; j++) sum.v[j] += vec_set(bias[u - g->inputs]);
    for (int64_t k = list[u]; k < list[u + 1]; k++) {
      line a = line_load(v + pair[2 * k] * width, width);
      vec c = vec_set(weight[pair[2 * k + 1]]);
#pragma GCC unroll 16
      for (int j = 0; j < VECTORS; j++) sum.v[j] += c * a.v[j];
    }
    line_store(out + u * width, width, &sum);
  }
}

/* The same for blocks that are full, whose width the compiler knows, and for the last one. */
static void sum_run(const net *g, const int32_t *list, const run *at, const real *weight,
                    const real *bias, bool add, const real *v, int64_t width, real *out) {
  if (width == SAMPLES) sum_edges(g, list, at->begin, at->end, weight, bias, add, v, SAMPLES, out);
  else sum_edges(g, list, at->begin, at->end, weight, bias, add, v, width, out);
}

static net net_at(const pb_instr *k, const pb_lane *lane) {
  net g = net_of(k->attr);
  g.inputs = lane->plan->tensor[k->in[X]].size;
  return g;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  net g = net_at(k, lane);
  const real *x = lane->ptr[k->in[X]], *weight = lane->ptr[k->in[WEIGHT]];
  const real *bias = k->nin > BIAS ? lane->ptr[k->in[BIAS]] : NULL;
  int64_t begin, end;
  share_blocks(lane, &begin, &end);
  for (int64_t n = begin; n < end; n += SAMPLES) {
    int64_t width = min_i(SAMPLES, end - n);
    real *y = (real *)lane->ptr[k->out] + n * g.units;
    real *s = k->saved >= 0 ? (real *)lane->ptr[k->saved] + n * g.units : y;
    for (int64_t i = 0; i < g.inputs; i++)
      for (int64_t l = 0; l < width; l++) s[i * width + l] = x[(n + l) * g.inputs + i];
    for (int32_t r = 0; r < g.nrun; r++) {
      run at = run_at(&g, r);
      if (at.begin >= g.inputs) sum_run(&g, g.incoming, &at, weight, bias, false, y, width, s);
      int64_t first = at.begin * width, count = (at.end - at.begin) * width;
      at.f->map(at.attr, count, s + first, y + first);
    }
  }
}

static void delta(const pb_instr *k, const pb_lane *lane) {
  net g = net_at(k, lane);
  const real *weight = lane->ptr[k->in[WEIGHT]];
  int64_t begin, end;
  share_blocks(lane, &begin, &end);
  for (int64_t n = begin; n < end; n += SAMPLES) {
    int64_t width = min_i(SAMPLES, end - n);
    const real *y = (const real *)lane->ptr[k->out] + n * g.units;
    const real *s = k->saved >= 0 ? (const real *)lane->ptr[k->saved] + n * g.units : y;
    real *d = (real *)lane->ptr[k->dout] + n * g.units;
    for (int32_t r = g.nrun - 1; r >= 0; r--) {
      run at = run_at(&g, r);
      sum_run(&g, g.outgoing, &at, weight, NULL, true, d, width, d);
      int64_t first = at.begin * width, count = (at.end - at.begin) * width;
      at.f->chain(at.attr, count, s + first, y + first, d + first, d + first);
    }
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  net g = net_at(k, lane);
  real *dx = lane->ptr[k->din[X]];
  int64_t begin, end;
  share_blocks(lane, &begin, &end);
  for (int64_t n = begin; n < end; n += SAMPLES) {
    int64_t width = min_i(SAMPLES, end - n);
    const real *d = (const real *)lane->ptr[k->dout] + n * g.units;
    for (int64_t l = 0; l < width; l++)
      for (int64_t i = 0; i < g.inputs; i++) {
        int64_t at = (n + l) * g.inputs + i;
        dx[at] = d[i * width + l] + (k->add[X] ? dx[at] : 0);
      }
  }
}

/* --- gradients of the parameters ------------------------------------------------------------------ */

/* acc += the products of two units' values over a block; the sum of one's where the other is NULL. */
PB_INLINE vec products(vec acc, const real *a, const real *b, int64_t width) {
  line p = line_load(a, width), q = {0};
  if (b) q = line_load(b, width);
#pragma GCC unroll 16
  for (int j = 0; j < VECTORS; j++) acc += b ? p.v[j] * q.v[j] : p.v[j];
  return acc;
}

/* The lanes' sums of delta_to y_from over all samples; of delta_to alone where y is NULL. */
PB_INLINE vec over_samples(int64_t rows, int64_t units, int64_t to, int64_t from, const real *d,
                           const real *y) {
  vec acc = vec_set(0);
  int64_t n = 0, width;
  for (; n + SAMPLES <= rows; n += SAMPLES)
    acc = products(acc, d + n * units + to * SAMPLES, y ? y + n * units + from * SAMPLES : NULL,
                   SAMPLES);
  if ((width = rows - n) > 0)
    acc = products(acc, d + n * units + to * width, y ? y + n * units + from * width : NULL, width);
  return acc;
}

/* A parameter's gradient from `begin` on goes to the optimiser, or into the gradient vector. */
static void hand_over(const pb_instr *k, const pb_lane *lane, int j, int64_t begin, int64_t count,
                      const real *g) {
  if (k->fused_update) {
    update_parameters(lane, k->in[j], begin, count, g);
  } else {
    real *d = (real *)lane->ptr[k->din[j]] + begin;
    for (int64_t i = 0; i < count; i++) d[i] = g[i] + (k->add[j] ? d[i] : 0);
  }
}

/* sums[i] of parameters at + i, LANES of which are folded at once. */
static void sum_tile(const net *g, int64_t rows, int64_t at, int64_t size, const real *d,
                     const real *y, real *sums) {
  for (int64_t e = 0; e < size; e += LANES) {
    vec waiting[LANES];
    for (int64_t i = 0; i < LANES; i++) {
      int64_t item = at + min_i(e + i, size - 1);
      waiting[i] = y ? over_samples(rows, g->units, g->ends[2 * item + 1], g->ends[2 * item], d, y)
                     : over_samples(rows, g->units, g->inputs + item, 0, d, NULL);
    }
    vec_store(sums + e, vec_sums(waiting));
  }
}

/* The gradients of all weights, or of all biases: threads share the parameters. */
static void gradients(const pb_instr *k, const pb_lane *lane, int j, int64_t count) {
  net g = net_at(k, lane);
  const real *d = lane->ptr[k->dout], *y = j == WEIGHT ? lane->ptr[k->out] : NULL;
  real tile[TILE];
  int64_t begin, end;
  share(lane, count, 64 / (int64_t)sizeof(real), &begin, &end);
  for (int64_t at = begin; at < end; at += TILE) {
    int64_t size = min_i(TILE, end - at);
    sum_tile(&g, lane->n, at, size, d, y, tile);
    hand_over(k, lane, j, at, size, tile);
  }
}

static void backward_param(const pb_instr *k, const pb_lane *lane) {
  for (int j = WEIGHT; j < k->nin; j++)
    if (k->fused_update || k->din[j] >= 0) gradients(k, lane, j, lane->plan->tensor[k->in[j]].size);
}

PB_OP(neurons) = {.name = "neurons",
                  .attrs = "runs:code functions:code incoming:code outgoing:code ends:code",
                  .min_in = 2,
                  .max_in = 3,
                  .params = 2,
                  .flags = PB_USES_Y,
                  .infer = infer,
                  .forward = forward,
                  .delta = delta,
                  .backward_in = backward_in,
                  .backward_param = backward_param};
