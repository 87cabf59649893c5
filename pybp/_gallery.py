"""The curves of `pybp.plots.activations`: every activation and its slope, as the library itself
computes them forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pybp.layers import Activation, Dense, Input, Maxout
from pybp.sequential import Sequential

# What kin they are, a row of the gallery each.
ROWS = (
    ("identity", "step", "softsign", "softplus", "maxout"),
    ("sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "softmax"),
    ("relu", "leaky_relu", "prelu", "elu", "selu"),
    ("gelu", "gelu_tanh", "silu", "mish", "log_softmax"),
)
SPAN = 4.0
# Of what feeds the layer's pieces or classes: x, or (x, 0), or three lines.
_SLOPES = {"softmax": (1.0, 0.0), "log_softmax": (1.0, 0.0), "maxout": (-0.5, 0.2, 1.0)}
_OFFSETS = {"maxout": (-0.5, 0.0, -1.0)}
_NOTES = {
    "leaky_relu": "negative_slope = 0.1",
    "prelu": "slope = 0.25",
    "elu": "alpha = 1",
    "softmax": "first of (x, 0)",
    "log_softmax": "first of (x, 0)",
    "maxout": "of three lines",
}


class Curve(NamedTuple):
    """An activation's values (P,) over x (P,), and its slopes, NaN where they jump."""

    name: str
    note: str
    x: NDArray[Any]
    y: NDArray[Any]
    slope: NDArray[Any]


def curves() -> Iterator[Curve]:
    """All of them, row by row. `leaky_relu` gets a slope that can be seen."""
    x = np.linspace(-SPAN, SPAN, 401)
    for name in (name for row in ROWS for name in row):
        weight = np.array(_SLOPES.get(name, (1.0,)))
        layer = _layer(name, len(weight))
        model = Sequential([Input(1), layer])
        model.compile(loss="sse", dtype="float64")
        parameters = {key.split(".")[1]: view for key, view in model.parameters.items()}
        parameters["weight"][...] = weight[:, None]
        parameters["bias"][...] = _OFFSETS.get(name, 0.0)
        yield Curve(
            name, _NOTES.get(name, ""), x, *_broken(*_computed(model, layer.trainable, x, weight))
        )


def _layer(name: str, width: int) -> Dense | Maxout:
    if name == "maxout":
        return Maxout(1, pieces=width)
    given = Activation(name, negative_slope=0.1) if name == "leaky_relu" else Activation(name)
    return Dense(width, activation=given, trainable=name != "step")


def _computed(
    model: Sequential, trains: bool, x: NDArray[Any], weight: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first output and its derivative by x: that of (y - t)^2 by y is 1 where t = y - 1/2."""
    y = model.predict(x[:, None])
    if not trains:
        return y[:, 0], np.zeros(len(x))
    target = y.copy()
    target[:, 0] -= 0.5
    found = model.gradients(x[:, None], target, deltas=True)
    delta = next(value for name, value in found.items() if name.endswith(".delta"))
    return y[:, 0], delta @ weight


def _broken(y: NDArray[Any], slope: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """NaN at jumps, which no line shall bridge."""
    for values in (y, slope):
        values[np.flatnonzero(np.abs(np.diff(values)) > 0.1)] = np.nan
    return y, slope
