/* Inference: many rows in chunks, by any number of threads, from the user's array in place. */
#include <stdatomic.h>
#include <string.h>

#include "core/threads.h"
#include "test/net.h"

static net reader(void) { return (net){INFERENCE, 3, {9, 21, 8, 5}, "relu", 0.5, 7, NULL, false}; }

/* Rows [0, rows) by pb_once, `capacity` at a time, in place of chunks. */
static void pass_by_pass(model *m, const net_plan *p, const dataset *d, int64_t rows, char *out,
                         double *sums) {
  int64_t step = m->plan->capacity;
  sums[0] = sums[1] = 0;
  for (int64_t at = 0; at < rows; at += step) {
    int64_t n = rows - at < step ? rows - at : step, size = rows_bytes(m->plan, p->logits, 1);
    pb_source from[2] = {d->source[0], d->source[1]};
    for (int k = 0; k < 2; k++) {
      from[k].data = (const char *)from[k].data + at * from[k].row_stride;
      from[k].rows -= at;
    }
    pb_workspace *w = NULL;
    if (!CHECK(pb_once(m->plan, from, n, false, 0, 0, NULL, &w) == PB_OK, "a pass fails")) return;
    memcpy(out + at * size, pb_workspace_tensor(w, p->logits), (size_t)(n * size));
    double part[2] = {0, 0};
    const double *loss = pb_workspace_tensor(w, p->loss), *hits = pb_workspace_tensor(w, p->hits);
    for (int64_t i = 0; i < n; i++) part[0] += loss[i], part[1] += hits[i];
    sums[0] += part[0], sums[1] += part[1];
    pb_workspace_release(m->plan, w);
  }
}

/* pb_map gives these outputs, in `out`, and these sums, with the threads that are set. */
static void check_map(model *m, const dataset *d, int64_t rows, const char *wanted,
                      const double *wanted_sums, char *out, int64_t bytes) {
  double sums[2];
  memset(out, 1, (size_t)bytes);
  CHECK(pb_map(m->plan, d->source, rows, out, sums) == PB_OK, "inference fails");
  CHECK(memcmp(out, wanted, (size_t)bytes) == 0, "%d rows, %d threads: other outputs", (int)rows,
        pb_get_threads());
  CHECK(memcmp(sums, wanted_sums, sizeof sums) == 0, "%d rows, %d threads: other sums", (int)rows,
        pb_get_threads());
}

static void as_passes(const pb_table *t) {
  net s = reader();
  net_plan p = net_draft(t, &s);
  model m = net_model(t, &s);
  for (int64_t rows = 1; rows <= 50; rows += rows < 8 ? 1 : 7) {
    dataset d = dataset_new(&s, rows, 3);
    int64_t bytes = rows_bytes(m.plan, p.logits, rows);
    char *wanted = exact_alloc(bytes), *out = exact_alloc(bytes);
    double wanted_sums[2], sums[2];
    pass_by_pass(&m, &p, &d, rows, wanted, wanted_sums);
    for (int threads = 1; threads <= 4; threads++) {
      pb_set_threads(threads);
      check_map(&m, &d, rows, wanted, wanted_sums, out, bytes);
      CHECK(pb_map(m.plan, d.source, rows, NULL, sums) == PB_OK, "without outputs");
      CHECK(memcmp(sums, wanted_sums, sizeof sums) == 0, "without outputs: other sums");
      CHECK(pb_map(m.plan, d.source, rows, out, NULL) == PB_OK, "without sums");
    }
    pb_set_threads(1);
    exact_free(wanted), exact_free(out);
    dataset_free(&d);
  }
  model_free(&m);
}

