# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The border: plans, runs and sources of csrc/pybp.h as Python objects.

Everything that goes down is checked here or sealed in C; what comes back is numbers and arrays.
No function of this module loops over the elements of a batch.
"""

from cpython.exc cimport PyErr_Occurred
from libc.float cimport DBL_MAX
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

cimport cython
cimport numpy as cnp

import sys

import numpy as np

cnp.import_array()


cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept  # its exception is handed on by Plan.check


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


# --- the tables ----------------------------------------------------------------------------------

cdef const pb_table *table(int bits) except NULL:
    cdef const pb_table *t = pb_table_for(bits)
    if t == NULL:
        raise ImportError(
            "PYBP_CPU names an instruction set that this build or CPU lacks; "
            f"choose one of: {pb_isa_list().decode()}, or unset it"
        )
    return t


table(32)  # a wrong PYBP_CPU is said at import, not at the first model

FLAGS = {
    "uses_x": PB_USES_X, "uses_y": PB_USES_Y, "elementwise": PB_ELEMENTWISE,
    "per_row": PB_PER_ROW, "random": PB_RANDOM, "fuses": PB_FUSES, "source": PB_SOURCE,
    "mixes_rows": PB_MIXES_ROWS, "affine": PB_AFFINE, "sparse": PB_SPARSE, "blocked": PB_BLOCKED,
    "chains": PB_CHAINS, "whole": PB_WHOLE,
}
PHASES = {
    "forward": PB_FORWARD, "delta": PB_DELTA, "backward_in": PB_BACKWARD_IN,
    "backward_param": PB_BACKWARD_PARAM,
    "measure": PB_MEASURE, "clip": PB_CLIP, "update": PB_UPDATE, "constrain": PB_CONSTRAIN,
    "average": PB_AVERAGE, "commit": PB_COMMIT,
}
ARENAS = {"param": PB_PARAM, "grad": PB_GRAD, "act": PB_ACT, "running": PB_RUNNING}


cdef dict signature(const char *text):
    """{"rate": "float"} of "rate:float"."""
    return dict(field.split(":") for field in text.decode().split())


def ops():
    """Every op by name: its attributes, inputs, parameters and flags, as its table row says."""
    cdef const pb_op *const *row = table(32).ops
    cdef dict found = {}
    while row[0] != NULL:
        flags = {name for name, bit in FLAGS.items() if row[0].flags & bit}
        found[row[0].name.decode()] = {
            "attrs": signature(row[0].attrs), "min_in": row[0].min_in, "max_in": row[0].max_in,
            "params": row[0].params, "running": row[0].running, "flags": flags,
            "differentiable": row[0].backward_in != NULL, "commits": row[0].commit != NULL,
            "signals": row[0].delta != NULL, "number": len(found),
        }
        row += 1
    return found


def steps():
    """Every step of expressions, in the order of their numbers: how many operands it has."""
    return {name: int(count) for name, count in signature(table(32).steps).items()}


def lanes():
    """How many float32 a vector of the instruction set in use holds."""
    return table(32).lanes


def optimizers():
    """Every optimiser by name: its attributes and how many state vectors it keeps."""
    cdef const pb_optim *const *row = table(32).optims
    cdef dict found = {}
    while row[0] != NULL:
        found[row[0].name.decode()] = {
            "attrs": signature(row[0].attrs), "states": row[0].states
        }
        row += 1
    return found


cdef int fill_attrs(pb_attr *out, const char *text, dict given, list lists) except -1:
    """The attributes in their order; `lists` keeps those that are lists of numbers alive."""
    cdef int k = 0
    for name, kind in signature(text).items():
        if k == PB_MAX_ATTR:
            raise ValueError(f"at most {PB_MAX_ATTR} attributes, got {signature(text)}")
        if kind == "code":
            numbers = np.asarray(given[name], np.int32)
            numbers = np.concatenate((np.array([len(numbers)], np.int32), numbers))
            lists.append(numbers)
            out[k].code = <const int32_t *> cnp.PyArray_DATA(numbers)
        elif kind == "int":
            out[k].i = given[name]
        else:
            out[k].f = given[name]
        k += 1
    return 0


cdef int fill_shape(pb_shape *out, tuple dims, bint batched, bint blocked=False) except -1:
    if len(dims) > PB_MAX_DIMS:
        raise ValueError(f"a shape has at most {PB_MAX_DIMS} dimensions, got {dims}")
    out.ndim, out.batched, out.blocked = len(dims), batched, blocked
    for i, size in enumerate(dims):
        out.dim[i] = size
    return 0


MAX_RESULTS, MAX_SOURCES, MAX_INPUTS = PB_MAX_RESULT, PB_MAX_SOURCE, PB_MAX_IN
MAX_DIMS = PB_MAX_DIMS


def infer(str op, dict attrs, list inputs, out=((), True, False)):
    """What an op's shape rule says: (shape, batched, blocked, saved per row, doubles saved once,
    flops per row), or None when the inputs, a list of (shape, batched, blocked), do not suit it.
    `out` is the shape of an op that has no inputs to infer it from."""
    cdef const pb_op *row = pb_find_op(table(32), op.encode())
    cdef pb_attr attr[PB_MAX_ATTR]
    cdef list lists = []
    cdef pb_shape shapes[PB_MAX_IN]
    cdef pb_inferred r
    if row == NULL:
        raise KeyError(op)
    if not row.min_in <= len(inputs) <= row.max_in:
        return None
    memset(&r, 0, sizeof(r))
    memset(attr, 0, sizeof(attr))
    fill_attrs(attr, row.attrs, attrs, lists)
    fill_shape(&r.out, out[0], out[1], out[2])
    for i, (dims, batched, blocked) in enumerate(inputs):
        fill_shape(&shapes[i], dims, batched, blocked)
        if shapes[i].blocked and not row.flags & (PB_BLOCKED | PB_ELEMENTWISE):
            return None
    if not row.infer(attr, shapes, len(inputs), &r):
        return None
    shape = tuple(r.out.dim[i] for i in range(r.out.ndim))
    return shape, r.out.batched, r.out.blocked, r.saved_row, r.saved_once, r.flops


# --- sources -------------------------------------------------------------------------------------

cdef dict DTYPE_CODES = {
    np.dtype(np.float32): PB_F32, np.dtype(np.float64): PB_F64,
    np.dtype(np.uint8): PB_U8, np.dtype(np.int8): PB_I8,
    np.dtype(np.uint16): PB_U16, np.dtype(np.int16): PB_I16,
    np.dtype(np.uint32): PB_U32, np.dtype(np.int32): PB_I32,
    np.dtype(np.uint64): PB_U64, np.dtype(np.int64): PB_I64,
}


cdef int64_t BLOCK_VALUES = 1 << 24
cdef int64_t FLOPS_UNDER_GIL = 20000  # half a microsecond: letting others run would take as long
cdef int64_t FEW_ROWS = 128  # of one call that Ctrl-C waits for


cdef class Source:
    """A user's rows, read where they lie: an array, 2-D, any strides, aligned, native byte order,
    or `pybp.sparse.Rows`."""

    cdef pb_source c
    cdef readonly object array

    def __cinit__(self, array, double limit=0):
        self.array = array
        self.c.limit = limit
        self.c.dtype = DTYPE_CODES[array.dtype]
        if isinstance(array, np.ndarray):
            self.bind_array(array)
        else:
            self.bind_sparse(array.start, array.column, array.values, array.shape[1])

    cdef int bind_sparse(self, cnp.ndarray start, cnp.ndarray column, cnp.ndarray values,
                         int64_t cols) except -1:
        for part in (start, column, values):
            if part.ndim != 1 or not part.flags.c_contiguous or not part.flags.aligned:
                raise ValueError("the parts of a sparse source are contiguous vectors")
        if start.dtype != column.dtype or column.dtype not in (np.int32, np.int64):
            raise ValueError("the indices of a sparse source are both int32 or both int64")
        self.c.data = cnp.PyArray_DATA(values)
        self.c.start, self.c.column = cnp.PyArray_DATA(start), cnp.PyArray_DATA(column)
        self.c.wide = column.dtype == np.int64
        self.c.entries = min(column.size, values.size)
        self.c.rows, self.c.cols = start.size - 1, cols
        self.c.col_stride = values.itemsize
        return 0

    cdef int bind_array(self, cnp.ndarray array) except -1:
        if array.ndim != 2:
            raise ValueError("a source has two dimensions")
        if not array.flags.aligned:
            raise ValueError("a source is aligned")
        self.c.data = cnp.PyArray_DATA(array)
        self.c.rows = cnp.PyArray_DIM(array, 0)
        self.c.cols = cnp.PyArray_DIM(array, 1)
        self.c.row_stride = cnp.PyArray_STRIDE(array, 0)
        self.c.col_stride = cnp.PyArray_STRIDE(array, 1)
        return 0

    cdef pb_source rows(self, int64_t begin, int64_t end) noexcept:
        """Rows [begin, end)."""
        cdef pb_source part = self.c
        part.data = <const char *> self.c.data + begin * self.c.row_stride
        part.rows = end - begin
        return part

    cdef int64_t block(self):
        """Rows that are scanned in a few hundredths of a second: Ctrl-C is heard in between."""
        return max(1, BLOCK_VALUES // max(self.c.cols, 1))

    def check_finite(self, double limit=DBL_MAX):
        """None, or (row, column) of the first value that is NaN or beyond +-limit."""
        cdef int64_t row, col = 0, begin = 0, step = self.block()
        cdef pb_source part
        while begin < self.c.rows:
            part = self.rows(begin, min(begin + step, self.c.rows))
            with nogil:
                row = pb_check_finite(&part, limit, &col)
            if row >= 0:
                return begin + row, col
            begin += step
        return None

    def check_sparse(self, double limit=DBL_MAX):
        """None, or what is wrong first with a sparse source: ("start", row, 0), or ("column" or
        "value", row, entry). A value is wrong that is NaN or beyond +-limit."""
        cdef int64_t row = 0, entry = 0
        cdef pb_flaw flaw
        with nogil:
            flaw = pb_check_sparse(&self.c, limit, &row, &entry)
        if flaw == PB_FINE:
            return None
        names = {PB_BAD_START: "start", PB_BAD_COLUMN: "column", PB_BAD_VALUE: "value"}
        return names[flaw], row, entry

    def check_labels(self, int64_t classes):
        """None, or the first row that does not hold a whole number in [0, classes)."""
        cdef int64_t row, begin = 0, step = self.block()
        cdef pb_source part
        while begin < self.c.rows:
            part = self.rows(begin, min(begin + step, self.c.rows))
            with nogil:
                row = pb_check_labels(&part, classes)
            if row >= 0:
                return begin + row
            begin += step
        return None


cdef bint ctrl_c() noexcept with gil:
    """Whether a signal has come whose handler raised; the exception then waits in the thread."""
    return PyErr_CheckSignals() < 0


# --- plans ---------------------------------------------------------------------------------------

cdef class Plan:
    """A sealed plan. `tensors` and `instrs` are lists of the records that pybp.lower emits."""

    cdef pb_plan *c
    cdef public bint retired  # the model has other parameters now
    cdef readonly object dtype
    cdef list keep  # the arrays whose memory the plan uses, lists among the attributes included

    def __cinit__(self, int bits, int64_t capacity, list tensors, list instrs, int nforward,
                  int64_t act_bytes, param, grad=None, tuple state=(), optimizer=None,
                  tuple results=(), int output=-1, int source_tensor=-1, int sources=1,
                  cnp.ndarray running=None, list groups=None, tuple bounds=(0.0, 0.0),
                  bint accumulates=False, average=None, int weights=-1,
                  tuple losses=(1.0,)):
        cdef const pb_table *t = table(bits)
        self.dtype = np.dtype(np.float32 if bits == 32 else np.float64)
        self.c = pb_plan_new(t, capacity)
        if self.c == NULL:
            raise MemoryError(f"cannot make a plan for batches of {capacity} rows")
        self.keep = [param, grad, running, average, *state]
        self.c.param = self.vector(param)
        self.c.nparam = param.size
        if grad is not None:
            self.c.grad = self.vector(grad)
        if running is not None:
            if running.dtype != np.float64 or not running.flags.c_contiguous:
                raise ValueError("running state is contiguous and float64")
            self.c.running = <double *> cnp.PyArray_DATA(running)
            self.c.nrunning = running.size
        if average is not None:
            self.c.average = self.vector(average)
        if len(state) > PB_MAX_STATE:
            raise ValueError(f"a plan keeps at most {PB_MAX_STATE} vectors of state")
        for k, array in enumerate(state):
            self.c.state[k] = self.vector(array)
        if optimizer is not None:
            name, attrs = optimizer
            self.c.optim = pb_find_optim(t, name.encode())
            if self.c.optim == NULL:
                raise KeyError(name)
            fill_attrs(self.c.optim_attr, self.c.optim.attrs, attrs, self.keep)
        self.check(pb_plan_reserve(self.c, len(tensors), len(instrs), len(groups or [0])))
        for i, group in enumerate(groups or []):
            (self.c.group[i].rate_factor, self.c.group[i].decay, self.c.group[i].l1,
             self.c.group[i].l2, self.c.group[i].clip_value, self.c.group[i].max_norm) = group
        self.c.clip_norm, self.c.global_norm = bounds
        self.c.accumulates = accumulates
        for i, record in enumerate(tensors):
            self.add_tensor(&self.c.tensor[i], record)
        for i, record in enumerate(instrs):
            self.add_instr(t, &self.c.instr[i], record)
        self.c.nforward, self.c.act_bytes = nforward, act_bytes
        self.c.output, self.c.input, self.c.nsource = output, source_tensor, sources
        self.c.weights, self.c.nresult = weights, len(results)
        if self.c.nresult > PB_MAX_RESULT:
            raise ValueError(f"a plan has at most {PB_MAX_RESULT} results, got {len(results)}")
        for k, tensor in enumerate(results):
            self.c.result[k] = tensor
        if len(losses) > PB_MAX_RESULT:
            raise ValueError(f"a plan has at most {PB_MAX_RESULT} losses, got {len(losses)}")
        self.c.nloss = len(losses)
        for k, weight in enumerate(losses):
            self.c.loss_weight[k] = weight
        self.check(pb_plan_seal(self.c))

    def __dealloc__(self):
        pb_plan_free(self.c)

    cdef void *vector(self, cnp.ndarray array) except? NULL:
        if array.dtype != self.dtype or not array.flags.c_contiguous or not array.flags.writeable:
            raise ValueError("the plan's vectors are contiguous and of its own dtype")
        return cnp.PyArray_DATA(array)

    cdef int add_tensor(self, pb_tensor *t, tuple record) except -1:
        arena, dims, batched, blocked, offset, is_double, group = record
        t.arena, t.offset, t.is_double, t.group = ARENAS[arena], offset, is_double, group
        return fill_shape(&t.shape, dims, batched, blocked)

    cdef int add_instr(self, const pb_table *t, pb_instr *k, dict record) except -1:
        k.phase = PHASES[record["phase"]]
        k.out = k.saved = k.dout = -1
        k.slot = k.affine = -1
        if PB_MEASURE <= k.phase < PB_COMMIT:
            k.begin, k.end = record["range"]
            k.group, k.slot, k.row = record["group"], record["slot"], record["row"]
            return 0
        k.node = record["stream"]
        k.op = pb_find_op(t, record["op"].encode())
        if k.op == NULL:
            raise KeyError(record["op"])
        fill_attrs(k.attr, k.op.attrs, record["attrs"], self.keep)
        inputs = record["in"]
        k.nin = len(inputs)
        if k.nin > PB_MAX_IN:
            raise ValueError(f"{record['op']} with {k.nin} inputs")
        for i in range(k.nin):
            k.in_[i] = inputs[i]
            k.din[i] = record["din"][i]
            k.add[i] = record["add"][i]
        k.out, k.saved, k.dout = record["out"], record["saved"], record["dout"]
        k.fused_update, k.joined = record["fused_update"], record["joined"]
        k.affine, k.affine_last = record["affine"], record["affine_last"]
        if record["activation"] is not None:
            name, attrs = record["activation"]
            k.activation = pb_find_op(t, name.encode())
            if k.activation == NULL:
                raise KeyError(name)
            fill_attrs(k.activation_attr, k.activation.attrs, attrs, self.keep)
        return 0

    cdef int check(self, pb_status status) except -1:
        if status == PB_NO_MEMORY:
            raise MemoryError("not enough memory for the plan")
        if status == PB_BAD_PLAN:
            raise RuntimeError(f"the compiled plan was refused: {self.c.error.decode()}")
        if status == PB_BAD_CALL:
            raise RuntimeError("the arrays do not fit the plan")
        if status == PB_INTERRUPTED:
            return -1 if PyErr_Occurred() != NULL else 0
        return 0

    @property
    def capacity(self):
        return self.c.capacity

    @property
    def scratch_bytes(self):
        """Memory beside the activations, of each thread."""
        return self.c.scratch_bytes

    cdef int bind(self, tuple sources, pb_source *out) except -1:
        if len(sources) != self.c.nsource or len(sources) > PB_MAX_SOURCE:
            raise RuntimeError(f"the plan reads {self.c.nsource} arrays, got {len(sources)}")
        for i, source in enumerate(sources):
            out[i] = (<Source?>source).c
        return 0

    def once(self, tuple sources, int64_t n, list tensors, bint training=False, uint64_t seed=0,
             int64_t step=0):
        """Run rows [0, n) through the whole plan once; copies of the given tensors, batched ones
        as (n, ...)."""
        cdef pb_source bound[PB_MAX_SOURCE]
        cdef pb_workspace *work = NULL
        cdef pb_status status
        self.bind(sources, bound)
        with nogil:
            status = pb_once(self.c, bound, n, training, seed, step, <pb_poll *> ctrl_c, &work)
        try:
            self.check(status)
            return [self.copy_of(work, i, n) for i in tensors]
        finally:
            pb_workspace_release(self.c, work)

    cdef object copy_of(self, pb_workspace *work, int32_t i, int64_t n):
        cdef const pb_tensor *t = &self.c.tensor[i]
        shape = tuple(t.shape.dim[d] for d in range(t.shape.ndim))
        if t.shape.batched:
            shape = (n, *shape)
        cdef cnp.ndarray out = np.empty(shape, np.float64 if t.is_double else self.dtype)
        memcpy(cnp.PyArray_DATA(out), pb_workspace_tensor(work, i), cnp.PyArray_NBYTES(out))
        return out

    def map(self, tuple sources, int64_t rows, cnp.ndarray out=None, cnp.ndarray sums=None):
        """Inference over all rows: `out` (rows, ...) gets the output, `sums` the results' sums.
        False when rows of a source with a limit are not within it."""
        cdef pb_source bound[PB_MAX_SOURCE]
        cdef pb_status status
        cdef void *to = NULL
        cdef double *totals = NULL
        self.bind(sources, bound)
        if out is not None:
            if (out.dtype != self.dtype or not out.flags.c_contiguous or self.c.output < 0 or
                    out.size != rows * pb_shape_size(&self.c.tensor[self.c.output].shape)):
                raise ValueError("the output array does not fit the plan")
            to = cnp.PyArray_DATA(out)
        if sums is not None:
            if (sums.dtype != np.float64 or not sums.flags.c_contiguous or
                    sums.size != self.c.nresult):
                raise ValueError("the array of sums does not fit the plan")
            totals = <double *> cnp.PyArray_DATA(sums)
        with nogil:
            status = pb_map(self.c, bound, rows, to, totals)
        self.check(status)
        return status != PB_NOT_FINITE

    def train(self, Run run, double seconds):
        """Train until the run's epochs are done or about `seconds` have passed. True when done.
        A run that diverged sets run.culprit and raises FloatingPointError."""
        cdef pb_status status
        cdef pb_source bound[PB_MAX_SOURCE]
        self.bind(run.sources, bound)
        if run.results.shape[1] != self.c.nresult:
            raise ValueError("the results do not fit the plan")
        run.c.source = bound
        run.c.seconds = seconds
        run.c.poll = <pb_poll *> ctrl_c
        with nogil:
            status = pb_train(self.c, &run.c)
        run.c.source = NULL
        if status == PB_DIVERGED:
            raise FloatingPointError
        self.check(status)
        return run.c.epoch == run.c.epochs


cdef class Run:
    """A training run: what it reads, and the cursor that says where it stands."""

    cdef pb_run c
    cdef readonly tuple sources
    cdef readonly object results, rates, average
    cdef readonly int64_t first_row

    def __cinit__(self, tuple sources, int64_t rows, int64_t batch, int64_t epochs, bint shuffle,
                  uint64_t seed, cnp.ndarray rates, int nresults, int64_t epoch_origin=0,
                  int64_t step=0, int64_t row=0, sums=(), int64_t piece=0, double last_loss=0,
                  cnp.ndarray average=None):
        if not 0 <= nresults <= PB_MAX_RESULT or len(sums) > PB_MAX_RESULT:
            raise ValueError("too many results")
        batches = -(-rows // batch)
        steps = epochs * batches - row // batch
        if rates.dtype != np.float64 or rates.ndim != 1 or rates.shape[0] < steps:
            raise ValueError("the run needs a learning rate for every step")
        if average is not None and (average.dtype != np.float64 or average.size < steps):
            raise ValueError("the run needs a weight of the average for every step")
        self.sources = sources
        self.rates, self.average = rates, average
        self.results = np.zeros((epochs, nresults))
        self.c.rows, self.c.batch, self.c.epochs, self.c.shuffle = rows, batch, epochs, shuffle
        self.c.seed, self.c.epoch_origin = seed, epoch_origin
        self.c.learning_rate = <double *> cnp.PyArray_DATA(rates)
        self.c.rate_stride = cnp.PyArray_STRIDE(rates, 0) // sizeof(double)
        if average is not None:
            self.c.average = <double *> cnp.PyArray_DATA(average)
            self.c.average_stride = cnp.PyArray_STRIDE(average, 0) // sizeof(double)
        self.c.rate_origin = self.c.step = step
        self.c.piece, self.c.last_loss = piece, last_loss
        self.c.row = self.first_row = row
        self.c.results = <double *> cnp.PyArray_DATA(self.results)
        for k, value in enumerate(sums):
            self.c.sums[k] = value

    @property
    def epoch(self):
        """Epochs finished in this run."""
        return self.c.epoch

    @property
    def row(self):
        """Rows of the current epoch that are done."""
        return self.c.row

    @property
    def step(self):
        """Optimiser steps ever done."""
        return self.c.step

    @property
    def last_loss(self):
        """The loss per row of the last step."""
        return self.c.last_loss

    @property
    def averaged(self):
        """Steps of this run after which the parameters went into their average."""
        if self.average is None:
            return 0
        return int(np.count_nonzero(self.average[:self.c.step - self.c.rate_origin]))

    @property
    def sums(self):
        """Results of the current epoch so far, summed over its rows."""
        return [self.c.sums[k] for k in range(self.results.shape[1])]

    @property
    def culprit(self):
        """After a divergence: ("param", tensor) or ("instr", index), or None."""
        if self.c.bad_param >= 0:
            return "param", self.c.bad_param
        return ("instr", self.c.bad_instr) if self.c.bad_instr >= 0 else None


cdef void describe(pb_source *s, bint single, int64_t rows, int64_t cols, void *data) noexcept:
    """Rows of float32 (or of float64) without gaps, all of them taken."""
    memset(s, 0, sizeof(pb_source))
    s.data = data
    s.dtype = PB_F32 if single else PB_F64
    s.rows, s.cols = rows, cols
    s.col_stride = 4 if single else 8
    s.row_stride = s.col_stride * cols


@cython.final
cdef class Shortcut:
    """`predict` for what needs no preparation, a few rows of the model's own dtype and layout: at
    one row, the long way through Python takes longer than a small net. Below `least` rows another
    plan may be the better one."""

    cdef Plan few, many
    cdef int64_t least, size, out_size
    cdef int out_ndim, type
    cdef cnp.npy_intp out_shape[8]
    cdef bint single
    cdef double limit
    cdef int64_t flops

    def __cinit__(self, Plan few, Plan many, int64_t least, tuple shape, int64_t size,
                  double limit, int64_t flops):
        self.few, self.many, self.least = few, many, least
        self.size, self.limit, self.flops = size, limit, flops
        self.out_ndim, self.out_size = 1 + len(shape), 1
        for i, n in enumerate(shape):
            self.out_shape[1 + i] = n
            self.out_size *= n
        self.single = many.dtype == np.float32
        self.type = cnp.NPY_FLOAT32 if self.single else cnp.NPY_FLOAT64

    def __call__(self, x):
        """The prediction of `x`, or None when it must go the long way."""
        cdef cnp.ndarray array, out
        cdef cnp.npy_intp shape[8]
        cdef pb_source source, result
        cdef pb_status status
        cdef int64_t n, col = 0
        cdef Plan plan
        if self.many.retired or type(x) is not np.ndarray:
            return None
        array = <cnp.ndarray> x
        if (cnp.PyArray_TYPE(array) != self.type or not cnp.PyArray_ISCARRAY_RO(array) or
                cnp.PyArray_NDIM(array) < 2):
            return None
        n = cnp.PyArray_DIM(array, 0)
        plan = self.few if n < self.least else self.many
        if not 1 <= n <= FEW_ROWS or cnp.PyArray_SIZE(array) != n * self.size:
            return None
        describe(&source, self.single, n, self.size, cnp.PyArray_DATA(array))
        source.limit = self.limit
        memcpy(shape, self.out_shape, sizeof(shape))
        shape[0] = n
        out = cnp.PyArray_SimpleNew(self.out_ndim, shape, self.type)
        describe(&result, self.single, n, self.out_size, cnp.PyArray_DATA(out))
        if n * self.flops < FLOPS_UNDER_GIL:
            status = pb_map(plan.c, &source, n, cnp.PyArray_DATA(out), NULL)
        else:
            with nogil:
                status = pb_map(plan.c, &source, n, <void *> result.data, NULL)
        plan.check(status)
        if status == PB_NOT_FINITE or pb_check_finite(&result, DBL_MAX, &col) >= 0:
            return None
        return out

    @property
    def retired(self):
        return self.many.retired


@cython.no_gc_clear  # __dealloc__ needs the plan
cdef class Predictor:
    """A forward plan bound to a workspace and to an output array, both reused: the way from an
    array in Python to its prediction with the least between them. Batches beyond the plan's
    capacity go through it in chunks, each in a workspace of its own. One call at a time: a
    second one from another thread is refused."""

    cdef Plan plan
    cdef pb_workspace *work
    cdef pb_source source
    cdef pb_source result
    cdef readonly cnp.ndarray out
    cdef int64_t batch, size
    cdef int type
    cdef bint brief
    cdef pb_gate gate
    cdef object slow

    def __cinit__(self, Plan plan, int64_t batch, tuple shape, int64_t size, double limit,
                  int64_t flops, slow):
        self.plan, self.batch, self.size, self.slow = plan, batch, size, slow
        holds = getattr(sys, "_is_gil_enabled", None)
        self.brief = batch * flops < FLOPS_UNDER_GIL and (holds is None or holds())
        self.out = np.zeros((batch, *shape), plan.dtype)
        self.type = self.out.dtype.num
        if batch <= plan.c.capacity:
            self.work = pb_workspace_new(plan.c)
            if self.work == NULL:
                raise MemoryError("not enough memory for the predictor")
        single = self.type == cnp.NPY_FLOAT32
        describe(&self.source, single, batch, size, NULL)
        self.source.limit = limit
        describe(&self.result, single, batch, self.out.size // batch, cnp.PyArray_DATA(self.out))

    def __dealloc__(self):
        if self.work != NULL:
            pb_workspace_release(self.plan.c, self.work)

    cdef pb_status run(self, const pb_source *source, void *out) noexcept nogil:
        if self.work == NULL:
            return pb_map(self.plan.c, source, self.batch, out, NULL)
        return pb_forward(self.plan.c, self.work, source, self.batch, out)

    def __call__(self, x):
        """The prediction of `x`, (batch_size, ...): an array that the next call overwrites."""
        cdef cnp.ndarray array
        cdef int64_t col
        cdef pb_status status
        cdef pb_source source
        cdef void *out = cnp.PyArray_DATA(self.out)
        if self.plan.retired or type(x) is not np.ndarray:
            return self.slow(self, x)
        array = <cnp.ndarray> x
        if (cnp.PyArray_TYPE(array) != self.type or not cnp.PyArray_ISCARRAY_RO(array) or
                cnp.PyArray_SIZE(array) != self.size * self.batch or
                (cnp.PyArray_NDIM(array) < 2 and self.batch > 1) or
                (cnp.PyArray_NDIM(array) > 1 and cnp.PyArray_DIM(array, 0) != self.batch)):
            return self.slow(self, x)
        source = self.source
        source.data = cnp.PyArray_DATA(array)
        if self.brief:
            status = self.run(&source, out)
        elif pb_enter(&self.gate):
            with nogil:
                status = self.run(&source, out)
            pb_leave(&self.gate)
        else:
            raise RuntimeError(
                "this predictor is at work in another thread, and has one buffer for its answers: "
                "make a model.predictor(...) for each thread"
            )
        self.plan.check(status)
        if status == PB_NOT_FINITE or pb_check_finite(&self.result, DBL_MAX, &col) >= 0:
            return self.slow(self, x)
        return self.out


# --- settings ------------------------------------------------------------------------------------

def set_num_threads(int n):
    pb_set_threads(n)


def get_num_threads():
    return pb_get_threads()


def isa():
    """The instruction set in use."""
    return table(32).isa.decode()


def isa_list():
    """The instruction sets that this build and CPU offer, best last."""
    return pb_isa_list().decode().split(", ")


def blas_name():
    return pb_blas_name().decode()


def allocations():
    """How often the machine has asked for memory, ever."""
    return pb_allocations()


def permutation(uint64_t seed, int64_t epoch, int64_t n):
    """The order in which epoch `epoch` of a run with this seed visits its n rows."""
    order = np.empty(n, np.int64)
    cdef int64_t *p = <int64_t *> cnp.PyArray_DATA(order)
    with nogil:
        pb_permutation(seed, epoch, n, p)
    return order
