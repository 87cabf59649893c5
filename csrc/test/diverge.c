/* Runs that leave the finite numbers: they stop before that step changes a parameter, and say
 * where it began.
 */
#include <math.h>
#include <string.h>

#include "test/net.h"

static net plain_net(void) { return (net){TRAINING, 2, {6, 11, 3}, "relu", 0, 6, "adam", true}; }

/* Index of the first forward instruction that writes this tensor. */
static int32_t writer_of(const pb_plan *p, int32_t tensor) {
  int32_t i = 0;
  while (p->instr[i].out != tensor) i++;
  return i;
}

/* Trains until it diverges and checks that step `step` left no trace. */
static pb_run diverging(const pb_table *t, model *m, const net *s, const dataset *d, int64_t step) {
  double results[4];
  pb_run run = run_of(d, s, 2, results);
  run.shuffle = false, run.seconds = 0;
  while (run.step < step)
    if (!CHECK(pb_train(m->plan, &run) == PB_OK, "diverged before step %d", (int)step)) return run;
  model before = net_model(t, s);
  model_copy(&before, m);
  CHECK(pb_train(m->plan, &run) == PB_DIVERGED, "a loss that is no number passes");
  CHECK(run.step == step && run.row == step * s->capacity, "the cursor is at step %d, row %d",
        (int)run.step, (int)run.row);
  CHECK(models_equal(&before, m), "the diverging step has changed parameters");
  model_free(&before);
  return run;
}

static void bad_input(const pb_table *t) {
  net s = plain_net();
  dataset d = dataset_new(&s, 30, 4);
  d.x[2 * 6 * 6 + 3] = NAN; /* in the third batch */
  model m = net_model(t, &s);
  pb_run run = diverging(t, &m, &s, &d, 2);
  CHECK(run.bad_param == -1 && run.bad_instr == 0, "instruction %d, parameter %d, not the feed",
        (int)run.bad_instr, (int)run.bad_param);
  model_free(&m);
  dataset_free(&d);
}

/* Finite inputs and weights whose product is not: the layer is named, not what follows it. */
static void overflow(const pb_table *t) {
  net s = plain_net();
  dataset d = dataset_new(&s, 30, 4);
  double large = t->real_size == 8 ? 1e200 : 1e30;
  for (int i = 0; i < 6; i++) d.x[6 * 6 + i] = large; /* in the second batch */
  net_plan p = net_draft(t, &s);
  model m = net_model(t, &s);
  for (int64_t i = 0; i < 6; i++) put_real(t, m.param, i, large);
  for (int64_t i = 0; i < 30 * 6; i++) d.x[i] = i / 36 == 1 ? large : 0;
  pb_run run = diverging(t, &m, &s, &d, 1);
  int32_t layer = writer_of(m.plan, m.plan->instr[2].out);
  CHECK(layer == 2 && run.bad_param == -1 && run.bad_instr == layer,
        "instruction %d, parameter %d, not the first dense layer", (int)run.bad_instr,
        (int)run.bad_param);
  CHECK(p.draft.instr[layer].in[1] == p.weight[0], "instruction 2 is the first dense layer");
  model_free(&m);
  dataset_free(&d);
}

static void bad_parameter(const pb_table *t) {
  net s = plain_net();
  dataset d = dataset_new(&s, 30, 4);
  net_plan p = net_draft(t, &s);
  model m = net_model(t, &s);
  put_real(t, (char *)m.param + p.draft.tensor[p.bias[1]].offset, 2, INFINITY);
  pb_run run = diverging(t, &m, &s, &d, 0);
  CHECK(run.bad_param == p.bias[1] && run.bad_instr == -1, "parameter %d, instruction %d",
        (int)run.bad_param, (int)run.bad_instr);
  model_free(&m);
  dataset_free(&d);
}

/* A rate that is far too high blows the weights up within some steps, whichever way it goes. */
static void high_rate(const pb_table *t) {
  net s = plain_net();
  s.optim = "sgd";
  dataset d = dataset_new(&s, 30, 4);
  double rate = t->real_size == 8 ? 1e160 : 1e20, results[400];
  model m = net_model(t, &s);
  pb_run run = run_of(&d, &s, 200, results);
  run.learning_rate = &rate;
  CHECK(pb_train(m.plan, &run) == PB_DIVERGED, "a rate of %g does not diverge", rate);
  CHECK((run.bad_param >= 0) != (run.bad_instr >= 0), "parameter %d, instruction %d",
        (int)run.bad_param, (int)run.bad_instr);
  model_free(&m);
  dataset_free(&d);
}

const test tests_diverge[] = {
    {"bad input", NULL, bad_input},
    {"overflow", NULL, overflow},
    {"bad parameter", NULL, bad_parameter},
    {"high rate", NULL, high_rate},
    {0},
};
