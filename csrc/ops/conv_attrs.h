/* The attributes of convolutions, and what shape rules make of them. */
#ifndef PB_CONV_ATTRS_H
#define PB_CONV_ATTRS_H

#include "ops/conv.h"

#define CONV_ATTRS \
  "stride_h:int stride_w:int dilation_h:int dilation_w:int pad_top:int pad_bottom:int " \
  "pad_left:int pad_right:int groups:int"

enum {
  STRIDE_H,
  STRIDE_W,
  DILATION_H,
  DILATION_W,
  PAD_TOP,
  PAD_BOTTOM,
  PAD_LEFT,
  PAD_RIGHT,
  GROUPS,
  OUTPUT_PAD_H, /* of conv_transpose alone */
  OUTPUT_PAD_W
};

/* Beyond this no attribute can be meant, and below it no size overflows. */
#define CONV_LARGEST (INT64_C(1) << 24)

/* The kernel's axes of `weight` [outputs, channels / groups, A, B], or [outputs, channels / groups, B] of
   sequences, whose A is 1. */
PB_INLINE int64_t kernel_height(const pb_shape *weight) {
  return weight->ndim == 4 ? weight->dim[2] : 1;
}
PB_INLINE int64_t kernel_width(const pb_shape *weight) { return weight->dim[weight->ndim - 1]; }

/* Whether `weight` suits an image, and all attributes are in range. */
PB_INLINE bool weights_fit(const pb_attr *attr, const pb_shape *image, const pb_shape *weight,
                           int64_t outputs, int64_t channels) {
  int64_t groups = attr[GROUPS].i;
  if (image->ndim != 3 || weight->ndim < 3 || weight->ndim > 4 || pb_shape_size(image) < 0 ||
      pb_shape_size(weight) < 0)
    return false;
  for (int i = STRIDE_H; i <= PAD_RIGHT; i++)
    if (attr[i].i < (i < PAD_TOP) || attr[i].i > CONV_LARGEST) return false;
  if (kernel_height(weight) > CONV_LARGEST || kernel_width(weight) > CONV_LARGEST) return false;
  if (image->dim[1] > CONV_LARGEST || image->dim[2] > CONV_LARGEST) return false;
  return groups >= 1 && channels % groups == 0 && outputs % groups == 0 &&
         weight->dim[0] == outputs && weight->dim[1] == channels / groups;
}

PB_INLINE void axes_of(const pb_attr *attr, const pb_shape *weight, int64_t height, int64_t width,
                       int64_t out_height, int64_t out_width, conv_axis *y, conv_axis *x) {
  *y = (conv_axis){height,           out_height,         kernel_height(weight),
                   attr[STRIDE_H].i, attr[DILATION_H].i, attr[PAD_TOP].i};
  *x = (conv_axis){
      width,           out_width, kernel_width(weight), attr[STRIDE_W].i, attr[DILATION_W].i,
      attr[PAD_LEFT].i};
}

/* Sets how many positions the kernel has; false where it has none. */
PB_INLINE bool count_positions(conv_axis *a, int64_t pad_after) {
  int64_t room = a->in + a->pad + pad_after - a->dilation * (a->kernel - 1) - 1;
  a->out = room / a->stride + 1;
  return room >= 0;
}

/* What any phase of a convolution needs. */
PB_INLINE int64_t conv_scratch(const conv_geometry *g) {
  int64_t need = conv_dots_scratch(g);
  for (int turned = 0; turned < 2; turned++) {
    int64_t sweep = conv_sweep_scratch(g, turned);
    need = sweep > need ? sweep : need;
  }
  return need;
}

PB_INLINE int64_t tensor_channels(const pb_lane *lane, int32_t id) {
  return lane->plan->tensor[id].shape.dim[0];
}

#endif
