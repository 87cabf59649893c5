"""How far rounding may have moved the value of a function: `bp.rounding_error`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pybp.autodiff import Function, Traced, Transform, scalar
from pybp.fuse import decode
from pybp.graph import Node, topological
from pybp.trees import Tree

PRODUCT = 2  # the kind of fold, as csrc/ops/fold.c has it

# How far the kernels of functions may be off in either precision, in halves of a unit of the
# result: measured, and rounded up. All others are off by one.
ERRORS = {
    **dict.fromkeys(("negative", "absolute", "sign", "floor", "ceil", "round", "step"), 0),
    **dict.fromkeys(("maximum", "minimum", "where", "relu", "hard_tanh", "stop_gradient"), 0),
    **dict.fromkeys(("less", "less_equal", "equal", "not_equal"), 0),
    **dict.fromkeys(("rsqrt", "exp", "log", "log1p", "sin", "cos", "tan", "arctan", "power"), 2),
    **dict.fromkeys(("arcsin", "arccos", "elu", "leaky_relu", "softsign"), 2),
    **dict.fromkeys(("expm1", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"), 3),
    **dict.fromkeys(("sigmoid", "softplus", "arctan2"), 3),
    **dict.fromkeys(("silu", "selu"), 4),
    **dict.fromkeys(("erf", "mish", "gelu_tanh"), 6),
    "gelu": 8,
}


class _Kept(Traced):
    """With every result of the computation, and with all values that go into one."""

    def keep(self, value: Node) -> None:
        order = topological([value])
        self.results = [node for node in order if node.op != "parameter" and self.rounds(node)]
        read = {id(x): x for node in self.results for x in node.inputs}
        self.values = list(({id(node): node for node in self.results} | read).values())
        self.lower(value, range(len(self.parameters)), self.values, wrt=self.results)

    def rounds(self, node: Node) -> bool:
        """Whether a node's values are rounded: those of constants only where they need it."""
        if node.op != "constant":
            return True
        numbers = np.array(node.attrs["values"], np.int32).view(np.float64)
        return bool((numbers.astype(self.dtype) != numbers).any())

    def bound(self, leaves: list[np.ndarray]) -> float:
        """eps/2 times the sum over the results of their adjoints and sizes."""
        found, _ = self.run(leaves, ())
        values, adjoints = found[: len(self.values)], found[len(self.values) :]
        sizes = {
            id(x): np.abs(a.astype(np.float64)) for x, a in zip(self.values, values, strict=True)
        }
        total = 0.0
        for node, adjoint in zip(self.results, adjoints, strict=True):
            total += float((np.abs(adjoint) * _size(node, sizes, self.dtype)).sum())
        return float(np.finfo(self.dtype).eps) / 2 * total


class _RoundingError(Transform):
    def new(self, tree: Tree, leaves: list[np.ndarray], dtype: np.dtype) -> Traced:
        return _Kept(tree, leaves, dtype)

    def trace(self, traced: _Kept) -> None:
        traced.keep(scalar(self.call(traced), self.what))

    def native(self, args: tuple, kwargs: dict) -> float:
        traced, leaves = self.of(args, kwargs)
        return traced.bound(leaves)


def _size(node: Node, values: dict[int, np.ndarray], dtype: np.dtype) -> Any:
    """What half a unit, relative, is multiplied by in an op's result: its value, or for sums of
    many terms the terms' magnitudes, once for each addition."""
    inputs = [values[id(x)] for x in node.inputs]
    if node.op == "expression":
        return _function(node, inputs, values[id(node)], dtype)
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
    if node.op == "fold" and node.attrs["how"] == PRODUCT:
        return (inputs[0].size // max(1, math.prod(node.shape)) - 1) * values[id(node)]
    if node.op == "scan" and node.attrs["product"]:
        return np.arange(node.shape[-1]) * values[id(node)]
    if node.op == "scan" and not node.attrs["product"]:
        return np.arange(1, node.shape[-1] + 1) * np.cumsum(inputs[0], -1)
    if node.op in ("view", "broadcast", "concat", "take", "fold"):
        return 0.0  # which round nothing
    return values[id(node)]


def _function(node: Node, inputs: list[np.ndarray], value: np.ndarray, dtype: np.dtype) -> Any:
    """The same for a function of single numbers, some of which may be constants of its program,
    which are rounded as well."""
    *constants, (name, operands) = decode(node.attrs["program"])
    size = ERRORS.get(name, 1) * value
    if name == "gelu_tanh":  # x s, s = sigmoid(2 u): seven roundings of u, times s' = s (1 - s)
        x = inputs[0]
        rest = 1 - value / np.maximum(x, np.finfo(dtype).tiny)
        size = size + 14 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3) * value * rest
    if name == "hard_sigmoid":  # x / 6 + 1 / 2, of which little may be left
        size = size + 0.5
    for _, (constant,) in constants:
        if float(dtype.type(constant)) != constant:
            size = size + abs(constant) * _slope(name, operands, constant, inputs, value)
    return size


def _slope(
    name: str, operands: tuple, constant: float, inputs: list[np.ndarray], value: np.ndarray
) -> Any:
    """How much a constant is felt in a function's result: at most the derivative's size."""
    if name == "power" and operands[0] == 0:
        return value * np.abs(np.log(np.where(inputs[0] > 0, inputs[0], 1.0)))
    if name == "power":
        return value * inputs[0] / abs(constant)
    return value / abs(constant) if name in ("multiply", "divide", "leaky_relu", "elu") else 1.0


def rounding_error(f: Function) -> Function:
    """A bound, to first order, of the rounding error of f's value, as a function of f's arguments.

    The adjoint of every intermediate result, its derivative dy/dv, says what an error of v makes of
    the value; rounding v makes one of at most |v| eps/2. So, over all results v of the computation,

        |error| <= eps/2 sum |dy/dv| |v|

    For which purpose Linnainmaa invented the reverse accumulation of derivatives: "Taylor expansion
    of the accumulated rounding error", BIT 16, 1976, 146-160. Functions such as exp count for as
    many roundings as their kernels may be off by, each addition of a sum or a product of matrices
    for one, and constants that need it are rounded too. Arguments count as exact, and underflow is
    left out.

    >>> import numpy as np, pybp as bp
    >>> def f(x):  # cancellation makes much of small errors
    ...     return bp.ops.sum((x + 1000) ** 2 - 1000**2 - 2000 * x)
    >>> x = np.float32([0.1, 0.2, 0.3])
    >>> value = bp.value_and_grad(f)(x)[0]
    >>> error = abs(value - bp.value_and_grad(f)(x.astype(float))[0])
    >>> 0 < error <= bp.rounding_error(f)(x) < 1
    True
    """
    return _RoundingError(f, "bp.rounding_error", argnums=())
