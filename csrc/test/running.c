/* Running state and scaled outputs: what seal refuses of them, and that changed plans with both
 * either are refused or keep to their memory.
 */
#include <math.h>

#include "test/use.h"

enum { ROWS = 7, CHANGED = 3000 };

static use normalising(const pb_table *t) {
  return use_new(t, find_case("batch_norm", 3, 17), ROWS, false);
}

/* Breaks the plan in way i and says how; NULL past the last way. */
static const char *break_running(const use *u, pb_plan *p, int i) {
  pb_instr *forward = &p->instr[p->nforward - 1], *commit = &p->instr[p->ninstr - 1];
  pb_tensor *mean = &p->tensor[u->x[1]];
  switch (i) {
    case 0: return p->running = NULL, "no running state";
    case 1: return p->nrunning = 17, "less running state than tensors hold";
    case 2: return p->nrunning = -1, "a negative amount of it";
    case 3: return p->nrunning = INT64_MAX, "an absurd amount of it";
    case 4: return mean->arena = PB_PARAM, "running state among the parameters";
    case 5: return mean->arena = PB_ACT, "running state among the activations";
    case 6: return mean->is_double = false, "running state that is no double";
    case 7: return mean->shape.batched = true, "running state with rows";
    case 8: return mean->offset = p->nrunning * 8, "running state past the end";
    case 9: return mean->arena = (pb_arena)(PB_RUNNING + 1), "an unknown arena";
    case 10: return forward->in[0] = u->x[1], "running state in place of rows";
    case 11: return forward->in[1] = u->x[0], "rows in place of running state";
    case 12: return commit->saved = -1, "nothing saved for the end of the step";
    case 13: return commit->saved = u->y, "saved values of the wrong kind";
    case 14: return p->instr[p->nforward].din[1] = u->dx[0], "a gradient of running state";
    case 15: return commit->op = pb_find_op(p->table, "relu"), "an op that commits nothing";
    default: return NULL;
  }
}

static void refuses_running(const pb_table *t) {
  for (int i = 0;; i++) {
    use u = normalising(t);
    model m = model_new(&u.draft);
    const char *how = break_running(&u, m.plan, i);
    if (how) CHECK(pb_plan_seal(m.plan) == PB_BAD_PLAN && *m.plan->error, "accepted: %s", how);
    else CHECK(pb_plan_seal(m.plan) == PB_OK, "a sound plan is refused: %s", m.plan->error);
    model_free(&m);
    use_free(&u);
    if (!how) return;
  }
}

/* feed, dense with its columns scaled by an instruction of their own. */
typedef struct {
  draft d;
  int32_t x, weight, affine, y, mean, variance;
} scaled;

static scaled scaled_draft(const pb_table *t, const char *activation, bool last) {
  scaled s = {.d = draft_new(t, ROWS)};
  pb_shape columns = {.ndim = 1, .dim = {19}};
  s.x = draft_rows(&s.d, 5), s.y = draft_rows(&s.d, 19);
  s.weight = draft_tensor(&s.d, PB_PARAM, (pb_shape){.ndim = 2, .dim = {19, 5}}, false);
  s.mean = draft_tensor(&s.d, PB_RUNNING, columns, true);
  s.variance = draft_tensor(&s.d, PB_RUNNING, columns, true);
  s.affine = draft_tensor(&s.d, PB_ACT, (pb_shape){.ndim = 2, .dim = {2, 19}}, false);
  draft_feed(&s.d, 0, 1, s.x);
  pb_instr *k = draft_instr(&s.d, PB_FORWARD, "batch_norm_affine");
  k->nin = 2, k->in[0] = s.mean, k->in[1] = s.variance, k->out = s.affine;
  k->attr[0].f = 0.25;
  k = draft_instr(&s.d, PB_FORWARD, "dense");
  k->nin = 2, k->in[0] = s.x, k->in[1] = s.weight, k->out = s.y;
  k->affine = s.affine, k->affine_last = last;
  if (activation) k->activation = pb_find_op(t, activation);
  s.d.output = s.y;
  return s;
}

static model scaled_model(const scaled *s) {
  model m = model_new(&s->d);
  model_fill(&m, 3, 1);
  rng r = {4};
  for (int64_t i = 0; i < m.running_bytes / 8; i++) m.running[i] = 1 + 0.5 * rng_uniform(&r);
  return m;
}

