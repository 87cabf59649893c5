/* Building a plan and sealing it: every shape is inferred again and every operand's place checked,
 * so that a mistake of the compiler above is an error message and never a wild pointer.
 */
#include <float.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/update.h"
#include "core/workspace.h"
#include "pybp.h"

/* Below this many operations an instruction is quicker on one thread than two that must meet. */
#define SERIAL_FLOPS 200000
/* Each thread should find at least this much in the largest instruction. */
#define THREAD_FLOPS 400000
/* Leading dimensions must fit the BLAS library's int; rows times columns must fit a pointer. */
#define LARGEST_DIM INT64_C(0x7fffffff)
#define LARGEST_SIZE (INT64_C(1) << 48)

static pb_status refuse(pb_plan *p, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(p->error, PB_ERROR_LEN, format, args);
  va_end(args);
  return PB_BAD_PLAN;
}

pb_plan *pb_plan_new(const pb_table *table, int64_t capacity) {
  if (!table || capacity < 1 || capacity > LARGEST_DIM) return NULL;
  pb_plan *p = pb_alloc(sizeof *p);
  if (!p) return NULL;
  p->table = table;
  p->capacity = capacity;
  p->output = p->input = p->weights = -1;
  p->nloss = 1, p->loss_weight[0] = 1;
  return p;
}

void pb_plan_free(pb_plan *p) {
  if (!p) return;
  pb_workspace_cache_free(p);
  pb_free(p->tensor);
  pb_free(p->instr);
  pb_free(p->group);
  pb_free(p->squares), pb_free(p->factor);
  pb_free(p);
}

pb_status pb_plan_reserve(pb_plan *p, int32_t ntensor, int32_t ninstr, int32_t ngroup) {
  if (p->tensor || ntensor < 1 || ninstr < 1 || ngroup < 1)
    return refuse(p, "a plan needs tensors, instructions and a group");
  p->tensor = pb_alloc((size_t)ntensor * sizeof *p->tensor);
  p->instr = pb_alloc((size_t)ninstr * sizeof *p->instr);
  p->group = pb_alloc((size_t)ngroup * sizeof *p->group);
  if (!p->tensor || !p->instr || !p->group) return PB_NO_MEMORY;
  p->ntensor = ntensor, p->ninstr = ninstr, p->ngroup = ngroup;
  for (int32_t i = 0; i < ngroup; i++) p->group[i].rate_factor = 1;
  return PB_OK;
}

int64_t pb_shape_size(const pb_shape *s) {
  int64_t size = 1;
  if (s->ndim < 0 || s->ndim > PB_MAX_DIMS) return -1;
  for (int i = 0; i < s->ndim; i++) {
    if (s->dim[i] < 1 || s->dim[i] > LARGEST_DIM || size > LARGEST_SIZE / s->dim[i]) return -1;
    size *= s->dim[i];
  }
  return size;
}

static bool same_shape(const pb_shape *a, const pb_shape *b) {
  if (a->ndim != b->ndim || a->batched != b->batched || a->blocked != b->blocked) return false;
  for (int i = 0; i < a->ndim; i++)
    if (a->dim[i] != b->dim[i]) return false;
  return true;
}

/* Bytes from the start of its arena that the tensor needs, or -1. */
static int64_t tensor_end(const pb_plan *p, const pb_tensor *t) {
  int64_t size = pb_shape_size(&t->shape), rows = t->shape.batched ? p->capacity : 1;
  if (size < 0 || size > LARGEST_SIZE / rows) return -1;
  if (t->offset < 0 || t->offset > LARGEST_SIZE || t->offset % PB_ALIGN) return -1;
  return t->offset + size * rows * (t->is_double ? 8 : p->table->real_size);
}

/* Bytes in an arena. */
static int64_t room_of(const pb_plan *p, pb_arena arena) {
  if (arena == PB_ACT) return p->act_bytes;
  return arena == PB_RUNNING ? p->nrunning * 8 : p->nparam * p->table->real_size;
}

