/* pybp.h - the whole C interface of pybp: a plan of instructions over preallocated memory.
 *
 * A plan is data. Python lowers a graph of layers into a list of instructions; C checks the list
 * once (pb_plan_seal) and then runs it for whole epochs without returning. Nothing here knows
 * Python, and nothing outside csrc/ops and csrc/optim knows the float type.
 *
 * Letters: N rows of a batch, I inputs, O outputs of a layer. `dx` is dLoss/dx.
 *
 * Life of a plan:
 *     pb_plan_new -> pb_plan_tensor* -> pb_plan_instr* -> pb_plan_seal -> pb_train | pb_map | ...
 * Errors: functions return PB_OK or a pb_status; plan->error then holds a sentence.
 */
#ifndef PYBP_H
#define PYBP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  PB_MAX_DIMS = 6,
  PB_MAX_IN = 6,      /* inputs of an op, running state and parameters included */
  PB_MAX_ATTR = 12,   /* attributes of an op */
  PB_MAX_SOURCE = 16, /* user arrays bound to a plan: inputs, targets */
  PB_MAX_RESULT = 32, /* losses and metrics of a plan */
  PB_MAX_STATE = 4,   /* state vectors of an optimiser, each as long as the parameters */
  PB_MAX_COEF = 8,    /* numbers that an optimiser derives once a step */
  PB_MAX_THREADS = 64,
  PB_ALIGN = 64, /* every tensor starts on a cache line */
  PB_ERROR_LEN = 256
};

typedef enum {
  PB_OK,
  PB_NO_MEMORY,
  PB_BAD_PLAN,
  PB_BAD_CALL,
  PB_DIVERGED,
  PB_INTERRUPTED,
  PB_NOT_FINITE
} pb_status;

/* Where a tensor lives. Parameters, gradients and optimiser state are vectors owned by the caller, and
   so is the running state: what a model keeps without training it, such as the moving averages of
   batch normalisation, always in doubles. Activations (with everything saved for backward) belong
   to a workspace. */
typedef enum { PB_PARAM, PB_GRAD, PB_ACT, PB_RUNNING } pb_arena;

typedef enum {
  PB_FORWARD,
  PB_DELTA,          /* turn dy into error signals dz, in place: of a fused activation, where the
                        instruction that wrote dy could not, or of an op that has signals of its own */
  PB_BACKWARD_IN,    /* gradients of the inputs: before the parameters', which may update them */
  PB_BACKWARD_PARAM, /* gradients of the parameters */
  /* The rest come last and run once a step; all but PB_COMMIT work on ranges of the parameter
     vector. */
  PB_MEASURE,   /* sum of squares of a range's gradient, for clipping */
  PB_CLIP,      /* factors that bring the measured gradients' norms within their bounds */
  PB_UPDATE,    /* optimiser step */
  PB_CONSTRAIN, /* rows whose norm is beyond the group's bound are scaled back to it */
  PB_AVERAGE,   /* average <- average + weight (parameters - average) */
  PB_COMMIT,    /* running state takes the batch in: at the end of a step that is not abandoned */
  PB_PHASES
} pb_phase;

enum {                      /* pb_op.flags */
       PB_USES_X = 1,       /* backward reads the inputs */
       PB_USES_Y = 2,       /* backward reads the output */
       PB_ELEMENTWISE = 4,  /* has map (and chain): can be fused into its producer */
       PB_PER_ROW = 8,      /* output is one double per row: a loss or a metric */
       PB_RANDOM = 16,      /* draws random numbers in training */
       PB_FUSES = 32,       /* can apply an elementwise op to its output */
       PB_SOURCE = 64,      /* reads a user array */
       PB_MIXES_ROWS = 128, /* in training an output row depends on all rows of the batch */
       PB_AFFINE = 256,     /* can scale and shift the columns of its output */
       PB_SPARSE = 512,     /* that array is sparse; it has as many columns as the first input */
       PB_BLOCKED = 1024,   /* takes blocked inputs, as all elementwise ops do */
       PB_CHAINS = 2048,    /* backward_in can turn the first input's gradient into error signals */
       PB_WHOLE = 4096      /* a gradient of its parameters is made as a whole: no fused update */
};

