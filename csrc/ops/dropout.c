/* dropout: in training y_i = x_i / (1 - rate) with probability 1 - rate, else 0; y = x otherwise.
 *
 * Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, JMLR 15, 2014, in the inverted form
 * that leaves inference alone. The mask is a function of (seed, node, step, element), so backward
 * computes it again instead of reading it back.
 */
#include "ops/elementwise.h"
#include "ops/random.h"

enum { RATE };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  same_shape_infer(attr, in, nin, r);
  r->flops *= 10;
  return in[0].batched && attr[RATE].f >= 0 && attr[RATE].f < 1;
}

/* out[i] (+)= in[i] mask[i] / (1 - rate) over this thread's elements. */
static void mask(const pb_instr *k, const pb_lane *lane, const real *in, bool add, real *out) {
  double rate = k->attr[RATE].f;
  real scale = (real)(1 / (1 - rate));
  uint32_t limit = (uint32_t)(rate * 4294967296.0), bits[RANDOM_BLOCK];
  int64_t begin, end;
  share_elements(lane, k->out, &begin, &end);
  for (int64_t at = begin; at < end; at += RANDOM_BLOCK) {
    random_block(lane->seed, (uint32_t)k->node, (uint64_t)lane->step, (uint64_t)(at / RANDOM_BLOCK),
                 bits);
    int64_t n = min_i(RANDOM_BLOCK, end - at);
    for (int64_t i = 0; i < n; i++) {
      real v = bits[i] >= limit ? in[at + i] * scale : 0;
      out[at + i] = add ? out[at + i] + v : v;
    }
  }
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  const real *x = lane->ptr[k->in[0]];
  real *y = lane->ptr[k->out];
  if (lane->training) {
    mask(k, lane, x, false, y);
    return;
  }
  int64_t begin, end;
  share_elements(lane, k->out, &begin, &end);
  memcpy(y + begin, x + begin, (size_t)(end - begin) * sizeof *y);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  const real *dy = lane->ptr[k->dout];
  real *dx = lane->ptr[k->din[0]];
  if (lane->training) {
    mask(k, lane, dy, k->add[0], dx);
    return;
  }
  int64_t begin, end;
  share_elements(lane, k->out, &begin, &end);
  for (int64_t i = begin; i < end; i++) dx[i] = dy[i] + (k->add[0] ? dx[i] : 0);
}

PB_OP(dropout) = {.name = "dropout",
                  .attrs = "rate:float",
                  .min_in = 1,
                  .max_in = 1,
                  .flags = PB_RANDOM,
                  .infer = infer,
                  .forward = forward,
                  .backward_in = backward_in};
