/* Inference over rows: many in chunks that threads share out, each in a workspace of its own; those of a
 * single chunk by threads that walk the plan in step, as in training, where there is work for them.
 */
#include <stdatomic.h>

#include "core/alloc.h"
#include "core/pool.h"
#include "core/rows.h"
#include "core/subnormal.h"
#include "core/threads.h"
#include "core/workspace.h"
#include "pybp.h"

/* In step, each thread should find this much in a chunk: below, what one core has in its cache and another
   needs outweighs the help. Measured: LeNet-5 on one image, 0.8 MFLOP, took 15 us alone and 11 to 19 on
   two cores. */
#define PART_FLOPS 2000000
/* Where there is less than this, only threads that are awake help: to wake one takes as long. */
#define WAKING_FLOPS 10000000
/* Below this many operations an instruction is not worth sharing. */
#define SHARED_FLOPS 4000

typedef struct {
  pb_plan *plan;
  const pb_source *source;
  int64_t rows, chunks;
  char *out;
  double *sums;  /* [chunks][nresult]: added up in the order of the chunks, whoever made them */
  bool in_place; /* the first instruction's gather can be left out */
  atomic_bool failed, refused;
} mapping;

/* The user's array itself can serve as the input tensor when it already has its layout; but not as
   the output. */
static bool readable_in_place(const pb_plan *p, const pb_source *source) {
  if (p->input < 0 || p->input == p->output) return false;
  const pb_source *s = &source[p->instr[0].attr[0].i];
  int64_t size = p->table->real_size;
  return s->dtype == (size == 8 ? PB_F64 : PB_F32) && s->col_stride == size &&
         s->row_stride == size * s->cols && (uintptr_t)s->data % (uintptr_t)size == 0;
}

/* Are the inputs of these rows numbers? Asked chunk by chunk, on the way into the cache. */
static bool acceptable(const mapping *m, int64_t first, int64_t n) {
  int64_t col;
  for (int32_t i = 0; i < m->plan->nsource; i++) {
    pb_source part = m->source[i];
    part.data = (const char *)part.data + first * part.row_stride, part.rows = n;
    if (part.limit > 0 && !part.start && pb_check_finite(&part, part.limit, &col) >= 0)
      return false;
  }
  return true;
}

/* --- a chunk ---------------------------------------------------------------------------------- */

typedef struct {
  pb_lane lane;
  pb_workspace *work;
  int32_t first; /* instruction */
  pb_barrier meet;
  double lost; /* seconds that the caller waited */
} walk;

static bool shared(const pb_instr *k, int64_t n) {
  return (double)k->flops * (double)n >= SHARED_FLOPS;
}

/* Neighbours that are not shared stay on thread 0 without a meeting. */
static void walk_body(void *arg, int part, int parts) {
  walk *w = arg;
  const pb_plan *p = w->lane.plan;
  pb_lane alone = w->lane, lane = w->lane;
  lane.scratch = w->work->scratch + part * p->scratch_bytes;
  lane.part = part, lane.parts = parts;
  for (int32_t i = w->first; i < p->nforward; i++) {
    const pb_instr *k = &p->instr[i];
    bool together = shared(k, lane.n), last = i + 1 == p->nforward;
    if (together) k->run(k, &lane);
    else if (part == 0) k->run(k, &alone);
    if (last || (!together && !shared(k + 1, lane.n))) continue;
    double lost = pb_barrier_wait(&w->meet, parts);
    if (part == 0) w->lost += lost;
  }
}

static void run_chunk(mapping *m, pb_workspace *w, int64_t chunk, int threads) {
  const pb_plan *p = m->plan;
  pb_lane lane = {.ptr = w->ptr, .scratch = w->scratch, .parts = 1, .source = m->source, .plan = p};
  lane.first_row = chunk * p->capacity;
  lane.n = m->rows - lane.first_row < p->capacity ? m->rows - lane.first_row : p->capacity;
  if (!acceptable(m, lane.first_row, lane.n)) {
    atomic_store(&m->refused, true);
    return;
  }
  if (m->in_place)
    w->ptr[p->input] = (char *)m->source[p->instr[0].attr[0].i].data +
                       lane.first_row * m->source[p->instr[0].attr[0].i].row_stride;
  if (m->out)
    w->ptr[p->output] = m->out + lane.first_row * p->tensor[p->output].size * p->table->real_size;
  int32_t first = m->in_place ? 1 : 0;
  if (threads == 1) {
    for (int32_t i = first; i < p->nforward; i++) p->instr[i].run(&p->instr[i], &lane);
  } else {
    walk together = {.lane = lane, .work = w, .first = first};
    double started = pb_now();
    pb_pool_run(threads, walk_body, &together);
    pb_pool_report(threads, pb_now() - started, together.lost);
  }
  for (int32_t k = 0; m->sums && k < p->nresult; k++)
    m->sums[chunk * p->nresult + k] = pb_sum_rows(w->ptr[p->result[k]], lane.n);
}

