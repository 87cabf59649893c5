/* cosine_similarity: loss_n = 1 - cos(y, t), the cosine of the angle between the rows.
 *
 *     cos = y . t / (|y| |t|)      dy_c = ( y_c cos / |y| - t_c / |t| ) / |y|
 *
 * Norms below 1e-8 count as 1e-8, and as constants.
 */
#include "ops/loss.h"

#define SMALLEST 1e-8

typedef struct {
  double cosine, y, t; /* the norms, not below the smallest */
  bool clipped;        /* |y| is below it */
} angle;

static angle angle_of(loss_row r) {
  double dot = 0, yy = 0, tt = 0;
  for (int64_t i = 0; i < r.c; i++) {
    double y = (double)r.y[i], t = (double)r.t[i];
    dot += y * t, yy += y * y, tt += t * t;
  }
  angle a = {.y = sqrt(yy), .t = sqrt(tt)};
  a.clipped = a.y < SMALLEST;
  if (a.clipped) a.y = SMALLEST;
  if (a.t < SMALLEST) a.t = SMALLEST;
  a.cosine = dot / a.y / a.t;
  return a;
}

static double value(const pb_attr *attr, loss_row r) {
  (void)attr;
  return 1 - angle_of(r).cosine;
}

static void slope(const pb_attr *attr, loss_row r) {
  (void)attr;
  angle a = angle_of(r);
  double pull = a.clipped ? 0 : a.cosine / a.y;
  for (int64_t i = 0; i < r.c; i++)
    put(r, i, (real)((pull * (double)r.y[i] - (double)r.t[i] / a.t) / a.y));
}

PB_LOSS(cosine_similarity, "", BY_VALUE, false, 1, true);