static void check_scaled(const scaled *s, const model *m, const double *x, const void *y) {
  const pb_table *t = s->d.table;
  const pb_instr *k = &s->d.instr[2];
  const double *mean = m->running + s->d.tensor[s->mean].offset / 8;
  const double *variance = m->running + s->d.tensor[s->variance].offset / 8;
  const char *f = k->activation ? k->activation->name : "identity";
  for (int64_t n = 0; n < ROWS; n++)
    for (int64_t o = 0; o < 19; o++) {
      double z = 0, root = sqrt(variance[o] + 0.25);
      for (int64_t i = 0; i < 5; i++) z += x[n * 5 + i] * get_real(t, m->param, o * 5 + i);
      double wanted = k->affine_last
                          ? (reference_activation(f, k->activation_attr, z) - mean[o]) / root
                          : reference_activation(f, k->activation_attr, (z - mean[o]) / root);
      double found = get_real(t, y, n * 19 + o);
      CHECK(close_to(found, wanted, t->real_size == 8 ? 1e-13 : 2e-6), "%s: %g, wanted %g", f,
            found, wanted);
    }
}

static void scales_columns(const pb_table *t) {
  static const char *const names[] = {NULL, "relu", "tanh"};
  for (int i = 0; i < 6; i++) {
    scaled s = scaled_draft(t, names[i / 2], i % 2);
    model m = scaled_model(&s);
    double x[ROWS * 5];
    rng r = {5};
    for (int j = 0; j < ROWS * 5; j++) x[j] = as_real(t, rng_uniform(&r));
    pb_source source = source_of(x, ROWS, 5);
    void *y = exact_alloc(ROWS * 19 * t->real_size);
    if (model_seal(&m)) {
      CHECK(pb_map(m.plan, &source, ROWS, y, NULL) == PB_OK, "pb_map fails");
      check_scaled(&s, &m, x, y);
    }
    exact_free(y);
    model_free(&m);
  }
}

static const char *break_scaled(const scaled *s, pb_plan *p, int i) {
  pb_instr *dense = &p->instr[2];
  pb_tensor *a = &p->tensor[s->affine];
  switch (i) {
    case 0: return dense->affine = p->ntensor, "a tensor too far";
    case 1: return dense->affine = -2, "tensor -2";
    case 2: return dense->affine = s->weight, "a parameter for scale and shift";
    case 3: return dense->affine = s->x, "rows for scale and shift";
    case 4: return dense->affine = s->mean, "doubles for scale and shift";
    case 5: return a->shape.dim[1] = 18, "too few columns";
    case 6: return a->offset = p->tensor[s->y].offset, "scale and shift where the output goes";
    case 7: return p->instr[0].affine = s->affine, "scale and shift of other columns";
    case 8: return p->instr[1].affine = s->affine, "an op that has no columns to scale";
    default: return NULL;
  }
}

static void refuses_scaled(const pb_table *t) {
  scaled s = scaled_draft(t, "relu", true);
  for (int i = 0;; i++) {
    model m = scaled_model(&s);
    const char *how = break_scaled(&s, m.plan, i);
    if (how) CHECK(pb_plan_seal(m.plan) == PB_BAD_PLAN && *m.plan->error, "accepted: %s", how);
    model_free(&m);
    if (!how) return;
  }
}

/* One or two fields of a sound plan get odd numbers; the sanitizers and valgrind watch. */
static void changed_plans(const pb_table *t) {
  static const int32_t odd[] = {-2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 17, 64, 1 << 30};
  int sealed = 0;
  for (int i = 0; i < CHANGED; i++) {
    rng r = {(uint64_t)i};
    use u = normalising(t);
    model m = model_new(&u.draft);
    for (int change = 0; change < 1 + i % 2; change++) {
      pb_instr *k = &m.plan->instr[rng_below(&r, m.plan->ninstr)];
      pb_tensor *x = &m.plan->tensor[rng_below(&r, m.plan->ntensor)];
      int32_t number = odd[rng_below(&r, 13)], j = (int32_t)rng_below(&r, PB_MAX_IN);
      switch (rng_below(&r, 9)) {
        case 0: k->in[j] = number; break;
        case 1: k->din[j] = number; break;
        case 2: k->out = number; break;
        case 3: k->saved = number; break;
        case 4: k->affine = number; break;
        case 5: k->nin = number; break;
        case 6: x->offset = (int64_t)number * 8; break;
        case 7: x->shape.dim[0] = number; break;
        default: x->arena = (pb_arena)rng_below(&r, 5);
      }
    }
    pb_workspace *w = NULL;
    if (pb_plan_seal(m.plan) == PB_OK) {
      sealed++;
      pb_once(m.plan, u.source, ROWS, i % 3 > 0, 1, 2, NULL, &w);
      pb_workspace_release(m.plan, w);
    }
    model_free(&m);
    use_free(&u);
  }
  CHECK(sealed > CHANGED / 50 && sealed < CHANGED * 3 / 4, "%d of %d changed plans pass", sealed,
        CHANGED);
}

const test tests_running[] = {
    {"refuses broken running state", NULL, refuses_running},
    {"scales columns before and after f", NULL, scales_columns},
    {"refuses broken scales", NULL, refuses_scaled},
    {"changed plans", NULL, changed_plans},
    {0},
};
