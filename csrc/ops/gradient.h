/* Where a parameter's gradient goes: into the gradient vector, or, when the compiler has fused the
 * optimiser into this op, straight on to the optimiser while it is still in cache. */
#ifndef PB_GRADIENT_H
#define PB_GRADIENT_H

#include "core/update.h"
#include "ops/real.h"

/* Updates `count` parameters of tensor `id`, from its element `begin` on, with their gradient g. */
PB_INLINE void update_parameters(const pb_lane *lane, int32_t id, int64_t begin, int64_t count,
                                 const real *g) {
  const pb_plan *p = lane->plan;
  real *w = (real *)lane->ptr[id] + begin;
  int64_t at = w - (real *)p->param;
  if (p->tensor[id].group != 0) {
    pb_update_range(lane, p->tensor[id].group, 1, at, count, g);
    return;
  }
  void *state[PB_MAX_STATE];
  for (int i = 0; i < p->optim->states; i++) state[i] = (real *)p->state[i] + at;
  p->optim->update(count, lane->coef, w, g, state);
}

/* Whether parameters of tensor `id` whose gradient is zero can be left out. */
PB_INLINE bool is_lazy(const pb_plan *p, int32_t id) {
  return p->optim->lazy && p->tensor[id].group == 0;
}

#endif
