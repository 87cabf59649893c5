/* accuracy: the metric that is 1 where the largest of C outputs is the target's class, else 0; with
 * `binary`, the share of the C units that are on the target's side of `threshold`.
 *
 * Ties go to the first. Targets are class numbers [1] or one per output [C].
 */
#include "ops/loss.h"

enum { BINARY, THRESHOLD };

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)nin;
  return loss_infer(in, !attr[BINARY].i, r);
}

static int64_t largest(const real *x, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; i++)
    if (x[i] > x[best]) best = i;
  return best;
}

static double score(const pb_instr *k, loss_row r) {
  if (k->attr[BINARY].i) {
    int64_t right = 0;
    for (int64_t i = 0; i < r.c; i++)
      right += ((double)r.y[i] > k->attr[THRESHOLD].f) == ((double)r.t[i] > 0.5);
    return (double)right / (double)r.c;
  }
  bool label = r.width == 1 && r.c > 1;
  return (real)largest(r.y, r.c) == (label ? r.t[0] : (real)largest(r.t, r.c));
}

static void forward(const pb_instr *k, const pb_lane *lane) {
  double *row = lane->ptr[k->out];
  int64_t begin, end;
  share(lane, lane->n, 8, &begin, &end);
  for (int64_t n = begin; n < end; n++) row[n] = score(k, row_at(k, lane, n));
}

PB_OP(accuracy) = {.name = "accuracy",
                   .attrs = "binary:int threshold:float",
                   .min_in = 2,
                   .max_in = 2,
                   .flags = PB_PER_ROW,
                   .infer = infer,
                   .forward = forward};
