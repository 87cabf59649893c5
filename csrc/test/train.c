/* Whole training runs: against plain loops, with any number of threads, and without asking for
 * memory while they run.
 */
#include <math.h>
#include <string.h>

#include "test/net.h"

static const char *const optims[] = {"sgd", "momentum", "adam"};

static net small_net(const char *optim, bool fused) {
  return (net){TRAINING, 3, {5, 9, 7, 4}, "tanh", 0.25, 6, optim, fused};
}

/* Parameters in the order of weight and bias of each layer, without the gaps between tensors. */
static void read_params(const net_plan *p, const net *s, const model *m, double *params) {
  for (int i = 0; i < s->layers; i++) {
    const int32_t id[] = {p->weight[i], p->bias[i]};
    for (int k = 0; k < 2; k++) {
      const pb_tensor *t = &p->draft.tensor[id[k]];
      for (int64_t j = 0; j < pb_shape_size(&t->shape); j++)
        *params++ = get_real(p->draft.table, (char *)m->param + t->offset, j);
    }
  }
}

static void follow(const pb_table *t, const char *optim, bool fused) {
  net s = small_net(optim, fused);
  net_plan p = net_draft(t, &s);
  model m = net_model(t, &s);
  dataset d = dataset_new(&s, 23, 4); /* the last batch has 5 rows of 6 */
  double found[8] = {0}, wanted[8] = {0}, params[2000], after[2000];
  pb_run run = run_of(&d, &s, 4, found), twin = run;
  twin.results = wanted;
  read_params(&p, &s, &m, params);
  CHECK(pb_train(m.plan, &run) == PB_OK, "training fails");
  CHECK(run.epoch == 4 && run.step == 16 && run.row == 0, "the cursor is at epoch %d, step %d",
        (int)run.epoch, (int)run.step);
  loops_train(&s, &d, &twin, p.draft.optim_attr, params);
  read_params(&p, &s, &m, after);
  double tolerance = t->real_size == 8 ? 1e-12 : 5e-5;
  for (int64_t i = 0; i < loops_params(&s); i++)
    if (!CHECK(close_to(after[i], params[i], tolerance),
               "%s%s: parameter %d is %.12g, wanted %.12g", fused ? "fused " : "", optim, (int)i,
               after[i], params[i]))
      break;
  for (int i = 0; i < 4; i++)
    CHECK(close_to(found[2 * i], wanted[2 * i], tolerance), "%s: loss %.12g, wanted %.12g", optim,
          found[2 * i], wanted[2 * i]);
  CHECK(found[6] < found[0], "%s does not learn: %g, then %g", optim, found[0], found[6]);
  model_free(&m);
  dataset_free(&d);
}

static void against_loops(const pb_table *t) {
  for (int i = 0; i < 3; i++) follow(t, optims[i], false), follow(t, optims[i], true);
}

/* --- threads ------------------------------------------------------------------------------------- */

/* Trains with 1 thread, then with 2 to 4: the same parameters, state and losses to the last bit. */
static void any_threads(const pb_table *t, net s, int64_t rows) {
  dataset d = dataset_new(&s, rows, 5);
  model one = {0};
  double first[2], again[2];
  for (int threads = 1; threads <= 4; threads++) {
    model m = net_model(t, &s);
    CHECK(m.plan->threads >= 2, "this plan is meant to have work for threads");
    pb_set_threads(threads);
    pb_run run = run_of(&d, &s, 1, threads == 1 ? first : again);
    CHECK(pb_train(m.plan, &run) == PB_OK, "training with %d threads fails", threads);
    if (threads == 1) {
      one = m;
      continue;
    }
    CHECK(models_equal(&one, &m), "%s%s: %d threads give other bits than one",
          s.updates & FUSED ? "fused " : "", s.optim, threads);
    CHECK(memcmp(first, again, sizeof first) == 0, "%d threads give other losses", threads);
    model_free(&m);
  }
  pb_set_threads(1);
  model_free(&one);
  dataset_free(&d);
}

