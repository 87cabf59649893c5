/* What the machine itself does in a step: error signals of fused activations, and the optimiser's part,
   which happens to ranges of the parameter vector. */
#ifndef PB_UPDATE_H
#define PB_UPDATE_H

#include "pybp.h"

/* This thread's part of [begin, end), cut between cache lines so that any number of threads computes
   every element by the same code: the same bits always. */
void pb_share(int64_t *begin, int64_t *end, const pb_lane *);

/* Instructions of PB_DELTA: dz = dy f'(z) in place. */
void pb_delta(const pb_instr *, const pb_lane *);

/* Instructions of PB_MEASURE and the phases after it. */
void pb_update(const pb_instr *, const pb_lane *);

/* Updates `count` parameters from element `begin` on as their group wants it, from their gradient g
   times `factor`. */
void pb_update_range(const pb_lane *, int32_t group, double factor, int64_t begin, int64_t count,
                     const void *g);

/* Partial sums of a PB_MEASURE. */
int64_t pb_blocks(const pb_instr *);

/* The loss of a batch, not yet divided by its rows, from the sums of its results. */
double pb_total_loss(const pb_plan *, const double *sums);

#endif
