/* One pool of threads for the whole process: started when first needed, parked when idle. */
#ifndef PB_POOL_H
#define PB_POOL_H

#include <stdatomic.h>
#include <stdbool.h>

/* Up to `want` threads for the caller alone, itself included; 1 while another caller has the pool.
   Every acquire needs a release. */
int pb_pool_acquire(int want);
void pb_pool_release(int got);

/* Whether so many threads, the caller included, could begin at once: asked about work too short to wake
   them for. Asked often, it wakes them for the next time. */
bool pb_pool_awake(int want);

/* Run body(arg, part, got) on `got` threads, the caller being part 0, and wait for all. */
typedef void pb_body(void *arg, int part, int parts);
void pb_pool_run(int got, pb_body *body, void *arg);

/* All threads of a region wait here for each other. Returns the seconds that this one waited beyond
   a short spin: when cores are free for all, next to none. */
typedef struct {
  atomic_int arrived, round;
} pb_barrier;

double pb_barrier_wait(pb_barrier *, int parts);

/* A region of `got` threads lasted `elapsed` seconds, of which the caller waited `lost`. Threads that
   walk in step crawl when other work holds one of their cores, so after regions that lost much the
   pool hands out single threads for a while: more slowly than on an idle machine, and much faster
   than in step. Results do not depend on it. */
void pb_pool_report(int got, double elapsed, double lost);

#endif
