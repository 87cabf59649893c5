/* The run loops: training epochs, and one pass. Inference over many rows is in map.c.
 *
 * Training is one parallel region: every thread walks the whole program and does its part of each
 * instruction; they meet between instructions that share work. With one thread nothing waits.
 *
 * A batch may go through the plan in pieces. Each makes a gradient of its own, and these are added in the
 * pieces' order, so that it does not matter to the bits how many threads work on a piece. Where there are
 * enough pieces for all threads each thread may take one: then they need not meet, and what a thread reads
 * is what it has written, which counts where caches are apart. Where they share one, all threads on one
 * piece need less of it. Which it is changes as threads move from core to core, so both are timed.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/pool.h"
#include "core/rows.h"
#include "core/subnormal.h"
#include "core/threads.h"
#include "core/update.h"
#include "core/workspace.h"
#include "pybp.h"

/* --- a region: the threads that walk a program together --------------------------------------- */

#define POLL_SECONDS 0.03

typedef struct {
  pb_barrier meet;
  pb_poll *poll;
  double next_poll, asked; /* the time of the next question, and when the clock was last read */
  int unasked, pause;      /* looks at the clock to leave out: still, and in a row */
  double lost;             /* seconds that thread 0 has waited for others */
  uint64_t float_mode;     /* the caller's */
  atomic_int leave_after;  /* all threads leave the region after this instruction */
} region;

static void region_init(region *r, pb_poll *poll) {
  double now = pb_now();
  *r = (region){.poll = poll,
                .next_poll = now + POLL_SECONDS,
                .asked = now,
                .pause = 1,
                .float_mode = pb_float_mode()};
  atomic_store(&r->leave_after, -1);
}

static void meet(region *r, const pb_lane *lane) {
  double lost = pb_barrier_wait(&r->meet, lane->parts);
  if (lane->part == 0) r->lost += lost;
}

/* Asking the time costs as much as a tiny instruction, so quick ones go unasked in growing numbers. */
static bool interrupted(region *r) {
  if (!r->poll || --r->unasked > 0) return false;
  double now = pb_now();
  r->pause = now - r->asked > 1e-3 ? 1 : r->pause < 1024 ? 2 * r->pause : 1024;
  r->unasked = r->pause, r->asked = now;
  if (now < r->next_poll) return false;
  pb_set_float_mode(r->float_mode); /* what it runs is not ours */
  bool stop = r->poll();
  pb_flush_subnormals();
  r->next_poll = pb_now() + POLL_SECONDS;
  return stop;
}

static bool changes_parameters(const pb_instr *k) {
  return k->phase >= PB_UPDATE || k->fused_update;
}

/* The same for one thread, which has nobody to meet; without a region it is not interrupted. */
static bool run_alone(int32_t begin, int32_t end, const pb_lane *lane, region *r) {
  const pb_instr *instr = lane->plan->instr;
  bool may_leave = true;
  for (int32_t i = begin; i < end; i++) {
    instr[i].run(&instr[i], lane);
    may_leave &= !changes_parameters(&instr[i]);
    if (r && may_leave && (!instr[i].serial || i + 1 == end) && interrupted(r)) return false;
  }
  return true;
}

/* Instructions [begin, end) on this thread; false when the run was interrupted among them, before
   any that changes parameters. Serial neighbours stay on thread 0 without a meeting; all meet after
   the last one, unless it is serial and `more` follows on thread 0. An instruction that does the next
   one's work meets behind that. Naming the instruction to leave
   after, instead of raising a flag, lets a slow thread that has not yet looked at one meeting's
   answer see the next meeting's without harm. */
static bool run_range(int32_t begin, int32_t end, const pb_lane *lane, region *r, bool more) {
  if (lane->parts == 1) return run_alone(begin, end, lane, r);
  const pb_instr *instr = lane->plan->instr;
  bool may_leave = true;
  pb_lane alone = *lane;
  alone.part = 0, alone.parts = 1;
  if (begin == end) meet(r, lane);
  for (int32_t i = begin; i < end; i++) {
    bool serial = instr[i].serial;
    if (!serial) instr[i].run(&instr[i], lane);
    else if (lane->part == 0) instr[i].run(&instr[i], &alone);
    may_leave &= !changes_parameters(&instr[i]);
    if (instr[i].joined || (serial && (i + 1 < end ? instr[i + 1].serial : more))) continue;
    if (may_leave && lane->part == 0 && interrupted(r)) atomic_store(&r->leave_after, i);
    meet(r, lane);
    if (atomic_load(&r->leave_after) == i) return false;
  }
  return true;
}

