/* The optimisers as their papers write them, for one parameter, in doubles. */
#include <math.h>
#include <string.h>

#include "test/reference.h"

static void sgd(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  (void)a, (void)s;
  *w -= now->learning_rate * g;
}

static void momentum(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  s[0] = a[0].f * s[0] + g;
  *w -= now->learning_rate * (a[1].i ? g + a[0].f * s[0] : s[0]);
}

static void adagrad(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  s[0] += g * g;
  *w -= now->learning_rate * g / (sqrt(a[0].f + s[0]) + a[1].f);
}

static void adadelta(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  s[0] = a[0].f * s[0] + (1 - a[0].f) * g * g;
  double d = sqrt(s[1] + a[1].f) / sqrt(s[0] + a[1].f) * g;
  s[1] = a[0].f * s[1] + (1 - a[0].f) * d * d;
  *w -= now->learning_rate * d;
}

static double rms(const pb_attr *a, double g, double *s, double *c) {
  *s = a[0].f * *s + (1 - a[0].f) * g * g;
  if (!c) return g / (sqrt(*s) + a[1].f);
  *c = a[0].f * *c + (1 - a[0].f) * g;
  return g / (sqrt(fmax(*s - *c * *c, 0)) + a[1].f);
}

static void rmsprop(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  *w -= now->learning_rate * rms(a, g, &s[0], NULL);
}

static void rmsprop_centered(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  *w -= now->learning_rate * rms(a, g, &s[0], &s[1]);
}

static void rmsprop_momentum(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  s[1] = a[2].f * s[1] + rms(a, g, &s[0], NULL);
  *w -= now->learning_rate * s[1];
}

static void rmsprop_both(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  s[2] = a[2].f * s[2] + rms(a, g, &s[0], &s[1]);
  *w -= now->learning_rate * s[2];
}

/* Both moments, corrected: m in s[0], v in s[1]. */
static void moments(const pb_attr *a, double t, double g, double *s, double *m, double *v) {
  s[0] = a[0].f * s[0] + (1 - a[0].f) * g;
  s[1] = a[1].f * s[1] + (1 - a[1].f) * g * g;
  *m = s[0] / (1 - pow(a[0].f, t)), *v = s[1] / (1 - pow(a[1].f, t));
}

static void adam(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  double m, v;
  moments(a, (double)now->t, g, s, &m, &v);
  *w -= now->learning_rate * m / (sqrt(v) + a[2].f);
}

static void amsgrad(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  double m, v, t = (double)now->t;
  moments(a, t, g, s, &m, &v);
  s[2] = fmax(s[2], s[1]);
  *w -= now->learning_rate * m / (sqrt(s[2] / (1 - pow(a[1].f, t))) + a[2].f);
}

static void adamax(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  s[0] = a[0].f * s[0] + (1 - a[0].f) * g;
  s[1] = fmax(a[1].f * s[1], fabs(g) + a[2].f);
  *w -= now->learning_rate / (1 - pow(a[0].f, (double)now->t)) * s[0] / s[1];
}

static void nadam(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  double m, v, product = 1, mu = 0;
  for (int64_t t = 1; t <= now->t + 1; t++) {
    mu = a[0].f * (1 - 0.5 * pow(0.96, (double)t * a[3].f));
    product *= mu;
  }
  double before = product / mu, last = a[0].f * (1 - 0.5 * pow(0.96, (double)now->t * a[3].f));
  moments(a, (double)now->t, g, s, &m, &v);
  *w -= now->learning_rate * (g * (1 - last) / (1 - before) + s[0] * mu / (1 - product)) /
        (sqrt(v) + a[2].f);
}

static double sign(double x) { return (x > 0) - (x < 0); }

static void lion(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  *w -= now->learning_rate * sign(a[0].f * s[0] + (1 - a[0].f) * g);
  s[0] = a[1].f * s[0] + (1 - a[1].f) * g;
}

/* The gradient before in s[0], the size of the step in s[1]; returns whether the sign changed. */
static bool resize(const pb_attr *a, const pb_step *now, double g, double *s) {
  if (now->t == 1) s[1] = now->learning_rate;
  if (g * s[0] > 0) s[1] = fmin(s[1] * a[1].f, a[3].f);
  if (g * s[0] < 0) s[1] = fmax(s[1] * a[0].f, a[2].f);
  return g * s[0] < 0;
}

static void rprop(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  if (resize(a, now, g, s) && a[4].i) g = 0;
  s[0] = g;
  *w -= sign(g) * s[1];
}

static void irprop_plus(const pb_attr *a, const pb_step *now, double g, double *w, double *s) {
  bool turned = resize(a, now, g, s);
  double move = -sign(g) * s[1];
  if (turned) move = now->loss > now->last_loss ? -s[2] : 0;
  s[0] = turned ? 0 : g, s[2] = move;
  *w += move;
}

#define BETAS(b1, b2, eps) \
  {.f = b1}, {.f = b2}, { .f = eps }
#define RPROP(forget) \
  {.f = 0.5}, {.f = 1.2}, {.f = 1e-6}, {.f = 50}, { .i = forget }
const optim_case optim_cases[] = {
    {"sgd", sgd, {{0}}},
    {"momentum", momentum, {{.f = 0.9}, {.i = 1}}},
    {"momentum", momentum, {{.f = 0.9}, {.i = 0}}},
    {"momentum", momentum, {{.f = 0.0}, {.i = 1}}},
    {"adagrad", adagrad, {{.f = 0.1}, {.f = 1e-10}}},
    {"adagrad", adagrad, {{.f = 0.0}, {.f = 1e-4}}},
    {"adadelta", adadelta, {{.f = 0.9}, {.f = 1e-6}}},
    {"rmsprop", rmsprop, {{.f = 0.99}, {.f = 1e-4}, {.f = 0.0}}},
    {"rmsprop_centered", rmsprop_centered, {{.f = 0.9}, {.f = 1e-2}, {.f = 0.0}}},
    {"rmsprop_momentum", rmsprop_momentum, {{.f = 0.9}, {.f = 1e-4}, {.f = 0.5}}},
    {"rmsprop_centered_momentum", rmsprop_both, {{.f = 0.9}, {.f = 1e-2}, {.f = 0.5}}},
    {"adam", adam, {BETAS(0.9, 0.999, 1e-8)}},
    {"adam", adam, {BETAS(0.0, 0.5, 1e-3)}},
    {"amsgrad", amsgrad, {BETAS(0.9, 0.5, 1e-3)}},
    {"adamax", adamax, {BETAS(0.9, 0.999, 1e-6)}},
    {"nadam", nadam, {BETAS(0.9, 0.999, 1e-6), {.f = 4e-3}}},
    {"nadam", nadam, {BETAS(0.5, 0.9, 1e-6), {.f = 0.1}}},
    {"lion", lion, {{.f = 0.9}, {.f = 0.99}}},
    {"rprop", rprop, {RPROP(0)}},
    {"rprop", rprop, {RPROP(1)}},
    {"irprop_plus", irprop_plus, {RPROP(1)}},
};
const int optim_case_count = sizeof optim_cases / sizeof *optim_cases;

const optim_case *optim_case_of(const char *name) {
  for (int i = 0; i < optim_case_count; i++)
    if (strcmp(optim_cases[i].name, name) == 0) return &optim_cases[i];
  return NULL;
}
