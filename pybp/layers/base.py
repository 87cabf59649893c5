"""What all layers share."""

from __future__ import annotations

from pybp.described import Described
from pybp.errors import unknown
from pybp.graph import ACTIVATIONS, Node

LARGEST = 2**31 - 1  # of one dimension: BLAS libraries count in 32 bits


class Layer(Described):
    """Base of all layers. A layer keeps its arguments and nothing else: `build` adds its nodes to a
    graph under the name that the model gives it, so one layer object may stand in many models."""

    def __init__(self, name: str | None = None) -> None:
        if name is not None and (not isinstance(name, str) or not name or "." in name):
            raise ValueError(f"a layer's name is a non-empty string without dots, got {name!r}")
        self.name = name

    def build(self, x: Node | None, name: str) -> Node:
        """The layer's output for the input node `x`."""
        raise NotImplementedError


def activation_name(given: object, what: str) -> str | None:
    """The op of an activation's name; None for no activation ("linear" is another name for it)."""
    if given is None:
        return None
    if not isinstance(given, str):
        raise TypeError(f"{what}: activation must be a name or None, got {given!r}")
    if given == "linear":
        return None
    if given not in ACTIVATIONS:
        raise unknown(f"activation for {what}", given, ACTIVATIONS | {"linear"})
    return given


def activate(x: Node, activation: str | None, name: str) -> Node:
    """`x` through an activation. A second softmax is refused: it would flatten the first."""
    if activation is None:
        return x
    if activation == "softmax" and x.op == "softmax":
        raise ValueError(
            f"layer {name!r}: softmax of a softmax (layer {x.layer!r}); remove one of the two"
        )
    return Node(activation, (x,), layer=name)