static bool tensor_is_finite(const pb_lane *lane, int32_t id) {
  const pb_tensor *t = &lane->plan->tensor[id];
  int64_t col, size = t->is_double ? 8 : lane->plan->table->real_size;
  pb_source s = {.data = lane->ptr[id],
                 .dtype = size == 8 ? PB_F64 : PB_F32,
                 .rows = pb_rows(lane, &t->shape),
                 .cols = t->size,
                 .row_stride = t->size * size,
                 .col_stride = size};
  return pb_check_finite(&s, DBL_MAX, &col) < 0;
}

/* Which parameter, or else which instruction's output, is the first that is not finite. Outputs share
   memory, so forward runs once more, and each is looked at while it is there. */
static void find_culprit(const pb_lane *lane, pb_run *run) {
  const pb_plan *p = lane->plan;
  pb_lane alone = *lane;
  alone.part = 0, alone.parts = 1;
  run->bad_instr = run->bad_param = -1;
  for (int32_t id = 0; id < p->ntensor; id++)
    if (p->tensor[id].arena == PB_PARAM && !tensor_is_finite(lane, id)) {
      run->bad_param = id;
      return;
    }
  for (int32_t i = 0; i < p->nforward; i++) {
    p->instr[i].run(&p->instr[i], &alone);
    if (tensor_is_finite(lane, p->instr[i].out)) continue;
    run->bad_instr = i;
    return;
  }
}

/* The weight of n rows, added in their order; without weights every row counts 1. */
static double total_weight(const pb_plan *p, const pb_source *source, const int64_t *index,
                           int64_t first, int64_t n) {
  if (p->weights < 0) return (double)n;
  const pb_source *s = &source[p->weights];
  double total = 0;
  for (int64_t i = 0; i < n; i++) {
    int64_t row = index ? index[first + i] : first + i;
    total += *(const double *)((const char *)s->data + row * s->row_stride);
  }
  return total;
}

/* A step's pieces are told apart in the upper bits of its number. */
#define PIECE_SHIFT 40

enum {
  PACED = 4, /* steps in which pieces run one after another and abreast in turns, to begin with */
  AGAIN = 32 /* of so many steps one is done the way that was slower */
};

/* --- training --------------------------------------------------------------------------------- */

typedef struct {
  pb_plan *plan;
  pb_run *run;
  pb_workspace *work;
  int64_t *order; /* the epoch's permutation, or NULL */
  region region;
  pb_lane *abreast;    /* of the threads, each with a workspace of its own; or NULL */
  pb_workspace **side; /* those of all threads, the first of which is `work` */
  bool apart;          /* in this step pieces do run abreast */
  double began;        /* when the step did */
  bool stop;           /* written before the last meeting of a step, read after it */
  bool left; /* likewise of a stage of pieces that run abreast: thread 0 was interrupted */
  bool diverged, interrupted;
  int64_t n;    /* rows of the step's batch */
  double total; /* their weight */
  pb_step step; /* what the optimiser is told of it */
  double *coef; /* [groups][PB_MAX_COEF] */
  double batch_sums[PB_MAX_RESULT];
  double started;
  int64_t steps, next_look;
} training;

/* The quicker way; the other one too in the first steps, and once in a while. */
static bool runs_apart(const training *t) {
  const pb_plan *p = t->plan;
  if (!t->abreast || p->paced < PACED) return t->abreast && p->paced % 2;
  return (p->pace[1] < p->pace[0]) == (t->run->step % AGAIN != AGAIN - 1);
}

static void note_pace(training *t) {
  pb_plan *p = t->plan;
  if (!t->abreast || t->n < t->run->batch) return;
  double *pace = &p->pace[t->apart], took = pb_now() - t->began; /* noise makes none quick */
  *pace = *pace == 0 || took < *pace ? took : *pace + 0.1 * (took - *pace);
  if (p->paced < PACED) p->paced++;
}

