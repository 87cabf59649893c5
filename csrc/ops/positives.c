/* positives: how many of a row's C units are positive, which precision, recall and F1 are made of:
 * in the prediction, y_c > threshold, in the target, t_c > 1/2, or, by default, in both.
 */
#include "ops/loss.h"

enum { THRESHOLD, OF };
enum { BOTH, PREDICTED, TRUE };

static double value(const pb_attr *attr, loss_row r) {
  int64_t count = 0, of = attr[OF].i;
  for (int64_t i = 0; i < r.c; i++) {
    bool predicted = (double)r.y[i] > attr[THRESHOLD].f, is = (double)r.t[i] > 0.5;
    count += (predicted || of == TRUE) && (is || of == PREDICTED);
  }
  return (double)count;
}

PB_METRIC(positives, "threshold:float of:int", BY_VALUE);
