"""Models that are a list of layers."""

from __future__ import annotations

from collections.abc import Sequence

from pybp.layers import Input, Layer
from pybp.model import Model
from pybp.network import chain


class Sequential(Model):
    """Layers one after another.

    >>> import pybp as bp
    >>> model = bp.Sequential([bp.Input(2), bp.Dense(8, activation="tanh"), bp.Dense(1)])
    >>> model.compile(optimizer=bp.optim.Adam(0.05), loss="mse", seed=1)
    >>> x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> history = model.fit(x, y, epochs=300, batch_size=4, verbose=0)
    >>> (model.predict(x)[:, 0] > 0.5).tolist()
    [False, True, True, False]
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        if not isinstance(layers, Sequence) or isinstance(layers, str):
            raise TypeError(f"Sequential takes a list of layers, got {layers!r}")
        for i, layer in enumerate(layers):
            if isinstance(layer, Model):
                raise TypeError(
                    f"layers[{i}] is a model: call it instead, and make a bp.Model of the result, "
                    "as in x = bp.Input(shape); bp.Model(x, bp.Dense(10)(model(x)))"
                )
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{i}] must be a layer such as bp.Dense(10), got {layer!r}")
        if len(layers) < 2 or not isinstance(layers[0], Input):
            raise ValueError(
                "a model starts with bp.Input(shape) and has at least one layer behind it"
            )
        if len({id(layer) for layer in layers}) < len(layers):
            raise ValueError(
                "the same layer object stands twice in the list; make a second one, since the "
                "layers of a Sequential share no weights: bp.Model can call one layer twice"
            )
        self._begin(chain(layers))
