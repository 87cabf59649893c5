"""An activation as a layer of its own."""

from __future__ import annotations

from pybp.graph import Node
from pybp.layers.base import Layer, activate, activation_name


class Activation(Layer):
    """y = f(x) for an activation f by name."""

    def __init__(self, activation: str, name: str | None = None) -> None:
        super().__init__(name)
        self.activation = activation_name(activation, "Activation") or "identity"

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        return activate(x, self.activation, name)
