# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The border: plans, runs and sources of csrc/pybp.h as Python objects.

Everything that goes down is checked here or sealed in C; what comes back is numbers and arrays.
No function of this module loops over the elements of a batch.
"""

from libc.float cimport DBL_MAX
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

cimport cython
cimport numpy as cnp

import sys

import numpy as np

cnp.import_array()


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


# --- what the classes are ------------------------------------------------------------------------

include "_source.pxi"
include "_plan.pxi"
include "_predictor.pxi"


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
