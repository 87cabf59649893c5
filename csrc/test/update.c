/* What happens to gradients and parameters besides the optimiser's own arithmetic, against loops over
 * doubles; pieces of a batch against the whole; any number of threads.
 */
#include <math.h>
#include <string.h>

#include "test/net.h"

static net small_net(bool fused) {
  return (net){TRAINING, 2, {5, 9, 4}, "tanh", 0, 12, "sgd", TREATED | (fused ? FUSED : 0)};
}

static double clamp(double x, double bound) { return x > bound ? bound : x < -bound ? -bound : x; }

/* The gradient of one parameter tensor as its group treats it, and the sum of its squares. */
static double treated(const pb_table *t, const pb_group *g, const void *w, const void *grad,
                      int64_t n, double *out) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    double p = get_real(t, w, i), sign = (p > 0) - (p < 0);
    out[i] = clamp(get_real(t, grad, i) + g->l1 * sign + g->l2 * p, g->clip_value);
    sum += out[i] * out[i];
  }
  return sum;
}

static double bounded(double norm, double bound) {
  return norm + 1e-6 > bound ? bound / (norm + 1e-6) : 1;
}

/* One step of sgd on a tensor, from its treated gradient. */
static void step(const pb_group *g, double rate, double factor, int64_t n, int64_t row,
                 const double *slope, double *w) {
  for (int64_t i = 0; i < n; i++) {
    w[i] *= 1 - rate * g->rate_factor * g->decay;
    w[i] -= rate * g->rate_factor * factor * slope[i];
  }
  for (int64_t r = 0; g->max_norm > 0 && r < n / row; r++) {
    double sum = 0;
    for (int64_t i = 0; i < row; i++) sum += w[r * row + i] * w[r * row + i];
    for (int64_t i = 0; sqrt(sum) > g->max_norm && i < row; i++)
      w[r * row + i] *= g->max_norm / sqrt(sum);
  }
}

/* Gradients of the first batch, from a plan that does nothing else. */
static void find_gradients(const pb_table *t, const net *s, const dataset *d, const model *m,
                           model *found) {
  net bare = *s;
  pb_workspace *w = NULL;
  bare.purpose = GRADIENTS, bare.updates = 0;
  *found = net_model(t, &bare);
  memcpy(found->param, m->param, (size_t)m->bytes);
  CHECK(pb_once(found->plan, d->source, s->capacity, true, 17, 0, NULL, &w) == PB_OK, "one pass");
  pb_workspace_release(found->plan, w);
}

static void follow(const pb_table *t, bool fused) {
  net s = small_net(fused);
  net_plan p = net_draft(t, &s);
  model m = net_model(t, &s), before = {0};
  dataset d = dataset_new(&s, 12, 4);
  double results[2], slope[4][64], wanted[64], sum[4], factor[4], total = 0, weight = 0.25;
  pb_run run = run_of(&d, &s, 1, results);
  run.shuffle = false, run.average = &weight;
  find_gradients(t, &s, &d, &m, &before);
  int32_t id[4] = {p.weight[0], p.bias[0], p.weight[1], p.bias[1]};
  for (int k = 0; k < 4; k++) {
    const pb_tensor *x = &p.draft.tensor[id[k]];
    sum[k] = treated(t, &net_groups[x->group], (char *)m.param + x->offset,
                     (char *)before.grad + x->offset, pb_shape_size(&x->shape), slope[k]);
    factor[k] = fused ? 1 : bounded(sqrt(sum[k]), net_clip_norm);
    total += factor[k] * factor[k] * sum[k];
  }
  CHECK(fused || (sqrt(total) > net_global_norm && factor[0] < 1), "norms that need no clipping");
  CHECK(pb_train(m.plan, &run) == PB_OK, "training fails");
  double tolerance = t->real_size == 8 ? 1e-13 : 1e-6;
  for (int k = 0; k < 4; k++) {
    const pb_tensor *x = &p.draft.tensor[id[k]];
    int64_t n = pb_shape_size(&x->shape);
    double whole = fused ? 1 : bounded(sqrt(total), net_global_norm);
    for (int64_t i = 0; i < n; i++) wanted[i] = get_real(t, (char *)before.param + x->offset, i);
    step(&net_groups[x->group], *run.learning_rate, factor[k] * whole, n, x->shape.dim[1], slope[k],
         wanted);
    for (int64_t i = 0; i < n; i++) {
      double w = get_real(t, (char *)m.param + x->offset, i);
      double a = get_real(t, (char *)m.average + x->offset, i);
      if (!CHECK(close_to(w, wanted[i], tolerance), "tensor %d, %d: %.9g, wanted %.9g", k, (int)i,
                 w, wanted[i]) ||
          !CHECK(close_to(a, w / 4, tolerance), "average %.9g, wanted %.9g", a, w / 4))
        break;
    }
  }
  model_free(&m), model_free(&before);
  dataset_free(&d);
}

