/* accuracy: the metric that is 1 where the largest of C outputs is the target's class, else 0; with
 * `binary`, the share of the C units that are on the target's side of `threshold`.
 *
 * Ties go to the first. Targets are class numbers [1] or one per output [C].
 */
#include "ops/loss.h"

enum { BINARY, THRESHOLD };

static double value(const pb_attr *attr, loss_row r) {
  if (attr[BINARY].i) {
    int64_t right = 0;
    for (int64_t i = 0; i < r.c; i++)
      right += ((double)r.y[i] > attr[THRESHOLD].f) == ((double)r.t[i] > 0.5);
    return (double)right / (double)r.c;
  }
  return (real)largest(r.y, r.c) == (is_label(r) ? r.t[0] : (real)largest(r.t, r.c));
}

PB_METRIC(accuracy, "binary:int threshold:float", attr[BINARY].i ? BY_VALUE : BY_CLASS);
