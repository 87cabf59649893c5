#include "test/net.h"

#include <string.h>

#include "test/reference.h"

static const double learning_rate = 0.05;

const pb_group net_groups[3] = {
    {1, 0, 0, 0, 0, 0},
    {.rate_factor = 0.5, .decay = 0.3, .l1 = 0.01, .l2 = 0.2, .clip_value = 0.04, .max_norm = 0.4},
    {.rate_factor = 2, .l1 = 0.003, .clip_value = 0.04},
};
const double net_clip_norm = 0.09, net_global_norm = 0.15;

static pb_shape matrix(int64_t rows, int64_t cols) {
  return (pb_shape){.ndim = 2, .dim = {rows, cols}};
}

static pb_shape vector(int64_t n) { return (pb_shape){.ndim = 1, .dim = {n}}; }

/* What the two directions share: each layer's input, its output and what follows dropout. */
typedef struct {
  int32_t in[MAX_LAYERS], out[MAX_LAYERS], kept[MAX_LAYERS], saved;
} places;

static pb_instr *write_dense(net_plan *p, const net *s, const places *at, int i, pb_phase phase) {
  pb_instr *k = draft_instr(&p->draft, phase, "dense");
  k->nin = 3, k->node = i;
  k->in[0] = at->in[i], k->in[1] = p->weight[i], k->in[2] = p->bias[i];
  k->out = at->out[i];
  if (i + 1 < s->layers && phase <= PB_DELTA)
    k->activation = pb_find_op(p->draft.table, s->activation);
  return k;
}

static pb_instr *write_dropout(net_plan *p, const net *s, const places *at, int i, pb_phase phase) {
  pb_instr *k = draft_instr(&p->draft, phase, "dropout");
  k->nin = 1, k->node = DROPOUT_NODE + i;
  k->in[0] = at->out[i], k->out = at->kept[i];
  k->attr[0].f = s->rate;
  return k;
}

static pb_instr *write_loss(net_plan *p, const char *op, int32_t out) {
  pb_instr *k = draft_instr(&p->draft, PB_FORWARD, op);
  k->nin = 2;
  k->in[0] = p->logits, k->in[1] = p->target;
  k->out = out;
  p->draft.result[p->draft.nresult++] = out;
  return k;
}

static void write_forward(net_plan *p, const net *s, places *at) {
  draft *d = &p->draft;
  p->x = draft_rows(d, s->units[0]);
  p->target = draft_rows(d, 1);
  draft_feed(d, 0, 1, p->x);
  draft_feed(d, 1, 1, p->target);
  int32_t x = p->x;
  for (int i = 0; i < s->layers; i++) {
    p->weight[i] = draft_tensor(d, PB_PARAM, matrix(s->units[i + 1], s->units[i]), false);
    p->bias[i] = draft_tensor(d, PB_PARAM, vector(s->units[i + 1]), false);
    at->in[i] = x, at->out[i] = draft_rows(d, s->units[i + 1]);
    write_dense(p, s, at, i, PB_FORWARD);
    x = at->kept[i] = at->out[i];
    if (i + 1 == s->layers || s->rate == 0) continue;
    x = at->kept[i] = draft_rows(d, s->units[i + 1]);
    write_dropout(p, s, at, i, PB_FORWARD);
  }
  p->logits = x;
  p->loss = draft_per_row(d), p->hits = draft_per_row(d);
  pb_instr *loss = write_loss(p, "softmax_cross_entropy", p->loss);
  at->saved = -1;
  if (s->purpose != INFERENCE) loss->saved = at->saved = draft_rows(d, s->units[s->layers]);
  write_loss(p, "accuracy", p->hits);
}

static void write_layer_backward(net_plan *p, const net *s, const places *at, int i, int32_t dy,
                                 int32_t dx) {
  pb_instr *k;
  if (i + 1 < s->layers) write_dense(p, s, at, i, PB_DELTA)->dout = dy;
  if (dx >= 0) {
    k = write_dense(p, s, at, i, PB_BACKWARD_IN);
    k->dout = dy, k->din[0] = dx;
  }
  k = write_dense(p, s, at, i, PB_BACKWARD_PARAM);
  k->dout = dy, k->fused_update = (s->updates & FUSED);
  if ((s->updates & FUSED)) return;
  k->din[1] = p->dweight[i], k->din[2] = p->dbias[i];
  k->add[1] = k->add[2] = (s->updates & ACCUMULATED);
}

/* An instruction over the parameters of tensor `id`. */
static pb_instr *write_over(net_plan *p, pb_phase phase, int32_t id, int32_t slot) {
  const pb_tensor *t = &p->draft.tensor[id];
  pb_instr *k = draft_instr(&p->draft, phase, NULL);
  k->begin = t->offset / p->draft.table->real_size;
  k->end = k->begin + pb_shape_size(&t->shape);
  k->row = t->shape.ndim == 2 ? t->shape.dim[1] : 0;
  k->group = t->group, k->slot = slot;
  return k;
}

