/* Sealing: each way in which a plan can be wrong is refused with a sentence, and a refused plan
 * does not run.
 */
#include <math.h>
#include <string.h>

#include "test/net.h"
#include "test/use.h"

/* Breaks the plan in way i and says how; NULL past the last way. */
typedef const char *breakage(const net_plan *, pb_plan *, int i);

static const char *break_plan(const net_plan *n, pb_plan *p, int i) {
  (void)n;
  switch (i) {
    case 0: return p->capacity = 0, "no capacity";
    case 1: return p->capacity *= 1000, "more capacity than memory";
    case 2: return p->act_bytes -= PB_ALIGN * 4, "too little memory for activations";
    case 3: return p->act_bytes = -1, "a negative amount of memory";
    case 4: return p->act_bytes = INT64_MAX, "absurd memory";
    case 5: return p->nparam -= 20, "fewer parameters than tensors hold";
    case 6: return p->nparam = INT64_MAX, "absurdly many parameters";
    case 7: return p->nparam = -1, "a negative number of parameters";
    case 8: return p->nforward = 0, "no forward instruction";
    case 9: return p->nforward++, "a backward instruction among the forward ones";
    case 10: return p->nforward--, "a forward instruction among the backward ones";
    case 11: return p->nforward = p->ninstr + 1, "more forward instructions than there are";
    case 12: return p->nsource = 1, "a source that does not exist";
    case 13: return p->nsource = PB_MAX_SOURCE + 1, "too many sources";
    case 14: return p->nresult = PB_MAX_RESULT + 1, "too many results";
    case 15: return p->nresult = -1, "a negative number of results";
    case 16: return p->param = NULL, "no parameter vector";
    case 17: return p->grad = NULL, "no gradient vector";
    case 18: return p->state[1] = NULL, "no state vector";
    case 19: return p->nloss = 0, "no loss";
    case 20: return p->nloss = p->nresult + 1, "more losses than results";
    case 21: return p->loss_weight[0] = -1, "a loss of negative weight";
    case 22: return p->loss_weight[0] = NAN, "a loss whose weight is no number";
    default: return NULL;
  }
}

static const char *break_tensor(const net_plan *n, pb_plan *p, int i) {
  pb_tensor *x = &p->tensor[n->x], *w = &p->tensor[n->weight[0]], *loss = &p->tensor[n->loss];
  switch (i) {
    case 0: return x->offset = -64, "a negative offset";
    case 1: return x->offset += 8, "an unaligned offset";
    case 2: return x->offset = p->act_bytes, "an offset past the memory";
    case 3: return x->offset = INT64_MAX / 64 * 64, "an absurd offset";
    case 4: return x->shape.dim[0]++, "a feed of other columns than the layer takes";
    case 5: return x->shape.dim[0] = 0, "an empty row";
    case 6: return x->shape.dim[0] = INT64_MAX, "an endless row";
    case 7: return x->shape.ndim = PB_MAX_DIMS + 1, "too many dimensions";
    case 8: return x->shape.ndim = -1, "a negative number of dimensions";
    case 9: return x->shape.batched = false, "a feed without rows";
    case 10: return x->is_double = true, "an input that is no real";
    case 11: return w->shape.batched = true, "a parameter with rows";
    case 12: return w->is_double = true, "a parameter that is no real";
    case 13: return w->offset = p->nparam * p->table->real_size, "a parameter past the end";
    case 14: return w->shape.dim[0]++, "a weight of other outputs";
    case 15: return w->arena = (pb_arena)(PB_RUNNING + 1), "an unknown arena";
    case 16: return loss->is_double = false, "a loss in reals";
    case 17: return loss->shape.dim[0] = 2, "two losses a row";
    case 18: return x->arena = PB_PARAM, "a feed into the parameters";
    case 19: return x->shape.blocked = true, "rows in blocks for a layer that takes none";
    default: return NULL;
  }
}

