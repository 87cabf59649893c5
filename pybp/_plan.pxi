"""Plans, and the runs that train them."""

from cpython.exc cimport PyErr_Occurred


cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept  # its exception is handed on by Plan.check


cdef bint ctrl_c() noexcept with gil:
    """Whether a signal has come whose handler raised; the exception then waits in the thread."""
    return PyErr_CheckSignals() < 0


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
            raise MemoryError(
                f"cannot get {self.c.act_bytes / 2**30:.3g} GiB for what is computed of "
                f"{self.c.capacity} rows, and what threads need besides: use a smaller batch"
            )
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
