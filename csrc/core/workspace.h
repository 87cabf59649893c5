/* A workspace: where one run of a plan keeps its activations, and each of its threads its scratch. */
#ifndef PB_WORKSPACE_H
#define PB_WORKSPACE_H

#include "pybp.h"

struct pb_workspace {
  void **ptr;    /* address of every tensor of the plan, by index */
  char *act;     /* activations and saved values */
  char *grad;    /* of one piece, where the gradients of pieces add up; else the plan's */
  char *scratch; /* parts x plan->scratch_bytes */
  int parts;
};

bool pb_workspace_cache_new(pb_plan *);
void pb_workspace_cache_free(pb_plan *);

/* A workspace for `parts` threads from the plan's cache, or a new one; NULL without memory.
   Lock-free: any number of threads may take and give back at once. */
pb_workspace *pb_workspace_take(pb_plan *, int parts);
void pb_workspace_give(pb_plan *, pb_workspace *);

#endif
