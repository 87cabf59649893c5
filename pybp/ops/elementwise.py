"""Functions of single numbers, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable

from pybp.graph import Node
from pybp.ops.symbols import Value, apply, as_node, number

# Name of the function -> step of expressions.
UNARY = {
    "negative": "negative",
    "abs": "absolute",
    "sign": "sign",
    "floor": "floor",
    "ceil": "ceil",
    "round": "round",
    "sqrt": "sqrt",
    "rsqrt": "rsqrt",
    "square": "square",
    "reciprocal": "reciprocal",
    "exp": "exp",
    "expm1": "expm1",
    "log": "log",
    "log1p": "log1p",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "arcsin": "arcsin",
    "arccos": "arccos",
    "arctan": "arctan",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "arcsinh": "arcsinh",
    "arccosh": "arccosh",
    "arctanh": "arctanh",
    "erf": "erf",
    "sigmoid": "sigmoid",
    "relu": "relu",
    "selu": "selu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_tanh",
    "silu": "silu",
    "mish": "mish",
    "softplus": "softplus",
    "softsign": "softsign",
    "hard_sigmoid": "hard_sigmoid",
    "hard_tanh": "hard_tanh",
    "stop_gradient": "stop_gradient",
}
BINARY = {
    "add": "add",
    "subtract": "subtract",
    "multiply": "multiply",
    "divide": "divide",
    "floor_divide": "floor_divide",
    "remainder": "remainder",
    "arctan2": "arctan2",
    "maximum": "maximum",
    "minimum": "minimum",
    "less": "less",
    "less_equal": "less_equal",
    "equal": "equal",
    "not_equal": "not_equal",
}


def _unary(name: str, step: str) -> Callable[[Value], Node]:
    def function(x: Value) -> Node:
        return apply(step, x, what=name)

    return _named(function, name, f"{name} of every element.")


def _binary(name: str, step: str) -> Callable[[Value, Value], Node]:
    def function(x: Value, y: Value) -> Node:
        return apply(step, x, y, what=name)

    return _named(function, name, f"{name} of every pair of elements, by NumPy's broadcasting.")


def _named(function: Callable, name: str, text: str) -> Callable:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return function


FUNCTIONS: dict[str, Callable[..., Node]] = {
    **{name: _unary(name, step) for name, step in UNARY.items()},
    **{name: _binary(name, step) for name, step in BINARY.items()},
}


def power(x: Value, y: Value) -> Node:
    """x^y. Small whole powers are products, so that negative x have them and their derivatives."""
    exponent = number(y, "power")
    if exponent is None or number(x, "power") is not None:
        return apply("power", x, y)
    x = as_node(x, "power")
    if exponent in (0.5, -0.5, -1.0):
        return apply({0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}[exponent], x, what="power")
    if exponent not in (1.0, 2.0, 3.0, 4.0):
        return apply("power", x, exponent)
    square = apply("square", x, what="power") if exponent > 1 else x
    if exponent == 3:
        return apply("multiply", square, x)
    return apply("square", square) if exponent == 4 else square


def leaky_relu(x: Value, negative_slope: float = 0.01) -> Node:
    """x where x > 0, negative_slope x elsewhere."""
    return apply("leaky_relu", x, float(negative_slope))


def elu(x: Value, alpha: float = 1.0) -> Node:
    """x where x > 0, alpha (exp x - 1) elsewhere."""
    return apply("elu", x, float(alpha))


def greater(x: Value, y: Value) -> Node:
    """1 where x > y, else 0."""
    return apply("less", y, x, what="greater")


def greater_equal(x: Value, y: Value) -> Node:
    """1 where x >= y, else 0."""
    return apply("less_equal", y, x, what="greater_equal")


def where(condition: Value, x: Value, y: Value) -> Node:
    """x where the condition is not 0, y elsewhere: a branch that depends on values.

    Both are computed everywhere; the gradient goes to the one that was taken.
    """
    return apply("where", condition, x, y)


def clip(x: Value, low: Value, high: Value) -> Node:
    """x, or the bound that it is beyond."""
    return apply("minimum", apply("maximum", x, low, what="clip"), high, what="clip")


def step(x: Value) -> Node:
    """1 where x >= 0, else 0; its derivative is taken as 0."""
    return apply("step", x)


def log2(x: Value) -> Node:
    """Logarithm to the base 2."""
    return apply("multiply", apply("log", x, what="log2"), 1 / math.log(2))


def log10(x: Value) -> Node:
    """Logarithm to the base 10."""
    return apply("multiply", apply("log", x, what="log10"), 1 / math.log(10))


def exp2(x: Value) -> Node:
    """2 to the power of x."""
    return power(2.0, x)


def logaddexp(x: Value, y: Value) -> Node:
    """log(exp x + exp y), without overflow."""
    larger = apply("stop_gradient", apply("maximum", x, y, what="logaddexp"))
    top = apply("where", abs(larger) < math.inf, larger, 0.0)
    x, y = apply("subtract", x, top), apply("subtract", y, top)
    x_less_1 = apply("add", apply("expm1", x), apply("exp", y))  # each is exp x + exp y - 1
    y_less_1 = apply("add", apply("exp", x), apply("expm1", y))
    return top + apply("log1p", apply("where", greater_equal(x, y), x_less_1, y_less_1))


def root(x: Node) -> Node:
    """sqrt x of a sum of squares: where that is 0 the slope is taken as 0, the least of the
    subgradients of a norm."""
    none = apply("equal", x, 0.0)
    return apply("where", none, 0.0, apply("sqrt", apply("where", none, 1.0, x)))


def hypot(x: Value, y: Value) -> Node:
    """sqrt(x^2 + y^2), without overflow; its derivatives at (0, 0) are taken as 0."""
    high, low = (apply(side, x, y, what="hypot") for side in ("maximum", "minimum"))
    size = apply("maximum", high, -low)
    unit = apply("stop_gradient", apply("where", (size > 0) & (size < math.inf), size, 1.0))
    squares = (apply("square", apply("divide", v, unit)) for v in (x, y))
    return apply("multiply", root(apply("add", *squares)), unit)


def logical_not(x: Value) -> Node:
    """1 where x is 0, else 0."""
    return apply("equal", x, 0.0, what="logical_not")


def logical_and(x: Value, y: Value) -> Node:
    """1 where neither is 0, else 0."""
    x, y = (apply("not_equal", v, 0.0, what="logical_and") for v in (x, y))
    return apply("multiply", x, y)


def logical_or(x: Value, y: Value) -> Node:
    """1 where one is not 0, else 0."""
    x, y = (apply("not_equal", v, 0.0, what="logical_or") for v in (x, y))
    return apply("maximum", x, y)


def logical_xor(x: Value, y: Value) -> Node:
    """1 where exactly one is not 0, else 0."""
    x, y = (apply("not_equal", v, 0.0, what="logical_xor") for v in (x, y))
    return apply("not_equal", x, y)


FUNCTIONS |= {
    f.__name__: f
    for f in (
        *(power, leaky_relu, elu, greater, greater_equal, where, clip, step, log2, log10),
        *(exp2, logaddexp, hypot),
        *(logical_not, logical_and, logical_or, logical_xor),
    )
}
