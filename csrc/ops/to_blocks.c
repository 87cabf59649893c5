/* to_blocks: rows into blocks of LANES rows, the row innermost.
 *
 *     y[n / LANES, i, n % LANES] = x[n, i]      x [..] -> y [..] blocked
 *
 * The last block is filled up by repeating the last row: what comes of that is as large as what comes of
 * a row, so it overflows only if a row does.
 */
#include "ops/blocks.h"

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr, (void)nin;
  r->out = in[0];
  r->out.blocked = true;
  r->flops = 4 * pb_shape_size(&in[0]);
  return in[0].batched && !in[0].blocked;
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  int64_t size = lane->plan->tensor[k->out].size, begin, end;
  share_cuts(lane, size, &begin, &end);
  for (int64_t i = begin; i < end; i++) {
    cut c = cut_at(size, i);
    const real *x = (const real *)lane->ptr[k->in[0]] + c.n * size + c.at, *row[LANES];
    for (int64_t l = 0; l < LANES; l++) row[l] = x + min_i(l, lane->n - 1 - c.n) * size;
    into_block(row, c.count, false, (real *)lane->ptr[k->out] + c.n * size + c.at * LANES);
  }
}

static void backward_in(const pb_instr *k, const pb_lane *lane) {
  int64_t size = lane->plan->tensor[k->out].size, begin, end;
  share_cuts(lane, size, &begin, &end);
  for (int64_t i = begin; i < end; i++) {
    cut c = cut_at(size, i);
    from_block((const real *)lane->ptr[k->dout] + c.n * size + c.at * LANES, c.count,
               min_i(LANES, lane->n - c.n), k->add[0], size,
               (real *)lane->ptr[k->din[0]] + c.n * size + c.at);
  }
}

PB_OP(to_blocks) = {.name = "to_blocks",
                    .attrs = "",
                    .min_in = 1,
                    .max_in = 1,
                    .infer = infer,
                    .forward = forward,
                    .backward_in = backward_in};
