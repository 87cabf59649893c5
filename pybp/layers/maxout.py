"""Units that learn their own convex activation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybp import init, layouts
from pybp.checks import boolean, whole
from pybp.graph import Node
from pybp.layers.base import LARGEST
from pybp.layers.trained import TrainedLayer

if TYPE_CHECKING:
    from typing import Unpack

    from pybp.layers.trained import Training


class Maxout(TrainedLayer):
    """The largest of `pieces` linear functions for each unit:
    y_u = max_p (weight[u pieces + p] . x + bias[u pieces + p]).

    The gradient goes to the first of the largest. Goodfellow, Warde-Farley, Mirza, Courville and
    Bengio, ICML 2013.

    Parameters
    ----------
    units : int
        Number of outputs O. `weight` has shape [O pieces, I], `bias` [O pieces].
    pieces : int
    use_bias : bool
    weight_init, bias_init : initialiser, its name, or a constant
        By default LeCun, with which the larger of two pieces keeps the mean square of its inputs;
        zeros for the bias.
    **training
        weight_regularizer, bias_regularizer, max_norm, learning_rate_factor, trainable: see
        `pybp.layers.TrainedLayer`.

    >>> import numpy as np, pybp as bp
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> model = bp.Sequential([bp.Input(1), bp.Maxout(1, pieces=3)])
    >>> model.compile(optimizer=bp.optim.Adam(0.02), loss="mse", seed=2)
    >>> history = model.fit(x, np.abs(x), epochs=100, verbose=0)
    >>> model.evaluate(x, np.abs(x))["loss"] < 1e-3
    True
    """

    has_rows = True

    def __init__(
        self,
        units: int,
        pieces: int = 2,
        use_bias: bool = True,
        weight_init: object = "lecun",
        bias_init: object = 0.0,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(name, **training)
        self.units = whole(units, "Maxout: units", most=LARGEST)
        self.pieces = whole(pieces, "Maxout: pieces", 2, LARGEST // self.units)
        self.use_bias = boolean(use_bias, "Maxout: use_bias")
        self.weight_init = init.get(weight_init, "Maxout: weight_init")
        self.bias_init = init.get(bias_init, "Maxout: bias_init")

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        x = layouts.for_units(x, name, "Maxout")
        rows = self.units * self.pieces
        parameters = [self.weight(f"{name}.weight", (rows, x.shape[-1]), self.weight_init)]
        if self.use_bias:
            parameters.append(self.bias(f"{name}.bias", (rows,), self.bias_init))
        linear = Node("dense", (x,), tuple(parameters), layer=name)
        return Node("maxout", (linear,), attrs={"pieces": self.pieces}, layer=name)
