/* The pool: who gets it, what a region's parts see, and what a forked child finds. */
#include "core/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pool.h"
#include "test/net.h"

#ifndef _WIN32
#include <sys/wait.h>
#include <unistd.h>
#endif

typedef struct {
  atomic_int seen[PB_MAX_THREADS], parts, nested, rounds;
  pb_barrier meet;
  int plain; /* written by part 0 between barriers, read by all */
} region;

static void body(void *arg, int part, int parts) {
  region *r = arg;
  atomic_fetch_add(&r->seen[part], 1);
  atomic_store(&r->parts, parts);
  int got = pb_pool_acquire(4);
  if (got != 1) atomic_fetch_add(&r->nested, 1);
  pb_pool_release(got);
  for (int i = 0; i < 50; i++) {
    if (part == 0) r->plain = i;
    pb_barrier_wait(&r->meet, parts);
    if (r->plain == i) atomic_fetch_add(&r->rounds, 1);
    pb_barrier_wait(&r->meet, parts);
  }
}

static void check_region(int want) {
  region r = {0};
  pb_set_threads(4); /* which also makes the pool forget that the cores were busy */
  int got = pb_pool_acquire(want);
  CHECK(got == want, "asked for %d threads, got %d", want, got);
  pb_pool_run(got, body, &r);
  pb_pool_release(got);
  CHECK(atomic_load(&r.parts) == got, "parts think they are %d", atomic_load(&r.parts));
  for (int i = 0; i < PB_MAX_THREADS; i++)
    CHECK(atomic_load(&r.seen[i]) == (i < got), "part %d ran %d times", i, atomic_load(&r.seen[i]));
  CHECK(atomic_load(&r.rounds) == 50 * got, "%d of %d meetings", atomic_load(&r.rounds), 50 * got);
  CHECK(got == 1 || atomic_load(&r.nested) == 0, "the pool was given away twice");
}

static void regions(void) {
  for (int i = 0; i < 20; i++) check_region(1 + i % 4);
  pb_set_threads(1);
}

static void busy(void) {
  pb_set_threads(3);
  int mine = pb_pool_acquire(8), other = pb_pool_acquire(8);
  CHECK(mine == 3, "the limit is 3, got %d", mine);
  CHECK(other == 1, "the pool is taken, got %d", other);
  pb_pool_release(other);
  other = pb_pool_acquire(2);
  CHECK(other == 1, "releasing one thread frees the pool: got %d", other);
  pb_pool_release(other);
  pb_pool_release(mine);
  mine = pb_pool_acquire(2);
  CHECK(mine == 2, "after release, got %d", mine);
  pb_pool_release(mine);
  pb_set_threads(1);
}

/* After a region that waited much, threads that there are cores for are left alone for a while. */
static void busy_cores(void) {
  int cores = pb_cores();
  if (cores < 2 || cores + 1 > PB_MAX_THREADS) {
    skip("needs more cores, or fewer");
    return;
  }
  pb_set_threads(cores + 1);
  pb_pool_report(2, 1.0, 0.01);
  int got = pb_pool_acquire(2);
  CHECK(got == 2, "little was lost, got %d", got);
  pb_pool_release(got);
  pb_pool_report(2, 1e-5, 1e-5);
  got = pb_pool_acquire(2);
  CHECK(got == 2, "a region of a moment tells nothing, got %d", got);
  pb_pool_release(got);
  double since = pb_now();
  pb_pool_report(2, 1.0, 0.9);
  got = pb_pool_acquire(2);
  CHECK(got == 1 || pb_now() - since > 0.04, "much was lost, got %d", got);
  pb_pool_release(got);
  got = pb_pool_acquire(cores + 1);
  CHECK(got == cores + 1, "more threads than cores were asked for, got %d", got);
  pb_pool_release(got);
  pb_set_threads(2);
  got = pb_pool_acquire(2);
  CHECK(got == 2, "after setting the threads again, got %d", got);
  pb_pool_release(got);
  pb_set_threads(1);
}

static void idle(void *arg, int part, int parts) { (void)arg, (void)part, (void)parts; }

/* Who asks often enough for threads that sleep finds them awake soon. */
static void wakes(void) {
  if (getenv("PYBP_TEST_IN_TURNS")) {
    skip("threads take turns here: none sees another awake");
    return;
  }
  pb_set_threads(2);
  int got = pb_pool_acquire(2);
  pb_pool_run(got, idle, NULL);
  pb_pool_release(got);
  double since = pb_now();
  while (pb_pool_awake(2) && pb_now() - since < 5) continue;
  CHECK(pb_now() - since < 5, "an idle worker does not sleep");
  since = pb_now();
  while (!pb_pool_awake(2) && pb_now() - since < 5) continue;
  CHECK(pb_now() - since < 5, "nothing wakes the worker");
  pb_set_threads(1);
  CHECK(pb_pool_awake(1), "the caller is awake");
}

static void limits(void) {
  pb_set_threads(0);
  CHECK(pb_get_threads() == 1, "at least one thread");
  pb_set_threads(100000);
  CHECK(pb_get_threads() == PB_MAX_THREADS, "at most %d threads", (int)PB_MAX_THREADS);
  pb_set_threads(1);
  CHECK(pb_pool_acquire(5) == 1, "one thread allowed");
}

#ifndef _WIN32
/* Trains with two threads; the parent's workers do not exist in the child. */
static int in_child(const pb_table *t) {
  net s = {TRAINING, 2, {20, 200, 5}, "relu", 0.2, 40, "adam", true};
  dataset d = dataset_new(&s, 80, 3);
  model m = net_model(t, &s);
  double results[2];
  pb_run run = run_of(&d, &s, 1, results);
  pb_set_threads(2);
  int got = pb_pool_acquire(2);
  pb_pool_release(got);
  bool fine = got == 2 && pb_train(m.plan, &run) == PB_OK;
  model_free(&m);
  dataset_free(&d);
  return fine ? 0 : 1;
}

static void fork_once(const pb_table *t, const char *when) {
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) _exit(in_child(t));
  int status = -1;
  double started = pb_now();
  while (waitpid(child, &status, WNOHANG) == 0 && pb_now() - started < 60) usleep(1000);
  if (!CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child %s ended with %d", when,
             status))
    kill(child, SIGKILL);
}

static void forked_child(const pb_table *t) {
  check_region(1);
  pb_set_threads(2);
  check_region(2);
  fork_once(t, "of an idle pool");
  int got = pb_pool_acquire(2);
  fork_once(t, "of a taken pool");
  pb_pool_release(got);
  check_region(2);
  pb_set_threads(1);
}
#else
static void forked_child(const pb_table *t) {
  (void)t;
  skip("no fork here");
}
#endif

const test tests_threads[] = {
    {"regions", regions, NULL},
    {"a taken pool", busy, NULL},
    {"busy cores", busy_cores, NULL},
    {"waking", wakes, NULL},
    {"limits", limits, NULL},
    {"a forked child", NULL, forked_child},
    {0},
};
