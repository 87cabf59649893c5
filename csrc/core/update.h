/* The optimiser's part of a step: updates of ranges of the parameter vector. */
#ifndef PB_UPDATE_H
#define PB_UPDATE_H

#include "pybp.h"

/* This thread's part of [begin, end), cut between cache lines so that any number of threads computes
   every element by the same code: the same bits always. */
void pb_share(int64_t *begin, int64_t *end, const pb_lane *);

void pb_update(const pb_instr *, const pb_lane *);

#endif