static pb_status seal_tensor(pb_plan *p, int32_t i) {
  pb_tensor *t = &p->tensor[i];
  if (t->arena > PB_RUNNING || tensor_end(p, t) < 0 || tensor_end(p, t) > room_of(p, t->arena))
    return refuse(p, "tensor %d lies outside its arena", (int)i);
  if (t->arena != PB_ACT && (t->shape.batched || t->is_double != (t->arena == PB_RUNNING)))
    return refuse(p, "tensor %d is no parameter", (int)i);
  if ((t->arena == PB_PARAM && !p->param) || (t->arena == PB_GRAD && !p->grad) ||
      (t->arena == PB_RUNNING && !p->running))
    return refuse(p, "tensor %d has no memory", (int)i);
  if (t->shape.blocked && (!t->shape.batched || t->is_double || p->capacity % p->table->lanes != 0))
    return refuse(p, "tensor %d has no whole blocks", (int)i);
  if (t->group < 0 || t->group >= p->ngroup)
    return refuse(p, "tensor %d belongs to no group", (int)i);
  t->size = pb_shape_size(&t->shape);
  return PB_OK;
}

static const pb_tensor *operand(const pb_plan *p, int32_t i) {
  return i >= 0 && i < p->ntensor ? &p->tensor[i] : NULL;
}

/* Rows of another table would be kernels of another precision. */
static bool known_op(const pb_table *t, const pb_op *op) {
  const pb_op *const *row = t->ops;
  while (*row && *row != op) row++;
  return *row != NULL;
}

static bool known_optim(const pb_table *t, const pb_optim *optim) {
  const pb_optim *const *row = t->optims;
  while (*row && *row != optim) row++;
  return *row != NULL;
}

/* A gradient must have its tensor's shape; -1 says that nobody wants it. */
static bool gradient_fits(const pb_plan *p, int32_t grad, const pb_tensor *of) {
  if (grad == -1) return true;
  const pb_tensor *g = operand(p, grad);
  return g && g->arena != PB_PARAM && !g->is_double && same_shape(&g->shape, &of->shape);
}

/* Running state comes behind what flows through the graph and before the parameters. */
static bool is_running(const pb_op *op, int j) {
  int end = op->max_in - op->params;
  return j >= end - op->running && j < end;
}

/* What forward saves fits the op's wish, and is there where backward reads it. */
static bool saved_fits(const pb_plan *p, const pb_instr *k, const pb_inferred *r) {
  const pb_tensor *s = operand(p, k->saved);
  bool once = r->saved_once > 0;
  if (k->saved == -1) return k->phase == PB_FORWARD || (r->saved_row == 0 && !once);
  return s && s->arena == PB_ACT && s->is_double == once && s->shape.batched == !once &&
         s->size == (once ? r->saved_once : r->saved_row);
}

static pb_status seal_operands(pb_plan *p, pb_instr *k, int32_t i) {
  const pb_op *op = k->op;
  pb_shape in[PB_MAX_IN];
  if (k->nin < op->min_in || k->nin > op->max_in || k->nin > PB_MAX_IN)
    return refuse(p, "instruction %d: %s with %d inputs", (int)i, op->name, (int)k->nin);
  for (int j = 0; j < k->nin; j++) {
    const pb_tensor *x = operand(p, k->in[j]);
    bool running = is_running(op, j);
    if (!x || x->is_double != running || (x->arena == PB_RUNNING) != running ||
        (running && k->din[j] != -1))
      return refuse(p, "instruction %d: %s: bad input", (int)i, op->name);
    if (!gradient_fits(p, k->din[j], x))
      return refuse(p, "instruction %d: %s: gradient does not fit input %d", (int)i, op->name, j);
    if (x->shape.blocked && !(op->flags & (PB_BLOCKED | PB_ELEMENTWISE)))
      return refuse(p, "instruction %d: %s: input %d is blocked", (int)i, op->name, j);
    in[j] = x->shape;
  }
  if (op->flags & PB_SOURCE && (k->attr[0].i < 0 || k->attr[0].i >= p->nsource))
    return refuse(p, "instruction %d: no source %d", (int)i, (int)k->attr[0].i);
  const pb_tensor *y = operand(p, k->out);
  pb_inferred r = {.out = y ? y->shape : (pb_shape){0}};
  if (!op->infer(k->attr, in, k->nin, &r))
    return refuse(p, "instruction %d: %s: bad shapes or attributes %s", (int)i, op->name, r.error);
  if (r.pitch && r.pitch < p->capacity)
    return refuse(p, "instruction %d: %s: too few lanes", (int)i, op->name);
  bool per_row = (op->flags & PB_PER_ROW) != 0;
  if (!y || y->arena != PB_ACT || !same_shape(&r.out, &y->shape) || y->is_double != per_row)
    return refuse(p, "instruction %d: %s: output does not fit", (int)i, op->name);
  bool reads_dout = k->phase > PB_FORWARD && k->phase < PB_MEASURE && !per_row;
  if (!gradient_fits(p, k->dout, y) || (reads_dout && k->dout == -1))
    return refuse(p, "instruction %d: %s: no gradient of its output", (int)i, op->name);
  if (!saved_fits(p, k, &r))
    return refuse(p, "instruction %d: %s: saved tensor does not fit", (int)i, op->name);
  int64_t scratch = r.scratch * p->table->real_size;
  if (scratch > p->scratch_bytes) p->scratch_bytes = scratch;
  k->flops = r.flops;
  return PB_OK;
}

