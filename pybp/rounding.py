"""How far rounding may have moved the value of a function: `bp.rounding_error`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pybp.autodiff import Function, Traced, Transform, scalar
from pybp.graph import Node, topological
from pybp.trees import Tree

PRODUCT = 2  # the kind of fold, as csrc/ops/fold.c has it


class _Kept(Traced):
    """With every result of the computation, and with all values that go into one."""

    def keep(self, value: Node) -> None:
        given = {"parameter", "constant"}
        self.results = [node for node in topological([value]) if node.op not in given]
        read = {id(x): x for node in self.results for x in node.inputs if x.op in given}
        self.values = [*self.results, *read.values()]
        self.lower(value, range(len(self.parameters)), self.values, wrt=self.results)

    def bound(self, leaves: list[np.ndarray]) -> float:
        """eps/2 times the sum over the results of their adjoints and sizes."""
        found, _ = self.run(leaves, ())
        values, adjoints = found[: len(self.values)], found[len(self.values) :]
        sizes = {
            id(x): np.abs(a.astype(np.float64)) for x, a in zip(self.values, values, strict=True)
        }
        total = 0.0
        for node, adjoint in zip(self.results, adjoints, strict=True):
            total += float((np.abs(adjoint) * _size(node, sizes)).sum())
        return float(np.finfo(self.dtype).eps) / 2 * total


class _RoundingError(Transform):
    def new(self, tree: Tree, leaves: list[np.ndarray], dtype: np.dtype) -> Traced:
        return _Kept(tree, leaves, dtype)

    def trace(self, traced: _Kept) -> None:
        traced.keep(scalar(self.call(traced), self.what))

    def native(self, args: tuple, kwargs: dict) -> float:
        traced, leaves = self.of(args, kwargs)
        return traced.bound(leaves)


def _size(node: Node, values: dict[int, np.ndarray]) -> Any:
    """What the relative error of one rounding is multiplied by in an op's result: its value, or for
    sums of many terms the terms' magnitudes, once for each addition."""
    inputs = [values[id(x)] for x in node.inputs]
    if node.op == "sum":
        terms = inputs[0].size // max(1, math.prod(node.shape))
        axes = node.attrs["axes"]
        return max(1, terms - 1) * inputs[0].sum(axes, keepdims=bool(node.attrs["keep"]))
    if node.op == "matmul":
        a, b = (
            np.swapaxes(x, -1, -2) if turned else x
            for x, turned in zip(inputs, node.attrs.values(), strict=True)
        )
        return a.shape[-1] * (a @ b)
    if node.op == "fold" and node.attrs["kind"] == PRODUCT:
        return (inputs[0].size // max(1, math.prod(node.shape)) - 1) * values[id(node)]
    if node.op == "scan" and node.attrs["product"]:
        return np.arange(node.shape[-1]) * values[id(node)]
    if node.op == "scan" and not node.attrs["product"]:
        return np.arange(1, node.shape[-1] + 1) * np.cumsum(inputs[0], -1)
    if node.op in ("view", "broadcast", "concat", "take"):
        return 0.0  # which round nothing
    return values[id(node)]


def rounding_error(f: Function) -> Function:
    """A bound, to first order, of the rounding error of f's value, as a function of f's arguments.

    The adjoint of every intermediate result, its derivative dy/dv, says what an error of v makes of
    the value; rounding v makes one of at most |v| eps/2. So, over all results v of the computation,

        |error| <= eps/2 sum |dy/dv| |v|

    For which purpose Linnainmaa invented the reverse accumulation of derivatives: "Taylor expansion
    of the accumulated rounding error", BIT 16, 1976, 146-160. Functions such as exp count as one
    rounding, each addition of a sum or a product of matrices as its own. Arguments count as exact.

    >>> import numpy as np, pybp as bp
    >>> def f(x):  # cancellation makes much of small errors
    ...     return bp.ops.sum((x + 1000) ** 2 - 1000**2 - 2000 * x)
    >>> x = np.float32([0.1, 0.2, 0.3])
    >>> value = bp.value_and_grad(f)(x)[0]
    >>> error = abs(value - bp.value_and_grad(f)(x.astype(float))[0])
    >>> 0 < error <= bp.rounding_error(f)(x) < 1
    True
    """
    return _RoundingError(f, "bp.rounding_error")
