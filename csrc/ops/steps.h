/* The steps of which expressions are made: functions of one, two or three numbers, over tiles.
 *
 * map writes out = f(x, y, z); chain adds d df/dx to dx, and so on, where these are wanted. Functions
 * that are ops of their own, such as tanh, are steps by their op's map and chain.
 */
#ifndef PB_STEPS_H
#define PB_STEPS_H

#include "ops/elementwise.h"

enum { OPERANDS = 3 };

typedef void step_map(int64_t n, const real *const *in, real *out);
typedef void step_chain(int64_t n, const real *const *in, const real *out, const real *d,
                        real *const *din);

typedef struct {
  const char *name;
  int operands;    /* those of an op with an attribute: x and the attribute, a constant */
  const pb_op *op; /* or the two that follow */
  step_map *map;
  step_chain *chain; /* NULL where the derivative is 0 or does not exist */
} step_kind;

/* Every step, in the order of the numbers in programs; step_kinds of them. */
#define steps_table PB_NAME(pb_steps_table)
#define steps_count PB_NAME(pb_steps_count)
extern const step_kind steps_table[];
extern const int steps_count;

#endif