typedef struct {
  int32_t ndim;
  bool batched; /* a leading N goes before dim[] */
  /* The rows of a batched tensor in blocks of as many as a vector has lanes, L: element i of row n
     lies at ((n / L) * size + i) * L + n % L. Rows that fill the last block up are finite numbers
     that nobody asked for, and zeros in gradients. */
  bool blocked;
  int64_t dim[PB_MAX_DIMS];
} pb_shape;

/* An attribute is a number, or a list of them, which is the caller's and lives as long as the plan:
   code[0] says how many, code[1] and on are they. */
typedef union {
  int64_t i;
  double f;
  const int32_t *code;
} pb_attr;

/* What an op's shape rule says of one use of it. Sizes are in elements. */
typedef struct {
  pb_shape out;
  int64_t saved_row;        /* forward saves this much per row for backward */
  int64_t saved_once;       /* or this many doubles, whatever N is */
  int64_t scratch;          /* per thread, whatever N is */
  int64_t flops;            /* arithmetic per row, forward */
  int64_t pitch;            /* samples along the last axis of tensors in lanes, else 0 */
  char error[PB_ERROR_LEN]; /* set when the rule refuses */
} pb_inferred;

/* One array of the user's, read row by row through its strides, or sparse; never copied whole.
   A sparse one is CSR: `start` and `column` are not NULL, and the entries of row r are those from
   start[r] to start[r + 1] - 1, which lie in data, without gaps, and in these columns. Entries of
   one row may come in any order, and those of one column add up. */
typedef enum {
  PB_F32,
  PB_F64,
  PB_U8,
  PB_I8,
  PB_U16,
  PB_I16,
  PB_U32,
  PB_I32,
  PB_U64,
  PB_I64,
  PB_DTYPES
} pb_dtype;

typedef struct {
  const void *data;
  pb_dtype dtype;
  int64_t rows, cols;
  int64_t row_stride, col_stride; /* bytes, may be negative or zero */
  const void *start, *column;     /* of a sparse array: [rows + 1], [entries] */
  int64_t entries;
  bool wide;    /* these two are int64, else int32 */
  double limit; /* pb_map refuses dense rows with NaN or values beyond +-limit; 0 takes all */
} pb_source;

typedef struct pb_plan pb_plan;
typedef struct pb_instr pb_instr;
typedef struct pb_tensor pb_tensor;
typedef struct pb_lane pb_lane;

typedef void pb_kernel(const pb_instr *, const pb_lane *);

/* An op: one row of the table, made by one file of csrc/ops. */
typedef struct pb_op {
  const char *name;
  const char
      *attrs; /* "rate:float axis:int edges:code": names and types, in pb_instr.attr's order */
  int32_t min_in, max_in; /* inputs, running state and parameters included */
  int32_t params;         /* how many of the trailing inputs are parameters at most */
  int32_t running;        /* how many inputs before those are running state */
  int32_t flags;
  bool (*infer)(const pb_attr *attr, const pb_shape *in, int nin, pb_inferred *r);
  pb_kernel *forward;
  pb_kernel *delta; /* makes its error signals out of dy; the two below read them */
  pb_kernel *backward_in;
  pb_kernel *backward_param;
  pb_kernel *commit; /* writes its running state */
  /* Whether forward of an instruction can do the one behind it as well. */
  bool (*joins)(const pb_plan *, const pb_instr *, const pb_instr *next);
  /* Whether backward_in of an instruction may write din[0] over in[0], reading it as it goes. */
  bool (*overwrites)(const pb_instr *, const pb_tensor *);
  /* y = f(x); y may be x. */
  void (*map)(const pb_attr *attr, int64_t n, const void *x, void *y);
  /* dx = dy f'(x), from y unless the op is PB_USES_X; x may be NULL then, and dx may be dy. NULL
     where f has no derivative to train by. */
  void (*chain)(const pb_attr *attr, int64_t n, const void *x, const void *y, const void *dy,
                void *dx);
} pb_op;