static const char *break_instr(const net_plan *n, pb_plan *p, int i) {
  pb_instr *feed = &p->instr[0], *dense = &p->instr[2], *last = &p->instr[p->nforward - 3];
  pb_instr *loss = &p->instr[p->nforward - 2];
  (void)last;
  switch (i) {
    case 0: return feed->op = NULL, "no op";
    case 1: return feed->attr[0].i = -1, "a negative source";
    case 2: return feed->attr[0].i = 2, "a source too far";
    case 3: return feed->out = -1, "a feed to nowhere";
    case 4: return feed->out = p->ntensor, "a tensor too far";
    case 5: return feed->nin = 1, "a feed with an input";
    case 6: return feed->activation = pb_find_op(p->table, "relu"), "a feed with an activation";
    case 7: return dense->nin = 1, "too few inputs";
    case 8: return dense->nin = 4, "too many inputs";
    case 9: return dense->nin = -1, "a negative number of inputs";
    case 10: return dense->in[0] = -1, "no input";
    case 11: return dense->in[1] = n->x, "rows in place of a weight";
    case 12: return dense->in[0] = n->loss, "a loss for an input";
    case 13: return dense->out = n->weight[0], "an output among the parameters";
    case 14: return dense->out = n->x, "an output of the wrong size";
    case 15: return dense->activation = pb_find_op(p->table, "softmax"), "softmax fused";
    case 16: return dense->fused_update = true, "an update in forward";
    case 17: return dense->phase = PB_PHASES, "an unknown phase";
    case 18: return dense->saved = n->x, "something saved by an op that saves nothing";
    case 19: return loss->saved = n->x, "saved values of the wrong size";
    case 20: return loss->saved = n->loss, "saved values that are no reals";
    case 21: return loss->in[1] = n->x, "targets of the wrong size";
    case 22: return loss->out = n->logits, "a loss that is no double";
    case 23: return p->tensor[n->x].offset = p->tensor[dense->out].offset, "an output on its input";
    case 24:
      return p->tensor[n->x].offset = p->tensor[dense->out].offset + 64,
             "an output half on its input";
    case 25: return feed->joined = true, "work of an instruction that reads something else";
    case 26: return p->instr[p->nforward - 1].joined = true, "work of a backward instruction";
    default: return NULL;
  }
}

static const char *break_backward(const net_plan *n, pb_plan *p, int i) {
  pb_instr *loss = &p->instr[p->nforward], *last = loss + 1, *param = loss + 2;
  pb_instr *update = &p->instr[p->ninstr - 1];
  switch (i) {
    case 0: return loss->din[0] = -1, "backward of a loss to nowhere";
    case 1: return loss->saved = -1, "backward without what was saved";
    case 2: return loss->din[0] = n->x, "a gradient of another shape";
    case 3: return loss->phase = PB_BACKWARD_PARAM, "parameters of a loss";
    case 4: return loss->phase = PB_DELTA, "an activation of a loss";
    case 5: return last->dout = -1, "backward from nowhere";
    case 6: return last->dout = n->x, "an output's gradient of another shape";
    case 7: return last->din[0] = -1, "backward to nowhere";
    case 8: return last->din[0] = p->ntensor, "a gradient too far";
    case 9: return last->din[0] = -2, "a gradient of tensor -2";
    case 10: return param->din[1] = n->weight[1], "a gradient among the parameters";
    case 11: return param->din[2] = param->din[1], "a bias gradient shaped as a weight";
    case 12: return param->phase = PB_DELTA, "an error signal without an activation";
    case 13: return update->begin = -1, "an update from before the parameters";
    case 14: return update->end++, "an update past the parameters";
    case 15: return update->begin = update->end, "an update of nothing";
    case 16: return update->end = INT64_MAX, "an endless update";
    case 17: return p->optim = NULL, "an update without an optimiser";
    case 18: return last->din[0] = last->in[0], "a gradient over what backward reads";
    case 19: return last->activation = pb_find_op(p->table, "softmax"), "softmax's error signals";
    case 20: return last->activation = pb_find_op(p->table, "step"), "signals without a slope";
    case 21: return param->activation = pb_find_op(p->table, "relu"), "signals of a weight";
    default: return NULL;
  }
}

