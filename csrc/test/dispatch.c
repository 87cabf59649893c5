/* Picking kernels: by CPU, by PYBP_CPU, by name. */
#include <stdio.h>
#include <string.h>

#include "test/test.h"

static void by_cpu(void) {
  int count = table_count();
  for (int i = 0; i < count; i++) {
    const pb_table *t = table_at(i);
    choose_cpu(t->isa);
    CHECK(pb_table_for(8 * t->real_size) == t, "PYBP_CPU=%s gives other kernels", t->isa);
    CHECK(t->real_size == (i % 2 ? 8 : 4), "%s: reals of %d bytes", t->isa, t->real_size);
    CHECK(strstr(pb_isa_list(), t->isa) != NULL, "%s is not in the list", t->isa);
  }
  choose_cpu("baseline");
  CHECK(pb_table_for(32) && strcmp(pb_table_for(32)->isa, "baseline") == 0, "no baseline");
  choose_cpu("pentium");
  CHECK(pb_table_for(32) == NULL && pb_table_for(64) == NULL, "an unknown CPU has kernels");
  choose_cpu(NULL);
  CHECK(pb_table_for(32) == table_at(count - 2), "the best is not the default");
}

/* "rate:float axis:int": as many attributes as an instruction can hold, of known types. */
static void check_attributes(const char *owner, const char *attrs) {
  char text[256], *word = text;
  int count = 0;
  snprintf(text, sizeof text, "%s", attrs);
  for (; *word; count++) {
    size_t length = strcspn(word, " ");
    char *colon = memchr(word, ':', length);
    bool known = colon && colon > word &&
                 ((word + length - colon == 6 && memcmp(colon, ":float", 6) == 0) ||
                  (word + length - colon == 5 && memcmp(colon, ":code", 5) == 0) ||
                  (word + length - colon == 4 && memcmp(colon, ":int", 4) == 0));
    CHECK(known, "%s: attribute %.*s", owner, (int)length, word);
    word += length;
    if (*word == ' ') word++;
  }
  CHECK(count <= PB_MAX_ATTR, "%s has %d attributes", owner, count);
}

static void rows_of_the_table(const pb_table *t) {
  for (int k = 0; t->ops[k]; k++) {
    const pb_op *op = t->ops[k];
    check_attributes(op->name, op->attrs);
    CHECK(op->infer && op->forward, "%s lacks a rule or a forward", op->name);
    CHECK(op->min_in <= op->max_in && op->max_in <= PB_MAX_IN && op->params <= op->max_in,
          "%s takes %d to %d inputs", op->name, op->min_in, op->max_in);
    bool fusable = op->flags & PB_ELEMENTWISE;
    CHECK(fusable == (op->map != NULL), "%s: map", op->name);
    CHECK(!op->chain || (op->map && op->backward_in), "%s: chain", op->name);
    bool reads = op->flags & PB_SOURCE, derives = op->params && (reads || op->backward_in);
    /* Ops with parameters that have no gradients are for inference only; one that looks numbers up in
       its parameters has gradients of these alone. */
    CHECK(derives ? op->backward_param != NULL : !op->backward_param || op->params,
          "%s: parameters and their gradients", op->name);
  }
  for (int k = 0; t->optims[k]; k++) {
    const pb_optim *o = t->optims[k];
    check_attributes(o->name, o->attrs);
    CHECK(o->prepare && o->update && o->states >= 0 && o->states <= PB_MAX_STATE, "%s", o->name);
    CHECK(pb_find_optim(t, o->name) == o, "two optimisers are called %s", o->name);
  }
  CHECK(!pb_find_op(t, "dens") && !pb_find_optim(t, ""), "an unknown name is found");
}

const test tests_dispatch[] = {
    {"by CPU", by_cpu, NULL},
    {"rows of the table", NULL, rows_of_the_table},
    {0},
};