static bool overlap(const pb_plan *p, int32_t i, int32_t j) {
  const pb_tensor *a = operand(p, i), *b = operand(p, j);
  return a && b && a->arena == b->arena && a->offset < tensor_end(p, b) &&
         b->offset < tensor_end(p, a);
}

/* Whether the gradient takes the very place of its value, as the op allows. */
static bool overwrites(const pb_plan *p, const pb_instr *k) {
  const pb_tensor *x = operand(p, k->in[0]), *dx = operand(p, k->din[0]);
  return k->phase == PB_BACKWARD_IN && k->op->overwrites && x && dx && x->arena == dx->arena &&
         x->offset == dx->offset && x->size == dx->size && x->shape.blocked == dx->shape.blocked &&
         k->op->overwrites(k, p->tensor);
}

/* Whether all that the instruction writes lies apart from what it reads, and from each other. */
static bool apart(const pb_plan *p, const pb_instr *k) {
  int32_t at[2 * PB_MAX_IN + 4];
  int wrote = 0, n;
  bool forward = k->phase == PB_FORWARD, delta = k->phase == PB_DELTA;
  if (forward) at[wrote++] = k->out, at[wrote++] = k->saved;
  if (delta) at[wrote++] = k->dout;
  for (int j = 0; j < k->nin && !forward && !delta; j++) at[wrote++] = k->din[j];
  n = wrote;
  if (!forward) at[n++] = k->saved;
  if (!forward && !delta) at[n++] = k->dout;
  if (delta || (!forward && k->op->flags & PB_USES_Y)) at[n++] = k->out;
  for (int j = 0; j < k->nin && (forward || (!delta && k->op->flags & PB_USES_X)); j++)
    at[n++] = k->in[j];
  if (!forward && !delta && k->activation && !(k->op->flags & PB_USES_X) && !overwrites(p, k))
    at[n++] = k->in[0];
  if (forward) at[n++] = k->affine;
  for (int a = 0; a < wrote; a++)
    for (int b = a + 1; b < n; b++)
      if (overlap(p, at[a], at[b])) return false;
  return true;
}

/* Instructions over ranges of the parameter vector. */
static pb_status seal_update(pb_plan *p, pb_instr *k, int32_t i) {
  bool clip = k->phase == PB_CLIP, constrain = k->phase == PB_CONSTRAIN;
  bool reads_gradient = k->phase == PB_MEASURE || k->phase == PB_UPDATE;
  if (!p->optim || !p->param || (reads_gradient && !p->grad))
    return refuse(p, "instruction %d: nothing to update", (int)i);
  if (clip ? k->begin != 0 || k->end != 0
           : k->begin < 0 || k->end > p->nparam || k->begin >= k->end)
    return refuse(p, "instruction %d: update outside the parameters", (int)i);
  if (k->group < 0 || k->group >= p->ngroup)
    return refuse(p, "instruction %d: no group %d", (int)i, (int)k->group);
  if (constrain && (k->row < 1 || (k->end - k->begin) % k->row || p->group[k->group].max_norm <= 0))
    return refuse(p, "instruction %d: no rows to constrain", (int)i);
  if (k->phase == PB_AVERAGE && !p->average)
    return refuse(p, "instruction %d: the average has no memory", (int)i);
  if (k->phase == PB_MEASURE) {
    if (k->slot != p->nslot++) return refuse(p, "instruction %d: factors in disorder", (int)i);
  } else if (k->slot < -1 || k->slot >= p->nslot) {
    return refuse(p, "instruction %d: no factor %d", (int)i, (int)k->slot);
  }
  k->flops = (k->end - k->begin) * 10 / p->capacity;
  k->serial = k->flops < SERIAL_FLOPS / p->capacity;
  k->run = pb_update;
  return PB_OK;
}