/* The rows of one chunk, enough work for threads in step, waking or awake. */
static void in_step(const pb_table *t) {
  net s = {INFERENCE, 2, {300, 700, 5}, "tanh", 0, 32, NULL, false};
  net_plan p = net_draft(t, &s);
  model m = net_model(t, &s);
  dataset d = dataset_new(&s, 32, 3);
  pb_workspace *bound[5] = {NULL};
  for (int64_t rows = 8; rows <= 32; rows += rows < 12 ? 1 : 7) {
    int64_t bytes = rows_bytes(m.plan, p.logits, rows);
    char *wanted = exact_alloc(bytes), *out = exact_alloc(bytes);
    double wanted_sums[2];
    pass_by_pass(&m, &p, &d, rows, wanted, wanted_sums);
    for (int k = 0; k < 12; k++) {
      int threads = 1 + k % 4;
      pb_set_threads(threads);
      if (!bound[threads]) bound[threads] = pb_workspace_new(m.plan);
      check_map(&m, &d, rows, wanted, wanted_sums, out, bytes);
      memset(out, 1, (size_t)bytes);
      CHECK(pb_forward(m.plan, bound[threads], d.source, rows, out) == PB_OK, "a call fails");
      CHECK(memcmp(out, wanted, (size_t)bytes) == 0, "%d rows, %d threads, bound: other outputs",
            (int)rows, threads);
    }
    exact_free(wanted), exact_free(out);
  }
  pb_set_threads(4);
  CHECK(pb_forward(m.plan, bound[2], d.source, 32, NULL) == PB_OK,
        "more threads than it has room for");
  pb_set_threads(1);
  for (int i = 1; i < 5; i++) pb_workspace_release(m.plan, bound[i]);
  model_free(&m);
  dataset_free(&d);
}

/* The same rows as reals in the table's own type are read where they lie; anything else is
   gathered. Neither changes the bits. */
static void in_place(const pb_table *t) {
  net s = reader();
  model m = net_model(t, &s);
  enum { ROWS = 30, COLS = 9, WIDER = 11 };
  dataset d = dataset_new(&s, ROWS, 3);
  void *plain = exact_alloc(ROWS * COLS * t->real_size);
  void *padded = exact_alloc(((ROWS - 1) * WIDER + COLS) * t->real_size);
  for (int64_t i = 0; i < ROWS * COLS; i++) {
    d.x[i] = as_real(t, d.x[i]);
    put_real(t, plain, i, d.x[i]);
    put_real(t, padded, i / COLS * WIDER + i % COLS, d.x[i]);
  }
  double out[3][ROWS * 5] = {{0}}, sums[2];
  pb_source from[2] = {d.source[0], d.source[1]};
  CHECK(pb_map(m.plan, from, ROWS, out[0], sums) == PB_OK, "inference fails");
  from[0].dtype = t->real_size == 8 ? PB_F64 : PB_F32;
  from[0].data = plain, from[0].col_stride = t->real_size, from[0].row_stride = COLS * t->real_size;
  CHECK(pb_map(m.plan, from, ROWS, out[1], sums) == PB_OK, "inference in place fails");
  from[0].data = padded, from[0].row_stride = WIDER * t->real_size;
  CHECK(pb_map(m.plan, from, ROWS, out[2], sums) == PB_OK, "inference of padded rows fails");
  CHECK(memcmp(out[0], out[1], sizeof out[0]) == 0, "reading in place changes the outputs");
  CHECK(memcmp(out[0], out[2], sizeof out[0]) == 0, "padded rows change the outputs");
  for (int64_t i = 0; i < ROWS * COLS; i++)
    CHECK(get_real(t, plain, i) == d.x[i], "the user's array was written to");
  exact_free(plain), exact_free(padded);
  model_free(&m);
  dataset_free(&d);
}

