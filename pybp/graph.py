"""The graph that layers build and the compiler lowers: nodes that apply an op to other nodes.

It is a directed acyclic graph from the start. A node's shape is known as soon as it exists, by the
op's own shape rule in C, so that a mistake is found at the line that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pybp import _core
from pybp.init import Initializer
from pybp.operators import Symbolic

if TYPE_CHECKING:
    from pybp.calls import Call

OPS: dict[str, dict] = _core.ops()
# A parameter as a value is no instruction: whoever reads it reads the parameters' own vector.
OPS["parameter"] = {
    "attrs": {},
    "max_in": 0,
    "params": 0,
    "running": 0,
    "flags": set(),
    "differentiable": True,
    "commits": False,
    "signals": False,
}
FUNCTIONS = {"exp", "log", "erf", "scale_gradient"}  # elementwise, but no activations
ACTIVATIONS = {name for name, op in OPS.items() if "elementwise" in op["flags"]} - FUNCTIONS
ACTIVATIONS |= {"softmax", "log_softmax", "prelu"}


@dataclass(eq=False, repr=False)
class Parameter(Symbolic):
    """A trainable array: its name in the model, its shape, how it is drawn and how it trains.

    The gradient of l1 sum |w| + l2/2 sum w^2 is added to the loss's; the learning rate is
    multiplied by `learning_rate_factor`; after an update the norm of every row is at most
    `max_norm`, 0 for no limit.
    """

    name: str
    shape: tuple[int, ...]
    init: Initializer
    trainable: bool = True
    learning_rate_factor: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    max_norm: float = 0.0


@dataclass(eq=False, repr=False)
class Running:
    """A vector that a layer keeps without training it, always float64: its name in the model, its
    shape and what it starts from.

    The layer is handed the memory by `bind`, if it wants to set the values itself. Where they are
    `required`, zeros mean that it has not done so yet, and the model cannot run.
    """

    name: str
    shape: tuple[int, ...]
    start: float
    bind: Callable[[np.ndarray], None] | None = None
    required: bool = False


@dataclass(eq=False)
class Node(Symbolic):
    """An op applied to nodes, running state and parameters.

    `shape` is that of one row: a batch of N rows has shape (N, *shape). `layer` is the name of the
    layer that made the node, and `call` which layer that is and what it was called on, of a node
    that is no part of a model yet. The rows of a `blocked` node lie in blocks of as many as a
    vector has lanes (`pb_shape` in `csrc/pybp.h`); only `blocks.py` makes such nodes.
    `layout` is the user's word for the axes, "" where none was given, and `image` says that rows
    are (C, H, W) whatever the layout: see `pybp.layouts`. A node inherits both from the first
    input that has a layout and as many axes.
    """

    op: str
    inputs: tuple[Node, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    attrs: dict = field(default_factory=dict)
    layer: str = ""
    shape: tuple[int, ...] = ()
    running: tuple[Running, ...] = ()
    batched: bool = True
    blocked: bool = False
    flops: int = 0
    saved: int = 0
    saved_once: int = 0
    call: Call | None = None
    layout: str | None = None
    image: bool = False

    def __post_init__(self) -> None:
        if self.op == "parameter":
            self.shape, self.batched, self.layout = self.parameters[0].shape, False, ""
            return
        given = [(node.shape, node.batched, node.blocked) for node in self.inputs]
        given += [(part.shape, False, False) for part in self.running]
        given += [(parameter.shape, False, False) for parameter in self.parameters]
        out = (self.shape, self.batched, self.blocked)
        found = _core.infer(self.op, self.attrs, given, out)
        if found is None:
            shapes = ", ".join(str(shape) for shape, _, _ in given)
            raise ValueError(
                f"layer {self.layer!r}: {self.op} cannot take inputs of shapes {shapes}"
            )
        self.shape, self.batched, self.blocked, self.saved, self.saved_once, self.flops = found
        if self.layout is None:
            known = (n for n in self.inputs if n.layout or n.image)
            first = next((n for n in known if len(n.shape) == len(self.shape)), None)
            self.layout, self.image = ("", False) if first is None else (first.layout, first.image)
        self.image = self.image or self.layout == "NCHW"

    def __repr__(self) -> str:
        return f"Node({self.op!r}, layer={self.layer!r}, shape={self.shape})"

    @property
    def flags(self) -> set[str]:
        """The flags of the op's table row."""
        return OPS[self.op]["flags"]

    @property
    def flowing(self) -> int:
        """How many of its inputs flow through the graph; those behind are computed values where the
        op has parameters."""
        row = OPS[self.op]
        return min(len(self.inputs), row["max_in"] - row["params"] - row["running"])


def no_dead_ends(
    roots: Iterable[Node], trains: Callable[[Node], bool], idle: Container[int] = ()
) -> None:
    """Refuse a graph in which something trains before an op without a derivative; `idle` are the
    ids of nodes that do nothing in this use."""
    needs: set[int] = set()
    for node in topological(roots):
        fed = any(id(parent) in needs for parent in node.inputs)
        if fed and not OPS[node.op]["differentiable"] and id(node) not in idle:
            instead = "use activation='sigmoid' or 'tanh' instead"
            if "random" in node.flags:  # it augments
                instead = "put it before the layers that train"
            raise ValueError(
                f"layer {node.layer!r}: {node.op} has no derivative, so nothing before it can be "
                f"trained by gradients: {instead}, or freeze the layers up to it with "
                "trainable=False; predict works then"
            )
        if fed or trains(node):
            needs.add(id(node))


def in_parts(nodes: Sequence[Node], join: Callable[[tuple[Node, ...]], Node]) -> Node:
    """One node of any number: an op takes a few inputs, so the first ones are joined first."""
    left = list(nodes)
    while len(left) > _core.MAX_INPUTS:
        left = [join(tuple(left[: _core.MAX_INPUTS])), *left[_core.MAX_INPUTS :]]
    return join(tuple(left))


def topological(roots: Iterable[Node]) -> list[Node]:
    """All nodes that the roots depend on, each after its inputs. Iterative: depth is no limit."""
    order: list[Node] = []
    seen: set[int] = set()
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent in reversed(node.inputs))
    return order