/* Norms and updates of every parameter, unless those are in backward; limits of rows; averages. */
static void write_treated(net_plan *p, const net *s) {
  draft *d = &p->draft;
  d->ngroup = 3, d->clip_norm = net_clip_norm, d->global_norm = net_global_norm;
  memcpy(d->group, net_groups, sizeof net_groups);
  for (int i = 0; i < s->layers; i++) {
    d->tensor[p->weight[i]].group = OF_WEIGHTS;
    d->tensor[p->bias[i]].group = OF_BIASES;
  }
  for (int phase = PB_MEASURE; phase <= PB_UPDATE && !(s->updates & FUSED); phase++) {
    if (phase == PB_CLIP) draft_instr(d, PB_CLIP, NULL);
    for (int i = 0; i < 2 * s->layers && phase != PB_CLIP; i++)
      write_over(p, (pb_phase)phase, i % 2 ? p->bias[i / 2] : p->weight[i / 2], i);
  }
  for (int i = 0; i < s->layers; i++) write_over(p, PB_CONSTRAIN, p->weight[i], -1);
  draft_instr(d, PB_AVERAGE, NULL)->end = d->end[PB_PARAM] / d->table->real_size;
}

static void write_backward(net_plan *p, const net *s, const places *at) {
  draft *d = &p->draft;
  int32_t dy = draft_gradient(d, p->logits);
  pb_instr *k = draft_instr(d, PB_BACKWARD_IN, "softmax_cross_entropy");
  k->nin = 2, k->in[0] = p->logits, k->in[1] = p->target;
  k->out = p->loss, k->saved = at->saved, k->din[0] = dy;
  for (int i = 0; i < s->layers; i++) {
    p->dweight[i] = draft_gradient(d, p->weight[i]);
    p->dbias[i] = draft_gradient(d, p->bias[i]);
  }
  for (int i = s->layers - 1; i >= 0; i--) {
    int32_t dx = i > 0 ? draft_gradient(d, at->in[i]) : -1;
    write_layer_backward(p, s, at, i, dy, dx);
    if (i > 0 && at->kept[i - 1] != at->out[i - 1]) {
      k = write_dropout(p, s, at, i - 1, PB_BACKWARD_IN);
      k->dout = dx, k->din[0] = dx = draft_gradient(d, at->out[i - 1]);
    }
    dy = dx;
  }
  d->accumulates = (s->updates & ACCUMULATED);
  if (s->purpose == TRAINING && (s->updates & TREATED)) write_treated(p, s);
  if (s->purpose != TRAINING || (s->updates & FUSED) || (s->updates & TREATED)) return;
  k = draft_instr(d, PB_UPDATE, NULL);
  k->end = d->end[PB_PARAM] / d->table->real_size;
}

net_plan net_draft(const pb_table *t, const net *s) {
  net_plan p = {.draft = draft_new(t, s->capacity)};
  places at;
  write_forward(&p, s, &at);
  if (s->purpose == INFERENCE) p.draft.input = p.x, p.draft.output = p.logits;
  else write_backward(&p, s, &at);
  if (s->purpose != TRAINING) return p;
  p.draft.optim = pb_find_optim(t, s->optim);
  memcpy(p.draft.optim_attr, optim_case_of(s->optim)->attr, sizeof p.draft.optim_attr);
  return p;
}

model net_model(const pb_table *t, const net *s) {
  net_plan p = net_draft(t, s);
  model m = model_new(&p.draft);
  model_fill(&m, 8, 0.3);
  model_seal(&m);
  return m;
}

dataset dataset_new(const net *s, int64_t rows, uint64_t seed) {
  int64_t cols = s->units[0], classes = s->units[s->layers];
  dataset d = {.rows = rows, .x = exact_alloc(rows * cols * 8), .y = exact_alloc(rows * 8)};
  rng r = {seed};
  for (int64_t i = 0; i < rows; i++) {
    d.y[i] = (double)rng_below(&r, classes);
    for (int64_t j = 0; j < cols; j++) /* a class shifts its own inputs */
      d.x[i * cols + j] = rng_uniform(&r) + (j % classes == (int64_t)d.y[i] ? 1.5 : 0);
  }
  d.source[0] = source_of(d.x, rows, cols), d.source[1] = source_of(d.y, rows, 1);
  return d;
}

void dataset_free(dataset *d) { exact_free(d->x), exact_free(d->y); }

pb_run run_of(const dataset *d, const net *s, int64_t epochs, double *results) {
  return (pb_run){.source = d->source,
                  .rows = d->rows,
                  .batch = s->capacity,
                  .epochs = epochs,
                  .shuffle = true,
                  .seed = 17,
                  .learning_rate = &learning_rate,
                  .seconds = 1e9,
                  .results = results,
                  .bad_instr = -1,
                  .bad_param = -1};
}
