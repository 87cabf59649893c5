/* Thread pool. A region is announced by raising `generation`; workers spin on it briefly, since the
 * next predict often follows at once, and then park on a condition variable: an idle process burns
 * nothing. Work that is too short to wake them for is done without them, until it comes so often that
 * waking them for the next of it pays. A forked child has no workers, so it forgets them and starts its
 * own when needed.
 */
#include "core/pool.h"

#include <stdlib.h>

#include "core/subnormal.h"
#include "core/threads.h"
#include "pybp.h"

enum {
  IDLE_SPINS = 4000,    /* about 50 us before a worker parks */
  BARRIER_SPINS = 4000, /* before a waiting thread offers its core to others */
};
#define LOST_SHARE 0.5 /* of a region's time: where half is lost, two threads do the work of one */
#define JUDGED_SECONDS \
  0.02 /* of regions that are judged together: one that lasts less tells little */
#define SINGLE_SECONDS 0.05 /* how long to go on alone then, */
#define MOST_SECONDS 2.0    /* and at most, when every new attempt fails: each time twice as long */
#define OFTEN_SECONDS 2e-4  /* from one short work to the next, for which workers are woken */

static struct {
  pb_mutex mutex;
  pb_cond wake;
  atomic_int busy;       /* somebody owns the pool */
  atomic_int generation; /* regions announced */
  atomic_int running;    /* workers inside the region */
  atomic_int spinning;   /* workers awake outside one */
  int workers, active;   /* started; taking part in this region */
  atomic_int limit;
  _Atomic double single_until; /* the cores were busy: single threads until then */
  _Atomic double asked;        /* when somebody last asked who is awake */
  double elapsed, lost;        /* in regions since the last judgement; the pool's owner's */
  double single;               /* seconds to go on alone when the next one is bad */
  pb_body *body;
  void *arg;
} pool = {.limit = 1};

static void reset(void) {
  pb_mutex_init(&pool.mutex);
  pb_cond_init(&pool.wake);
  atomic_store(&pool.busy, 0);
  atomic_store(&pool.generation, 0);
  atomic_store(&pool.running, 0);
  atomic_store(&pool.spinning, 0);
  pool.workers = pool.active = 0;
  pool.elapsed = pool.lost = 0;
  pool.single = SINGLE_SECONDS;
}

#ifdef _WIN32
static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
static BOOL CALLBACK start(PINIT_ONCE o, PVOID p, PVOID *c) {
  (void)o, (void)p, (void)c;
  reset();
  return TRUE;
}
static void initialise(void) { InitOnceExecuteOnce(&once, start, NULL, NULL); }
#else
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void start(void) {
  reset();
  pthread_atfork(NULL, NULL, reset);
}
static void initialise(void) { pthread_once(&once, start); }
#endif

void pb_set_threads(int n) {
  atomic_store(&pool.limit, n < 1 ? 1 : n > PB_MAX_THREADS ? PB_MAX_THREADS : n);
  atomic_store(&pool.single_until, 0); /* who asks for threads wants them tried */
}

int pb_get_threads(void) { return atomic_load(&pool.limit); }

typedef struct {
  int part, seen;
} worker_start;

PB_THREAD_BODY(worker) {
  worker_start s = *(worker_start *)arg;
  free(arg);
  pb_flush_subnormals();
  for (;;) {
    atomic_fetch_add(&pool.spinning, 1);
    for (int i = 0; i < IDLE_SPINS && atomic_load(&pool.generation) == s.seen; i++) pb_pause();
    atomic_fetch_sub(&pool.spinning, 1);
    pb_mutex_lock(&pool.mutex);
    if (atomic_load(&pool.generation) == s.seen) pb_cond_wait(&pool.wake, &pool.mutex);
    if (atomic_load(&pool.generation) == s.seen) { /* roused: it may begin at any moment */
      pb_mutex_unlock(&pool.mutex);
      continue;
    }
    s.seen = atomic_load(&pool.generation);
    int active = pool.active;
    pb_body *body = pool.body;
    void *region = pool.arg;
    pb_mutex_unlock(&pool.mutex);
    if (s.part < active) {
      body(region, s.part, active);
      atomic_fetch_sub(&pool.running, 1);
    }
  }
  PB_THREAD_END;
}

