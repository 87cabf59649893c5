"""Users' arrays on their way in: what is taken as it is, what is converted, what is refused.

An accepted array is bound by pointer and strides and read row by row; it is copied only when its
type or layout has no native reader (float16, other byte orders, unaligned, rows that are themselves
not evenly strided).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pybp._core import Source
from pybp.graph import Node
from pybp.layouts import given_shape, long_axes

_REMEDIES = {
    "O": "convert it to numbers first, for instance with np.asarray(..., dtype=np.float32)",
    "U": "encode strings as numbers first, for instance with np.unique(..., return_inverse=True)",
    "S": "encode strings as numbers first, for instance with np.unique(..., return_inverse=True)",
    "c": "networks take real numbers: split it into real and imaginary parts",
    "M": "convert dates to numbers first",
    "m": "convert durations to numbers first",
    "V": "structured arrays have no columns to read: use a plain 2-D array",
}


def is_sparse(value: object) -> bool:
    """Whether `value` is a sparse matrix, such as SciPy's."""
    return hasattr(value, "tocsr") and hasattr(value, "nnz")


def toarray_remedy(what: str) -> str:
    return f"pass {what}.toarray()"


def kind(array: object) -> str:
    """What tells plans apart that read rows of different kinds."""
    return "dense" if isinstance(array, np.ndarray) else "sparse"


def for_rows(array: object, roots: list[Node]) -> list[Node]:
    """The nodes that compute the roots from rows of this kind, an array's or sparse ones."""
    if kind(array) == "dense":
        return roots
    from pybp import sparse  # few need it

    return sparse.for_rows(roots)


def as_array(value: object, what: str) -> np.ndarray:
    """`value` as an array of a dtype that has a native reader."""
    if is_sparse(value):
        raise TypeError(f"{what} is a sparse matrix: {toarray_remedy(what)}")
    if isinstance(value, np.ma.MaskedArray) and value.mask.any():
        raise TypeError(
            f"{what} is a masked array with masked values: pass {what}.filled(...), or leave such "
            "rows out"
        )
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what} cannot be read as an array of numbers: {error}") from None
    kind = array.dtype.kind
    if kind in _REMEDIES:
        raise TypeError(f"{what} has dtype {array.dtype}: {_REMEDIES[kind]}")
    if array.ndim == 0:
        raise ValueError(f"{what} must be an array of rows, got the single value {value!r}")
    if kind == "b":
        return array.view(np.uint8)
    if kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array if array.flags.aligned else array.copy()


def as_rows(value: object, node: Node, what: str) -> np.ndarray:
    """`value` as a 2-D array (N, values per row) of rows such as the node's."""
    array, shape = as_array(value, what), given_shape(node)
    size = math.prod(shape)
    if array.ndim == 1 and (size == 1 or len(array) == 0):
        return array.reshape(len(array), size)
    axes = f", layout {node.layout}," if node.layout else ","
    wanted = f"layer {node.layer!r}: {what} must have shape (N, {', '.join(map(str, shape))}){axes}"
    if array.ndim == 1:
        single = f"; for a single row use {what}[None, :]" if array.size == size else ""
        raise ValueError(f"{wanted} got {array.shape}{single}")
    if math.prod(array.shape[1:]) != size:
        listed = isinstance(value, list | tuple) and np.ndim(value[0]) == len(shape) + 1
        remedy = "; pass the array itself, not a list of arrays" if listed else ""
        raise ValueError(f"{wanted} got {array.shape}{remedy}")
    long = axes_of(node)
    if long and array.ndim > 2 and long_axes(array.shape[1:]) != long:
        named = ", or say the layout they have in bp.Input" if node.layout else ""
        raise ValueError(f"{wanted} got {array.shape}: move the axes with np.moveaxis{named}")
    return array if array.ndim == 2 else array.reshape(len(array), size)


def axes_of(node: Node) -> tuple[int, ...]:
    """The sizes that tell the order of a row's axes; none where it has one axis."""
    shape = given_shape(node)
    return long_axes(shape) if len(shape) > 1 else ()


def largest(dtype: np.dtype, scale: float = 1.0) -> float:
    """The largest magnitude that `dtype` still holds after multiplication by `scale`."""
    most = float(np.finfo(dtype).max)
    return most / max(abs(scale), most / np.finfo(np.float64).max)


def finite_source(
    array: Any,
    what: str,
    limit: float = np.finfo(np.float64).max,
    shape: tuple[int, ...] = (),
) -> Source:
    """The array bound for reading, all of whose values are finite and within +-limit; `shape` is
    that of a row to the user."""
    source = Source(array)
    if not isinstance(array, np.ndarray):
        return array.checked(source, what, float(limit))
    bad = source.check_finite(float(limit))
    if bad is not None:
        row, col = bad
        found = f"{what}[{row}, {col}] is {array[row, col]}"
        if len(shape) > 1:
            place = tuple(map(int, np.unravel_index(col, shape)))
            found = f"{what}[{row}] is {array[row, col]} at {place} of its shape {shape}"
        if np.isfinite(array[row, col]):
            raise ValueError(
                f"{found}, which float32 cannot hold once it is scaled: bring the values to a "
                "smaller range, or compile with dtype='float64'"
            )
        reduced = "all(axis=1)" if len(shape) < 2 else f"reshape(len({what}), -1).all(axis=1)"
        raise ValueError(
            f"{found}: every value must be finite; replace such values, or keep in all arrays only "
            f"the rows where np.isfinite({what}).{reduced}"
        )
    return source


def check_words(array: np.ndarray, node: Node, what: str) -> None:
    """Are all values numbers that this embedding has vectors for?"""
    words = node.parameters[0].shape[0]
    for column in range(array.shape[1]):
        row = Source(array[:, column : column + 1]).check_labels(words)
        if row is not None:
            word = array[row, column]
            remedy = (
                "number the words from 0, for instance with np.unique(..., return_inverse=True)"
            )
            if word >= words and word % 1 == 0:
                remedy = "give bp.Embedding more words"
            raise ValueError(
                f"{what}[{row}, {column}] is {word}: layer {node.layer!r} takes whole numbers from "
                f"0 to {words - 1}; {remedy}"
            )


def not_empty(array: Any, what: str) -> Any:
    """The rows, of which there is at least one."""
    if len(array) == 0:
        raise ValueError(f"{what} is empty: at least one row is needed, got none")
    return array


def part(source: Source, begin: int, end: int) -> Source:
    """Rows [begin, end) of what is bound: a view."""
    return Source(source.array[begin:end])
