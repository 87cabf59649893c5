/* The order of an epoch: Fisher and Yates's shuffle driven by the counter-based generator. */
#include "core/rng.h"
#include "pybp.h"

enum { STREAM_SHUFFLE = 0x5348u };

/* A number below `bound` from 32 random bits, by the high part of bits x bound, or for arrays past
   2^32 rows from 64, by the remainder. Its bias, below bound / 2^32, is far under what a training run
   could feel. */
static int64_t below(int64_t bound, const pb_random4 *r, int word) {
  if (bound <= UINT32_MAX) return (int64_t)(((uint64_t)r->v[word] * (uint64_t)bound) >> 32);
  uint64_t bits = (uint64_t)r->v[word] << 32 | r->v[word ^ 1];
  return (int64_t)(bits % (uint64_t)bound);
}

void pb_permutation(uint64_t seed, int64_t epoch, int64_t n, int64_t *order) {
  for (int64_t i = 0; i < n; i++) order[i] = i;
  pb_random4 r = {{0, 0, 0, 0}};
  for (int64_t i = n - 1, k = 0; i > 0; i--, k++) {
    if (k % 4 == 0) r = pb_philox(seed, STREAM_SHUFFLE, (uint64_t)epoch, (uint64_t)(k / 4));
    int64_t j = below(i + 1, &r, (int)(k % 4));
    int64_t t = order[i];
    order[i] = order[j], order[j] = t;
  }
}
