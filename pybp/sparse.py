"""Sparse rows on their way in: what is taken, what is refused, and the graph that reads them.

Nothing here imports SciPy: a sparse matrix is known by what it has (`indptr`, `indices`, `data`,
`shape`, or a `tocsr` that makes them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pybp.data import as_array, toarray_remedy
from pybp.graph import Node, topological

if TYPE_CHECKING:
    from pybp._core import Source
    from pybp.model import Model


class Rows:
    """Rows of a compressed sparse row (CSR) matrix, bound and not copied.

    The entries of row r are those from `start[r]` to `start[r + 1] - 1`, values in `values`, their
    columns in `column`. Entries of one row may come in any order, and those of one column add up.
    """

    def __init__(
        self, start: np.ndarray, column: np.ndarray, values: np.ndarray, columns: int
    ) -> None:
        self.start, self.column, self.values = start, column, values
        self.shape = (len(start) - 1, columns)
        self.dtype = values.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Rows:
        begin, end, _ = rows.indices(len(self))
        return Rows(self.start[begin : end + 1], self.column, self.values, self.shape[1])

    def checked(self, source: Source, what: str, limit: float) -> Source:
        """`source`, which is bound to these rows, when nothing is wrong with them."""
        found = source.check_sparse(limit)
        if found is None:
            return source
        flaw, row, entry = found
        if flaw == "start":
            raise ValueError(
                f"{what} is a damaged sparse matrix: {what}.indptr says that row {row} has entries "
                f"{self.start[row]} to {self.start[row + 1]} of {len(self.values)}"
            )
        column = self.column[entry]
        if flaw == "column":
            raise ValueError(
                f"{what} is a damaged sparse matrix: {what}.indices[{entry}] puts an entry of row "
                f"{row} into column {column}, of {self.shape[1]} columns"
            )
        value = self.values[entry]
        remedy = (
            "which float32 cannot hold once it is scaled: bring the values to a smaller range, or "
            "compile with dtype='float64'"
            if np.isfinite(value)
            else "every value must be finite; replace or remove such entries"
        )
        raise ValueError(f"{what}[{row}, {column}] is {value}: {remedy}")


def rows(model: Model, matrix: Any, what: str) -> Rows:
    """The rows of a sparse matrix for a model that begins with a dense layer; formats other than
    CSR are converted."""
    first = _check_reader(model, what)
    csr = matrix if getattr(matrix, "format", None) == "csr" else matrix.tocsr()
    if len(csr.shape) != 2 or csr.shape[1] != first.shape[0]:
        single = f"; for a single row use {what}.reshape(1, -1)" if len(csr.shape) == 1 else ""
        raise ValueError(
            f"layer {first.layer!r}: {what} must have shape (N, {first.shape[0]}), got "
            f"{tuple(csr.shape)}{single}"
        )
    values = np.ascontiguousarray(as_array(csr.data, f"{what}.data"))
    start = _numbers(csr.indptr, f"{what}.indptr")
    column = _numbers(csr.indices, f"{what}.indices")
    if start.dtype != column.dtype:
        start, column = start.astype(np.int64), column.astype(np.int64)
    lengths = len(start), len(column), len(values)
    if lengths[0] != csr.shape[0] + 1 or min(lengths[1:]) < start[-1]:
        raise ValueError(
            f"{what} is a damaged sparse matrix of shape {tuple(csr.shape)}: indptr has "
            f"{lengths[0]} numbers, indices {lengths[1]}, data {lengths[2]}, and indptr ends with "
            f"{start[-1] if lengths[0] else 'nothing'}"
        )
    return Rows(start, column, values, csr.shape[1])


def _numbers(part: object, what: str) -> np.ndarray:
    """Row starts or columns, as int32 or int64."""
    array = np.asarray(part)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise ValueError(
            f"{what} must be a vector of whole numbers, got {array.dtype} {array.shape}"
        )
    wide = array.dtype.itemsize > 4 or array.dtype == np.uint32
    return np.require(array, np.int64 if wide else np.int32, ["C", "A"])


def _check_reader(model: Model, what: str) -> Node:
    """The input: sparse rows need one alone, with nothing but dense layers right behind it.
    Anything else would fill them up."""
    first, *others = model.network.nodes(model.network.inputs)
    remedy = toarray_remedy(what)
    if others:
        raise ValueError(
            f"{what} is a sparse matrix, which only models of one input read; {remedy}"
        )
    if len(first.shape) != 1:
        raise ValueError(
            f"layer {first.layer!r} takes rows of shape {first.shape}, but {what} is a sparse "
            f"matrix, whose rows are vectors; {remedy}"
        )
    for node in topological(model._outputs):
        if any(parent is first for parent in node.inputs) and node.op != "dense":
            raise ValueError(
                f"layer {node.layer!r}: {what} is a sparse matrix, which only a Dense layer "
                f"directly behind Input reads; {remedy}"
            )
        if node.op == "feed" and node is not first:
            raise ValueError(
                f"layer {node.layer!r} scales every column, which would fill the sparse matrix "
                f"{what}; {remedy}, or scale with Input(scale=...)"
            )
    return first


def for_rows(roots: Sequence[Node]) -> list[Node]:
    """The same results, read from sparse rows: `dense` on the input becomes `sparse_dense`."""
    new: dict[int, Node] = {}
    for node in topological(roots):
        inputs = tuple(new[id(parent)] for parent in node.inputs)
        if node.op == "dense" and node.inputs[0].op == "feed":
            feed = node.inputs[0]
            new[id(node)] = Node("sparse_dense", (), node.parameters, feed.attrs, node.layer)
        elif all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
            new[id(node)] = node
        else:
            new[id(node)] = replace(node, inputs=inputs)
    return [new[id(root)] for root in roots]
