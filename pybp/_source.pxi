"""Sources: users' rows, read where they lie."""

cdef dict DTYPE_CODES = {
    np.dtype(np.float32): PB_F32, np.dtype(np.float64): PB_F64,
    np.dtype(np.uint8): PB_U8, np.dtype(np.int8): PB_I8,
    np.dtype(np.uint16): PB_U16, np.dtype(np.int16): PB_I16,
    np.dtype(np.uint32): PB_U32, np.dtype(np.int32): PB_I32,
    np.dtype(np.uint64): PB_U64, np.dtype(np.int64): PB_I64,
}


cdef int64_t BLOCK_VALUES = 1 << 24


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
