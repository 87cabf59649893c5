/* class_hinge: the margin by which the best of the wrong classes comes too close to class t:
 *
 *     m_n = max(0, 1 + max_{c != t} y_c - y_t)      loss_n = m_n, or m_n^2
 *     dy_t = -1, dy_c = 1 for that class c, the first among equals, where m_n > 0; or 2 m_n times it
 *
 * Crammer and Singer, "On the algorithmic implementation of multiclass kernel-based vector
 * machines", JMLR 2, 2001.
 */
#include "ops/loss.h"

enum { SQUARED };

static int64_t rival_of(loss_row r, int64_t label) {
  int64_t best = label == 0;
  for (int64_t i = best + 1; i < r.c; i++)
    if (i != label && r.y[i] > r.y[best]) best = i;
  return best;
}

static double value(const pb_attr *attr, loss_row r) {
  int64_t label = class_of(r);
  if (label < 0) return (double)NAN;
  double m = 0;
  for (int64_t i = 0; i < r.c; i++) m += (double)r.y[i] * 0; /* NaN anywhere is NaN */
  m += 1 + (double)r.y[rival_of(r, label)] - (double)r.y[label];
  m = m < 0 ? 0 : m;
  return attr[SQUARED].i ? m * m : m;
}

static void slope(const pb_attr *attr, loss_row r) {
  int64_t label = class_of(r);
  if (label < 0) label = 0; /* the loss has stopped the run */
  int64_t rival = rival_of(r, label);
  real m = 1 + r.y[rival] - r.y[label], g = m > 0 ? (attr[SQUARED].i ? 2 * m : 1) : 0;
  for (int64_t i = 0; i < r.c; i++) put(r, i, i == rival ? g : i == label ? -g : 0);
}

static bool infer(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r) {
  (void)attr;
  int64_t places = places_of(&in[PREDICTION], BY_CLASS);
  return loss_infer(in, nin, BY_CLASS, r) && pb_shape_size(&in[TARGET]) == places &&
         pb_shape_size(&in[PREDICTION]) > places;
}

PB_LOSS_ROW(class_hinge, "squared:int", BY_CLASS, 1, true);
