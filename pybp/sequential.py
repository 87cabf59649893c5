"""Models that are a list of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pybp.layers import Input, Layer
from pybp.model import Model
from pybp.network import chain, traced


class Sequential(Model):
    """Layers one after another; models of one input and one output may stand among them, as in
    `Model.__call__`.

    >>> import pybp as bp
    >>> model = bp.Sequential([bp.Input(2), bp.Dense(8, activation="tanh"), bp.Dense(1)])
    >>> model.compile(optimizer=bp.optim.Adam(0.05), loss="mse", seed=1)
    >>> x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> history = model.fit(x, y, epochs=300, batch_size=4, verbose=0)
    >>> (model.predict(x)[:, 0] > 0.5).tolist()
    [False, True, True, False]
    """

    def __init__(self, layers: Sequence[Layer | Model]) -> None:
        if not isinstance(layers, Sequence) or isinstance(layers, str):
            raise TypeError(f"Sequential takes a list of layers, got {layers!r}")
        for i, layer in enumerate(layers):
            ends = layer.network if isinstance(layer, Model) else None
            if ends and (len(ends.inputs), len(ends.outputs)) != (1, 1):
                raise ValueError(
                    f"layers[{i}] is a model of {len(ends.inputs)} inputs and {len(ends.outputs)} "
                    "outputs: a list takes those of one; call it on several, and make a bp.Model"
                )
            if ends is None and not isinstance(layer, Layer):
                raise TypeError(f"layers[{i}] must be a layer such as bp.Dense(10), got {layer!r}")
        if len(layers) < 2 or not isinstance(layers[0], Input):
            raise ValueError(
                "a model starts with bp.Input(shape) and has at least one layer behind it"
            )
        if len({id(layer) for layer in layers}) < len(layers):
            raise ValueError(
                "the same object stands twice in the list; make a second one, since the "
                "layers of a Sequential share no weights: bp.Model can call one layer twice"
            )
        parts = [layer for layer in layers if isinstance(layer, Layer)]
        if len(parts) == len(layers):
            self._begin(chain(parts))
            return
        node: Any = parts[0]
        for layer in layers[1:]:
            node = layer(node)
        self._begin(traced(parts[0], node))