static void against_loops(const pb_table *t) { follow(t, true), follow(t, false); }

/* A batch in pieces is the batch: 25 rows in batches of 12, of which the last has one row. */
static void pieces(const pb_table *t) {
  net whole = small_net(false), parts = whole;
  parts.capacity = 5, parts.updates |= ACCUMULATED;
  model a = net_model(t, &whole), b = net_model(t, &parts);
  dataset d = dataset_new(&whole, 25, 4);
  double first[6], second[6];
  pb_run run = run_of(&d, &whole, 3, first), pieced = run;
  pieced.piece = 5, pieced.results = second;
  CHECK(pb_train(a.plan, &run) == PB_OK && pb_train(b.plan, &pieced) == PB_OK, "training fails");
  CHECK(run.step == 9 && pieced.step == 9, "%d and %d steps", (int)run.step, (int)pieced.step);
  for (int64_t i = 0; i < a.bytes / t->real_size; i++) {
    double x = get_real(t, a.param, i), y = get_real(t, b.param, i);
    if (!CHECK(close_to(y, x, t->real_size == 8 ? 1e-12 : 2e-5), "%.9g, in pieces %.9g", x, y))
      break;
  }
  for (int i = 0; i < 6; i++)
    CHECK(close_to(second[i], first[i], 1e-4), "result %g, in pieces %g", first[i], second[i]);
  pieced.epoch = 0, pieced.piece = 6;
  CHECK(pb_train(b.plan, &pieced) == PB_BAD_CALL, "pieces beyond the capacity");
  pieced.piece = -1;
  CHECK(pb_train(b.plan, &pieced) == PB_BAD_CALL, "negative pieces");
  run.epoch = 0, run.piece = 5;
  CHECK(pb_train(a.plan, &run) == PB_BAD_CALL, "pieces in a plan that does not accumulate");
  model_free(&a), model_free(&b);
  dataset_free(&d);
}

static void threads(const pb_table *t) {
  for (int fused = 0; fused < 2; fused++) {
    net s = {TRAINING, 2, {40, 900, 10}, "relu", 0.2, 64, "adam", TREATED | fused};
    dataset d = dataset_new(&s, 100, 5);
    model one = {0};
    double results[4], weight = 0.1;
    for (int n = 1; n <= 4; n++) {
      model m = net_model(t, &s);
      CHECK(m.plan->threads >= 2, "this plan is meant to have work for threads");
      pb_set_threads(n);
      pb_run run = run_of(&d, &s, 2, results);
      run.average = &weight;
      CHECK(pb_train(m.plan, &run) == PB_OK, "training with %d threads fails", n);
      if (n == 1) {
        one = m;
        continue;
      }
      CHECK(models_equal(&one, &m), "%d threads give other bits than one", n);
      model_free(&m);
    }
    pb_set_threads(1);
    model_free(&one);
    dataset_free(&d);
  }
}

/* As if the plan had found one of the two ways to be the quicker. */
static void prefer(pb_plan *p, bool abreast) {
  p->paced = INT32_MAX, p->pace[abreast] = 1e-9, p->pace[!abreast] = 1e9;
}

/* Pieces one after the other, or as many at a time as there are threads, with some left over: the same
   bits, and where a loss is no number the same place. */