/* The end of a step: measures of six parameters, PB_CLIP, six updates, three limits, the average. */
static const char *break_treated(const net_plan *n, pb_plan *p, int i) {
  pb_instr *average = &p->instr[p->ninstr - 1], *limit = average - 1, *update = limit - 2;
  pb_instr *clip = update - 4, *measure = clip - 1;
  switch (i) {
    case 0: return p->group[0].l2 = 0.1, "a first group that is not plain";
    case 1: return p->group[1].rate_factor = 0, "a learning rate times 0";
    case 2: return p->group[1].decay = NAN, "a decay that is no number";
    case 3: return p->group[2].l1 = -1, "a negative penalty";
    case 4: return p->clip_norm = INFINITY, "an endless bound";
    case 5: return p->global_norm = -1, "a negative bound";
    case 6: return p->tensor[n->weight[0]].group = 3, "a group that does not exist";
    case 7: return p->tensor[n->weight[0]].group = -1, "group -1";
    case 8: return measure->slot = 0, "two measures of one factor";
    case 9: return measure->slot = -1, "a measure without a factor";
    case 10: return measure->begin = p->nparam, "a measure past the parameters";
    case 11: return clip->end = 10, "a clip of a range";
    case 12: return update->slot = 4, "an update with a factor that nobody makes";
    case 13: return update->group = 7, "an update of a group that does not exist";
    case 14: return limit->row = 0, "a limit of empty rows";
    case 15: return limit->row = 5, "a limit of rows that do not fill the range";
    case 16: return limit->group = 2, "a limit without a norm";
    case 17: return p->average = NULL, "an average without memory";
    case 18: return average->end++, "an average past the parameters";
    case 19: return *limit = p->instr[p->nforward], "an op after the updates";
    default: return NULL;
  }
}

/* Fused updates find a parameter's state by its place in the parameter vector. */
static const char *break_fused(const net_plan *n, pb_plan *p, int i) {
  pb_tensor *w = &p->tensor[n->weight[0]], *b = &p->tensor[n->bias[0]];
  switch (i) {
    case 0: return w->arena = PB_GRAD, "a weight among the gradients";
    case 1: return w->arena = PB_ACT, "a weight among the activations";
    case 2: return b->arena = PB_ACT, "a bias among the activations";
    case 3: return p->optim = NULL, "a fused update without an optimiser";
    case 4: return p->accumulates = true, "a fused update of gradients that add up";
    default: return NULL;
  }
}

static const char *break_inference(const net_plan *n, pb_plan *p, int i) {
  switch (i) {
    case 0: return p->output = n->weight[0], "parameters for the output";
    case 1: return p->output = p->ntensor, "an output too far";
    case 2: return p->output = -2, "an output of -2";
    case 3: return p->output = n->loss, "an output that is no real";
    case 4: return p->input = n->logits, "an input that is not the first feed's";
    case 5: return p->input = p->ntensor, "an input too far";
    case 6: return p->result[0] = -1, "no result";
    case 7: return p->result[0] = n->logits, "a result that is no double";
    default: return NULL;
  }
}

static void refuses(const pb_table *t, const net *s, breakage *harm) {
  net_plan n = net_draft(t, s);
  for (int i = 0;; i++) {
    model m = model_new(&n.draft);
    const char *how = harm(&n, m.plan, i);
    if (how) {
      double results[4];
      dataset d = dataset_new(s, s->capacity, 1);
      pb_run run = run_of(&d, s, 1, results);
      pb_workspace *w = NULL;
      CHECK(pb_plan_seal(m.plan) == PB_BAD_PLAN, "%s: sealed", how);
      CHECK(strlen(m.plan->error) > 5, "%s: refused without a word", how);
      CHECK(pb_train(m.plan, &run) == PB_BAD_CALL, "%s: trains", how);
      CHECK(pb_map(m.plan, d.source, 1, NULL, NULL) == PB_BAD_CALL, "%s: infers", how);
      CHECK(pb_once(m.plan, d.source, 1, true, 0, 0, NULL, &w) == PB_BAD_CALL && !w, "%s: runs",
            how);
      CHECK(!pb_workspace_new(m.plan), "%s: has a workspace", how);
      dataset_free(&d);
    }
    model_free(&m);
    if (!how) return;
  }
}