/* How an update treats the parameters of some tensors. In this order:
 *     g <- g + l1 sign w + l2 w       g <- min(max(g, -clip_value), clip_value)
 *     g <- g times its PB_CLIP factor
 *     w <- w - rate decay w           where rate is rate_factor times the step's learning rate
 *     the optimiser's own step        with that rate
 * Zeros are no penalty, no decay and no limit. */
typedef struct {
  double rate_factor, decay, l1, l2, clip_value;
  double max_norm; /* of a row, after the update, by PB_CONSTRAIN */
} pb_group;

/* Loops over ranges of the parameter vector besides the optimisers' own. */
typedef struct {
  /* out <- factor times the gradient as the group treats it. */
  void (*treat)(int64_t n, const pb_group *, double factor, const void *w, const void *g,
                void *out);
  double (*squares)(int64_t n, const void *x);      /* sum of x^2 */
  void (*scale)(int64_t n, double factor, void *w); /* w <- factor w */
  void (*average)(int64_t n, double weight, const void *w, void *mean);
} pb_vector;

/* What an optimiser may know of a step besides its gradient. */
typedef struct {
  double learning_rate;
  int64_t t;              /* steps, counted from 1 */
  double loss, last_loss; /* per row, of this step's batch and of the one before, 0 at t = 1 */
  double average;         /* weight of the new parameters in their average; 0 leaves it alone */
} pb_step;

/* An optimiser: one row of the table, made by one file of csrc/optim. */
typedef struct pb_optim {
  const char *name;
  const char *attrs;
  int32_t states;
  bool lazy; /* where the gradient is zero nothing changes, and nothing is kept: no states */
  /* coef <- what the step needs, once per step. It holds what the last step of the run has left in
     it, zeros at first. */
  void (*prepare)(const pb_attr *attr, const pb_step *, double *coef);
  /* w, state <- w, state, g over n consecutive parameters. */
  void (*update)(int64_t n, const double *coef, void *w, const void *g, void *const *state);
} pb_optim;

/* All kernels of one precision and instruction set. */
typedef struct {
  const char *isa;
  int32_t real_size, lanes; /* bytes of a real, reals of a vector */
  const char *steps; /* of expressions: "constant:0 tanh:1 add:2", operands behind the names */
  const pb_op *const *ops; /* NULL at the end */
  const pb_optim *const *optims;
  const pb_vector *vector;
} pb_table;

struct pb_tensor {
  pb_arena arena;
  bool is_double; /* results of rows, running state, what forward saves once a batch */
  int64_t offset; /* bytes from the start of the arena */
  pb_shape shape;
  int32_t group; /* of a parameter */
  int64_t size;  /* elements, of one row when batched; set by seal */
};

/* One instruction. Operands are indices of tensors, -1 for none. */
struct pb_instr {
  const pb_op *op;
  pb_phase phase;
  int32_t node; /* whose random numbers it draws: the caller's to choose */
  int32_t nin;
  int32_t in[PB_MAX_IN], out, saved;
  int32_t din[PB_MAX_IN], dout;
  bool add[PB_MAX_IN]; /* add to the gradient instead of storing: not its first writer */
  bool fused_update;   /* backward_param hands its gradient to the optimiser, tile by tile */
  pb_kernel *run;      /* set by seal: what does this phase */
  bool joined;         /* forward may do the next instruction's work as well, and in an inference
                          need not write out then; seal clears it where the op cannot */
  bool serial;         /* set by seal: too little work to share between threads */
  pb_attr attr[PB_MAX_ATTR];
  const pb_op
      *activation; /* fused elementwise op, or NULL; of PB_BACKWARD_IN the one that made in[0],
                              whose error signals din[0] shall be: dx f'(z) by x = f(z) */
  pb_attr activation_attr[PB_MAX_ATTR];
  int32_t affine;      /* [2, columns]: the output's columns are scaled and shifted, or -1 */
  bool affine_last;    /* ... after the activation, instead of before it */
  int64_t begin, end;  /* PB_MEASURE and after: range of the parameter vector, in elements */
  int32_t group, slot; /* ... the range's group, and which factor of PB_CLIP is its, or -1 */
  int64_t row;         /* PB_CONSTRAIN: elements of one row */
  int64_t block;       /* PB_MEASURE: where its partial sums lie, set by seal */
  int64_t flops;       /* per row, set by seal */
};