/* One caller's small batches, now in place, now gathered, with and without outputs. */
static void forward_in_turn(const pb_table *t) {
  net s = reader();
  net_plan p = net_draft(t, &s);
  model m = net_model(t, &s);
  dataset d = dataset_new(&s, 7, 3);
  void *plain = exact_alloc(7 * 9 * t->real_size);
  for (int64_t i = 0; i < 7 * 9; i++) put_real(t, plain, i, d.x[i]);
  pb_source lying[2] = {d.source[0], d.source[1]};
  lying[0].dtype = t->real_size == 8 ? PB_F64 : PB_F32, lying[0].data = plain;
  lying[0].col_stride = t->real_size, lying[0].row_stride = 9 * t->real_size;
  pb_workspace *w = pb_workspace_new(m.plan);
  int64_t before = pb_allocations();
  rng r = {6};
  for (int i = 0; i < 60; i++) {
    int64_t n = 1 + rng_below(&r, 7), bytes = rows_bytes(m.plan, p.logits, n);
    const pb_source *from = rng_below(&r, 2) ? lying : d.source;
    char *out = rng_below(&r, 3) ? exact_alloc(bytes) : NULL, *wanted = exact_alloc(bytes);
    double sums[2];
    CHECK(pb_forward(m.plan, w, from, n, out) == PB_OK, "call %d fails", i);
    const void *logits = pb_workspace_tensor(w, p.logits);
    CHECK(!out || logits == out, "the output tensor lies elsewhere");
    pass_by_pass(&m, &p, &d, n, wanted, sums);
    CHECK(memcmp(logits, wanted, (size_t)bytes) == 0, "call %d: other outputs", i);
    exact_free(out), exact_free(wanted);
  }
  CHECK(pb_forward(m.plan, w, d.source, 0, NULL) == PB_BAD_CALL, "no rows");
  CHECK(pb_forward(m.plan, w, d.source, 8, NULL) == PB_BAD_CALL, "too many rows");
  lying[0].limit = 1e-30;
  CHECK(pb_forward(m.plan, w, lying, 7, NULL) == PB_NOT_FINITE, "values beyond the limit");
  CHECK(pb_allocations() - before < 10, "60 calls asked %d times for memory",
        (int)(pb_allocations() - before));
  pb_workspace_release(m.plan, w);
  exact_free(plain);
  model_free(&m);
  dataset_free(&d);
}

/* After the first call, one chunk needs no memory. */
static void no_memory_per_call(const pb_table *t) {
  net s = reader();
  model m = net_model(t, &s);
  dataset d = dataset_new(&s, 7, 3);
  double out[7 * 5], sums[2];
  CHECK(pb_map(m.plan, d.source, 7, out, sums) == PB_OK, "inference fails");
  int64_t before = pb_allocations();
  for (int64_t i = 0; i < 100; i++) pb_map(m.plan, d.source, 1 + i % 7, out, sums);
  CHECK(pb_allocations() == before, "100 calls asked %d times for memory",
        (int)(pb_allocations() - before));
  model_free(&m);
  dataset_free(&d);
}

/* A plan without layers hands its input through, in place or gathered. */
static void input_is_output(const pb_table *t) {
  draft d = draft_new(t, 4);
  int32_t x = draft_rows(&d, 3);
  draft_feed(&d, 0, 1, x);
  d.input = d.output = x;
  model m = model_new(&d);
  double rows[10][3], out[30] = {0};
  for (int i = 0; i < 30; i++) put_real(t, rows, i, i + 1);
  pb_source s = {.data = rows,
                 .dtype = t->real_size == 8 ? PB_F64 : PB_F32,
                 .rows = 10,
                 .cols = 3,
                 .row_stride = 3 * t->real_size,
                 .col_stride = t->real_size};
  if (model_seal(&m)) {
    CHECK(pb_map(m.plan, &s, 10, out, NULL) == PB_OK, "inference fails");
    for (int i = 0; i < 30; i++)
      if (!CHECK(get_real(t, out, i) == i + 1, "output %d is %g", i, get_real(t, out, i))) break;
  }
  model_free(&m);
}

/* --- many callers at once ------------------------------------------------------------------------- */

enum { CALLERS = 4, CALLS = 30, BUSY_ROWS = 60 };

typedef struct {
  const pb_table *table;
  pb_plan *plan;
  const dataset *d;
  const char *wanted;
  int64_t bytes;
  const double *wanted_sums;
  atomic_int done, wrong;
} crowd;

