/* A sweep at work: what conv_sweep.c and conv_margin.c share. */
#ifndef PB_CONV_SWEEP_H
#define PB_CONV_SWEEP_H

#include "ops/conv.h"
#include "ops/conv_product.h"

typedef struct {
  const conv_sweep_job *job;
  int64_t depth, outputs; /* channels of a group, read and written */
  int64_t first, last;    /* of those written: a part of them where images alone are too few */
  int64_t height, width;  /* of the input */
  int64_t out_height, out_width;
  int64_t cell, units;   /* reals of a pixel; positions of a vector */
  int64_t chunk;         /* channels read at a time */
  int64_t rows, columns; /* positions of a tile; where blocks are pooled, even but at the end */
  bool flat;             /* its rows are joined to one, see one_tile */
  int64_t *at, *weight_at;
  real *copy;
  const real *in; /* of the image, or block, at hand */
  real *out, *pooled;
} conv_sweep_part;

#define conv_skips_margin PB_NAME(pb_conv_skips_margin)
#define conv_without_margin PB_NAME(pb_conv_without_margin)
/* Whether a gradient by the input is better summed column by column, see conv_margin.c. */
bool conv_skips_margin(const conv_sweep_job *);
/* Rows [begin, end) of the gradient of one block. */
void conv_without_margin(const conv_sweep_part *, int64_t begin, int64_t end);

#define conv_takes_outputs PB_NAME(pb_conv_takes_outputs)
#define conv_pools_outputs PB_NAME(pb_conv_pools_outputs)
#define conv_by_outputs PB_NAME(pb_conv_by_outputs)
/* Whether outputs fill the lanes of vectors better than columns do, see conv_outputs.c. */
bool conv_takes_outputs(const conv_sweep_part *, const pb_lane *);
/* Whether that way pools what it makes. */
bool conv_pools_outputs(const conv_sweep_part *);
/* This thread's part of the job. */
void conv_by_outputs(const conv_sweep_part *, const pb_lane *);

#define conv_takes_points PB_NAME(pb_conv_takes_points)
#define conv_by_points PB_NAME(pb_conv_by_points)
#define conv_points_scratch PB_NAME(pb_conv_points_scratch)
/* Whether Winograd's filtering pays with columns in the lanes, see conv_points.c. */
bool conv_takes_points(const conv_sweep_job *);
/* This thread's part of the job, and the reals of scratch that it needs. */
void conv_by_points(const conv_sweep_job *, const pb_lane *);
int64_t conv_points_scratch(const conv_geometry *);

enum { LEAST_OUTPUTS = 3 }; /* of a thread, or of points: with fewer, sharing does not pay */

#endif
