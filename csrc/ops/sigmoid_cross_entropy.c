/* sigmoid_cross_entropy: binary cross-entropy of the sigmoid of logits z [C], from the logits.
 *
 *     loss_n = 1/C sum_c ( max(z_c, 0) - z_c u_c + log(1 + exp(-|z_c|)) )
 *     dz_c = sigmoid(z_c) - u_c,      u = (1 - smoothing) t + smoothing / 2
 */
#include "ops/loss.h"
#include "ops/math.h"

enum { SMOOTHING };

PB_INLINE double point(const pb_attr *attr, double z, double t) {
  double u = (1 - attr[SMOOTHING].f) * t + attr[SMOOTHING].f / 2;
  return (z < 0 ? 0 : z) - z * u + log1p(exp(-fabs(z)));
}

PB_INLINE real point_slope(const pb_attr *attr, real z, real t) {
  real smoothing = (real)attr[SMOOTHING].f;
  return r_sigmoid(z) - ((1 - smoothing) * t + smoothing / 2);
}

PB_POINTWISE_LOSS(sigmoid_cross_entropy, "smoothing:float", 1 / c, true);
