/* The product that a convolution is made of: outputs by positions, summed over terms that lie anywhere.
 *
 *     out[o, p] = start[o] + sum_t weight[o, weight_at[t]] in[p + at[t]]
 *
 * Tiles of outputs by vectors of positions stay in registers while the sum runs: a weight is broadcast
 * to all positions, and a term is an offset.
 */
#ifndef PB_CONV_PRODUCT_H
#define PB_CONV_PRODUCT_H

#include "ops/vec.h"

typedef struct {
  int64_t depth;
  const int64_t *at, *weight_at; /* of a term: from a position's input, from an output's weights */
  const real *weight;
  int64_t ldw;       /* between the weights of two outputs */
  const real *start; /* or NULL */
  bool add;          /* to what is there, instead of start */
  bool whole;        /* all vectors are, and without gaps in the output */
  int64_t ldc, step; /* in the output: between channels, between a vector's lanes */
  int64_t ld_pooled; /* between channels of the pooled output */
} conv_terms;

/* A rectangle of positions and how they lie, in reals: at its first, and from one to the next. */
typedef struct {
  int64_t rows, columns; /* of vectors */
  const real *in;
  int64_t in_row, in_column;
  real *out;
  int64_t out_row, out_column;
  int64_t edge; /* lanes that are wanted of a row's last vector */
  int64_t back; /* positions by which that is moved back to be whole: some are computed twice */
  real *pooled; /* or NULL: gets the largest of 2 x 2 vectors each; rows and columns are even */
  int64_t pooled_row;
} conv_rectangle;

#define conv_product PB_NAME(pb_conv_product)
/* r->out may be NULL where it is pooled. */
void conv_product(const conv_terms *, int64_t outputs, const conv_rectangle *);

#endif
