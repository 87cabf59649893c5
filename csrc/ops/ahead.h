/* Rows of the next batch on their way to the cache while this one is worked on: a shuffled batch is
 * rows from all over a large array, whose latency would otherwise be waited for in the gather. */
#ifndef PB_AHEAD_H
#define PB_AHEAD_H

#include "ops/real.h"

#ifdef __GNUC__
#define fetch(p) __builtin_prefetch((p), 0, 2)
#else
#define fetch(p) ((void)(p))
#endif

/* Asks for the share [begin, end) of `total` of the next batch's rows. */
PB_INLINE void fetch_ahead(const pb_lane *lane, int64_t begin, int64_t end, int64_t total) {
  const pb_source *s = lane->source; /* the inputs; targets are few */
  int64_t bytes = s->cols * s->col_stride;
  if (lane->nnext == 0 || bytes < 512 || s->start) return;
  for (int64_t n = lane->nnext * begin / total; n < lane->nnext * end / total; n++) {
    const char *row = (const char *)s->data + lane->next[n] * s->row_stride;
    for (int64_t at = 0; at < bytes; at += 64) fetch(row + at);
  }
}

#endif