/* Wide enough that every kind of instruction is shared between the threads. */
static void threads_wide(const pb_table *t) {
  any_threads(t, (net){TRAINING, 2, {20, 800, 10}, "relu", 0.2, 64, "sgd", false}, 100);
  any_threads(t, (net){TRAINING, 2, {20, 800, 10}, "sigmoid", 0.2, 64, "adam", true}, 100);
}

/* Shared and unshared instructions in turn, and layers narrower than the threads' shares. */
static void threads_mixed(const pb_table *t) {
  any_threads(t, (net){TRAINING, 3, {40, 230, 33, 5}, "tanh", 0.1, 60, "adam", false}, 120);
  any_threads(t, (net){TRAINING, 3, {40, 230, 33, 5}, "relu", 0, 60, "momentum", true}, 120);
}

/* Large enough for a BLAS library, where there is one. */
static void threads_large(const pb_table *t) {
  if (strcmp(pb_blas_name(), "built-in") == 0) {
    skip("built without BLAS");
    return;
  }
  any_threads(t, (net){TRAINING, 2, {1400, 260, 10}, "relu", 0, 300, "momentum", true}, 560);
  any_threads(t, (net){TRAINING, 2, {1400, 260, 10}, "relu", 0, 300, "sgd", false}, 300);
}

/* A plan that ran on one thread runs on more, in as much scratch memory as those need. */
static void more_threads(const pb_table *t) {
  net s = {GRADIENTS, 2, {30, 400, 10}, "tanh", 0.3, 64, NULL, false};
  dataset d = dataset_new(&s, 64, 6);
  model m = net_model(t, &s);
  void *first = exact_alloc(m.bytes);
  for (int threads = 1; threads <= 4; threads++) {
    pb_workspace *w = NULL;
    pb_set_threads(threads);
    memset(m.grad, 0, (size_t)m.bytes);
    CHECK(pb_once(m.plan, d.source, 64, true, 3, 9, NULL, &w) == PB_OK, "one pass fails");
    pb_workspace_release(m.plan, w);
    if (threads == 1) memcpy(first, m.grad, (size_t)m.bytes);
    CHECK(memcmp(first, m.grad, (size_t)m.bytes) == 0, "then %d threads: other bits", threads);
  }
  pb_set_threads(1);
  exact_free(first);
  model_free(&m);
  dataset_free(&d);
}

/* Without a single backward instruction the threads still keep step. */
static void threads_forward_only(const pb_table *t) {
  net s = {TRAINING, 2, {40, 230, 5}, "relu", 0.1, 60, "sgd", true};
  net_plan p = net_draft(t, &s);
  dataset d = dataset_new(&s, 120, 5);
  double results[2 * 20];
  p.draft.ninstr = p.draft.nforward;
  model m = model_new(&p.draft);
  pb_set_threads(2);
  pb_run run = run_of(&d, &s, 20, results);
  if (model_seal(&m)) {
    CHECK(pb_train(m.plan, &run) == PB_OK && run.step == 40, "stopped at step %d", (int)run.step);
    CHECK(m.plan->threads >= 2, "this plan is meant to have work for threads");
  }
  pb_set_threads(1);
  model_free(&m);
  dataset_free(&d);
}

/* Gradients of one pass, likewise. */
static void threads_once(const pb_table *t) {
  net s = {GRADIENTS, 2, {30, 300, 10}, "tanh", 0.3, 64, NULL, false};
  dataset d = dataset_new(&s, 64, 6);
  model one = {0};
  for (int threads = 1; threads <= 4; threads++) {
    model m = net_model(t, &s);
    pb_workspace *w = NULL;
    pb_set_threads(threads);
    CHECK(pb_once(m.plan, d.source, 60, true, 3, 9, NULL, &w) == PB_OK, "one pass fails");
    pb_workspace_release(m.plan, w);
    if (threads == 1) {
      one = m;
      continue;
    }
    CHECK(memcmp(one.grad, m.grad, (size_t)m.bytes) == 0, "%d threads: other gradients", threads);
    model_free(&m);
  }
  pb_set_threads(1);
  model_free(&one);
  dataset_free(&d);
}