PB_THREAD_BODY(caller) {
  crowd *c = arg;
  char *out = exact_alloc(c->bytes);
  for (int i = 0; i < CALLS; i++) {
    double sums[2];
    pb_status status = pb_map(c->plan, c->d->source, BUSY_ROWS, out, sums);
    if (status != PB_OK || memcmp(out, c->wanted, (size_t)c->bytes) != 0 ||
        memcmp(sums, c->wanted_sums, sizeof sums) != 0)
      atomic_fetch_add(&c->wrong, 1);
  }
  exact_free(out);
  atomic_fetch_add(&c->done, 1);
  PB_THREAD_END;
}

PB_THREAD_BODY(trainer) {
  crowd *c = arg;
  net s = {TRAINING, 2, {20, 200, 5}, "relu", 0.2, 40, "adam", true};
  dataset d = dataset_new(&s, 80, 3);
  double results[20];
  net_plan p = net_draft(c->table, &s);
  for (int i = 0; i < 3; i++) {
    model m = model_new(&p.draft);
    model_fill(&m, 8, 0.3);
    pb_run run = run_of(&d, &s, 5, results);
    if (pb_plan_seal(m.plan) != PB_OK || pb_train(m.plan, &run) != PB_OK)
      atomic_fetch_add(&c->wrong, 1);
    model_free(&m);
  }
  dataset_free(&d);
  atomic_fetch_add(&c->done, 1);
  PB_THREAD_END;
}

static void crowded(const pb_table *t) {
  net s = reader();
  net_plan p = net_draft(t, &s);
  model m = net_model(t, &s);
  dataset d = dataset_new(&s, BUSY_ROWS, 3);
  crowd c = {.table = t, .plan = m.plan, .d = &d};
  c.bytes = rows_bytes(m.plan, p.logits, BUSY_ROWS);
  char *wanted = exact_alloc(c.bytes);
  double sums[2];
  pb_set_threads(2);
  CHECK(pb_map(m.plan, d.source, BUSY_ROWS, wanted, sums) == PB_OK, "inference fails");
  c.wanted = wanted, c.wanted_sums = sums;
  int started = pb_thread_start(trainer, &c) == 0;
  for (int i = 0; i < CALLERS; i++) started += pb_thread_start(caller, &c) == 0;
  CHECK(started == CALLERS + 1, "only %d threads start", started);
  while (atomic_load(&c.done) < started) pb_yield();
  CHECK(atomic_load(&c.wrong) == 0, "%d calls went wrong", atomic_load(&c.wrong));
  pb_set_threads(1);
  exact_free(wanted);
  model_free(&m);
  dataset_free(&d);
}

/* Rows are looked at on their way in, where the source has a limit, and only there. */
static void limits(const pb_table *t) {
  net s = reader();
  net_plan p = net_draft(t, &s);
  model m = net_model(t, &s);
  enum { ROWS_HERE = 50 };
  dataset d = dataset_new(&s, ROWS_HERE, 3);
  void *out = exact_alloc(rows_bytes(m.plan, p.logits, ROWS_HERE));
  d.source[0].limit = 1e30;
  CHECK(pb_map(m.plan, d.source, ROWS_HERE, out, NULL) == PB_OK, "good rows are refused");
  d.x[(ROWS_HERE - 1) * d.source[0].cols] = 1e31;
  CHECK(pb_map(m.plan, d.source, ROWS_HERE, out, NULL) == PB_NOT_FINITE, "the last row passes");
  CHECK(pb_map(m.plan, d.source, ROWS_HERE - 1, out, NULL) == PB_OK, "it is not among them");
  d.source[0].limit = 0;
  CHECK(pb_map(m.plan, d.source, ROWS_HERE, out, NULL) == PB_OK, "no limit, and yet refused");
  exact_free(out);
  dataset_free(&d), model_free(&m);
}

const test tests_map[] = {
    {"as passes, by any threads", NULL, as_passes},
    {"in step", NULL, in_step},
    {"in place", NULL, in_place},
    {"small batches in turn", NULL, forward_in_turn},
    {"no memory per call", NULL, no_memory_per_call},
    {"input is output", NULL, input_is_output},
    {"rows beyond the limit are refused", NULL, limits},
    {"many callers at once", NULL, crowded},
    {0},
};
