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
    from pybp.layers.conv import (
        Conv1D,
        Conv2D,
        ConvTranspose1D,
        ConvTranspose2D,
        DepthwiseConv1D,
        DepthwiseConv2D,
        SeparableConv1D,
        SeparableConv2D,
    )
    from pybp.layers.embedding import Embedding
    from pybp.layers.group_norm import GroupNorm, InstanceNorm
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
    from pybp.layers.noise import (
        AlphaDropout,
        Dropout,
        GaussianDropout,
        GaussianNoise,
        SpatialDropout1D,
        SpatialDropout2D,
    )
    from pybp.layers.normalization import BatchNorm, LayerNorm, RMSNorm
    from pybp.layers.pooling import (
        AveragePool1D,
        AveragePool2D,
        GlobalAveragePool1D,
        GlobalAveragePool2D,
        GlobalMaxPool1D,
        GlobalMaxPool2D,
        MaxPool1D,
        MaxPool2D,
    )
    from pybp.layers.scaler import MinMaxScaler, StandardScaler
    from pybp.layers.shaping import (
        Crop1D,
        Crop2D,
        Flatten,
        Permute,
        Reshape,
        Upsample1D,
        Upsample2D,
        ZeroPad1D,
        ZeroPad2D,
    )

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
    "AveragePool1D": "pooling",
    "AveragePool2D": "pooling",
    "BatchNorm": "normalization",
    "Conv1D": "conv",
    "Conv2D": "conv",
    "ConvTranspose1D": "conv",
    "ConvTranspose2D": "conv",
    "Crop1D": "shaping",
    "Crop2D": "shaping",
    "DepthwiseConv1D": "conv",
    "DepthwiseConv2D": "conv",
    "Dropout": "noise",
    "Embedding": "embedding",
    "Flatten": "shaping",
    "GaussianDropout": "noise",
    "GaussianNoise": "noise",
    "GlobalAveragePool1D": "pooling",
    "GlobalAveragePool2D": "pooling",
    "GlobalMaxPool1D": "pooling",
    "GlobalMaxPool2D": "pooling",
    "GroupNorm": "group_norm",
    "InstanceNorm": "group_norm",
    "LayerNorm": "normalization",
    "MaxPool1D": "pooling",
    "MaxPool2D": "pooling",
    "Maxout": "maxout",
    "MinMaxScaler": "scaler",
    "Normalize": "augment",
    "NeuronGraph": "neuron_graph",
    "RMSNorm": "normalization",
    "Operation": "operation",
    "Permute": "shaping",
    "Reshape": "shaping",
    "SeparableConv1D": "conv",
    "SeparableConv2D": "conv",
    "SpatialDropout1D": "noise",
    "SpatialDropout2D": "noise",
    "StandardScaler": "scaler",
    "Upsample1D": "shaping",
    "Upsample2D": "shaping",
    "ZeroPad1D": "shaping",
    "ZeroPad2D": "shaping",
}

__all__ = [
    "Activation",
    "Add",
    "AlphaDropout",
    "Augment",
    "Average",
    "AveragePool1D",
    "AveragePool2D",
    "BatchNorm",
    "Concat",
    "Conv1D",
    "Conv2D",
    "ConvTranspose1D",
    "ConvTranspose2D",
    "Crop1D",
    "Crop2D",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePool1D",
    "GlobalAveragePool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GroupNorm",
    "Input",
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "MaxPool1D",
    "MaxPool2D",
    "Maximum",
    "Maxout",
    "MinMaxScaler",
    "Minimum",
    "Multiply",
    "NeuronGraph",
    "Normalize",
    "PReLU",
    "Permute",
    "RMSNorm",
    "Reshape",
    "SeparableConv1D",
    "SeparableConv2D",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "StandardScaler",
    "Subtract",
    "TrainedLayer",
    "Upsample1D",
    "Upsample2D",
    "ZeroPad1D",
    "ZeroPad2D",
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