typedef struct pb_workspace pb_workspace; /* activations and scratch of one run */

/* Asked every few hundredths of a second between instructions, on the caller's thread: true stops the
   run with PB_INTERRUPTED. A training step in which no parameter has changed yet is abandoned; one
   in which some have is brought to its end. NULL is never asked. */
typedef bool pb_poll(void);

/* What a training run is told, and where it stands. The same struct is handed in again to go on. */
typedef struct {
  const pb_source *source;
  int64_t rows, batch, epochs;
  int64_t piece; /* rows that go through the plan at once; a batch's pieces add their gradients up.
                    0 for whole batches, others need a plan that accumulates */
  bool shuffle;
  uint64_t seed;
  const double *learning_rate; /* one per step from step `rate_origin`; rate_stride 0 repeats one */
  int64_t rate_stride, rate_origin;
  const double *average; /* weights of the average, one per step likewise; NULL for none */
  int64_t average_stride;
  double seconds; /* come back after about this long */
  pb_poll *poll;
  int64_t epoch;        /* cursor: epochs finished in this run */
  int64_t epoch_origin; /* epochs finished before this run: permutations follow epoch + origin */
  int64_t row;          /* cursor: rows of the current epoch that are done */
  int64_t step;         /* optimiser steps ever done */
  double last_loss;     /* per row, of the last step */
  double sums[PB_MAX_RESULT]; /* results of the current epoch so far, summed over rows */
  double *results;            /* [epochs][nresults]: sums over the rows of each finished epoch */
  int32_t bad_instr;          /* PB_DIVERGED: first instruction whose output is not finite, or -1 */
  int32_t bad_param;          /* ... or the first parameter tensor that is not finite, or -1 */
} pb_run;

/* What kernels see: one thread's view of the batch at hand. */
struct pb_lane {
  void *const *ptr; /* address of every tensor, by index */
  void *scratch;    /* this thread's */
  int64_t n;        /* rows at hand: the batch's, or a piece of it */
  double total;     /* what a mean loss divides by: rows of the whole batch, or their weight */
  int32_t part, parts;
  bool training;
  uint64_t seed;
  int64_t step;
  const pb_source *source;
  const int64_t *index; /* row numbers to gather, or NULL for first_row .. first_row + n - 1 */
  int64_t first_row;
  const int64_t *next; /* rows of the batch after this one, where it is shuffled */
  int64_t nnext;
  const pb_plan *plan;
  const double *coef; /* the optimiser's numbers for this step: [groups][PB_MAX_COEF] */
  const pb_step *now;
};

struct pb_plan {
  const pb_table *table;
  const pb_optim *optim;
  pb_attr optim_attr[PB_MAX_ATTR];
  int32_t ngroup;
  pb_group *group;               /* the first is plain */
  double clip_norm, global_norm; /* of one measured gradient, of all together; 0: no bound */
  bool accumulates;              /* gradients are added to a vector that is zeroed at each step */
  int64_t capacity;              /* largest N */
  int32_t ntensor, ninstr, nforward; /* forward instructions come first */
  int32_t nbackward;                 /* where those begin that run once a step; set by seal */
  pb_tensor *tensor;
  pb_instr *instr;
  int32_t nresult, result[PB_MAX_RESULT]; /* per-row tensors to sum, losses first */
  int32_t nloss;                          /* the loss is the sum of so many, times their weights */
  double loss_weight[PB_MAX_RESULT];
  int64_t act_bytes, scratch_bytes;
  void *param, *grad, *state[PB_MAX_STATE]; /* the caller's vectors */
  int64_t nparam;                           /* elements in each */
  double *running;                          /* the caller's running state */
  int64_t nrunning;
  void *average;            /* likewise the caller's, for PB_AVERAGE */
  double *squares, *factor; /* partial sums of PB_MEASURE, factors of PB_CLIP; seal makes them */
  int32_t nslot;            /* factors; set by seal */
  int32_t output, input;    /* tensors of pb_map; input -1 when it must be gathered */
  int32_t nsource;
  int32_t weights; /* the source of the rows' weights, doubles [N, 1], or -1 */
  bool sealed;
  bool abreast;    /* pieces of a batch may run side by side, one on each thread; set by seal */
  double pace[2];  /* seconds of a step: of pieces one after another, and abreast; 0 not known */
  int32_t paced;   /* steps that were timed, as far as they are counted */
  int32_t threads; /* as many as the largest instruction can feed, set by seal */
  double flops;    /* of a row, forward, set by seal */
  void *cache;     /* workspaces kept for reuse */
  char error[PB_ERROR_LEN];
};

