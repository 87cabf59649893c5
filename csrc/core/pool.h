/* One pool of threads for the whole process: started when first needed, parked when idle. */
#ifndef PB_POOL_H
#define PB_POOL_H

#include <stdatomic.h>

/* Up to `want` threads for the caller alone, itself included; 1 while another caller has the pool.
   Every acquire needs a release. */
int pb_pool_acquire(int want);
void pb_pool_release(int got);

/* Run body(arg, part, got) on `got` threads, the caller being part 0, and wait for all. */
typedef void pb_body(void *arg, int part, int parts);
void pb_pool_run(int got, pb_body *body, void *arg);

/* All threads of a region wait here for each other. */
typedef struct {
  atomic_int arrived, round;
} pb_barrier;

void pb_barrier_wait(pb_barrier *, int parts);

#endif
