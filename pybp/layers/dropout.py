"""Dropout."""

from __future__ import annotations

from pybp.checks import real
from pybp.graph import Node
from pybp.layers.base import Layer


class Dropout(Layer):
    """In training, zeroes each value with probability `rate` and scales the rest by 1 / (1 - rate);
    the identity otherwise. Srivastava et al., JMLR 15, 2014.
    """

    def __init__(self, rate: float, name: str | None = None) -> None:
        super().__init__(name)
        self.rate = real(rate, "Dropout: rate", 0, 1, open_high=True)

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        return Node("dropout", (x,), attrs={"rate": self.rate}, layer=name)
