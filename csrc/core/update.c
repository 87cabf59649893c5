#include "core/update.h"

void pb_share(int64_t *begin, int64_t *end, const pb_lane *lane) {
  if (lane->parts == 1) return;
  int64_t first = *begin, last = *end, blocks = (last - first + 63) / 64;
  *begin = first + blocks * lane->part / lane->parts * 64;
  *end = first + blocks * (lane->part + 1) / lane->parts * 64;
  if (*end > last) *end = last;
}

void pb_update(const pb_instr *k, const pb_lane *lane) {
  const pb_plan *p = lane->plan;
  int64_t begin = k->begin, end = k->end;
  pb_share(&begin, &end, lane);
  if (begin >= end) return;
  int64_t at = begin * p->table->real_size;
  void *state[PB_MAX_STATE];
  for (int i = 0; i < p->optim->states; i++) state[i] = (char *)p->state[i] + at;
  p->optim->update(end - begin, lane->coef, (char *)p->param + at, (char *)p->grad + at, state);
}
