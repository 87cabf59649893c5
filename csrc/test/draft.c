#include "test/draft.h"

#include <stdlib.h>
#include <string.h>

draft draft_new(const pb_table *table, int64_t capacity) {
  return (draft){.table = table,
                 .capacity = capacity,
                 .input = -1,
                 .output = -1,
                 .ngroup = 1,
                 .group = {{1}},
                 .weights = -1};
}

int32_t draft_tensor(draft *d, pb_arena arena, pb_shape shape, bool is_double) {
  int64_t rows = shape.batched ? d->capacity : 1;
  int64_t size = pb_shape_size(&shape) * rows * (is_double ? 8 : d->table->real_size);
  if (d->ntensor == MAX_TENSORS) abort();
  d->tensor[d->ntensor] =
      (pb_tensor){.arena = arena, .is_double = is_double, .offset = d->end[arena], .shape = shape};
  int64_t gap = arena == PB_ACT ? PB_ALIGN : 0;
  d->end[arena] += (size + gap + PB_ALIGN - 1) / PB_ALIGN * PB_ALIGN;
  return d->ntensor++;
}

int32_t draft_rows(draft *d, int64_t columns) {
  return draft_tensor(d, PB_ACT, (pb_shape){.ndim = 1, .batched = true, .dim = {columns}}, false);
}

int32_t draft_per_row(draft *d) {
  return draft_tensor(d, PB_ACT, (pb_shape){.ndim = 1, .batched = true, .dim = {1}}, true);
}

int32_t draft_gradient(draft *d, int32_t of) {
  if (d->tensor[of].arena == PB_ACT) return draft_tensor(d, PB_ACT, d->tensor[of].shape, false);
  int32_t id = draft_tensor(d, PB_GRAD, d->tensor[of].shape, false);
  d->tensor[id].offset = d->tensor[of].offset;
  return id;
}

pb_instr *draft_instr(draft *d, pb_phase phase, const char *op) {
  if (d->ninstr == MAX_INSTRS) abort();
  pb_instr *k = &d->instr[d->ninstr++];
  *k = (pb_instr){.phase = phase,
                  .node = d->ninstr,
                  .out = -1,
                  .saved = -1,
                  .dout = -1,
                  .slot = -1,
                  .affine = -1};
  for (int j = 0; j < PB_MAX_IN; j++) k->in[j] = k->din[j] = -1;
  if (op) k->op = pb_find_op(d->table, op);
  if (phase == PB_FORWARD) d->nforward++;
  return k;
}

void draft_feed(draft *d, int32_t source, double scale, int32_t out) {
  pb_instr *k = draft_instr(d, PB_FORWARD, "feed");
  k->out = out;
  k->attr[0].i = source, k->attr[1].f = scale;
  if (source >= d->nsource) d->nsource = source + 1;
}

model model_new(const draft *d) {
  model m = {.plan = pb_plan_new(d->table, d->capacity)};
  pb_plan *p = m.plan;
  if (!p || pb_plan_reserve(p, d->ntensor, d->ninstr, d->ngroup) != PB_OK) abort();
  memcpy(p->tensor, d->tensor, (size_t)d->ntensor * sizeof *p->tensor);
  memcpy(p->instr, d->instr, (size_t)d->ninstr * sizeof *p->instr);
  memcpy(p->group, d->group, (size_t)d->ngroup * sizeof *p->group);
  p->clip_norm = d->clip_norm, p->global_norm = d->global_norm, p->accumulates = d->accumulates;
  memcpy(p->result, d->result, sizeof p->result);
  memcpy(p->optim_attr, d->optim_attr, sizeof p->optim_attr);
  p->nforward = d->nforward, p->nresult = d->nresult, p->nsource = d->nsource;
  p->input = d->input, p->output = d->output, p->weights = d->weights;
  p->act_bytes = d->end[PB_ACT];
  p->optim = d->optim;
  m.bytes = d->end[PB_PARAM] > d->end[PB_GRAD] ? d->end[PB_PARAM] : d->end[PB_GRAD];
  p->nparam = m.bytes / d->table->real_size;
  p->param = m.param = exact_alloc(m.bytes);
  p->grad = m.grad = exact_alloc(m.bytes);
  p->average = m.average = exact_alloc(m.bytes);
  m.running_bytes = d->end[PB_RUNNING];
  p->running = m.running = exact_alloc(m.running_bytes);
  p->nrunning = m.running_bytes / 8;
  for (int i = 0; p->optim && i < p->optim->states; i++)
    p->state[i] = m.state[i] = exact_alloc(m.bytes);
  return m;
}

bool model_seal(model *m) {
  pb_status status = pb_plan_seal(m->plan);
  return CHECK(status == PB_OK, "a sound plan is refused: %s", m->plan->error);
}

void model_free(model *m) {
  pb_plan_free(m->plan);
  exact_free(m->param), exact_free(m->grad), exact_free(m->running), exact_free(m->average);
  for (int i = 0; i < PB_MAX_STATE; i++) exact_free(m->state[i]);
}

void model_fill(model *m, uint64_t seed, double size) {
  const pb_table *t = m->plan->table;
  rng r = {seed};
  for (int64_t i = 0; i < m->bytes / t->real_size; i++)
    put_real(t, m->param, i, size * rng_uniform(&r));
}

void model_copy(model *to, const model *from) {
  memcpy(to->param, from->param, (size_t)from->bytes);
  memcpy(to->grad, from->grad, (size_t)from->bytes);
  memcpy(to->average, from->average, (size_t)from->bytes);
  memcpy(to->running, from->running, (size_t)from->running_bytes);
  for (int i = 0; i < PB_MAX_STATE; i++)
    if (from->state[i]) memcpy(to->state[i], from->state[i], (size_t)from->bytes);
}

bool models_equal(const model *a, const model *b) {
  bool equal = a->bytes == b->bytes && memcmp(a->param, b->param, (size_t)a->bytes) == 0 &&
               memcmp(a->average, b->average, (size_t)a->bytes) == 0;
  equal = equal && memcmp(a->running, b->running, (size_t)a->running_bytes) == 0;
  for (int i = 0; equal && i < PB_MAX_STATE && a->state[i]; i++)
    equal = memcmp(a->state[i], b->state[i], (size_t)a->bytes) == 0;
  return equal;
}

int64_t rows_bytes(const pb_plan *p, int32_t tensor, int64_t n) {
  const pb_tensor *t = &p->tensor[tensor];
  int64_t rows = t->shape.batched ? n : 1;
  return rows * pb_shape_size(&t->shape) * (t->is_double ? 8 : p->table->real_size);
}

bool gaps_intact(const model *m, const pb_workspace *w, int64_t n) {
  const pb_plan *p = m->plan;
  bool intact = true;
  for (int32_t i = 0; i < p->ntensor; i++) {
    if (p->tensor[i].arena != PB_ACT) continue;
    const char *start = pb_workspace_tensor(w, i);
    int64_t end = p->act_bytes - p->tensor[i].offset;
    for (int32_t j = 0; j < p->ntensor; j++) {
      int64_t away = p->tensor[j].offset - p->tensor[i].offset;
      if (p->tensor[j].arena == PB_ACT && away > 0 && away < end) end = away;
    }
    for (int64_t at = rows_bytes(p, i, n); at < end; at++) intact &= start[at] == 0;
  }
  return intact;
}

pb_source source_of(const double *data, int64_t rows, int64_t cols) {
  return (pb_source){.data = data,
                     .dtype = PB_F64,
                     .rows = rows,
                     .cols = cols,
                     .row_stride = cols * 8,
                     .col_stride = 8};
}
