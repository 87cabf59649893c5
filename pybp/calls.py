"""Calls of layers on nodes, before a model is made of them.

Calling a layer builds its nodes at once, so that a mistake is found at the line that makes it, and
remembers the call: from calls, a model builds its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pybp.graph import Node
from pybp.layers.base import Layer
from pybp.layers.input import Input

if TYPE_CHECKING:
    from pybp.model import Model

Origin = tuple["Model", str]  # the model that a layer was taken from, and its name there


@dataclass(eq=False, repr=False)
class Call:
    """One use of a layer: the nodes that it was called on."""

    layer: Layer
    inputs: tuple[Node, ...]
    origin: Origin | None = None


Use = tuple[Layer, tuple[int, ...], "Origin | None"]  # a step whose name is not settled


def node_of(value: object, what: str) -> Node:
    """What is symbolic in `value`: a node, or the one that an `Input` feeds."""
    if isinstance(value, Node):
        return value
    if isinstance(value, Input):
        return value.node
    remedy = "begin with x = bp.Input(shape), and call layers on it: bp.Dense(10)(x)"
    if isinstance(value, Layer):
        kind = type(value).__name__
        remedy = f"this is a layer that was not called on anything: {kind}(...)(x)"
    elif hasattr(value, "predict"):
        remedy = "this is a model: call it, model(x), or take one of its outputs"
    elif hasattr(value, "__array__"):
        remedy = "arrays go into model.predict(...); " + remedy
    raise TypeError(f"{what} must be the output of a layer, got {_short(value)}; {remedy}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def taken(layer: Layer, given: object) -> tuple[Node, ...]:
    """The nodes that a layer is called on, as many as it takes."""
    kind = type(layer).__name__
    if isinstance(layer, Input):
        raise TypeError(f"{kind} is where arrays enter: it is called on nothing, layers are on it")
    several = isinstance(given, list | tuple)
    parts = list(given) if isinstance(given, list | tuple) else [given]
    if not parts:
        raise ValueError(f"{kind} was given an empty list: it takes the outputs of layers")
    nodes = tuple(
        node_of(part, f"input {i} of {kind}" if several else f"the input of {kind}")
        for i, part in enumerate(parts)
    )
    if not layer.merges and len(nodes) != 1:
        raise ValueError(
            f"{kind} takes one input, got {len(nodes)}: merge them first, for instance with "
            "bp.concat([a, b]) or bp.add([a, b])"
        )
    return nodes


def uses_of(order: Sequence[Node]) -> tuple[list[Use], dict[int, int]]:
    """The calls of nodes, each after its inputs, and every node's place among them."""
    uses: list[Use] = []
    index: dict[int, int] = {}
    for number, node in enumerate(order):
        made = node.call
        assert made is not None
        index[id(node)] = number
        uses.append((made.layer, tuple(index[id(n)] for n in made.inputs), made.origin))
    return uses, index


def ordered(roots: Sequence[Node]) -> list[Node]:
    """The outputs of all calls that the roots depend on, each after its inputs. Iterative."""
    order: list[Node] = []
    state: dict[int, bool] = {}  # False on the way down, True when done
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if ready:
            state[id(node)] = True
            order.append(node)
            continue
        if id(node) in state:
            if not state[id(node)]:
                around = [n.layer for n, up in stack if up]
                raise ValueError(
                    f"the graph has a cycle: the output of layer {node.layer!r} depends on itself, "
                    f"by way of {', '.join(dict.fromkeys(around[around.index(node.layer) :]))}"
                )
            continue
        state[id(node)] = False
        stack.append((node, True))
        stack.extend((parent, False) for parent in reversed(_call_of(node).inputs))
    return order


def _call_of(node: Node) -> Call:
    """The call that made a node; one that no layer made is a layer that applies its op."""
    if node.call is None:
        if node.op == "parameter":
            raise ValueError(
                "a model or layer was called on an argument of bp.grad or its kin, or on a weight: "
                "it takes outputs of layers, beginning with bp.Input(shape). The gradient by a "
                "model's inputs is given by model.gradients(x, y, inputs=True); functions for "
                "bp.grad are written by operators and bp.ops"
            )
        if node.parameters or node.running or (not node.inputs and node.op != "constant"):
            raise ValueError(
                f"a node of op {node.op!r} was made by no layer: make nodes by calling layers, "
                "beginning with bp.Input(shape)"
            )
        from pybp.layers.operation import Operation  # few need it

        shape = node.shape if node.op == "reshape" else None  # nothing else tells it
        operation = Operation(node.op, layout=node.layout or None, shape=shape, **node.attrs)
        node.call = Call(operation, node.inputs)
    return node.call
