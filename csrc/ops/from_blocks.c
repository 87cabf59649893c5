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
  share(lane, (lane->n + LANES - 1) / LANES, 1, &begin, &end);
  for (int64_t b = begin; b < end; b++)
    from_block((const real *)lane->ptr[k->in[0]] + b * LANES * size, size,
               min_i(LANES, lane->n - b * LANES), false,
               (real *)lane->ptr[k->out] + b * LANES * size);
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  int64_t size = lane->plan->tensor[k->out].size, begin, end;
  share(lane, (lane->n + LANES - 1) / LANES, 1, &begin, &end);
  for (int64_t b = begin; b < end; b++) {
    const real *dy = (const real *)lane->ptr[k->dout] + b * LANES * size;
    real *dx = (real *)lane->ptr[k->din[0]] + b * LANES * size;
    int64_t rows = min_i(LANES, lane->n - b * LANES);
    const real *row[LANES];
    for (int64_t i = 0; i < LANES; i++) row[i] = i < rows ? dy + i * size : NULL;
    into_block(row, size, k->add[0], dx);
    chain_signals(k, lane, b * LANES * size, LANES * size);
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
