/* Every op as plain loops over doubles, and the uses of it that the tests go through. */
#ifndef PB_TEST_REFERENCE_H
#define PB_TEST_REFERENCE_H

#include "test/test.h"

enum { REFERENCE_NODE = 7, REFERENCE_STEP = 11 };
#define REFERENCE_SEED UINT64_C(0x0123456789abcdef)

/* What values an input gets: any; classes, which are numbers below in[0]'s size; probabilities; 0 or
   1; -1, 0 or 1, so that many are equal; in [0.5, 1.5); weights 0, 1, 2 of which the first is not 0. */
typedef enum { SIGNED, CLASS, MASSES, BITS, TIES, ABOUT_ONE, WEIGHTS } values;

#define ROW(c) \
  { \
    .ndim = 1, .batched = true, .dim = {c} \
  }
#define GRID(t, c) \
  { \
    .ndim = 2, .batched = true, .dim = {t, c} \
  }
#define SCALAR {.ndim = 0, .batched = true}
#define VECTOR(o) \
  { \
    .ndim = 1, .dim = {o} \
  }
#define MATRIX(o, i) \
  { \
    .ndim = 2, .dim = {o, i} \
  }

typedef struct op_case op_case;
struct op_case {
  const char *op, *activation; /* the latter fused, or NULL */
  pb_attr activation_attr[1];
  int nin;
  pb_shape
      in[PB_MAX_IN]; /* unbatched inputs are parameters, or running state where the op says so */
  values fill[PB_MAX_IN];
  pb_attr attr[PB_MAX_ATTR];
  bool training;
  bool mean;   /* backward is of the mean over the rows, not of their sum */
  double span; /* inputs lie in [-span, span); 0 means 2 */
  /* out <- op(in) for n rows; `size` numbers a row. */
  void (*forward)(const op_case *, int64_t n, int64_t size, const double *const *in, double *out);
};

extern const op_case op_cases[];
extern const int op_case_count;

/* Sizes of a row of input j, and of a row of the output. */
int64_t case_columns(const op_case *, int j);
double reference_activation(const char *name, const pb_attr *attr, double z);

/* A step of an optimiser with attributes a for one parameter w, its gradient g and state s. */
typedef void optim_rule(const pb_attr *a, const pb_step *, double g, double *w, double *s);

typedef struct {
  const char *name;
  optim_rule *rule;
  pb_attr attr[PB_MAX_ATTR];
} optim_case;

extern const optim_case optim_cases[];
extern const int optim_case_count;
const optim_case *optim_case_of(const char *name); /* the first with this name, or NULL */

/* What reads users' arrays is put to use in sources.c and sparse.c. */
void check_feed(const pb_table *);
void check_sparse_dense(const pb_table *);

#endif
