/* One use of an op: its inputs, the plan that puts them through it, forward and backward. */
#ifndef PB_TEST_USE_H
#define PB_TEST_USE_H

#include "test/draft.h"
#include "test/reference.h"

enum { SOURCES = 8 };

/* One use of an op for n rows, with the numbers that go through it. */
typedef struct {
  const op_case *c;
  int64_t n, size;           /* rows; numbers in a row of the output */
  double total;              /* weight of the rows */
  int64_t count[PB_MAX_IN];  /* numbers in each input */
  double *in[PB_MAX_IN];     /* inputs */
  double *v;                 /* gradient of the loss by the output */
  double *before[PB_MAX_IN]; /* what the inputs' gradients hold beforehand */
  bool differentiable[PB_MAX_IN];
  draft draft;
  int32_t x[PB_MAX_IN], dx[PB_MAX_IN], y, dy, saved;
  pb_source source[SOURCES];
} use;

/* `n` rows of random inputs; gradients are added to what is there when `add`. */
use use_new(const pb_table *, const op_case *, int64_t n, bool add);
void use_free(use *);
/* Where tensors outside of a workspace lie: ptr[tensor] in the model's vectors. */
void use_places(const use *, const model *, void **ptr);
/* Parameters, and the gradients that lie in the gradient vector. */
void use_fill(const use *, void *const *ptr);
/* The first use in the list with so many inputs, and columns of the first. */
const op_case *find_case(const char *op, int nin, int64_t columns);
bool weighs(const op_case *); /* whether its rows have weights */
double *numbers(int64_t n);   /* zeros, freed by exact_free */

#endif
