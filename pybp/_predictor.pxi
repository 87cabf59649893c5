"""The short ways from an array to its prediction."""

cdef int64_t FLOPS_UNDER_GIL = 20000  # half a microsecond: letting others run would take as long
cdef int64_t FEW_ROWS = 128  # of one call that Ctrl-C waits for


cdef void describe(pb_source *s, bint single, int64_t rows, int64_t cols, void *data) noexcept:
    """Rows of float32 (or of float64) without gaps, all of them taken."""
    memset(s, 0, sizeof(pb_source))
    s.data = data
    s.dtype = PB_F32 if single else PB_F64
    s.rows, s.cols = rows, cols
    s.col_stride = 4 if single else 8
    s.row_stride = s.col_stride * cols


cdef struct pattern:
    # Of a row with several axes: their sizes beyond one. Where there are none, any row of the right
    # number of values will do.
    int axes
    cnp.npy_intp size[PB_MAX_DIMS]


cdef int fill_pattern(pattern *p, tuple sizes) except -1:
    if len(sizes) > PB_MAX_DIMS:
        raise ValueError(f"a row has at most {PB_MAX_DIMS} axes, got {sizes}")
    p.axes = len(sizes)
    for i, size in enumerate(sizes):
        p.size[i] = size
    return 0


cdef bint suits(cnp.ndarray array, const pattern *row) noexcept:
    """Whether rows of the right number of values are flat or have the axes in their order."""
    cdef int axis, k = 0
    if row.axes == 0 or cnp.PyArray_NDIM(array) <= 2:
        return True
    for axis in range(1, cnp.PyArray_NDIM(array)):
        if cnp.PyArray_DIM(array, axis) == 1:
            continue
        if k == row.axes or cnp.PyArray_DIM(array, axis) != row.size[k]:
            return False
        k += 1
    return True


@cython.final
cdef class Shortcut:
    """`predict` for what needs no preparation, a few rows of the model's own dtype and layout: at
    one row, the long way through Python takes longer than a small net. Below `least` rows another
    plan may be the better one."""

    cdef Plan few, many
    cdef int64_t least, size, out_size
    cdef pattern row
    cdef int out_ndim, type
    cdef cnp.npy_intp out_shape[8]
    cdef bint single
    cdef double limit
    cdef int64_t flops

    def __cinit__(self, Plan few, Plan many, int64_t least, tuple shape, tuple row, int64_t size,
                  double limit, int64_t flops):
        fill_pattern(&self.row, row)
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
                cnp.PyArray_NDIM(array) < 2 or not suits(array, &self.row)):
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
    cdef pattern row
    cdef int type
    cdef bint brief
    cdef pb_gate gate
    cdef object slow

    def __cinit__(self, Plan plan, int64_t batch, tuple shape, tuple row, int64_t size,
                  double limit, int64_t flops, slow):
        fill_pattern(&self.row, row)
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
                not suits(array, &self.row) or
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
