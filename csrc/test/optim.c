/* Every optimiser against a loop over doubles. */
#include <math.h>
#include <string.h>

#include "test/reference.h"
#include "test/test.h"

enum { STEPS = 6, LONGEST = 1000 };

/* n parameters, their gradient and state, in reals and in doubles. */
typedef struct {
  int64_t n;
  void *w, *g, *state[PB_MAX_STATE];
  double wanted[LONGEST], slope[LONGEST], memory[LONGEST][PB_MAX_STATE];
} trial;

/* The loss rises at every second step: some optimisers look at it. */
static void step_once(const pb_table *t, const optim_case *c, trial *x, int64_t t_now, double *coef,
                      rng *r) {
  const pb_optim *o = pb_find_optim(t, c->name);
  pb_step step = {.learning_rate = 0.1 / (double)t_now,
                  .t = t_now,
                  .loss = (double)(t_now % 2),
                  .last_loss = (double)((t_now - 1) % 2)};
  for (int64_t i = 0; i < x->n; i++) {
    x->slope[i] = as_real(t, i % 7 == 6 ? 0 : 3 * rng_uniform(r));
    put_real(t, x->g, i, x->slope[i]);
    c->rule(c->attr, &step, x->slope[i], &x->wanted[i], x->memory[i]);
  }
  o->prepare(c->attr, &step, coef);
  o->update(x->n, coef, x->w, x->g, x->state);
}

static void follow(const pb_table *t, const optim_case *c, int64_t n) {
  static trial x;
  const pb_optim *o = pb_find_optim(t, c->name);
  double coef[PB_MAX_COEF] = {0};
  rng r = {(uint64_t)n};
  memset(&x, 0, sizeof x);
  x.n = n, x.w = exact_alloc(n * t->real_size), x.g = exact_alloc(n * t->real_size);
  for (int k = 0; k < o->states; k++) x.state[k] = exact_alloc(n * t->real_size);
  for (int64_t i = 0; i < n; i++) put_real(t, x.w, i, x.wanted[i] = as_real(t, rng_uniform(&r)));
  for (int64_t step = 1; step <= STEPS; step++) step_once(t, c, &x, step, coef, &r);
  for (int64_t i = 0; i < n; i++)
    if (!CHECK(close_to(get_real(t, x.w, i), x.wanted[i], t->real_size == 8 ? 1e-13 : 2e-6),
               "%s: parameter %d of %d is %.9g, wanted %.9g", o->name, (int)i, (int)n,
               get_real(t, x.w, i), x.wanted[i]))
      break;
  exact_free(x.w), exact_free(x.g);
  for (int k = 0; k < o->states; k++) exact_free(x.state[k]);
}

static void against_loops(const pb_table *t) {
  static const int64_t sizes[] = {1, 2, 3, 7, 8, 15, 16, 17, 33, 100, LONGEST};
  for (int k = 0; t->optims[k]; k++) {
    int found = 0;
    for (int use = 0; use < optim_case_count; use++) {
      if (strcmp(optim_cases[use].name, t->optims[k]->name) != 0) continue;
      found++;
      for (int i = 0; i < 11; i++) follow(t, &optim_cases[use], sizes[i]);
    }
    CHECK(found, "%s has no case in reference_optim.c", t->optims[k]->name);
  }
}

/* A parameter's bits do not depend on how the vector is cut, so that fused updates and any number
   of threads agree. */
static void bits_of_parts(const pb_table *t) {
  enum { N = 200 };
  for (int use = 0; use < optim_case_count; use++) {
    const optim_case *c = &optim_cases[use];
    const pb_optim *o = pb_find_optim(t, c->name);
    double coef[PB_MAX_COEF] = {0};
    void *v[2][2 + PB_MAX_STATE] = {
        {0},
    };
    for (int half = 0; half < 2; half++) {
      rng r = {77};
      for (int k = 0; k < 2 + o->states; k++) {
        v[half][k] = exact_alloc(N * t->real_size);
        for (int i = 0; i < N; i++) put_real(t, v[half][k], i, fabs(rng_uniform(&r)));
      }
    }
    o->prepare(c->attr, &(pb_step){.learning_rate = 0.01, .t = 3}, coef);
    o->update(N, coef, v[0][0], v[0][1], v[0] + 2);
    for (int64_t i = 0, step = 1; i < N; i += step, step = i % 11 + 1) {
      void *at[2 + PB_MAX_STATE];
      if (step > N - i) step = N - i;
      for (int k = 0; k < 2 + o->states; k++) at[k] = (char *)v[1][k] + i * t->real_size;
      o->update(step, coef, at[0], at[1], at + 2);
    }
    for (int k = 0; k < 2 + o->states; k++) {
      CHECK(memcmp(v[0][k], v[1][k], (size_t)(N * t->real_size)) == 0, "%s in parts: other bits",
            o->name);
      exact_free(v[0][k]), exact_free(v[1][k]);
    }
  }
}

const test tests_optim[] = {
    {"against loops", NULL, against_loops},
    {"the same bits in parts", NULL, bits_of_parts},
    {0},
};
