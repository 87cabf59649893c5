/* Runs in pieces: time slices, cursors that are handed in again, rates that change. */
#include <string.h>

#include "core/threads.h"
#include "test/net.h"

enum { EPOCHS = 3, ROWS = 23, STEPS = 12 };

static net sliced_net(void) { return (net){TRAINING, 2, {6, 11, 3}, "relu", 0.3, 6, "adam", true}; }

/* The run in one piece: what all others must equal to the last bit. */
static model straight(const pb_table *t, const dataset *d, double *results) {
  net s = sliced_net();
  model m = net_model(t, &s);
  pb_run run = run_of(d, &s, EPOCHS, results);
  CHECK(pb_train(m.plan, &run) == PB_OK, "training fails");
  CHECK(run.step == STEPS && run.epoch == EPOCHS, "stopped at step %d", (int)run.step);
  return m;
}

static void step_by_step(const pb_table *t) {
  net s = sliced_net();
  dataset d = dataset_new(&s, ROWS, 4);
  double whole[2 * EPOCHS], pieces[2 * EPOCHS];
  model m = straight(t, &d, whole), n = net_model(t, &s);
  pb_run run = run_of(&d, &s, EPOCHS, pieces);
  run.seconds = 0;
  int calls = 0;
  while (run.epoch < EPOCHS && calls <= STEPS) {
    CHECK(pb_train(n.plan, &run) == PB_OK, "call %d fails", calls);
    calls++;
    CHECK(run.step == calls, "call %d ends at step %d", calls, (int)run.step);
  }
  CHECK(calls == STEPS, "%d calls", calls);
  CHECK(models_equal(&m, &n), "slices give other bits");
  CHECK(memcmp(whole, pieces, sizeof whole) == 0, "slices give other losses");
  CHECK(pb_train(n.plan, &run) == PB_OK && run.step == STEPS, "a finished run goes on");
  model_free(&m), model_free(&n);
  dataset_free(&d);
}

/* Stopped after `cut` steps, saved, and taken up by another plan. */
static void resumed_at(const pb_table *t, const dataset *d, const model *whole, int64_t cut) {
  net s = sliced_net();
  double pieces[2 * EPOCHS];
  model m = net_model(t, &s), n = net_model(t, &s);
  pb_run run = run_of(d, &s, EPOCHS, pieces);
  run.seconds = 0;
  while (run.step < cut)
    if (!CHECK(pb_train(m.plan, &run) == PB_OK, "training fails")) break;
  pb_run later = run;
  later.seconds = 1e9;
  model_copy(&n, &m);
  CHECK(pb_train(n.plan, &later) == PB_OK, "resuming fails");
  CHECK(models_equal(whole, &n), "resumed after %d steps: other bits", (int)cut);
  model_free(&m), model_free(&n);
}

static void resumed(const pb_table *t) {
  net s = sliced_net();
  dataset d = dataset_new(&s, ROWS, 4);
  double results[2 * EPOCHS];
  model whole = straight(t, &d, results);
  for (int64_t cut = 1; cut < STEPS; cut++) resumed_at(t, &d, &whole, cut);
  model_free(&whole);
  dataset_free(&d);
}

/* Runs of one epoch each, told how many went before, are one run. */
static void epoch_by_epoch(const pb_table *t) {
  net s = sliced_net();
  dataset d = dataset_new(&s, ROWS, 4);
  double whole[2 * EPOCHS], pieces[2 * EPOCHS];
  model m = straight(t, &d, whole), n = net_model(t, &s);
  int64_t step = 0;
  for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
    pb_run run = run_of(&d, &s, 1, pieces + 2 * epoch);
    run.epoch_origin = epoch, run.step = step;
    CHECK(pb_train(n.plan, &run) == PB_OK, "training fails");
    step = run.step;
  }
  CHECK(models_equal(&m, &n), "epochs one by one give other bits");
  CHECK(memcmp(whole, pieces, sizeof whole) == 0, "epochs one by one give other losses");
  model_free(&m), model_free(&n);
  dataset_free(&d);
}