/* Whether there is more behind forward that may read what it makes. */
static inline bool pb_trains(const pb_plan *p) { return p->nforward < p->ninstr; }

/* --- the machine ------------------------------------------------------------------------------ */

/* The kernels for 32 or 64 bit reals on this CPU; PYBP_CPU picks another instruction set.
   NULL when PYBP_CPU names one that is unknown or that this CPU lacks. */
const pb_table *pb_table_for(int real_bits);
const char *pb_isa_list(void); /* what this build and CPU offer, best last */
const pb_op *pb_find_op(const pb_table *, const char *name);
const pb_optim *pb_find_optim(const pb_table *, const char *name);
const char *pb_blas_name(void);

pb_plan *pb_plan_new(const pb_table *, int64_t capacity);
void pb_plan_free(pb_plan *);
/* Room for the lists; all groups are plain at first. */
pb_status pb_plan_reserve(pb_plan *, int32_t ntensor, int32_t ninstr, int32_t ngroup);
pb_status pb_plan_seal(pb_plan *);
int64_t pb_shape_size(const pb_shape *); /* elements, one row's when batched; -1 on overflow */

pb_status pb_train(pb_plan *, pb_run *);

/* Forward (and, when the plan has backward instructions, backward) over rows [0, n), n <= capacity,
   in a workspace that stays the caller's until pb_workspace_release: read tensors with
   pb_workspace_tensor. A training pass draws the random numbers of `step`. */
pb_status pb_once(pb_plan *, const pb_source *, int64_t n, bool training, uint64_t seed,
                  int64_t step, pb_poll *, pb_workspace **);
void *pb_workspace_tensor(const pb_workspace *, int32_t tensor);
void pb_workspace_release(pb_plan *, pb_workspace *);

/* Inference over `rows` rows in chunks of `capacity`, chunks shared between threads. `out` gets the
   output tensor's rows unless NULL; `sums[k]` the sum of result k over all rows unless NULL. */
pb_status pb_map(pb_plan *, const pb_source *, int64_t rows, void *out, double *sums);

/* The same for one caller's small batches, n <= capacity, in a workspace of its own: nothing is
   taken or given back, so this is the quickest way through a plan. `out` as in pb_map. */
pb_workspace *pb_workspace_new(pb_plan *);
pb_status pb_forward(pb_plan *, pb_workspace *, const pb_source *, int64_t n, void *out);

/* What one caller at a time may use. */
typedef struct {
  atomic_bool taken;
} pb_gate;
bool pb_enter(pb_gate *); /* false while another is inside */
void pb_leave(pb_gate *);

void pb_set_threads(int n);
int pb_get_threads(void);
int64_t pb_allocations(void); /* how often the machine has asked for memory, ever */
/* First row (and its column) with a NaN or a value beyond +-limit, or -1. */
int64_t pb_check_finite(const pb_source *, double limit, int64_t *col);
/* Of a sparse array: the first thing that is wrong, and where. PB_FINE says that every row lies within
   the entries, every column within the array, and every value within +-limit. */
typedef enum { PB_FINE, PB_BAD_START, PB_BAD_COLUMN, PB_BAD_VALUE } pb_flaw;
pb_flaw pb_check_sparse(const pb_source *, double limit, int64_t *row, int64_t *entry);
/* First row whose label is not a whole number in [0, classes), or -1. */
int64_t pb_check_labels(const pb_source *, int64_t classes);
/* The order in which epoch `epoch` of a run with this seed visits its rows. */
void pb_permutation(uint64_t seed, int64_t epoch, int64_t n, int64_t *order);

#endif
