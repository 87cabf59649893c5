/* sigmoid_focal: binary cross-entropy that cares less for what is right already. With logits z [C],
 * x = z where t = 1 and -z where t = 0, p = sigmoid(x):
 *
 *     loss_n = 1/C sum_c -a_c (1 - p_c)^gamma log p_c
 *     dz_c = +-a_c (1 - p_c)^gamma (gamma p_c log p_c - (1 - p_c))
 *
 * a is alpha where t = 1 and 1 - alpha where t = 0; 1 everywhere when alpha < 0.
 * Lin, Goyal, Girshick, He and Dollar, "Focal loss for dense object detection", ICCV 2017.
 */
#include "ops/loss.h"

enum { GAMMA, ALPHA };

typedef struct {
  double p, log_p, wrong; /* wrong = (1 - p)^gamma times a */
} focus;

PB_INLINE focus focus_of(const pb_attr *attr, double z, double t) {
  double x = t > 0.5 ? z : -z, e = exp(-fabs(x)), a = t > 0.5 ? attr[ALPHA].f : 1 - attr[ALPHA].f;
  double q = (x < 0 ? 1 : e) / (1 + e); /* 1 - p */
  return (focus){.p = (x < 0 ? e : 1) / (1 + e),
                 .log_p = (x > 0 ? 0 : x) - log1p(e),
                 .wrong = pow(q, attr[GAMMA].f) * (attr[ALPHA].f < 0 ? 1 : a)};
}

PB_INLINE double point(const pb_attr *attr, double z, double t) {
  focus f = focus_of(attr, z, t);
  return -f.wrong * f.log_p;
}

PB_INLINE real point_slope(const pb_attr *attr, real z, real t) {
  focus f = focus_of(attr, (double)z, (double)t);
  double g = f.wrong * (attr[GAMMA].f * f.p * f.log_p - (1 - f.p));
  return (real)(t > (real)0.5 ? g : -g);
}

PB_POINTWISE_LOSS(sigmoid_focal, "gamma:float alpha:float", 1 / c, true);