/* Numbers of the update that no kernel could make sense of. */
static pb_status seal_groups(pb_plan *p) {
  for (int32_t i = 0; i < p->ngroup; i++) {
    const pb_group *g = &p->group[i];
    const double number[] = {g->decay, g->l1, g->l2, g->clip_value, g->max_norm};
    bool plain = g->rate_factor == 1;
    if (!(g->rate_factor > 0 && g->rate_factor <= DBL_MAX))
      return refuse(p, "group %d: a learning rate factor out of range", (int)i);
    for (int k = 0; k < 5; k++) {
      if (!(number[k] >= 0 && number[k] <= DBL_MAX))
        return refuse(p, "group %d: a number out of range", (int)i);
      plain &= number[k] == 0;
    }
    if (i == 0 && !plain) return refuse(p, "the first group is not plain");
  }
  if (!(p->clip_norm >= 0 && p->clip_norm <= DBL_MAX && p->global_norm >= 0 &&
        p->global_norm <= DBL_MAX))
    return refuse(p, "a bound of norms out of range");
  return PB_OK;
}

/* Memory for the sums and factors of clipping. */
static pb_status make_clipping(pb_plan *p) {
  if (p->nslot == 0) return PB_OK;
  int64_t blocks = 0;
  for (int32_t i = 0; i < p->ninstr; i++) {
    if (p->instr[i].phase != PB_MEASURE) continue;
    p->instr[i].block = blocks;
    blocks += pb_blocks(&p->instr[i]);
  }
  p->squares = pb_alloc((size_t)blocks * sizeof *p->squares);
  p->factor = pb_alloc((size_t)p->nslot * sizeof *p->factor);
  return p->squares && p->factor ? PB_OK : PB_NO_MEMORY;
}

/* A derivative that needs f's argument has none to read once f is fused. */
static bool activation_fits(const pb_plan *p, const pb_instr *k) {
  const pb_op *f = k->activation;
  pb_inferred r = {0};
  bool forward = k->phase == PB_FORWARD, chains = k->phase == PB_BACKWARD_IN;
  if (!f) return true;
  if (!(f->flags & PB_ELEMENTWISE) || !(k->op->flags & (chains ? PB_CHAINS : PB_FUSES)))
    return false;
  if (!forward && (f->flags & PB_USES_X || !f->chain)) return false;
  if (chains ? k->din[0] < 0 : !forward && k->phase != PB_DELTA) return false;
  return f->infer(k->activation_attr, &p->tensor[chains ? k->in[0] : k->out].shape, 1, &r);
}

static bool affine_fits(const pb_plan *p, const pb_instr *k) {
  const pb_tensor *a = operand(p, k->affine);
  const pb_shape *y = &p->tensor[k->out].shape;
  if (k->affine == -1) return true;
  return a && !y->blocked && k->op->flags & PB_AFFINE && k->phase == PB_FORWARD &&
         a->arena == PB_ACT && !a->is_double && !a->shape.batched && a->shape.ndim == 2 &&
         a->shape.dim[0] == 2 && y->ndim > 0 && a->shape.dim[1] == y->dim[y->ndim - 1];
}

/* Ops of several inputs ask which of them want a gradient; the others, losses among them, write that
   of the first unasked. */
static bool wants_gradient(const pb_instr *k) {
  int flowing = k->op->max_in - k->op->params - k->op->running;
  bool wanted = k->din[0] != -1;
  for (int j = 1; j < flowing && j < k->nin && !(k->op->flags & PB_PER_ROW); j++)
    wanted |= k->din[j] != -1;
  return wanted;
}