int pb_pool_acquire(int want) {
  initialise();
  if (want > pb_get_threads()) want = pb_get_threads();
  if (want <= 1) return 1;
  /* Somebody who asks for more threads than there are cores is not after speed. */
  if (pb_now() < atomic_load(&pool.single_until) && want <= pb_cores()) return 1;
  int idle = 0;
  if (!atomic_compare_exchange_strong(&pool.busy, &idle, 1)) return 1;
  while (pool.workers < want - 1) {
    worker_start *s = malloc(sizeof *s);
    if (!s) break;
    *s = (worker_start){pool.workers + 1, atomic_load(&pool.generation)};
    if (pb_thread_start(worker, s) != 0) {
      free(s);
      break;
    }
    pool.workers++;
  }
  int got = pool.workers + 1 < want ? pool.workers + 1 : want;
  if (got == 1) atomic_store(&pool.busy, 0);
  return got;
}

void pb_pool_release(int got) {
  if (got > 1) atomic_store(&pool.busy, 0);
}

/* Wake so many threads for what is to come. */
static void rouse(int want) {
  int got = pb_pool_acquire(want);
  if (got > 1) {
    pb_mutex_lock(&pool.mutex);
    pb_cond_broadcast(&pool.wake);
    pb_mutex_unlock(&pool.mutex);
  }
  pb_pool_release(got);
}

bool pb_pool_awake(int want) {
  if (atomic_load(&pool.spinning) >= want - 1) return true;
  double now = pb_now(), before = atomic_exchange(&pool.asked, now);
  if (now - before < OFTEN_SECONDS) rouse(want);
  return false;
}

static void run_together(int got, pb_body *body, void *arg) {
  pb_mutex_lock(&pool.mutex);
  pool.body = body, pool.arg = arg, pool.active = got;
  atomic_store(&pool.running, got - 1);
  atomic_fetch_add(&pool.generation, 1);
  pb_cond_broadcast(&pool.wake);
  pb_mutex_unlock(&pool.mutex);
  body(arg, 0, got);
  for (int i = 0; atomic_load(&pool.running) > 0; i++)
    if (i < BARRIER_SPINS) pb_pause();
    else pb_yield();
}

void pb_pool_run(int got, pb_body *body, void *arg) {
  uint64_t before = pb_flush_subnormals();
  if (got > 1) run_together(got, body, arg);
  else body(arg, 0, 1);
  pb_set_float_mode(before);
}

void pb_pool_report(int got, double elapsed, double lost) {
  if (got <= 1) return;
  pool.elapsed += elapsed, pool.lost += lost;
  if (pool.elapsed < JUDGED_SECONDS) return;
  if (pool.lost > LOST_SHARE * pool.elapsed) {
    atomic_store(&pool.single_until, pb_now() + pool.single);
    pool.single = pool.single < MOST_SECONDS / 2 ? 2 * pool.single : MOST_SECONDS;
  } else {
    pool.single = SINGLE_SECONDS;
  }
  pool.elapsed = pool.lost = 0;
}

double pb_barrier_wait(pb_barrier *b, int parts) {
  if (parts <= 1) return 0;
  int round = atomic_load_explicit(&b->round, memory_order_acquire);
  if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) == parts - 1) {
    atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&b->round, round + 1, memory_order_release);
    return 0;
  }
  for (int i = 0; i < BARRIER_SPINS; i++) {
    if (atomic_load_explicit(&b->round, memory_order_acquire) != round) return 0;
    pb_pause();
  }
  double since = pb_now();
  while (atomic_load_explicit(&b->round, memory_order_acquire) == round) pb_yield();
  return pb_now() - since;
}