/* Threads for a single chunk of n rows, to be released. */
static int acquire_for(const pb_plan *p, int64_t n, int most) {
  double work = (double)p->flops * (double)n, fed = work / PART_FLOPS;
  if (most > p->threads) most = p->threads;
  int want = fed < most ? (int)fed : most;
  if (want <= 1 || (work < WAKING_FLOPS && !pb_pool_awake(want))) return 1;
  return pb_pool_acquire(want);
}

/* The only chunk. */
static void run_single(mapping *m, pb_workspace *w, int threads) {
  uint64_t before = pb_flush_subnormals();
  run_chunk(m, w, 0, threads);
  pb_set_float_mode(before);
}

/* --- one caller's small batches --------------------------------------------------------------- */

pb_workspace *pb_workspace_new(pb_plan *p) {
  if (!p->sealed) return NULL;
  return pb_workspace_take(p, p->threads < pb_get_threads() ? p->threads : pb_get_threads());
}

pb_status pb_forward(pb_plan *p, pb_workspace *w, const pb_source *source, int64_t n, void *out) {
  if (p->nforward != p->ninstr || n < 1 || n > p->capacity || !pb_sources_fit(p, source, n) ||
      p->output < 0)
    return PB_BAD_CALL;
  mapping m = {.plan = p, .source = source, .rows = n, .out = out};
  m.in_place = readable_in_place(p, source);
  /* An earlier call may have moved these. */
  if (p->input >= 0) w->ptr[p->input] = w->act + p->tensor[p->input].offset;
  w->ptr[p->output] = w->act + p->tensor[p->output].offset;
  int threads = acquire_for(p, n, w->parts < pb_get_threads() ? w->parts : pb_get_threads());
  run_single(&m, w, threads);
  pb_pool_release(threads);
  return atomic_load(&m.refused) ? PB_NOT_FINITE : PB_OK;
}

/* --- any number of rows ----------------------------------------------------------------------- */

/* Chunks shared between threads. */
static void map_body(void *arg, int part, int parts) {
  mapping *m = arg;
  pb_workspace *w = pb_workspace_take(m->plan, 1);
  if (!w) {
    atomic_store(&m->failed, true);
    return;
  }
  for (int64_t c = m->chunks * part / parts; c < m->chunks * (part + 1) / parts; c++)
    run_chunk(m, w, c, 1);
  pb_workspace_give(m->plan, w);
}

static void map_single(mapping *m) {
  int threads = acquire_for(m->plan, m->rows, pb_get_threads());
  pb_workspace *w = pb_workspace_take(m->plan, threads);
  if (w) {
    run_single(m, w, threads);
    pb_workspace_give(m->plan, w);
  } else {
    atomic_store(&m->failed, true);
  }
  pb_pool_release(threads);
}

static void map_many(mapping *m) {
  int threads = pb_pool_acquire(m->chunks < PB_MAX_THREADS ? (int)m->chunks : PB_MAX_THREADS);
  pb_pool_run(threads, map_body, m);
  pb_pool_release(threads);
}

pb_status pb_map(pb_plan *p, const pb_source *source, int64_t rows, void *out, double *sums) {
  if (!p->sealed || p->nforward != p->ninstr || rows < 1 || !pb_sources_fit(p, source, rows) ||
      (out && p->output < 0))
    return PB_BAD_CALL;
  mapping m = {.plan = p, .source = source, .rows = rows, .out = out};
  m.chunks = (rows + p->capacity - 1) / p->capacity;
  m.in_place = readable_in_place(p, source);
  double few[PB_MAX_RESULT];
  if (sums) m.sums = m.chunks == 1 ? few : pb_alloc((size_t)(m.chunks * p->nresult) * sizeof *sums);
  if (sums && !m.sums) return PB_NO_MEMORY;
  if (m.chunks == 1) map_single(&m);
  else map_many(&m);
  for (int32_t k = 0; sums && k < p->nresult; k++) {
    sums[k] = 0;
    for (int64_t c = 0; c < m.chunks; c++) sums[k] += m.sums[c * p->nresult + k];
  }
  if (m.sums != few) pb_free(m.sums);
  if (atomic_load(&m.refused)) return PB_NOT_FINITE;
  return atomic_load(&m.failed) ? PB_NO_MEMORY : PB_OK;
}

bool pb_enter(pb_gate *gate) { return !atomic_exchange(&gate->taken, true); }

void pb_leave(pb_gate *gate) { atomic_store(&gate->taken, false); }