static net broken_net(purpose purpose, bool fused) {
  return (net){purpose, 2, {6, 11, 3}, "relu", 0.3, 6, "adam", fused};
}

static void refuses_training(const pb_table *t) {
  net s = broken_net(TRAINING, false);
  refuses(t, &s, break_plan);
  refuses(t, &s, break_tensor);
  refuses(t, &s, break_instr);
  refuses(t, &s, break_backward);
  s.updates = TREATED;
  refuses(t, &s, break_treated);
}

static void refuses_fused(const pb_table *t) {
  net s = broken_net(TRAINING, true);
  refuses(t, &s, break_fused);
}

static void refuses_inference(const pb_table *t) {
  net s = broken_net(INFERENCE, false);
  refuses(t, &s, break_inference);
  refuses(t, &s, break_tensor);
  refuses(t, &s, break_instr);
}

/* A result must be one double of every row, not one of the whole batch. */
static void refuses_unbatched_result(const pb_table *t) {
  draft d = draft_new(t, 4);
  draft_feed(&d, 0, 1, draft_rows(&d, 3));
  d.result[0] = draft_tensor(&d, PB_ACT, (pb_shape){.ndim = 1, .dim = {1}}, true);
  d.nresult = 1;
  model m = model_new(&d);
  CHECK(pb_plan_seal(m.plan) == PB_BAD_PLAN, "a result without rows is summed over rows");
  model_free(&m);
}

/* The array read in place must be one that the first instruction would have gathered, and nothing
   may be written over it. */
static void refuses_input_overwritten(const pb_table *t) {
  for (int way = 0; way < 2; way++) {
    draft d = draft_new(t, 4);
    int32_t x = draft_rows(&d, 3);
    pb_instr *k = way == 0 ? NULL : draft_instr(&d, PB_FORWARD, "dropout");
    if (k) k->nin = 1, k->in[0] = draft_rows(&d, 3), k->out = x, k->attr[0].f = 0.5;
    else draft_feed(&d, 0, 1, x), draft_feed(&d, 0, 1, x);
    d.input = x;
    model m = model_new(&d);
    CHECK(pb_plan_seal(m.plan) == PB_BAD_PLAN, "%s",
          way ? "an input that nobody feeds" : "an op that writes over the input");
    model_free(&m);
  }
}

/* Kernels of other reals would read past the ends of everything. */
static void refuses_strange_kernels(const pb_table *t) {
  const pb_table *other = table_at(t->real_size == 4 ? 1 : 0);
  net s = broken_net(TRAINING, true);
  net_plan n = net_draft(t, &s);
  for (int way = 0; way < 3; way++) {
    model m = model_new(&n.draft);
    if (way == 0) m.plan->instr[2].op = pb_find_op(other, "dense");
    if (way == 1) m.plan->instr[2].activation = pb_find_op(other, "relu");
    if (way == 2) m.plan->optim = pb_find_optim(other, "adam");
    CHECK(pb_plan_seal(m.plan) == PB_BAD_PLAN, "kernels of another precision, way %d", way);
    model_free(&m);
  }
}

/* Weights are read from a source of doubles, one a row. */
static void weights(const pb_table *t) {
  const op_case *c = find_case("squared_error", 3, 3);
  for (int way = 0; way < 5; way++) {
    use u = use_new(t, c, 4, false);
    if (way == 0) u.draft.weights = -2;
    if (way == 1) u.draft.weights = u.draft.nsource;
    pb_source *s = &u.source[way < 2 ? 0 : u.draft.weights];
    if (way == 2) s->dtype = PB_F32;
    if (way == 3) s->rows = 3;
    if (way == 4) s->cols = 2;
    model m = model_new(&u.draft);
    pb_workspace *w = NULL;
    pb_status status = pb_plan_seal(m.plan);
    CHECK(status == (way < 2 ? PB_BAD_PLAN : PB_OK), "weights, way %d: sealed %d", way,
          (int)status);
    if (status == PB_OK) status = pb_once(m.plan, u.source, 4, true, 0, 0, NULL, &w);
    CHECK(status == (way < 2 ? PB_BAD_PLAN : PB_BAD_CALL), "weights, way %d: %d", way, (int)status);
    model_free(&m);
    use_free(&u);
  }
}

