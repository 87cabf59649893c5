"""Sums, means, extremes and products along axes of a row."""

from __future__ import annotations

import math
from typing import Any

from pybp.graph import Node
from pybp.ops import elementwise as e
from pybp.ops.shaping import axes_of, axis_of, reshape, transpose
from pybp.ops.symbols import Value, apply, as_node

KINDS = {"max": 0, "min": 1, "prod": 2, "argmax": 3, "argmin": 4}

_exp, _log, _square, _stop = (
    e.FUNCTIONS[name] for name in ("exp", "log", "square", "stop_gradient")
)


def sum(x: Value, axis: Any = None, keepdims: bool = False) -> Node:  # noqa: A001  NumPy's name
    """Sum along axes, by default all: one number of each row. Added up in double precision."""
    x = as_node(x, "sum")
    axes = axes_of(axis, x.ndim, "sum")
    return Node("sum", (x,), attrs={"axes": axes, "keep": int(keepdims)}) if axes else x


def mean(x: Value, axis: Any = None, keepdims: bool = False) -> Node:
    """Mean along axes, by default all."""
    x = as_node(x, "mean")
    return apply("multiply", sum(x, axis, keepdims), 1 / _count(x, axis, "mean"), what="mean")


def _count(x: Node, axis: Any, what: str) -> int:
    return math.prod(x.shape[a] for a in axes_of(axis, x.ndim, what))


def var(x: Value, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Node:
    """Variance along axes: mean of (x - mean)^2, or their sum over (count - ddof)."""
    x = as_node(x, "var")
    count = _count(x, axis, "var") - ddof
    if count < 1:
        raise ValueError(f"bp.ops.var: ddof={ddof} leaves nothing of {count + ddof} numbers")
    apart = apply("subtract", x, mean(x, axis, keepdims=True), what="var")
    return apply("multiply", sum(_square(apart), axis, keepdims), 1 / count)


def std(x: Value, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Node:
    """Standard deviation: the root of `var`. Of equal numbers its derivatives are taken as 0."""
    return e.root(var(x, axis, ddof, keepdims))


def norm(x: Value, axis: Any = None, keepdims: bool = False) -> Node:
    """Euclidean norm along axes; where it is 0 its derivatives are taken as 0."""
    return e.root(sum(_square(x), axis, keepdims))


def _fold(kind: str, x: Value, axis: Any, keepdims: bool) -> Node:
    x = as_node(x, kind)
    axes = axes_of(axis, x.ndim, kind)
    if not axes:
        return x
    kept = [a for a in range(x.ndim) if a not in axes]
    rows = reshape(transpose(x, [*kept, *axes]), [*(x.shape[a] for a in kept), -1])
    found = Node("fold", (rows,), attrs={"how": KINDS[kind]})
    return (
        reshape(found, [1 if a in axes else n for a, n in enumerate(x.shape)])
        if keepdims
        else found
    )


def max(x: Value, axis: Any = None, keepdims: bool = False) -> Node:  # noqa: A001
    """The largest along axes; equals share the gradient."""
    return _fold("max", x, axis, keepdims)


def min(x: Value, axis: Any = None, keepdims: bool = False) -> Node:  # noqa: A001
    """The smallest along axes; equals share the gradient."""
    return _fold("min", x, axis, keepdims)


def prod(x: Value, axis: Any = None, keepdims: bool = False) -> Node:
    """Product along axes."""
    return _fold("prod", x, axis, keepdims)


def argmax(x: Value, axis: int | None = None, keepdims: bool = False) -> Node:
    """The number of the first of the largest; its derivative is taken as 0."""
    return _fold("argmax", x, axis, keepdims)


def argmin(x: Value, axis: int | None = None, keepdims: bool = False) -> Node:
    """The number of the first of the smallest; its derivative is taken as 0."""
    return _fold("argmin", x, axis, keepdims)


def logsumexp(x: Value, axis: Any = None, keepdims: bool = False) -> Node:
    """log sum exp x along axes, without overflow; of values that are all -inf it is -inf."""
    x = as_node(x, "logsumexp")
    top = _stop(max(x, axis, keepdims=True))
    top = e.where(apply("less", e.FUNCTIONS["abs"](top), math.inf), top, 0.0)
    found = apply("add", _log(sum(_exp(apply("subtract", x, top)), axis, keepdims=True)), top)
    return found if keepdims else reshape(found, sum(x, axis).shape)


def softmax(x: Value, axis: int = -1) -> Node:
    """exp x over its sum along an axis."""
    x = as_node(x, "softmax")
    at = axis_of(axis, x.ndim, "softmax")
    if x.batched and at == x.ndim - 1:
        return Node("softmax", (x,), layer=x.layer)
    top = _stop(max(x, axis, keepdims=True))
    power = _exp(apply("subtract", x, top, what="softmax"))
    return apply("divide", power, sum(power, axis, keepdims=True))


def log_softmax(x: Value, axis: int = -1) -> Node:
    """The logarithm of `softmax`, without overflow."""
    x = as_node(x, "log_softmax")
    at = axis_of(axis, x.ndim, "log_softmax")
    if x.batched and at == x.ndim - 1:
        return Node("log_softmax", (x,), layer=x.layer)
    return apply("subtract", x, logsumexp(x, axis, keepdims=True), what="log_softmax")


def _scan(x: Value, axis: int, product: bool, what: str) -> Node:
    x = as_node(x, what)
    at = axis_of(axis, x.ndim, what)
    order = [*(a for a in range(x.ndim) if a != at), at]
    found = Node("scan", (transpose(x, order),), attrs={"product": int(product)})
    return transpose(found, [order.index(a) for a in range(x.ndim)])


def cumsum(x: Value, axis: int = -1) -> Node:
    """Running sums along an axis."""
    return _scan(x, axis, False, "cumsum")


def cumprod(x: Value, axis: int = -1) -> Node:
    """Running products along an axis."""
    return _scan(x, axis, True, "cumprod")


FUNCTIONS = {
    f.__name__: f
    for f in (
        *(sum, mean, var, std, norm, max, min, prod, argmax, argmin, logsumexp, softmax),
        *(log_softmax, cumsum, cumprod),
    )
}