/* A rate per step, as one array or as an array that begins where the run is. */
static void rates(const pb_table *t) {
  net s = sliced_net();
  dataset d = dataset_new(&s, ROWS, 4);
  double rate[STEPS], results[2 * EPOCHS];
  for (int i = 0; i < STEPS; i++) rate[i] = 0.1 / (i + 1);
  model m = net_model(t, &s), n = net_model(t, &s);
  pb_run whole = run_of(&d, &s, EPOCHS, results), pieces = whole;
  whole.learning_rate = rate, whole.rate_stride = 1;
  CHECK(pb_train(m.plan, &whole) == PB_OK, "training fails");
  pieces.seconds = 0;
  for (int i = 0; i < STEPS; i++) {
    double now = rate[i];
    pieces.learning_rate = &now, pieces.rate_stride = 1, pieces.rate_origin = i;
    CHECK(pb_train(n.plan, &pieces) == PB_OK, "training fails");
  }
  CHECK(models_equal(&m, &n), "the rate of a step is not its own");
  pieces = run_of(&d, &s, EPOCHS, results);
  pieces.step = 3, pieces.rate_origin = 4;
  pieces.learning_rate = rate, pieces.rate_stride = 1;
  CHECK(pb_train(n.plan, &pieces) == PB_BAD_CALL, "rates from before the array's first");
  model_free(&m), model_free(&n);
  dataset_free(&d);
}

/* A run that would last for days comes back when its time is up. */
static void time_is_kept(const pb_table *t) {
  net s = sliced_net();
  dataset d = dataset_new(&s, ROWS, 4);
  int64_t epochs = 2000000;
  double *results = exact_alloc(epochs * 2 * 8), started = pb_now();
  model m = net_model(t, &s);
  pb_run run = run_of(&d, &s, epochs, results);
  run.seconds = 0.02;
  CHECK(pb_train(m.plan, &run) == PB_OK, "training fails");
  double took = pb_now() - started;
  CHECK(run.epoch < epochs && run.step > 0, "ended at step %d", (int)run.step);
  CHECK(took >= 0.02 && took < 10, "told to come back after 0.02 s, it took %g", took);
  exact_free(results);
  model_free(&m);
  dataset_free(&d);
}

/* Without shuffling, rows come in their own order: the first batch is the first rows. */
static void unshuffled(const pb_table *t) {
  net s = sliced_net();
  dataset d = dataset_new(&s, ROWS, 4), head = d;
  head.rows = s.capacity;
  double results[2];
  model m = net_model(t, &s), n = net_model(t, &s);
  pb_run run = run_of(&d, &s, 1, results), first = run_of(&head, &s, 1, results);
  run.shuffle = first.shuffle = false;
  run.seconds = 0;
  CHECK(pb_train(m.plan, &run) == PB_OK && run.row == s.capacity, "one step fails");
  CHECK(pb_train(n.plan, &first) == PB_OK, "training fails");
  CHECK(models_equal(&m, &n), "the first batch is not the first rows");
  model_free(&m), model_free(&n);
  dataset_free(&d);
}

/* Arguments that make no sense are refused and change nothing. */
static void bad_calls(const pb_table *t) {
  net s = sliced_net();
  dataset d = dataset_new(&s, ROWS, 4);
  double results[2 * EPOCHS];
  model m = net_model(t, &s), n = net_model(t, &s);
  for (int i = 0; i < 9; i++) {
    pb_run run = run_of(&d, &s, EPOCHS, results);
    pb_source wrong[2] = {d.source[0], d.source[1]};
    if (i == 0) run.batch = 0;
    if (i == 1) run.batch = s.capacity + 1;
    if (i == 2) run.rows = 0;
    if (i == 3) run.row = ROWS;
    if (i == 4) run.epoch = -1;
    if (i == 5) run.epoch = EPOCHS + 1;
    if (i == 6) run.rows = ROWS + 1;
    if (i > 6) run.source = wrong;
    if (i == 7) wrong[0].cols++;
    if (i == 8) wrong[1].dtype = PB_DTYPES;
    CHECK(pb_train(m.plan, &run) == PB_BAD_CALL, "bad call %d is taken", i);
  }
  pb_workspace *w;
  CHECK(pb_once(m.plan, d.source, 3, true, 0, 0, NULL, &w) == PB_BAD_CALL && !w,
        "a pass of a trainer");
  CHECK(pb_map(m.plan, d.source, 3, NULL, results) == PB_BAD_CALL, "inference of a trainer");
  CHECK(models_equal(&m, &n), "a refused call changed something");
  model_free(&m), model_free(&n);
  dataset_free(&d);
}

const test tests_slices[] = {
    {"step by step", NULL, step_by_step},     {"resumed", NULL, resumed},
    {"epoch by epoch", NULL, epoch_by_epoch}, {"learning rates", NULL, rates},
    {"time is kept", NULL, time_is_kept},     {"unshuffled", NULL, unshuffled},
    {"bad calls", NULL, bad_calls},           {0},
};
