"""Layers: what a model is made of. Each is a description that adds nodes to the graph."""

from pybp.layers.activation import Activation, PReLU
from pybp.layers.base import Layer
from pybp.layers.dense import Dense
from pybp.layers.input import Input
from pybp.layers.maxout import Maxout
from pybp.layers.noise import AlphaDropout, Dropout, GaussianDropout, GaussianNoise
from pybp.layers.normalization import BatchNorm, LayerNorm, RMSNorm
from pybp.layers.scaler import MinMaxScaler, StandardScaler
from pybp.layers.trained import TrainedLayer

KINDS: dict[str, type[Layer]] = {
    kind.__name__.lower(): kind
    for kind in (
        Input,
        Dense,
        Activation,
        PReLU,
        Maxout,
        Dropout,
        AlphaDropout,
        GaussianDropout,
        GaussianNoise,
        BatchNorm,
        LayerNorm,
        RMSNorm,
        MinMaxScaler,
        StandardScaler,
    )
}

__all__ = [
    "KINDS",
    "Activation",
    "AlphaDropout",
    "BatchNorm",
    "Dense",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Input",
    "Layer",
    "LayerNorm",
    "Maxout",
    "MinMaxScaler",
    "PReLU",
    "RMSNorm",
    "StandardScaler",
    "TrainedLayer",
]