static void abreast(const pb_table *t) {
  net s = {TRAINING, 2, {40, 900, 10}, "relu", 0.2, 24, "adam", TREATED | ACCUMULATED};
  dataset d = dataset_new(&s, 100, 5);
  model one = {0};
  double results[8][4], weight = 0.1, x = d.x[30 * 40];
  for (int i = 1; i <= 7; i++) {
    model m = net_model(t, &s);
    int n = (i + 1) / 2; /* threads: once side by side, once the other way */
    prefer(m.plan, i % 2);
    CHECK(m.plan->abreast && m.plan->threads >= 4, "this plan is meant to have work for threads");
    pb_set_threads(n);
    pb_run run = run_of(&d, &s, 2, results[i]);
    run.batch = 58, run.piece = 16, run.average = &weight;
    CHECK(pb_train(m.plan, &run) == PB_OK, "training with %d threads fails", n);
    run.epoch = 0, run.row = 0, run.shuffle = false, run.results = results[0];
    d.x[30 * 40] = NAN; /* in the second piece */
    CHECK(pb_train(m.plan, &run) == PB_DIVERGED && run.bad_param == -1 && run.bad_instr == 0,
          "%d threads: instruction %d, parameter %d, not the feed", n, (int)run.bad_instr,
          (int)run.bad_param);
    d.x[30 * 40] = x;
    if (i == 1) {
      one = m;
      continue;
    }
    CHECK(models_equal(&one, &m) && memcmp(results[1], results[i], sizeof results[i]) == 0,
          "%d threads give other bits than one", n);
    model_free(&m);
  }
  pb_set_threads(1);
  model_free(&one);
  dataset_free(&d);
}

static int questions;
static bool at_third(void) { return ++questions == 3; }

/* Interrupted among the pieces, a step leaves no trace: the run goes on from its beginning. */
static void interrupt(const pb_table *t, int threads, bool abreast) {
  pb_set_threads(threads);
  net s = {TRAINING, 2, {600, 500, 4}, "tanh", 0, 40, "sgd", ACCUMULATED};
  dataset d = dataset_new(&s, 4000, 4);
  model m = net_model(t, &s), before = net_model(t, &s);
  double results[2];
  pb_run run = run_of(&d, &s, 1, results);
  run.batch = 4000, run.piece = 2, run.poll = at_third, questions = 0;
  prefer(m.plan, abreast);
  pb_status status = pb_train(m.plan, &run);
  if (status == PB_INTERRUPTED) {
    CHECK(run.row == 0 && run.step == 0, "it stands at row %d of step %d", (int)run.row,
          (int)run.step);
    CHECK(memcmp(m.param, before.param, (size_t)m.bytes) == 0, "parameters have changed");
  } else {
    skip("too quick to be interrupted");
  }
  model_free(&m), model_free(&before);
  dataset_free(&d);
  pb_set_threads(1);
}

static void interrupted(const pb_table *t) {
  interrupt(t, 1, false), interrupt(t, 2, false), interrupt(t, 2, true);
}

/* A weight for every step; 0 leaves the average alone, 1 makes it the parameters. */
static void averages(const pb_table *t) {
  net s = small_net(true);
  dataset d = dataset_new(&s, 36, 4);
  model m = net_model(t, &s);
  double results[2], weight[] = {0, 1, 0};
  pb_run run = run_of(&d, &s, 1, results);
  run.average = weight, run.average_stride = 1, run.seconds = 0; /* a step at a time */
  char *second = exact_alloc(m.bytes);
  for (int i = 0; i < 3; i++) {
    CHECK(pb_train(m.plan, &run) == PB_OK && run.step == i + 1, "a step");
    if (i == 1) memcpy(second, m.param, (size_t)m.bytes);
    if (i == 0) CHECK(get_real(t, m.average, 0) == 0, "a weight of 0 moves the average");
    else CHECK(memcmp(m.average, second, (size_t)m.bytes) == 0, "step %d: another average", i);
  }
  CHECK(memcmp(m.param, second, (size_t)m.bytes) != 0, "the last step moves nothing");
  exact_free(second);
  model_free(&m);
  dataset_free(&d);
}

const test tests_update[] = {
    {"treated as loops do it", NULL, against_loops},
    {"batches in pieces", NULL, pieces},
    {"1 to 4 threads, treated", NULL, threads},
    {"pieces abreast", NULL, abreast},
    {"interrupted in pieces", NULL, interrupted},
    {"averages", NULL, averages},
    {0},
};
