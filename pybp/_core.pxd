"""csrc/pybp.h as Cython sees it."""

from libc.stdint cimport int32_t, int64_t, uint64_t


cdef extern from "pybp.h" nogil:
    enum:
        PB_MAX_DIMS, PB_MAX_IN, PB_MAX_ATTR, PB_MAX_SOURCE, PB_MAX_RESULT, PB_MAX_STATE
        PB_OK, PB_NO_MEMORY, PB_BAD_PLAN, PB_BAD_CALL, PB_DIVERGED, PB_INTERRUPTED
        PB_NOT_FINITE
        PB_PARAM, PB_GRAD, PB_ACT, PB_RUNNING
        PB_FORWARD, PB_DELTA, PB_BACKWARD_IN, PB_BACKWARD_PARAM
        PB_MEASURE, PB_CLIP, PB_UPDATE, PB_CONSTRAIN, PB_AVERAGE, PB_COMMIT
        PB_USES_X, PB_USES_Y, PB_ELEMENTWISE, PB_PER_ROW, PB_RANDOM, PB_FUSES, PB_SOURCE
        PB_MIXES_ROWS, PB_AFFINE, PB_SPARSE, PB_BLOCKED, PB_CHAINS, PB_WHOLE
        PB_FINE, PB_BAD_START, PB_BAD_COLUMN, PB_BAD_VALUE
        PB_F32, PB_F64, PB_U8, PB_I8, PB_U16, PB_I16, PB_U32, PB_I32, PB_U64, PB_I64
    ctypedef int pb_status
    ctypedef int pb_arena
    ctypedef int pb_phase
    ctypedef int pb_dtype
    ctypedef int pb_flaw
    ctypedef struct pb_shape:
        int32_t ndim
        bint batched, blocked
        int64_t dim[6]
    ctypedef union pb_attr:
        int64_t i
        double f
        const int32_t *code
    ctypedef struct pb_inferred:
        pb_shape out
        int64_t saved_row, saved_once, scratch, flops
        char error[256]
    ctypedef struct pb_source:
        const void *data
        pb_dtype dtype
        int64_t rows, cols, row_stride, col_stride
        const void *start
        const void *column
        int64_t entries
        bint wide
        double limit
    ctypedef struct pb_lane:
        pass
    ctypedef struct pb_instr
    ctypedef struct pb_op:
        const char *name
        const char *attrs
        int32_t min_in, max_in, params, running, flags
        bint (*infer)(const pb_attr *, const pb_shape *, int, pb_inferred *)
        void (*delta)(const pb_instr *, const pb_lane *)
        void (*backward_in)(const pb_instr *, const pb_lane *)
        void (*commit)(const pb_instr *, const pb_lane *)
    ctypedef struct pb_optim:
        const char *name
        const char *attrs
        int32_t states
    ctypedef struct pb_group:
        double rate_factor, decay, l1, l2, clip_value, max_norm
    ctypedef struct pb_table:
        const char *isa
        int32_t real_size, lanes
        const char *steps
        const pb_op *const *ops
        const pb_optim *const *optims
    ctypedef struct pb_tensor:
        pb_arena arena
        bint is_double
        int64_t offset
        pb_shape shape
        int32_t group
    ctypedef struct pb_instr:
        const pb_op *op
        pb_phase phase
        int32_t node, nin
        int32_t in_ "in"[6]
        int32_t out, saved
        int32_t din[6]
        int32_t dout
        bint add[6]
        bint fused_update
        bint joined
        pb_attr attr[12]
        const pb_op *activation
        pb_attr activation_attr[12]
        int32_t affine
        bint affine_last
        int64_t begin, end
        int32_t group, slot
        int64_t row
        int64_t flops
        bint serial
    ctypedef struct pb_workspace:
        pass
    ctypedef bint pb_poll()
    ctypedef struct pb_run:
        const pb_source *source
        int64_t rows, batch, epochs, piece
        bint shuffle
        uint64_t seed
        const double *learning_rate
        int64_t rate_stride, rate_origin
        const double *average
        int64_t average_stride
        double seconds
        pb_poll *poll
        int64_t epoch, epoch_origin, row, step
        double last_loss
        double sums[32]
        double *results
        int32_t bad_instr, bad_param
    ctypedef struct pb_plan:
        const pb_optim *optim
        pb_attr optim_attr[12]
        int32_t ngroup
        pb_group *group
        double clip_norm, global_norm
        bint accumulates
        int64_t capacity
        int32_t ntensor, ninstr, nforward
        pb_tensor *tensor
        pb_instr *instr
        int32_t nresult, nloss
        int32_t result[32]
        double loss_weight[32]
        int64_t act_bytes, scratch_bytes
        void *param
        void *grad
        void *state[4]
        int64_t nparam
        double *running
        int64_t nrunning
        void *average
        int32_t output, input, nsource, weights, threads
        char error[256]

    const pb_table *pb_table_for(int real_bits)
    const char *pb_isa_list()
    const char *pb_blas_name()
    ctypedef struct pb_gate:
        pass
    bint pb_enter(pb_gate *)
    void pb_leave(pb_gate *)
    const pb_op *pb_find_op(const pb_table *, const char *)
    const pb_optim *pb_find_optim(const pb_table *, const char *)
    pb_plan *pb_plan_new(const pb_table *, int64_t)
    void pb_plan_free(pb_plan *)
    pb_status pb_plan_reserve(pb_plan *, int32_t, int32_t, int32_t)
    pb_status pb_plan_seal(pb_plan *)
    int64_t pb_shape_size(const pb_shape *)
    pb_status pb_train(pb_plan *, pb_run *)
    pb_status pb_once(pb_plan *, const pb_source *, int64_t, bint, uint64_t, int64_t,
                      pb_poll *, pb_workspace **)
    void *pb_workspace_tensor(const pb_workspace *, int32_t)
    void pb_workspace_release(pb_plan *, pb_workspace *)
    pb_status pb_map(pb_plan *, const pb_source *, int64_t, void *, double *)
    pb_workspace *pb_workspace_new(pb_plan *)
    pb_status pb_forward(pb_plan *, pb_workspace *, const pb_source *, int64_t, void *)
    void pb_set_threads(int)
    int pb_get_threads()
    int64_t pb_allocations()
    int64_t pb_check_finite(const pb_source *, double, int64_t *)
    pb_flaw pb_check_sparse(const pb_source *, double, int64_t *, int64_t *)
    int64_t pb_check_labels(const pb_source *, int64_t)
    void pb_permutation(uint64_t, int64_t, int64_t, int64_t *)
