"""Layers: what a model is made of. Each is a description that adds nodes to the graph."""

from importlib import import_module
from typing import TYPE_CHECKING

from pybp.layers.activation import Activation, PReLU
from pybp.layers.base import Layer
from pybp.layers.dense import Dense
from pybp.layers.input import Input
from pybp.layers.trained import TrainedLayer

if TYPE_CHECKING:
    from pybp.layers.augment import Augment, Normalize
    from pybp.layers.maxout import Maxout
    from pybp.layers.merge import (
        Add,
        Average,
        Concat,
        Maximum,
        Minimum,
        Multiply,
        Subtract,
    )
    from pybp.layers.neuron_graph import NeuronGraph
    from pybp.layers.noise import AlphaDropout, Dropout, GaussianDropout, GaussianNoise
    from pybp.layers.normalization import BatchNorm, LayerNorm, RMSNorm
    from pybp.layers.scaler import MinMaxScaler, StandardScaler

# Imported when first named, each from its module: most models have none of them.
LAZY = {
    "Add": "merge",
    "Average": "merge",
    "Concat": "merge",
    "Maximum": "merge",
    "Minimum": "merge",
    "Multiply": "merge",
    "Subtract": "merge",
    "AlphaDropout": "noise",
    "Augment": "augment",
    "BatchNorm": "normalization",
    "Dropout": "noise",
    "GaussianDropout": "noise",
    "GaussianNoise": "noise",
    "LayerNorm": "normalization",
    "Maxout": "maxout",
    "MinMaxScaler": "scaler",
    "Normalize": "augment",
    "NeuronGraph": "neuron_graph",
    "RMSNorm": "normalization",
    "Operation": "operation",
    "StandardScaler": "scaler",
}

__all__ = [
    "Activation",
    "Add",
    "AlphaDropout",
    "Average",
    "Augment",
    "BatchNorm",
    "Concat",
    "Dense",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Input",
    "Layer",
    "LayerNorm",
    "Maximum",
    "Maxout",
    "MinMaxScaler",
    "Minimum",
    "Multiply",
    "Normalize",
    "NeuronGraph",
    "PReLU",
    "RMSNorm",
    "StandardScaler",
    "Subtract",
    "TrainedLayer",
    "kinds",
]


def kinds() -> dict[str, type[Layer]]:
    """Every layer that a model file may name, by its class in lower case."""
    lazy = [getattr(import_module(f"pybp.layers.{module}"), name) for name, module in LAZY.items()]
    return {kind.__name__.lower(): kind for kind in (Input, Dense, Activation, PReLU, *lazy)}


def __getattr__(name: str) -> object:
    if name in LAZY:
        found = globals()[name] = getattr(import_module(f"pybp.layers.{LAZY[name]}"), name)
        return found
    raise AttributeError(f"module 'pybp.layers' has no attribute {name!r}")
