/* Sound plans with fields changed at random: each is refused, or runs without touching memory that
 * is not its own, which the sanitizers and valgrind watch. Vectors, outputs and user arrays are not
 * a byte longer than they must be.
 */
#include <math.h>
#include <string.h>

#include "test/net.h"

enum { PLANS = 30000, ROWS = 8, MOST_ROWS = 64 };

/* Numbers about the edges of what is allowed. */
static int64_t odd_number(rng *r, int64_t now) {
  static const int64_t edges[] = {
      0,         -1, 1,   INT32_MAX,        INT32_MIN,        INT64_MAX,
      INT64_MIN, 64, -64, (int64_t)1 << 31, (int64_t)1 << 48, INT64_MAX / 8,
      7};
  switch (rng_below(r, 6)) {
    case 0: return (int64_t)((uint64_t)now + 1);
    case 1: return (int64_t)((uint64_t)now - 1);
    case 2: return (int64_t)((uint64_t)now * 2);
    case 3: return edges[rng_below(r, sizeof edges / sizeof *edges)];
    case 4: return rng_below(r, 24) - 2;
    default: return rng_below(r, 4000) / 64 * 64;
  }
}

static int32_t odd_int(rng *r, int32_t now) {
  return rng_below(r, 2) ? (int32_t)rng_below(r, 30) - 2 : (int32_t)odd_number(r, now);
}

static const pb_op *odd_op(rng *r, const pb_table *t) {
  int count = 0, k = (int)rng_below(r, 20);
  while (t->ops[count]) count++;
  if (k < count && strstr(t->ops[k]->attrs, ":code")) return NULL;
  return k < count ? t->ops[k] : k == 19 ? pb_find_op(table_at(t->real_size == 4), "relu") : NULL;
}

static void harm_tensor(rng *r, pb_plan *p) {
  pb_tensor *t = &p->tensor[rng_below(r, p->ntensor)];
  int64_t *dim = &t->shape.dim[rng_below(r, PB_MAX_DIMS)];
  switch (rng_below(r, 10)) {
    case 0: t->arena = (pb_arena)rng_below(r, 5); break;
    case 1: t->is_double = !t->is_double; break;
    case 2: t->offset = odd_number(r, t->offset); break;
    case 3: t->offset = rng_below(r, 60) * 64; break;
    case 4: t->shape.ndim = odd_int(r, t->shape.ndim); break;
    case 5: t->shape.batched = !t->shape.batched; break;
    case 8: t->group = odd_int(r, t->group); break;
    case 9: t->shape.blocked = !t->shape.blocked; break;
    case 6: t->size = odd_number(r, 0); break; /* which seal finds out itself */
    default: *dim = odd_number(r, *dim);
  }
}

static void harm_attr(rng *r, pb_attr *a) {
  static const double odd[] = {0, 1, -1, 0.5, 0.999999, NAN, INFINITY, -INFINITY, 1e300, 1e-300};
  if (rng_below(r, 2)) a->i = odd_number(r, a->i);
  else a->f = odd[rng_below(r, 10)];
}

