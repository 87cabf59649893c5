#include "core/update.h"

#include <math.h>

#include "core/rows.h"

enum {
  BLOCK = 4096, /* elements of one partial sum, whatever the number of threads */
  TILE = 512    /* treated gradients on their way to the optimiser: they stay in the first cache */
};

void pb_share(int64_t *begin, int64_t *end, const pb_lane *lane) {
  if (lane->parts == 1) return;
  int64_t first = *begin, last = *end, blocks = (last - first + 63) / 64;
  *begin = first + blocks * lane->part / lane->parts * 64;
  *end = first + blocks * (lane->part + 1) / lane->parts * 64;
  if (*end > last) *end = last;
}

void pb_delta(const pb_instr *k, const pb_lane *lane) {
  const pb_tensor *y = &lane->plan->tensor[k->out];
  int64_t begin = 0, end = pb_rows(lane, &y->shape) * y->size;
  pb_share(&begin, &end, lane);
  if (begin >= end) return;
  int64_t at = begin * lane->plan->table->real_size;
  char *dy = (char *)lane->ptr[k->dout] + at;
  k->activation->chain(k->activation_attr, end - begin, NULL, (char *)lane->ptr[k->out] + at, dy,
                       dy);
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static char *place(const pb_plan *p, void *vector, int64_t element) {
  return (char *)vector + element * p->table->real_size;
}

void pb_update_range(const pb_lane *lane, int32_t group, double factor, int64_t begin,
                     int64_t count, const void *g) {
  const pb_plan *p = lane->plan;
  const pb_group *how = &p->group[group];
  double keep = 1 - lane->now->learning_rate * how->rate_factor * how->decay;
  _Alignas(PB_ALIGN) double tile[TILE];
  void *state[PB_MAX_STATE];
  for (int64_t at = begin; at < begin + count; at += TILE) {
    int64_t n = least(TILE, begin + count - at);
    char *w = place(p, p->param, at);
    p->table->vector->treat(n, how, factor, w, (const char *)g + (w - place(p, p->param, begin)),
                            tile);
    if (how->decay > 0) p->table->vector->scale(n, keep, w);
    for (int i = 0; i < p->optim->states; i++) state[i] = place(p, p->state[i], at);
    p->optim->update(n, lane->coef + group * PB_MAX_COEF, w, tile, state);
  }
}

static void step(const pb_instr *k, const pb_lane *lane, int64_t begin, int64_t end) {
  const pb_plan *p = lane->plan;
  const void *g = place(p, p->grad, begin);
  if (k->group != 0 || k->slot >= 0) {
    pb_update_range(lane, k->group, k->slot < 0 ? 1 : p->factor[k->slot], begin, end - begin, g);
    return;
  }
  void *state[PB_MAX_STATE];
  for (int i = 0; i < p->optim->states; i++) state[i] = place(p, p->state[i], begin);
  p->optim->update(end - begin, lane->coef, place(p, p->param, begin), g, state);
}

/* --- clipping ---------------------------------------------------------------------------------- */

int64_t pb_blocks(const pb_instr *k) { return (k->end - k->begin + BLOCK - 1) / BLOCK; }

/* Threads take whole blocks, and the blocks' sums are added up in one order. */
static void measure(const pb_instr *k, const pb_lane *lane) {
  const pb_plan *p = lane->plan;
  int64_t blocks = pb_blocks(k);
  _Alignas(PB_ALIGN) double tile[TILE];
  for (int64_t b = blocks * lane->part / lane->parts; b < blocks * (lane->part + 1) / lane->parts;
       b++) {
    int64_t end = least(k->end, k->begin + (b + 1) * BLOCK);
    double sum = 0;
    for (int64_t at = k->begin + b * BLOCK; at < end; at += TILE) {
      int64_t n = least(TILE, end - at);
      p->table->vector->treat(n, &p->group[k->group], 1, place(p, p->param, at),
                              place(p, p->grad, at), tile);
      sum += p->table->vector->squares(n, tile);
    }
    p->squares[k->block + b] = sum;
  }
}

/* By what to multiply a gradient of this norm so that it keeps within the bound: PyTorch's factor,
   a millionth of a unit on the safe side. */
static double clip(double norm, double bound) {
  double factor = bound > 0 ? bound / (norm + 1e-6) : 1;
  return factor < 1 ? factor : 1;
}

static void find_factors(const pb_lane *lane) {
  const pb_plan *p = lane->plan;
  if (lane->part != 0) return;
  double total = 0;
  for (int32_t i = p->nbackward; i < p->ninstr; i++) {
    const pb_instr *k = &p->instr[i];
    if (k->phase != PB_MEASURE) continue;
    double sum = 0;
    for (int64_t b = 0; b < pb_blocks(k); b++) sum += p->squares[k->block + b];
    double factor = clip(sqrt(sum), p->clip_norm);
    p->factor[k->slot] = factor;
    total += factor * factor * sum;
  }
  double factor = clip(sqrt(total), p->global_norm);
  for (int32_t i = 0; i < p->nslot; i++) p->factor[i] *= factor;
}

/* --- after the optimiser ------------------------------------------------------------------------ */

static void constrain(const pb_instr *k, const pb_lane *lane) {
  const pb_plan *p = lane->plan;
  int64_t rows = (k->end - k->begin) / k->row;
  double bound = p->group[k->group].max_norm;
  for (int64_t r = rows * lane->part / lane->parts; r < rows * (lane->part + 1) / lane->parts;
       r++) {
    void *w = place(p, p->param, k->begin + r * k->row);
    double norm = sqrt(p->table->vector->squares(k->row, w));
    if (norm > bound) p->table->vector->scale(k->row, bound / norm, w);
  }
}

static void average(const pb_lane *lane, int64_t begin, int64_t end) {
  const pb_plan *p = lane->plan;
  if (lane->now->average > 0)
    p->table->vector->average(end - begin, lane->now->average, place(p, p->param, begin),
                              place(p, p->average, begin));
}

void pb_update(const pb_instr *k, const pb_lane *lane) {
  int64_t begin = k->begin, end = k->end;
  switch (k->phase) {
    case PB_MEASURE: measure(k, lane); return;
    case PB_CLIP: find_factors(lane); return;
    case PB_CONSTRAIN: constrain(k, lane); return;
    default: break;
  }
  pb_share(&begin, &end, lane);
  if (begin >= end) return;
  if (k->phase == PB_AVERAGE) average(lane, begin, end);
  else step(k, lane, begin, end);
}

double pb_total_loss(const pb_plan *p, const double *sums) {
  double loss = 0;
  for (int32_t k = 0; k < p->nloss; k++) loss += p->loss_weight[k] * sums[k];
  return loss;
}