static void attributes(const pb_table *t) {
  static const double rates[] = {-0.1, 1, 1.5, NAN, INFINITY};
  net s = broken_net(TRAINING, false);
  net_plan n = net_draft(t, &s);
  for (int i = 0; i < 5; i++) {
    model m = model_new(&n.draft);
    m.plan->instr[3].attr[0].f = rates[i];
    CHECK(pb_plan_seal(m.plan) == PB_BAD_PLAN, "dropout of %g", rates[i]);
    model_free(&m);
  }
}

static void sizes(void) {
  pb_shape s = {.ndim = 0};
  CHECK(pb_shape_size(&s) == 1, "a number on its own");
  s = (pb_shape){.ndim = 3, .batched = true, .dim = {2, 3, 5}};
  CHECK(pb_shape_size(&s) == 30, "2 x 3 x 5 is %d", (int)pb_shape_size(&s));
  s.dim[1] = 0;
  CHECK(pb_shape_size(&s) == -1, "nothing");
  s.dim[1] = -3, s.dim[2] = -5;
  CHECK(pb_shape_size(&s) == -1, "negative sizes");
  s = (pb_shape){.ndim = 3, .dim = {INT32_MAX, INT32_MAX, INT32_MAX}};
  CHECK(pb_shape_size(&s) == -1, "a product that overflows");
  s = (pb_shape){.ndim = 1, .dim = {INT64_MAX}};
  CHECK(pb_shape_size(&s) == -1, "one dimension too large");
  s.ndim = PB_MAX_DIMS + 1;
  CHECK(pb_shape_size(&s) == -1, "too many dimensions");
}

static void misuse(const pb_table *t) {
  CHECK(!pb_plan_new(NULL, 1), "a plan without kernels");
  CHECK(!pb_plan_new(t, 0) && !pb_plan_new(t, -5), "a plan without rows");
  CHECK(!pb_plan_new(t, INT64_MAX), "a plan of endless rows");
  pb_plan_free(NULL);
  pb_plan *p = pb_plan_new(t, 3);
  CHECK(pb_plan_seal(p) != PB_OK, "an empty plan is sealed");
  CHECK(pb_plan_reserve(p, 0, 1, 1) != PB_OK && pb_plan_reserve(p, 1, 0, 1) != PB_OK &&
            pb_plan_reserve(p, 1, 1, 0) != PB_OK,
        "empty lists");
  CHECK(pb_plan_reserve(p, 1, 1, 1) == PB_OK, "reserve fails");
  CHECK(pb_plan_reserve(p, 2, 2, 2) != PB_OK, "reserved twice");
  pb_plan_free(p);
  net s = broken_net(TRAINING, false);
  model m = net_model(t, &s);
  CHECK(pb_plan_seal(m.plan) == PB_BAD_PLAN, "sealed twice");
  model_free(&m);
}

const test tests_seal[] = {
    {"refuses broken training plans", NULL, refuses_training},
    {"refuses broken fused updates", NULL, refuses_fused},
    {"refuses broken inference plans", NULL, refuses_inference},
    {"refuses results without rows", NULL, refuses_unbatched_result},
    {"refuses writing over the input", NULL, refuses_input_overwritten},
    {"refuses kernels of other reals", NULL, refuses_strange_kernels},
    {"refuses attributes out of range", NULL, attributes},
    {"refuses weights of other kinds", NULL, weights},
    {"sizes", sizes, NULL},
    {"misuse", NULL, misuse},
    {0},
};