static void harm_instr(rng *r, pb_plan *p) {
  pb_instr *k = &p->instr[rng_below(r, p->ninstr)];
  int j = (int)rng_below(r, PB_MAX_IN);
  switch (rng_below(r, 18)) {
    case 0: k->op = odd_op(r, p->table); break;
    case 1: k->phase = (pb_phase)rng_below(r, PB_PHASES + 1); break;
    case 2: k->nin = odd_int(r, k->nin); break;
    case 3: k->in[j] = odd_int(r, k->in[j]); break;
    case 4: k->out = odd_int(r, k->out); break;
    case 5: k->saved = odd_int(r, k->saved); break;
    case 6: k->din[j] = odd_int(r, k->din[j]); break;
    case 7: k->dout = odd_int(r, k->dout); break;
    case 8: k->add[j] = !k->add[j]; break;
    case 9: k->fused_update = !k->fused_update; break;
    case 10: /* lists are the caller's own memory, which no plan can judge */
      if (!k->op || !strstr(k->op->attrs, ":code")) harm_attr(r, &k->attr[rng_below(r, 3)]);
      break;
    case 11: k->activation = odd_op(r, p->table); break;
    case 12: k->begin = odd_number(r, k->begin); break;
    case 13: k->end = odd_number(r, k->end); break;
    case 14: k->group = odd_int(r, k->group); break;
    case 15: k->slot = odd_int(r, k->slot); break;
    case 16: k->row = odd_number(r, k->row); break;
    default: { /* another instruction's place */
      pb_instr other = p->instr[rng_below(r, p->ninstr)];
      p->instr[rng_below(r, p->ninstr)] = *k;
      *k = other;
    }
  }
}

/* Amounts of memory are only made smaller or absurd: the plan cannot know what its caller has. */
static int64_t odd_amount(rng *r, int64_t now) {
  int64_t changed = odd_number(r, now);
  return changed > now && changed < ((int64_t)1 << 50) ? now : changed;
}

static void harm_group(rng *r, pb_plan *p) {
  static const double odd[] = {0, 1, -1, 0.5, NAN, INFINITY, 1e300};
  pb_group *g = &p->group[rng_below(r, p->ngroup)];
  double *number[] = {&g->rate_factor, &g->decay,    &g->l1,        &g->l2,
                      &g->clip_value,  &g->max_norm, &p->clip_norm, &p->global_norm};
  *number[rng_below(r, 8)] = odd[rng_below(r, 7)];
}

static void harm_plan(rng *r, pb_plan *p) {
  switch (rng_below(r, 18)) {
    case 14: harm_group(r, p); break;
    case 15: p->average = NULL; break;
    case 17:
      p->nloss = odd_int(r, p->nloss);
      p->loss_weight[0] = rng_below(r, 2) ? 0.5 : NAN;
      break;
    case 16: p->accumulates = !p->accumulates; break;
    case 0: p->nforward = odd_int(r, p->nforward); break;
    case 1: p->nresult = odd_int(r, p->nresult); break;
    case 2: p->result[rng_below(r, 3)] = odd_int(r, 0); break;
    case 3: p->act_bytes = odd_amount(r, p->act_bytes); break;
    case 4: p->nparam = odd_amount(r, p->nparam); break;
    case 5: p->param = NULL; break;
    case 6: p->grad = NULL; break;
    case 7: p->state[rng_below(r, 2)] = NULL; break;
    case 8: p->output = odd_int(r, p->output); break;
    case 9: p->input = odd_int(r, p->input); break;
    case 10: p->nsource = odd_int(r, p->nsource); break;
    case 11: p->optim = rng_below(r, 2) ? NULL : p->table->optims[rng_below(r, 3)]; break;
    case 12: harm_attr(r, &p->optim_attr[rng_below(r, 3)]); break;
    default: p->capacity = odd_number(r, p->capacity);
  }
}

/* Arrays for every source that a changed plan may ask for. */
typedef struct {
  double *data[PB_MAX_SOURCE];
  pb_source source[PB_MAX_SOURCE];
} arrays;

static arrays arrays_new(const dataset *d) {
  static const int64_t cols[PB_MAX_SOURCE] = {0, 0, 5, 1, 7, 4, 2, 8, 3, 6, 1, 1, 9, 2, 4, 5};
  arrays a = {.source = {d->source[0], d->source[1]}};
  rng r = {1};
  for (int i = 2; i < PB_MAX_SOURCE; i++) {
    a.data[i] = exact_alloc(ROWS * cols[i] * 8);
    for (int64_t k = 0; k < ROWS * cols[i]; k++) a.data[i][k] = rng_uniform(&r);
    a.source[i] = source_of(a.data[i], ROWS, cols[i]);
  }
  return a;
}