static void begin_step(training *t) {
  pb_run *r = t->run;
  if (r->row == 0 && r->shuffle)
    pb_permutation(r->seed, r->epoch_origin + r->epoch, r->rows, t->order);
  t->n = r->rows - r->row < r->batch ? r->rows - r->row : r->batch;
  t->total = total_weight(t->plan, r->source, t->order, r->row, t->n);
  for (int32_t k = 0; k < t->plan->nresult; k++) t->batch_sums[k] = 0;
  t->apart = runs_apart(t);
  if (t->abreast) t->began = pb_now();
}

/* What the optimiser needs for the step, for every group of parameters. */
static void prepare(training *t) {
  const pb_plan *p = t->plan;
  const pb_run *r = t->run;
  int64_t at = r->step - r->rate_origin;
  bool weighs = p->nresult && t->total > 0;
  t->step = (pb_step){.learning_rate = r->learning_rate[at * r->rate_stride],
                      .t = r->step + 1,
                      .loss = weighs ? pb_total_loss(p, t->batch_sums) / t->total : r->last_loss,
                      .last_loss = r->last_loss,
                      .average = r->average ? r->average[at * r->average_stride] : 0};
  for (int32_t g = 0; g < p->ngroup; g++) {
    pb_step step = t->step;
    step.learning_rate *= p->group[g].rate_factor;
    p->optim->prepare(p->optim_attr, &step, t->coef + g * PB_MAX_COEF);
  }
}

/* After forward over a piece: is the loss a number? If not, the step ends here and no parameter
   changes. */
static void judge(training *t, const pb_lane *lane) {
  const pb_plan *p = t->plan;
  for (int32_t k = 0; k < p->nresult; k++) {
    double sum = pb_sum_rows(lane->ptr[p->result[k]], lane->n);
    if (!isfinite(sum)) t->diverged = true;
    t->batch_sums[k] += sum;
  }
  if (t->diverged) find_culprit(lane, t->run);
}

/* Look at the clock only about every millisecond of work: it costs as much as a tiny step. */
static bool time_is_up(training *t) {
  if (++t->steps < t->next_look) return false;
  double elapsed = pb_now() - t->started;
  double skip = 1e-3 * (double)t->steps / (elapsed + 1e-9);
  t->next_look = t->steps + 1 + (skip > 1e4 ? 10000 : (int64_t)skip);
  return elapsed >= t->run->seconds;
}

