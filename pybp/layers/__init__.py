"""Layers: what a model is made of. Each is a description that adds nodes to the graph."""

from pybp.layers.activation import Activation
from pybp.layers.base import Layer
from pybp.layers.dense import Dense
from pybp.layers.dropout import Dropout
from pybp.layers.input import Input
from pybp.layers.normalization import BatchNorm

KINDS: dict[str, type[Layer]] = {
    kind.__name__.lower(): kind for kind in (Input, Dense, Dropout, Activation, BatchNorm)
}

__all__ = ["KINDS", "Activation", "BatchNorm", "Dense", "Dropout", "Input", "Layer"]
