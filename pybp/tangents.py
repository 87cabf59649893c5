"""Forward derivatives of graphs: what a change of some nodes makes of the nodes behind them.

Each op and each step of expressions has a rule that makes new nodes, so that the result can be
differentiated once more, in reverse: second derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np

from pybp import ops as _ops
from pybp.fuse import steps_of
from pybp.graph import Node, topological
from pybp.layouts import move
from pybp.ops.convolution import by_windows
from pybp.ops.symbols import distinct, spread

o: Any = _ops
Tangent = Node | None  # None: it does not change
Factor = Any  # a partial derivative: a node, or a number

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
ROOT_2_PI = math.sqrt(2 / math.pi)


def push(root: Node, given: Mapping[int, Node]) -> Tangent:
    """The tangent of a node, from those of other nodes, by id."""
    found: dict[int, Tangent] = dict(given)
    for node in topological([root]):
        if id(node) in found:
            continue
        tangents = [found[id(x)] for x in node.inputs]
        if all(t is None for t in tangents):
            found[id(node)] = None
        elif steps_of(node) is not None:
            found[id(node)] = _elementwise(node, tangents)
        elif node.op in RULES:
            found[id(node)] = RULES[node.op](node, *tangents)
        else:
            raise NotImplementedError(
                f"layer {node.layer!r}: {node.op} has no rule for forward derivatives, which those "
                "within a layer or another function are: write it by operators and bp.ops there, "
                "or call the layer outside of the function that is differentiated"
            )
    return found[id(root)]


def _add(a: Tangent, b: Tangent) -> Tangent:
    if a is None or b is None:
        return b if a is None else a
    return o.add(a, b)


def _scaled(factor: Factor, t: Node) -> Tangent:
    if isinstance(factor, int | float):
        return None if factor == 0 else t if factor == 1 else o.multiply(t, factor)
    return o.multiply(t, factor)


def _elementwise(node: Node, tangents: list[Tangent]) -> Tangent:
    """By the chain rule, step by step."""
    values: list[Any] = list(node.inputs)
    changes: list[Tangent] = list(tangents)
    steps = steps_of(node) or []
    for i, (name, operands) in enumerate(steps):
        if name == "constant":
            values.append(operands[0])
            changes.append(None)
            continue
        given = [values[int(k)] for k in operands]
        value = node if i == len(steps) - 1 else o.apply(name, *given)
        change: Tangent = None
        if name == "where":
            change = _chosen(given[0], *(changes[int(k)] for k in operands[1:]))
        partials = PARTIALS.get(name, ())
        for k, partial in zip(operands, partials, strict=False):
            t = changes[int(k)]
            if t is not None:
                factor = partial(value, *given) if callable(partial) else partial
                change = _add(change, _scaled(factor, t))
        values.append(value)
        changes.append(change)
    return changes[-1]


def _chosen(condition: Factor, dx: Tangent, dy: Tangent) -> Tangent:
    """Of a `where`, without factors: what is not chosen may be infinite."""
    if dx is None and dy is None:
        return None
    return o.where(condition, 0.0 if dx is None else dx, 0.0 if dy is None else dy)


def _inverse(y: float) -> float:
    """1 / y, of zeros as C has it."""
    return 1 / y if y else math.copysign(math.inf, y)


def _gelu_tanh(v: Node, x: Node) -> Node:
    inner = o.tanh(ROOT_2_PI * (x + 0.044715 * x**3))
    return 0.5 * (1 + inner) + 0.5 * x * (1 - inner**2) * ROOT_2_PI * (1 + 3 * 0.044715 * x**2)


def _mish(v: Node, x: Node) -> Node:
    inner = o.tanh(o.softplus(x))
    return inner + x * (1 - inner**2) * o.sigmoid(x)


def _silu(v: Node, x: Node) -> Node:
    s = o.sigmoid(x)
    return s + v * (1 - s)


def _shares(smaller: bool) -> tuple[Callable[..., Node], Callable[..., Node]]:
    """Partial derivatives of a maximum (or minimum): equals share."""
    over = o.less if smaller else o.greater
    return (
        lambda v, x, y: over(x, y) + 0.5 * o.equal(x, y),
        lambda v, x, y: over(y, x) + 0.5 * o.equal(x, y),
    )


# Of every step but `where`, its derivative by each operand, from its value v and the operands; a
# step that is not here has none, or 0.
PARTIALS: dict[str, tuple[Factor, ...]] = {
    "identity": (1,),
    "relu": (lambda v, x: o.greater(x, 0.0),),
    "tanh": (lambda v, x: 1 - v**2,),
    "sigmoid": (lambda v, x: v * (1 - v),),
    "exp": (lambda v, x: v,),
    "log": (lambda v, x: 1 / x,),
    "erf": (lambda v, x: 2 / math.sqrt(math.pi) * o.exp(-(x**2)),),
    "leaky_relu": (lambda v, x, a: o.where(o.greater(x, 0.0), 1.0, a),),
    "elu": (lambda v, x, a: o.where(o.greater(x, 0.0), 1.0, v + a),),
    "selu": (lambda v, x: o.where(o.greater(x, 0.0), SELU_SCALE, v + SELU_SCALE * SELU_ALPHA),),
    "gelu": (
        lambda v, x: (
            0.5 * (1 + o.erf(x / math.sqrt(2))) + x * o.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
        ),
    ),
    "gelu_tanh": (_gelu_tanh,),
    "silu": (_silu,),
    "mish": (_mish,),
    "softplus": (lambda v, x: o.sigmoid(x),),
    "softsign": (lambda v, x: 1 / (1 + o.abs(x)) ** 2,),
    "hard_sigmoid": (lambda v, x: o.less(o.abs(x), 3.0) / 6,),
    "hard_tanh": (lambda v, x: o.less(o.abs(x), 1.0),),
    "negative": (-1,),
    "absolute": (lambda v, x: o.sign(x),),
    "square": (lambda v, x: 2 * x,),
    "reciprocal": (lambda v, x: -(v**2),),
    "sqrt": (lambda v, x: 0.5 / v,),
    "rsqrt": (lambda v, x: -0.5 * v / x,),
    "expm1": (lambda v, x: v + 1,),
    "log1p": (lambda v, x: 1 / (1 + x),),
    "sin": (lambda v, x: o.cos(x),),
    "cos": (lambda v, x: -o.sin(x),),
    "tan": (lambda v, x: 1 + v**2,),
    "arcsin": (lambda v, x: o.rsqrt(1 - x**2),),
    "arccos": (lambda v, x: -o.rsqrt(1 - x**2),),
    "arctan": (lambda v, x: 1 / (1 + x**2),),
    "sinh": (lambda v, x: o.cosh(x),),
    "cosh": (lambda v, x: o.sinh(x),),
    "arcsinh": (lambda v, x: o.rsqrt(1 + x**2),),
    "arccosh": (lambda v, x: o.rsqrt(x**2 - 1),),
    "arctanh": (lambda v, x: 1 / (1 - x**2),),
    "add": (1, 1),
    "subtract": (1, -1),
    "multiply": (lambda v, x, y: y, lambda v, x, y: x),
    "divide": (
        lambda v, x, y: _inverse(y) if isinstance(y, float) else o.reciprocal(y),
        lambda v, x, y: -v / y,
    ),
    "power": (
        lambda v, x, y: y * o.power(o.where(o.equal(y, 0.0), 1.0, x), y - 1),
        lambda v, x, y: v * o.log(o.where(o.equal(x, 0.0), 1.0, x)),
    ),
    "maximum": _shares(smaller=False),
    "minimum": _shares(smaller=True),
    "arctan2": (lambda v, x, y: y / (x**2 + y**2), lambda v, x, y: -x / (x**2 + y**2)),
    "remainder": (1, lambda v, x, y: -o.floor_divide(x, y)),
}


def _same(node: Node, t: Node) -> Node:
    """Of an op that is linear in its only input."""
    return Node(node.op, (t,), attrs=node.attrs)


def _matmul(node: Node, da: Tangent, db: Tangent) -> Tangent:
    a, b = node.inputs
    first = None if da is None else _product(node, da, b)
    second = None if db is None else _product(node, a, db)
    return _add(first, second)


def _product(node: Node, a: Node, b: Node) -> Node:
    """As the node's, but one of the two may be the same for all rows where the node's is not."""
    if node.attrs["transpose_a"]:
        a = o.swapaxes(a, -1, -2)
    if node.attrs["transpose_b"]:
        b = o.swapaxes(b, -1, -2)
    return o.matmul(a, b)


def _linear(node: Node, t: Node) -> Node:
    """Of an op that is linear in its first input, but for a bias, and is one of rows."""
    inputs = (spread(t, t.shape, True), *node.inputs[1:])
    marks: dict[str, Any] = {"layout": node.layout, "image": node.image}
    return Node(node.op, inputs, node.parameters[:1], node.attrs, **marks)


def _conv(node: Node, dx: Tangent, dw: Tangent = None) -> Tangent:
    """Weights that change are computed ones, the second input."""
    first = None if dx is None else _linear(node, dx)
    if dw is None:
        return first
    if dw.batched:
        return _add(first, by_windows(node.inputs[0], dw, node.attrs))
    return _add(first, Node("conv", (node.inputs[0], dw), attrs=node.attrs))


def _multiply(node: Node, *tangents: Tangent) -> Tangent:
    found: Tangent = None
    for k, t in enumerate(tangents):
        if t is not None:
            others = [*node.inputs[:k], *node.inputs[k + 1 :]]
            found = _add(found, reduce(o.multiply, others, t))
    return found


def _joined(node: Node, *tangents: Tangent) -> Node:
    """Of an op that is linear in all its inputs, which are of one kind."""
    parts = [
        o.constant(np.zeros(x.shape)) if t is None else t
        for x, t in zip(node.inputs, tangents, strict=True)
    ]
    batched = any(part.batched for part in parts)
    wide = [spread(part, part.shape, batched) for part in parts]
    return Node(node.op, distinct(wide), attrs=node.attrs)


def _take(node: Node, dx: Tangent, _: Tangent) -> Tangent:
    return None if dx is None else Node("take", (dx, node.inputs[1]))


def _one_by_one(x: Node, t: Node) -> Node:
    """[.., A, A]: in row j the j-th number is replaced by its tangent."""
    eye = np.eye(x.shape[-1])
    return o.where(eye, o.expand_dims(t, -2), o.expand_dims(x, -2))


def _fold(node: Node, t: Node) -> Tangent:
    kind, (x,) = node.attrs["how"], node.inputs
    if kind > 2:
        return None
    if kind == 2:
        return o.sum(o.prod(_one_by_one(x, t), -1), -1)
    best = o.equal(x, o.expand_dims(node, -1))
    return o.sum(best * t, -1) / o.sum(best, -1)


def _scan(node: Node, t: Node) -> Node:
    (x,) = node.inputs
    if not node.attrs["product"]:
        return _same(node, t)
    return o.sum(o.triu(o.cumprod(_one_by_one(x, t), -1)), -2)


RULES: dict[str, Callable[..., Tangent]] = {
    "broadcast": _same,
    "sum": _same,
    "view": _same,
    "matmul": _matmul,
    "concat": _joined,
    "add": _joined,
    "multiply": _multiply,
    "dense": _linear,
    "conv": _conv,
    "permute": lambda y, t: move(spread(t, t.shape, True), [y]),
    "reshape": lambda y, t: move(spread(t, t.shape, True), [y]),
    "take": _take,
    "fold": _fold,
    "scan": _scan,
    "softmax": lambda y, t: y * (t - o.sum(y * t, -1, keepdims=True)),
    "log_softmax": lambda y, t: t - o.sum(o.exp(y) * t, -1, keepdims=True),
}
