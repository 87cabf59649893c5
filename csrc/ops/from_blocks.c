/* from_blocks: blocks of LANES rows into rows, see to_blocks.c; of any shape with as many numbers.
 *
 *     y[n, i] = x[n / LANES, i, n % LANES]      x [..] blocked -> y [..] of the caller's choice
 *
 * In the gradient, rows that fill the last block up are zeros.
 */
#include "ops/blocks.h"
#include "ops/elementwise.h"

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  r->flops = 4 * pb_shape_size(&in[0]);
  return in[0].blocked && r->out.batched && !r->out.blocked &&
         pb_shape_size(&r->out) == pb_shape_size(&in[0]);
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  int64_t size = lane->plan->tensor[k->out].size, begin, end;
  share_cuts(lane, size, &begin, &end);
  for (int64_t i = begin; i < end; i++) {
    cut c = cut_at(size, i);
    from_block((const real *)lane->ptr[k->in[0]] + c.n * size + c.at * LANES, c.count,
               min_i(LANES, lane->n - c.n), false, size,
               (real *)lane->ptr[k->out] + c.n * size + c.at);
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  int64_t size = lane->plan->tensor[k->out].size, begin, end;
  share_cuts(lane, size, &begin, &end);
  for (int64_t i = begin; i < end; i++) {
    cut c = cut_at(size, i);
    const real *dy = (const real *)lane->ptr[k->dout] + c.n * size + c.at, *row[LANES];
    for (int64_t l = 0; l < LANES; l++) row[l] = l < lane->n - c.n ? dy + l * size : NULL;
    int64_t first = c.n * size + c.at * LANES;
    into_block(row, c.count, k->add[0], (real *)lane->ptr[k->din[0]] + first);
    chain_signals(k, lane, first, c.count * LANES);
  }
}

PB_OP(from_blocks) = {.name = "from_blocks",
                      .attrs = "",
                      .min_in = 1,
                      .max_in = 1,
                      .flags = PB_BLOCKED | PB_CHAINS,
                      .infer = infer,
                      .forward = forward,
                      .backward_in = backward_in};
