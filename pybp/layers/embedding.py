"""Vectors for numbers that are names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybp import init
from pybp.checks import whole
from pybp.graph import Node
from pybp.layers.base import LARGEST
from pybp.layers.trained import TrainedLayer

if TYPE_CHECKING:
    from typing import Unpack

    from pybp.layers.trained import Training

EXACT = 2**24  # the whole numbers that float32 holds


class Embedding(TrainedLayer):
    """A trained vector for each of `words` numbers: y[l] = weight[x[l]].

    Stands directly behind `Input`. Rows of L whole numbers from 0 to words - 1 become rows (L, D)
    of layout "NLC", which `Conv1D`, `GlobalAveragePool1D` and `Flatten` take. Numbers outside are
    refused before anything is computed.

    Parameters
    ----------
    words : int
        How many vectors V there are, at most 2**24.
    size : int
        Length D of a vector. `weight` has shape [V, D].
    weight_init : initialiser, its name, or a constant
        Normal with standard deviation 0.05 when left out.
    **training
        weight_regularizer, max_norm (of one vector), learning_rate_factor, trainable: see
        `pybp.layers.TrainedLayer`.

    Bengio, Ducharme, Vincent and Jauvin, JMLR 3, 2003.

    >>> import numpy as np, pybp as bp
    >>> x = np.random.default_rng(0).integers(0, 10, (200, 4))
    >>> y = (x == 3).any(axis=1)
    >>> model = bp.Sequential([bp.Input(4), bp.Embedding(10, 2), bp.GlobalMaxPool1D(),
    ...                        bp.Dense(1, "sigmoid")])
    >>> model.compile(bp.optim.Adam(0.05), loss="binary_cross_entropy", seed=0)
    >>> history = model.fit(x, y, epochs=30, verbose=0)
    >>> model.evaluate(x, y)["loss"] < 0.1
    True
    """

    has_rows = True

    def __init__(
        self,
        words: int,
        size: int,
        weight_init: object = None,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(name, **training)
        self.words = whole(words, "Embedding: words", most=EXACT)
        self.size = whole(size, "Embedding: size", most=LARGEST)
        given = init.Normal(0.05) if weight_init is None else weight_init
        self.weight_init = init.get(given, "Embedding: weight_init")

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        if x.op != "feed" or x.attrs["scale"] != 1.0 or x.running or len(x.shape) != 1:
            raise ValueError(
                f"layer {name!r}: Embedding takes whole numbers, so it stands directly behind a "
                f"bp.Input(length) that does not scale them; layer {x.layer!r} gives rows {x.shape}"
            )
        weight = self.weight(f"{name}.weight", (self.words, self.size), self.weight_init)
        return Node("embedding", (x,), (weight,), layer=name, layout="NLC")
