/* Training in the plainest way: one row after the other, loops over doubles, no vectors. */
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "test/net.h"
#include "test/reference.h"

enum { WIDEST = 64, MOST_PARAMS = 2000, STATES = 2 };

typedef struct {
  const net *s;
  const pb_run *run;
  const pb_attr *attr;
  double *params, grad[MOST_PARAMS], state[MOST_PARAMS][STATES];
  double a[MAX_LAYERS + 1][WIDEST], delta[MAX_LAYERS + 1][WIDEST]; /* of one row */
  double kept[MAX_LAYERS + 1][WIDEST];                             /* dropout's factors */
  int64_t step;
} trainer;

int64_t loops_params(const net *s) {
  int64_t count = 0;
  for (int i = 0; i < s->layers; i++) count += s->units[i + 1] * (s->units[i] + 1);
  return count;
}

static double factor(const trainer *t, int layer, int64_t element) {
  if (layer + 1 == t->s->layers || t->s->rate == 0) return 1;
  uint64_t index = (uint64_t)(element / 64 * 16 + element % 16);
  pb_random4 r = pb_philox(t->run->seed, DROPOUT_NODE + (uint32_t)layer, (uint64_t)t->step, index);
  bool kept = (double)r.v[element % 64 / 16] >= floor(t->s->rate * 4294967296.0);
  return kept ? 1 / (1 - t->s->rate) : 0;
}

static double slope(const char *activation, double y) {
  if (strcmp(activation, "relu") == 0) return y > 0;
  if (strcmp(activation, "tanh") == 0) return 1 - y * y;
  return y * (1 - y);
}

/* Row number n of its batch, whose inputs are in a[0]; returns the loss. */
static double forward(trainer *t, int64_t n, int64_t label) {
  const double *w = t->params;
  double sum = 0;
  for (int i = 0; i < t->s->layers; i++) {
    int64_t inputs = t->s->units[i], outputs = t->s->units[i + 1];
    const double *b = w + inputs * outputs;
    for (int64_t o = 0; o < outputs; o++) {
      double z = b[o];
      for (int64_t j = 0; j < inputs; j++) z += w[o * inputs + j] * t->a[i][j];
      if (i + 1 < t->s->layers) z = reference_activation(t->s->activation, NULL, z);
      t->kept[i + 1][o] = factor(t, i, n * outputs + o);
      t->delta[i + 1][o] = z; /* before dropout, for the slope */
      t->a[i + 1][o] = z * t->kept[i + 1][o];
    }
    w = b + outputs;
  }
  const double *z = t->a[t->s->layers];
  for (int64_t o = 0; o < t->s->units[t->s->layers]; o++) sum += exp(z[o]);
  return log(sum) - z[label];
}

/* Adds this row's part to the gradient of the mean over `rows` rows. */
static void backward(trainer *t, int64_t rows, int64_t label) {
  int last = t->s->layers;
  int64_t classes = t->s->units[last], at = loops_params(t->s);
  double sum = 0;
  for (int64_t o = 0; o < classes; o++) sum += exp(t->a[last][o]);
  for (int64_t o = 0; o < classes; o++)
    t->delta[last][o] = (exp(t->a[last][o]) / sum - (o == label)) / (double)rows;
  for (int i = last - 1; i >= 0; i--) {
    int64_t inputs = t->s->units[i], outputs = t->s->units[i + 1];
    at -= outputs * (inputs + 1);
    double *w = t->params + at, *g = t->grad + at;
    for (int64_t o = 0; o < outputs; o++) {
      for (int64_t j = 0; j < inputs; j++) g[o * inputs + j] += t->delta[i + 1][o] * t->a[i][j];
      g[inputs * outputs + o] += t->delta[i + 1][o];
    }
    for (int64_t j = 0; i > 0 && j < inputs; j++) {
      double dy = 0, y = t->delta[i][j];
      for (int64_t o = 0; o < outputs; o++) dy += w[o * inputs + j] * t->delta[i + 1][o];
      t->delta[i][j] = dy * t->kept[i][j] * slope(t->s->activation, y);
    }
  }
}

static double batch(trainer *t, const dataset *d, const int64_t *order, int64_t n) {
  double loss = 0;
  memset(t->grad, 0, sizeof t->grad);
  for (int64_t i = 0; i < n; i++) {
    int64_t cols = t->s->units[0], label = (int64_t)d->y[order[i]];
    memcpy(t->a[0], d->x + order[i] * cols, (size_t)cols * sizeof *t->a[0]);
    loss += forward(t, i, label);
    backward(t, n, label);
  }
  t->step++;
  pb_step step = {.learning_rate = *t->run->learning_rate, .t = t->step};
  for (int64_t k = 0; k < loops_params(t->s); k++)
    optim_case_of(t->s->optim)->rule(t->attr, &step, t->grad[k], &t->params[k], t->state[k]);
  return loss;
}

void loops_train(const net *s, const dataset *d, const pb_run *run, const pb_attr *optim_attr,
                 double *params) {
  static trainer t;
  memset(&t, 0, sizeof t);
  t.s = s, t.run = run, t.attr = optim_attr, t.params = params;
  int64_t *order = exact_alloc(d->rows * (int64_t)sizeof *order);
  for (int64_t epoch = 0; epoch < run->epochs; epoch++) {
    pb_permutation(run->seed, epoch, d->rows, order);
    double loss = 0;
    for (int64_t at = 0; at < d->rows; at += run->batch)
      loss += batch(&t, d, order + at, d->rows - at < run->batch ? d->rows - at : run->batch);
    run->results[2 * epoch] = loss;
  }
  exact_free(order);
}
