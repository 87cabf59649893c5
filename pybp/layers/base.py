"""What all layers share."""

from __future__ import annotations

from typing import ClassVar

from pybp.described import Described
from pybp.graph import Node

LARGEST = 2**31 - 1  # of one dimension: BLAS libraries count in 32 bits


class Layer(Described):
    """Base of all layers. A layer keeps its arguments and nothing else: `build` adds its nodes to a
    graph under the name that the model gives it, so one layer object may stand in many models.

    Calling a layer gives its output: `h = bp.Dense(64)(x)`. One that is called twice in a model has
    one set of parameters for both.

    `merges` says that it takes several inputs, and `build` a list of them.
    """

    merges: ClassVar[bool] = False

    def __init__(self, name: str | None = None) -> None:
        if name is not None and (not isinstance(name, str) or not name or "." in name):
            raise ValueError(f"a layer's name is a non-empty string without dots, got {name!r}")
        self.name = name

    def kind(self) -> str:
        """What a model calls it, with a number, if it has no name."""
        return type(self).__name__.lower()

    def build(self, x: Node | None, name: str) -> Node:
        """The layer's output for the input node `x`."""
        raise NotImplementedError

    def inner(self, output: Node) -> dict[str, Node]:
        """What `Model.activations` shows besides the output: nodes by what is put behind the name
        of the layer."""
        return {}

    def __call__(self, x: object) -> Node:
        """The layer's output for `x`: another layer's output, a `bp.Input`, or, for layers that
        merge, a list of them.

        Raises
        ------
        TypeError
            `x` is nothing of that kind.
        ValueError
            Its shape does not suit the layer.
        """
        from pybp import network

        return network.call(self, x)