/* An op with error signals of its own fuses nothing. */
static pb_kernel *delta_of(const pb_instr *k) {
  if (k->op->delta) return k->activation ? NULL : k->op->delta;
  return k->activation && k->activation->chain ? pb_delta : NULL;
}

static pb_status seal_instr(pb_plan *p, int32_t i) {
  pb_instr *k = &p->instr[i];
  if ((k->phase == PB_FORWARD) != (i < p->nforward))
    return refuse(p, "instruction %d: forward instructions come first", (int)i);
  if (k->phase >= PB_MEASURE && k->phase < PB_COMMIT) return seal_update(p, k, i);
  if (k->phase < PB_MEASURE) {
    if (i > p->nforward && p->instr[i - 1].phase >= PB_MEASURE)
      return refuse(p, "instruction %d: updates come last", (int)i);
    p->nbackward = i + 1;
  }
  if (!known_op(p->table, k->op) || k->phase >= PB_PHASES ||
      (k->activation && !known_op(p->table, k->activation)))
    return refuse(p, "instruction %d: no op of this precision", (int)i);
  pb_status status = seal_operands(p, k, i);
  if (status != PB_OK) return status;
  if (!activation_fits(p, k))
    return refuse(p, "instruction %d: %s cannot be fused", (int)i, k->activation->name);
  if (!affine_fits(p, k))
    return refuse(p, "instruction %d: %s cannot be scaled", (int)i, k->op->name);
  bool whole = (k->op->flags & PB_WHOLE) != 0;
  if (k->fused_update && (!p->optim || p->accumulates || whole || k->phase != PB_BACKWARD_PARAM))
    return refuse(p, "instruction %d: nothing to update", (int)i);
  for (int j = k->op->max_in - k->op->params; k->fused_update && j < k->nin; j++)
    if (p->tensor[k->in[j]].arena != PB_PARAM)
      return refuse(p, "instruction %d: %s: input %d is no parameter", (int)i, k->op->name, j);
  k->run = k->phase == PB_FORWARD       ? k->op->forward
           : k->phase == PB_DELTA       ? delta_of(k)
           : k->phase == PB_BACKWARD_IN ? k->op->backward_in
           : k->phase == PB_COMMIT      ? k->op->commit
                                        : k->op->backward_param;
  if (!k->run) return refuse(p, "instruction %d: %s has no such phase", (int)i, k->op->name);
  if (!apart(p, k))
    return refuse(p, "instruction %d: %s writes over its own operands", (int)i, k->op->name);
  if (k->phase == PB_BACKWARD_IN && !wants_gradient(k))
    return refuse(p, "instruction %d: %s: a gradient that nobody wants", (int)i, k->op->name);
  if (k->phase == PB_DELTA && !k->op->delta) k->flops = 4 * p->tensor[k->out].size;
  if (k->phase == PB_COMMIT) k->flops = 0; /* vectors as long as a row */
  k->serial = k->flops < SERIAL_FLOPS / p->capacity;
  return PB_OK;
}

static void nothing(const pb_instr *k, const pb_lane *lane) { (void)k, (void)lane; }

/* Whether instruction i does the next one's work, which then has none. */
static pb_status seal_joined(pb_plan *p, int32_t i) {
  pb_instr *k = &p->instr[i], *next = k + 1;
  if (!k->joined) return PB_OK;
  if (i + 1 == p->nforward || next->in[0] != k->out)
    return refuse(p, "instruction %d: %s has nothing to join", (int)i, k->op->name);
  bool over = overlap(p, k->out, next->out);
  for (int j = 0; j < k->nin; j++) over |= overlap(p, k->in[j], next->out);
  if (over)
    return refuse(p, "instruction %d: %s writes over its own operands", (int)i, k->op->name);
  k->joined = k->op->joins && k->op->joins(p, k, next);
  if (!k->joined) return PB_OK;
  next->run = nothing, next->serial = k->serial, next->flops = 0;
  return PB_OK;
}

