/* Runs that are asked to stop: between instructions, before any parameter has changed in that step,
 * so that going on later gives the bits of a run that was never stopped.
 */
#include <string.h>

#include "test/net.h"

static int asked, stops_left;

static bool stop_sometimes(void) {
  asked++;
  return stops_left > 0 && stops_left-- > 0;
}

static bool never(void) {
  asked++;
  return false;
}

/* Stopped twice wherever the run happens to be, then brought to the end of that epoch. */
static void stopped_and_resumed(const pb_table *t, const net *s, int threads) {
  enum { EPOCHS = 1000000 };
  dataset d = dataset_new(s, 2 * s->capacity, 4);
  double *results = exact_alloc(EPOCHS * 2 * 8);
  model m = net_model(t, s), whole = net_model(t, s);
  pb_run run = run_of(&d, s, EPOCHS, results);
  run.poll = stop_sometimes;
  asked = 0, stops_left = 2;
  pb_set_threads(threads);
  for (int i = 0; i < 2; i++) {
    CHECK(pb_train(m.plan, &run) == PB_INTERRUPTED, "a run goes on although it is told to stop");
    CHECK(run.step == run.epoch * 2 + run.row / s->capacity, "stopped within a step");
  }
  CHECK(asked == 2, "asked %d times", asked);
  run.epochs = run.epoch + 1;
  CHECK(pb_train(m.plan, &run) == PB_OK, "the run cannot go on");
  pb_run straight = run_of(&d, s, run.epochs, results);
  CHECK(pb_train(whole.plan, &straight) == PB_OK, "training fails");
  CHECK(straight.step == run.step && models_equal(&whole, &m),
        "%s%d threads: stopped and resumed, other bits at step %d",
        s->updates & FUSED ? "fused, " : "", threads, (int)run.step);
  pb_set_threads(1);
  exact_free(results);
  model_free(&m), model_free(&whole);
  dataset_free(&d);
}

static void training(const pb_table *t) {
  net small = {TRAINING, 2, {6, 11, 3}, "relu", 0.3, 6, "adam", true};
  net shared = {TRAINING, 2, {40, 230, 5}, "tanh", 0.1, 60, "momentum", false};
  stopped_and_resumed(t, &small, 1);
  stopped_and_resumed(t, &shared, 1);
  stopped_and_resumed(t, &shared, 2);
}

/* Asks through `poll` in passes over more and more rows, until one is long enough to be asked;
   returns what that one came to. */
static pb_status pass_until_asked(model *m, const dataset *d, int64_t *n, pb_poll *poll) {
  pb_status status = PB_OK;
  for (asked = 0; asked == 0 && *n <= d->rows; *n *= 2) {
    pb_workspace *w = NULL;
    status = pb_once(m->plan, d->source, *n, true, 1, 2, poll, &w);
    CHECK(asked > 0 || status == PB_OK, "%d rows: status %d, unasked", (int)*n, (int)status);
    pb_workspace_release(m->plan, w);
  }
  CHECK(asked > 0, "a pass over %d rows is never asked", (int)d->rows);
  return status;
}

static void one_pass(const pb_table *t) {
  net s = {GRADIENTS, 3, {40, 400, 400, 10}, "tanh", 0.3, 4096, NULL, false};
  dataset d = dataset_new(&s, s.capacity, 6);
  model m = net_model(t, &s);
  int64_t n = 16;
  stops_left = 1;
  pb_status status = pass_until_asked(&m, &d, &n, stop_sometimes);
  CHECK(status == PB_INTERRUPTED && asked == 1, "status %d, asked %d times", (int)status, asked);
  n /= 2;
  status = pass_until_asked(&m, &d, &n, never);
  CHECK(status == PB_OK, "told to go on: status %d", (int)status);
  model_free(&m);
  dataset_free(&d);
}

const test tests_interrupt[] = {
    {"training", NULL, training},
    {"one pass", NULL, one_pass},
    {0},
};