/* Fused into backward or after it, the update is the same arithmetic. */
static void fused_as_unfused(const pb_table *t) {
  for (int i = 0; i < 3; i++) {
    net s = small_net(optims[i], false);
    dataset d = dataset_new(&s, 23, 4);
    double results[4];
    model m[2];
    for (int fused = 0; fused < 2; fused++) {
      s.updates = fused;
      m[fused] = net_model(t, &s);
      pb_run run = run_of(&d, &s, 2, results);
      CHECK(pb_train(m[fused].plan, &run) == PB_OK, "training fails");
    }
    int64_t n = m[0].bytes / t->real_size;
    for (int64_t k = 0; k < n; k++) {
      double a = get_real(t, m[0].param, k), b = get_real(t, m[1].param, k);
      if (!CHECK(close_to(a, b, t->real_size == 8 ? 1e-14 : 1e-6), "%s: %.9g, fused %.9g",
                 optims[i], a, b))
        break;
    }
    model_free(&m[0]), model_free(&m[1]);
    dataset_free(&d);
  }
}

/* --- memory -------------------------------------------------------------------------------------- */

static int64_t allocations_of(model *m, const dataset *d, const net *s, int64_t epochs) {
  double *results = exact_alloc(epochs * 2 * 8);
  pb_run run = run_of(d, s, epochs, results);
  int64_t before = pb_allocations();
  CHECK(pb_train(m->plan, &run) == PB_OK, "training fails");
  exact_free(results);
  return pb_allocations() - before;
}

/* A call asks for memory before its first step; the steps ask for none. */
static void no_memory_per_step(const pb_table *t) {
  for (int threads = 1; threads <= 2; threads++) {
    net s = small_net("adam", threads == 2);
    if (threads == 2) s.units[1] = s.units[2] = 100, s.capacity = 20;
    dataset d = dataset_new(&s, 2 * s.capacity, 7);
    model m = net_model(t, &s);
    CHECK(m.plan->threads == threads, "work for %d threads", (int)m.plan->threads);
    pb_set_threads(threads);
    CHECK(allocations_of(&m, &d, &s, 1) > 0, "a first call that asks for no memory");
    int steps = threads == 1 ? 1000 : 40; /* two an epoch */
    int64_t few = allocations_of(&m, &d, &s, 5), many = allocations_of(&m, &d, &s, steps / 2);
    CHECK(few == many, "10 steps ask %d times for memory, %d steps %d times", (int)few, steps,
          (int)many);
    pb_set_threads(1);
    model_free(&m);
    dataset_free(&d);
  }
}

/* A batch that is not full gives the loss and the accuracy of just its rows. */
static void partial_batch(const pb_table *t) {
  net s = small_net("sgd", false), still = s;
  s.rate = still.rate = 0, still.purpose = INFERENCE;
  dataset d = dataset_new(&s, 23, 4);
  model m = net_model(t, &s), frozen = net_model(t, &still);
  double results[2], sums[2], rate = 0;
  pb_run run = run_of(&d, &s, 1, results);
  run.learning_rate = &rate;
  CHECK(pb_train(m.plan, &run) == PB_OK, "training fails");
  CHECK(pb_map(frozen.plan, d.source, 23, NULL, sums) == PB_OK, "inference fails");
  CHECK(close_to(results[0], sums[0], t->real_size == 8 ? 1e-14 : 1e-6), "loss %.17g, wanted %.17g",
        results[0], sums[0]);
  CHECK(results[1] == sums[1], "hits %g, wanted %g", results[1], sums[1]);
  CHECK(memcmp(m.param, frozen.param, (size_t)m.bytes) == 0, "rate 0 moves parameters");
  model_free(&m), model_free(&frozen);
  dataset_free(&d);
}

const test tests_train[] = {
    {"against loops", NULL, against_loops},
    {"1 to 4 threads, wide layers", NULL, threads_wide},
    {"1 to 4 threads, mixed layers", NULL, threads_mixed},
    {"1 to 4 threads, BLAS sizes", NULL, threads_large},
    {"more threads than before", NULL, more_threads},
    {"2 threads, nothing backward", NULL, threads_forward_only},
    {"1 to 4 threads, gradients", NULL, threads_once},
    {"fused as unfused", NULL, fused_as_unfused},
    {"no memory per step", NULL, no_memory_per_step},
    {"partial batch", NULL, partial_batch},
    {0},
};
