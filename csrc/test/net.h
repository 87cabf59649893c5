/* A small network as a plan, with data that it can learn, and the same network in plain loops. */
#ifndef PB_TEST_NET_H
#define PB_TEST_NET_H

#include "test/draft.h"

enum { MAX_LAYERS = 4, DROPOUT_NODE = 100 };

typedef enum { TRAINING, GRADIENTS, INFERENCE } purpose;

/* Inside of backward; groups of weights and of biases, norms clipped (unless fused), averages;
   gradients that pieces of a batch add up. */
enum { FUSED = 1, TREATED = 2, ACCUMULATED = 4 };

/* dense -> activation -> dropout, ..., dense -> softmax_cross_entropy and accuracy. */
typedef struct {
  purpose purpose;
  int layers;                    /* dense ones */
  int64_t units[MAX_LAYERS + 1]; /* inputs first, classes last */
  const char *activation;        /* of all but the last, fused */
  double rate;                   /* of dropout after them; 0 for none */
  int64_t capacity;
  const char *optim;
  int updates; /* how: FUSED, TREATED, ACCUMULATED */
} net;

typedef struct {
  draft draft;
  int32_t x, target, logits, loss, hits;
  int32_t weight[MAX_LAYERS], bias[MAX_LAYERS], dweight[MAX_LAYERS], dbias[MAX_LAYERS];
} net_plan;

net_plan net_draft(const pb_table *, const net *);
/* The groups of a treated net's weights and biases, and the bounds of its norms. */
enum { OF_WEIGHTS = 1, OF_BIASES = 2 };
extern const pb_group net_groups[3];
extern const double net_clip_norm, net_global_norm;

/* Sealed, its parameters random. */
model net_model(const pb_table *, const net *);

/* Rows of inputs with class numbers that follow from them: two sources. */
typedef struct {
  int64_t rows;
  double *x, *y;
  pb_source source[2];
} dataset;

dataset dataset_new(const net *, int64_t rows, uint64_t seed);
void dataset_free(dataset *);

/* A whole shuffled run over the data without a limit in time; results go to `results`. */
pb_run run_of(const dataset *, const net *, int64_t epochs, double *results);

/* The same run in loops over doubles: parameters in the order of weight, bias of each layer. */
void loops_train(const net *, const dataset *, const pb_run *, const pb_attr *optim_attr,
                 double *params);
int64_t loops_params(const net *);

#endif