/* Runs a sealed plan in the way that it is made for. */
static void run_sealed(pb_plan *p, const dataset *d, const net *s, const arrays *a) {
  double results[2 * PB_MAX_RESULT];
  if (p->optim) {
    pb_run run = run_of(d, s, 2, results);
    run.source = a->source;
    if (run.batch > p->capacity) run.batch = p->capacity;
    pb_train(p, &run);
  } else if (p->nforward == p->ninstr) {
    int64_t bytes = p->output < 0 ? 1 : rows_bytes(p, p->output, ROWS);
    void *out = exact_alloc(bytes);
    pb_map(p, a->source, ROWS, p->output < 0 ? NULL : out, results);
    exact_free(out);
  } else {
    pb_workspace *w;
    int64_t n = p->capacity < ROWS ? p->capacity : ROWS;
    if (pb_once(p, a->source, n, true, 1, 2, NULL, &w) == PB_OK) pb_workspace_release(p, w);
  }
}

static void shake(const pb_table *t, const net *s, uint64_t seed, int count) {
  net_plan n = net_draft(t, s);
  dataset d = dataset_new(s, ROWS, 2);
  arrays a = arrays_new(&d);
  int sealed = 0;
  for (int i = 0; i < count; i++) {
    rng r = {seed * 1000003 + (uint64_t)i};
    model m = model_new(&n.draft);
    model_fill(&m, 8, 0.3);
    for (int64_t k = rng_below(&r, 3); k >= 0; k--) {
      int64_t where = rng_below(&r, 10);
      if (where < 4) harm_instr(&r, m.plan);
      else if (where < 8) harm_tensor(&r, m.plan);
      else harm_plan(&r, m.plan);
    }
    pb_status status = pb_plan_seal(m.plan);
    CHECK(status == PB_OK ? m.plan->sealed : !m.plan->sealed && *m.plan->error,
          "plan %d: status %d", i, (int)status);
    if (status == PB_OK) {
      sealed++;
      run_sealed(m.plan, &d, s, &a);
    }
    model_free(&m);
  }
  CHECK(sealed > count / 50 && sealed < count * 3 / 4, "%d of %d changed plans pass", sealed,
        count);
  for (int i = 2; i < PB_MAX_SOURCE; i++) exact_free(a.data[i]);
  dataset_free(&d);
}

/* A quarter of the plans for each table would be too many; the tables share the work. */
static void shake_all(const pb_table *t, const net *s, uint64_t seed) {
  shake(t, s, seed, PLANS / table_count());
}

static void training(const pb_table *t) {
  net s = {TRAINING, 2, {5, 7, 4}, "relu", 0.3, 5, "momentum", false};
  shake_all(t, &s, 1);
}

static void fused_training(const pb_table *t) {
  net s = {TRAINING, 2, {5, 7, 4}, "tanh", 0.3, 5, "adam", true};
  shake_all(t, &s, 2);
}

static void treated_training(const pb_table *t) {
  net s = {TRAINING, 2, {5, 7, 4}, "tanh", 0.3, 5, "adam", TREATED};
  shake_all(t, &s, 5);
  s.updates |= FUSED;
  shake_all(t, &s, 6);
}

static void gradients(const pb_table *t) {
  net s = {GRADIENTS, 2, {5, 7, 4}, "sigmoid", 0.3, 5, NULL, false};
  shake_all(t, &s, 3);
}

static void inference(const pb_table *t) {
  net s = {INFERENCE, 2, {5, 7, 4}, "relu", 0.3, 5, NULL, false};
  shake_all(t, &s, 4);
}

const test tests_fuzz[] = {
    {"training", NULL, training},
    {"fused training", NULL, fused_training},
    {"treated training", NULL, treated_training},
    {"gradients", NULL, gradients},
    {"inference", NULL, inference},
    {0},
};