static pb_status seal_state(pb_plan *p) {
  if (!p->optim) return PB_OK;
  if (!known_optim(p->table, p->optim)) return refuse(p, "no optimiser of this precision");
  for (int k = 0; k < p->optim->states; k++)
    if (!p->state[k]) return refuse(p, "%s has no memory for its state", p->optim->name);
  return PB_OK;
}

/* What the run loops read of a plan besides its instructions. */
static pb_status seal_ends(pb_plan *p) {
  if (p->nresult < 0 || p->nresult > PB_MAX_RESULT) return refuse(p, "too many results");
  if (p->nloss < 1 || (p->nloss > 1 && p->nloss > p->nresult))
    return refuse(p, "%d losses in %d results", (int)p->nloss, (int)p->nresult);
  for (int32_t k = 0; k < p->nloss; k++)
    if (!(p->loss_weight[k] >= 0 && p->loss_weight[k] <= DBL_MAX))
      return refuse(p, "loss %d: a weight out of range", (int)k);
  for (int32_t k = 0; k < p->nresult; k++) {
    const pb_tensor *t = operand(p, p->result[k]);
    if (!t || !t->is_double || !t->shape.batched || t->size != 1)
      return refuse(p, "result %d is not one double of every row", (int)k);
  }
  const pb_tensor *y = operand(p, p->output);
  if (p->output != -1 &&
      (!y || y->arena != PB_ACT || y->is_double || !y->shape.batched || y->shape.blocked))
    return refuse(p, "the output is not made of rows");
  if (p->input == -1) return PB_OK;
  if (p->instr[0].out != p->input || !(p->instr[0].op->flags & PB_SOURCE) ||
      p->tensor[p->input].shape.blocked)
    return refuse(p, "the input is not what the first instruction gathers");
  /* It may be the user's own array. */
  for (int32_t i = 1; i < p->nforward; i++)
    if (p->instr[i].out == p->input || p->instr[i].saved == p->input)
      return refuse(p, "instruction %d writes over the input", (int)i);
  return PB_OK;
}

pb_status pb_plan_seal(pb_plan *p) {
  if (p->sealed || !p->tensor) return refuse(p, "nothing to seal");
  if (p->capacity < 1 || p->capacity > LARGEST_DIM || p->act_bytes < 0 ||
      p->act_bytes > LARGEST_SIZE || p->nparam < 0 || p->nparam > LARGEST_SIZE || p->nrunning < 0 ||
      p->nrunning > LARGEST_SIZE || p->nsource < 0 || p->nsource > PB_MAX_SOURCE ||
      p->weights < -1 || p->weights >= p->nsource || p->nforward < 1 || p->nforward > p->ninstr)
    return refuse(p, "sizes out of range");
  p->scratch_bytes = PB_ALIGN;
  pb_status status = seal_state(p);
  for (int32_t i = 0; status == PB_OK && i < p->ntensor; i++) status = seal_tensor(p, i);
  if (status == PB_OK) status = seal_groups(p);
  p->threads = 1, p->flops = 0, p->nslot = 0, p->nbackward = p->nforward;
  for (int32_t i = 0; status == PB_OK && i < p->ninstr; i++) {
    status = seal_instr(p, i);
    if (status == PB_OK && i < p->nforward) p->flops += p->instr[i].flops;
    if (status != PB_OK || p->instr[i].serial) continue;
    double fed = (double)p->instr[i].flops * (double)p->capacity / THREAD_FLOPS + 1;
    if (fed > p->threads) p->threads = fed < PB_MAX_THREADS ? (int32_t)fed : PB_MAX_THREADS;
  }
  for (int32_t i = 0; status == PB_OK && i < p->nforward; i++) status = seal_joined(p, i);
  p->abreast = p->accumulates;
  for (int32_t i = p->nbackward; i < p->ninstr; i++) /* which reads what the last piece left */
    if (p->instr[i].phase == PB_COMMIT) p->abreast = false;
  if (status == PB_OK) status = seal_ends(p);
  if (status == PB_OK) status = make_clipping(p);
  if (status != PB_OK) return status;
  p->scratch_bytes = (p->scratch_bytes + PB_ALIGN - 1) / PB_ALIGN * PB_ALIGN;
  p->sealed = pb_workspace_cache_new(p);
  return p->sealed ? PB_OK : PB_NO_MEMORY;
}