static void end_step(training *t) {
  pb_run *r = t->run;
  note_pace(t);
  r->step++;
  r->last_loss = t->step.loss;
  r->row += t->n;
  for (int32_t k = 0; k < t->plan->nresult; k++) r->sums[k] += t->batch_sums[k];
  if (r->row == r->rows) {
    for (int32_t k = 0; k < t->plan->nresult; k++) {
      r->results[r->epoch * t->plan->nresult + k] = r->sums[k];
      r->sums[k] = 0;
    }
    r->row = 0;
    r->epoch++;
  }
  t->stop = time_is_up(t) || r->epoch == r->epochs;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void zero(const pb_lane *lane, void *gradient) {
  int64_t begin = 0, end = lane->plan->nparam, size = lane->plan->table->real_size;
  pb_share(&begin, &end, lane);
  if (begin < end) memset((char *)gradient + begin * size, 0, (size_t)((end - begin) * size));
}

/* This thread's part of the batch's gradient takes in those of `count` pieces, in their order. */
static void add_gradients(const pb_lane *lane, pb_workspace *const *piece, int count) {
  const pb_plan *p = lane->plan;
  int64_t begin = 0, end = p->nparam;
  pb_share(&begin, &end, lane);
  for (int k = 0; k < count; k++)
    if (p->table->real_size == sizeof(float)) {
      float *sum = p->grad, *g = (float *)(void *)piece[k]->grad;
      for (int64_t i = begin; i < end; i++) sum[i] += g[i];
    } else {
      double *sum = p->grad, *g = (double *)(void *)piece[k]->grad;
      for (int64_t i = begin; i < end; i++) sum[i] += g[i];
    }
}

static int64_t piece_rows(const pb_run *r) { return r->piece ? r->piece : r->batch; }
static int64_t pieces_of(const training *t) {
  return (t->n + piece_rows(t->run) - 1) / piece_rows(t->run);
}

/* Points a lane at piece number k of the batch. */
static void place_piece(const training *t, int64_t k, pb_lane *lane) {
  const pb_run *r = t->run;
  int64_t piece = piece_rows(r), at = k * piece;
  lane->total = t->total;
  lane->n = least(piece, t->n - at);
  lane->first_row = r->row + at;
  lane->index = t->order ? t->order + lane->first_row : NULL;
  lane->next = t->order ? lane->index + lane->n : NULL;
  lane->nnext = t->order ? least(piece, r->rows - lane->first_row - lane->n) : 0;
  lane->step = r->step | k << PIECE_SHIFT; /* pieces draw other random numbers */
}

/* Piece k by all threads together: forward and backward. False when the run ended in it. */
static bool run_piece(training *t, pb_lane *lane, int64_t k) {
  const pb_plan *p = t->plan;
  place_piece(t, k, lane);
  if (p->accumulates) zero(lane, t->work->grad);
  if (!run_range(0, p->nforward, lane, &t->region, true)) return false;
  if (lane->part == 0) {
    judge(t, lane);
    if (k + 1 == pieces_of(t) && !t->diverged) prepare(t);
  }
  meet(&t->region, lane);
  if (t->diverged) return false;
  if (!p->accumulates) return run_range(p->nforward, p->ninstr, lane, &t->region, false);
  if (!run_range(p->nforward, p->nbackward, lane, &t->region, false)) return false;
  add_gradients(lane, &t->work, 1);
  meet(&t->region, lane);
  return true;
}

/* Instructions [begin, end) of this thread's own piece; false when thread 0 was interrupted. */
static bool run_stage(training *t, int32_t begin, int32_t end, const pb_lane *lane) {
  bool first = lane->part == 0;
  bool done = run_alone(begin, end, &t->abreast[lane->part], first ? &t->region : NULL);
  if (first) t->left = !done;
  meet(&t->region, lane);
  return !t->left;
}

/* As many pieces as there are threads, from number `first` on, one on each. */
static bool run_abreast(training *t, const pb_lane *lane, int64_t first) {
  const pb_plan *p = t->plan;
  pb_lane *own = &t->abreast[lane->part];
  place_piece(t, first + lane->part, own);
  zero(own, t->side[lane->part]->grad);
  if (!run_stage(t, 0, p->nforward, lane)) return false;
  if (lane->part == 0) {
    for (int i = 0; i < lane->parts && !t->diverged; i++) judge(t, &t->abreast[i]);
    if (first + lane->parts == pieces_of(t) && !t->diverged) prepare(t);
  }
  meet(&t->region, lane);
  if (t->diverged || !run_stage(t, p->nforward, p->nbackward, lane)) return false;
  add_gradients(lane, t->side, lane->parts);
  meet(&t->region, lane);
  return true;
}

/* The batch at the cursor, piece by piece, and then the update. False when the run ended in it. */
static bool run_step(training *t, pb_lane *lane) {
  const pb_plan *p = t->plan;
  if (!p->accumulates) return run_piece(t, lane, 0);
  zero(lane, p->grad);
  for (int64_t k = 0, pieces = pieces_of(t); k < pieces;) {
    bool abreast = t->apart && pieces - k >= lane->parts;
    if (!(abreast ? run_abreast(t, lane, k) : run_piece(t, lane, k))) return false;
    k += abreast ? lane->parts : 1;
  }
  return run_range(p->nbackward, p->ninstr, lane, &t->region, false);
}

/* What lanes of all kinds begin with. */
static pb_lane lane_of(const training *t, const pb_workspace *w) {
  return (pb_lane){.ptr = w->ptr,
                   .scratch = w->scratch,
                   .parts = 1,
                   .training = true,
                   .seed = t->run->seed,
                   .source = t->run->source,
                   .plan = t->plan,
                   .coef = t->coef,
                   .now = &t->step};
}

static void train_body(void *arg, int part, int parts) {
  training *t = arg;
  pb_lane lane = lane_of(t, t->work);
  lane.scratch = t->work->scratch + part * t->plan->scratch_bytes;
  lane.part = part, lane.parts = parts;
  if (part == 0) begin_step(t);
  meet(&t->region, &lane);
  while (!t->stop) {
    bool done = run_step(t, &lane);
    if (part == 0 && done) end_step(t);
    if (part == 0 && !done) t->stop = true, t->interrupted = !t->diverged;
    if (part == 0 && !t->stop) begin_step(t);
    meet(&t->region, &lane);
  }
}

/* Workspaces and lanes for pieces that run abreast, where a batch has enough of them. */
static bool make_abreast(training *t, int threads) {
  pb_plan *p = t->plan;
  const pb_run *r = t->run;
  if (!p->abreast || threads == 1 || r->batch <= (threads - 1) * piece_rows(r)) return true;
  t->side = pb_alloc((size_t)threads * sizeof *t->side);
  t->abreast = pb_alloc((size_t)threads * sizeof *t->abreast);
  if (!t->side || !t->abreast) return false;
  t->side[0] = t->work;
  for (int i = 1; i < threads; i++) {
    t->side[i] = pb_workspace_take(p, threads);
    if (!t->side[i]) return false;
  }
  for (int i = 0; i < threads; i++) t->abreast[i] = lane_of(t, t->side[i]);
  return true;
}

static void release(training *t, int threads) {
  for (int i = 1; i < threads && t->side; i++)
    if (t->side[i]) pb_workspace_give(t->plan, t->side[i]);
  if (t->work) pb_workspace_give(t->plan, t->work);
  pb_free(t->side), pb_free(t->abreast);
  pb_free(t->order), pb_free(t->coef);
}

pb_status pb_train(pb_plan *p, pb_run *r) {
  int64_t piece = piece_rows(r);
  if (!p->sealed || !p->optim || r->batch < 1 || piece < 1 || piece > p->capacity ||
      (piece < r->batch && !p->accumulates) || r->rows < 1 || r->row < 0 || r->row >= r->rows ||
      r->epoch < 0 || r->epoch > r->epochs || r->step < r->rate_origin ||
      !pb_sources_fit(p, r->source, r->rows))
    return PB_BAD_CALL;
  if (r->epoch == r->epochs) return PB_OK;
  int threads = pb_pool_acquire(p->threads);
  training t = {.plan = p, .run = r, .started = pb_now(), .next_look = 1};
  t.work = pb_workspace_take(p, threads);
  t.coef = pb_alloc((size_t)p->ngroup * PB_MAX_COEF * sizeof *t.coef);
  if (r->shuffle) t.order = pb_alloc((size_t)r->rows * sizeof *t.order);
  bool made = t.work && t.coef && (t.order || !r->shuffle) && make_abreast(&t, threads);
  pb_status status = made ? PB_OK : PB_NO_MEMORY;
  if (made) {
    if (t.order && r->row > 0)
      pb_permutation(r->seed, r->epoch_origin + r->epoch, r->rows, t.order);
    region_init(&t.region, r->poll);
    pb_pool_run(threads, train_body, &t);
    pb_pool_report(threads, pb_now() - t.started, t.region.lost);
    if (t.diverged) status = PB_DIVERGED;
    if (t.interrupted) status = PB_INTERRUPTED;
  }
  release(&t, threads);
  pb_pool_release(threads);
  return status;
}

/* --- one pass --------------------------------------------------------------------------------- */

typedef struct {
  pb_lane lane;
  pb_workspace *work;
  region region;
  bool interrupted;
} pass;

static void once_body(void *arg, int part, int parts) {
  pass *o = arg;
  pb_lane lane = o->lane;
  const pb_plan *p = lane.plan;
  lane.scratch = o->work->scratch + part * p->scratch_bytes;
  lane.part = part, lane.parts = parts;
  if (!run_range(0, p->ninstr, &lane, &o->region, false) && part == 0) o->interrupted = true;
}

pb_status pb_once(pb_plan *p, const pb_source *source, int64_t n, bool training, uint64_t seed,
                  int64_t step, pb_poll *poll, pb_workspace **work) {
  *work = NULL;
  if (!p->sealed || p->optim || n < 1 || n > p->capacity || !pb_sources_fit(p, source, n))
    return PB_BAD_CALL;
  int threads = pb_pool_acquire(p->threads);
  pb_status status = PB_NO_MEMORY;
  pass o = {.work = pb_workspace_take(p, threads)};
  if (o.work) {
    o.lane = (pb_lane){.ptr = o.work->ptr,
                       .n = n,
                       .total = total_weight(p, source, NULL, 0, n),
                       .training = training,
                       .seed = seed,
                       .step = step,
                       .source = source,
                       .plan = p};
    region_init(&o.region, poll);
    pb_pool_run(threads, once_body, &o);
    *work = o.work;
    status = o.interrupted ? PB_INTERRUPTED : PB_OK;
  }
  pb_pool_release(threads);
  return status;
}
