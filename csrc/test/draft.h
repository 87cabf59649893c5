/* A draft is a plan on paper: tensors get their places as they are named, and a model is the plan
 * made of it, with vectors for parameters, gradients and optimiser state. No memory is reused and
 * there is a gap after every tensor, so that a kernel that writes too far is found out.
 */
#ifndef PB_TEST_DRAFT_H
#define PB_TEST_DRAFT_H

#include "test/test.h"

enum { MAX_TENSORS = 48, MAX_INSTRS = 48, MAX_GROUPS = 4 };

typedef struct {
  const pb_table *table;
  int64_t capacity;
  const pb_optim *optim;
  pb_attr optim_attr[PB_MAX_ATTR];
  int32_t ngroup;
  pb_group group[MAX_GROUPS];
  double clip_norm, global_norm;
  bool accumulates;
  int32_t ntensor, ninstr, nforward, nresult, nsource, input, output, weights;
  int32_t result[PB_MAX_RESULT];
  int64_t end[4]; /* bytes taken of each arena */
  pb_tensor tensor[MAX_TENSORS];
  pb_instr instr[MAX_INSTRS];
} draft;

typedef struct {
  pb_plan *plan;
  int64_t bytes; /* of each vector */
  void *param, *grad, *average, *state[PB_MAX_STATE];
  double *running;
  int64_t running_bytes;
} model;

draft draft_new(const pb_table *, int64_t capacity);
int32_t draft_tensor(draft *, pb_arena, pb_shape, bool is_double);
int32_t draft_rows(draft *, int64_t columns); /* activations [columns] of each row */
int32_t draft_per_row(draft *);               /* one double per row */
int32_t draft_gradient(draft *, int32_t of);  /* of a parameter in its vector, or of rows */
pb_instr *draft_instr(draft *, pb_phase, const char *op); /* all operands absent */
void draft_feed(draft *, int32_t source, double scale, int32_t out);

/* The plan with its vectors, not sealed yet. */
model model_new(const draft *);
/* Seals, and fails the running test when the plan is refused. */
bool model_seal(model *);
void model_free(model *);
void model_fill(model *, uint64_t seed, double size); /* parameters <- random in [-size, size) */
/* Parameters, gradients and state of `to` <- those of `from`. */
void model_copy(model *to, const model *from);
/* Parameters and optimiser state are the same to the last bit. */
bool models_equal(const model *, const model *);
/* Nothing was written into the gaps between activations, or past row n of them. */
bool gaps_intact(const model *, const pb_workspace *, int64_t n);

int64_t rows_bytes(const pb_plan *, int32_t tensor,
                   int64_t n); /* of n rows, or of all when unbatched */

pb_source source_of(const double *data, int64_t rows, int64_t cols);

#endif
