"""pybp: neural networks on the CPU, a whole training epoch per native call.

import pybp as bp

model = bp.Sequential([bp.Input(784, scale=1 / 255), bp.Dense(128, activation="relu"),
                       bp.Dense(10, activation="softmax")])
model.compile(optimizer=bp.optim.Adam(1e-3), loss="cross_entropy", metrics=["accuracy"])
model.fit(x, y, epochs=5)
model.predict(x_test)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from pybp import (
    _load,  # noqa: F401  first: it loads the native part
    errors,
    init,
    layers,
    losses,
    optim,
    schedules,
)
from pybp._version import __version__
from pybp.config import get_num_threads, set_num_threads, show_config
from pybp.layers import LAZY as _LAZY_LAYERS
from pybp.layers import Activation, Dense, Input, Layer, PReLU, TrainedLayer
from pybp.model import Model
from pybp.sequential import Sequential

if TYPE_CHECKING:
    from pybp.autodiff import grad, hvp, jacobian, jvp, value_and_grad
    from pybp.finder import find_learning_rate
    from pybp.io import load
    from pybp.layers import (
        AlphaDropout,
        Augment,
        AveragePool1D,
        AveragePool2D,
        BatchNorm,
        Conv1D,
        Conv2D,
        ConvTranspose1D,
        ConvTranspose2D,
        Crop1D,
        Crop2D,
        DepthwiseConv1D,
        DepthwiseConv2D,
        Dropout,
        Embedding,
        Flatten,
        GaussianDropout,
        GaussianNoise,
        GlobalAveragePool1D,
        GlobalAveragePool2D,
        GlobalMaxPool1D,
        GlobalMaxPool2D,
        GroupNorm,
        InstanceNorm,
        LayerNorm,
        Maxout,
        MaxPool1D,
        MaxPool2D,
        MinMaxScaler,
        NeuronGraph,
        Normalize,
        Permute,
        Reshape,
        RMSNorm,
        SeparableConv1D,
        SeparableConv2D,
        SpatialDropout1D,
        SpatialDropout2D,
        StandardScaler,
        Upsample1D,
        Upsample2D,
        ZeroPad1D,
        ZeroPad2D,
    )
    from pybp.layers.merge import add, average, concat, maximum, minimum, multiply, subtract
    from pybp.rounding import rounding_error

# Imported when first named: what only some users need must not cost the others time.
_LAZY_MODULES = {"callbacks", "datasets", "metrics", "ops", "plots", "regularizers", "testing"}
_DERIVATIVES = ("grad", "hvp", "jacobian", "jvp", "value_and_grad")
_MERGES = ("add", "average", "concat", "maximum", "minimum", "multiply", "subtract")
_LAZY_FUNCTIONS = {
    "find_learning_rate": "pybp.finder",
    "load": "pybp.io",
    "rounding_error": "pybp.rounding",
    **dict.fromkeys(_DERIVATIVES, "pybp.autodiff"),
    **dict.fromkeys(_MERGES, "pybp.layers.merge"),
}

__all__ = [
    "Activation",
    "AlphaDropout",
    "Augment",
    "AveragePool1D",
    "AveragePool2D",
    "BatchNorm",
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
    "Maxout",
    "MinMaxScaler",
    "Model",
    "NeuronGraph",
    "Normalize",
    "PReLU",
    "Permute",
    "RMSNorm",
    "Reshape",
    "SeparableConv1D",
    "SeparableConv2D",
    "Sequential",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "StandardScaler",
    "TrainedLayer",
    "Upsample1D",
    "Upsample2D",
    "ZeroPad1D",
    "ZeroPad2D",
    "__version__",
    "add",
    "average",
    "callbacks",
    "concat",
    "datasets",
    "errors",
    "find_learning_rate",
    "get_num_threads",
    "grad",
    "hvp",
    "init",
    "jacobian",
    "jvp",
    "layers",
    "load",
    "losses",
    "maximum",
    "metrics",
    "minimum",
    "multiply",
    "ops",
    "optim",
    "plots",
    "regularizers",
    "rounding_error",
    "schedules",
    "set_num_threads",
    "show_config",
    "subtract",
    "testing",
    "value_and_grad",
]


def __getattr__(name: str) -> object:
    if name in _LAZY_MODULES:
        return import_module(f"pybp.{name}")
    if name in _LAZY_FUNCTIONS:
        return getattr(import_module(_LAZY_FUNCTIONS[name]), name)
    if name in _LAZY_LAYERS:
        found = globals()[name] = getattr(layers, name)
        return found
    near = [] if name.startswith("_") else errors.nearest(name, __all__)
    raise AttributeError(
        f"module 'pybp' has no attribute {name!r}" + "".join(f": did you mean {n!r}?" for n in near)
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
