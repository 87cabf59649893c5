"""Losses that a user writes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pybp import data
from pybp._core import Source
from pybp.graph import Node, topological
from pybp.layers.base import made_of
from pybp.losses.base import Loss


class Custom(Loss):
    """A loss by a function of (y_true, y_pred) that is written with operators and `bp.ops`; what
    `compile(loss=function)` makes of it.

    The function is called once, with symbolic rows: y_pred has the shape of the model's output,
    y_true as well where it has as many values, else the shape of the targets' rows, (1,) for class
    numbers. It gives a value per row, whose mean is taken if it is an array of them. A batch's loss
    is the mean over its rows, with the sample weights if there are any.

    Parameters
    ----------
    function : callable
        A saved model names it: `bp.load(path, custom=[function])`.

    >>> import numpy as np, pybp as bp
    >>> def cube(y_true, y_pred):
    ...     return bp.ops.abs(y_pred - y_true) ** 3
    >>> x = np.linspace(-1, 1, 32)[:, None]
    >>> model = bp.Sequential([bp.Input(1), bp.Dense(1)])
    >>> model.compile(optimizer=bp.optim.Adam(0.05), loss=cube, seed=0)
    >>> history = model.fit(x, 2 * x + 1, epochs=100, verbose=0)
    >>> model.evaluate(x, 2 * x + 1)["loss"] < 1e-3
    True
    """

    def __init__(self, function: Callable[[Node, Node], Any]) -> None:
        if not callable(function):
            raise TypeError(
                f"Custom: the loss must be a function of (y_true, y_pred), got {function!r}"
            )
        self.function = function

    @property
    def name(self) -> str:  # type: ignore[override]
        """The function's own."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        array = data.as_array(y, what)
        alike = math.prod(array.shape[1:]) == math.prod(output.shape)
        rows = data.as_rows(array, output, what) if alike else array.reshape(len(array), -1)
        return data.finite_source(rows, what, data.largest(dtype))

    def classes(self, targets: np.ndarray, output: Node) -> np.ndarray:
        if targets.shape[1] == 1 and np.array_equal(targets, np.round(targets)):
            return targets[:, 0].astype(np.int64)
        return super().classes(targets, output)

    def attach(self, output: Node, target: Node, weights: tuple[Node, ...] = ()) -> Node:
        from pybp import ops

        if math.prod(target.shape) == math.prod(output.shape):
            target = ops.reshape(target, output.shape)
        value = self.function(target, output)
        if not isinstance(value, Node):
            raise TypeError(
                f"loss {self.name!r} must give a symbolic value made of y_true and y_pred, got "
                f"{type(value).__name__}"
            )
        remedy = "a loss is made of y_true and y_pred alone; give the model one more output instead"
        made_of(value, (target, output), f"loss {self.name!r}", remedy)
        found = ops.mean(value)
        for node in topological([found]):
            node.layer = node.layer or "loss"
        return Node("row_value", (found, *weights), attrs={"mean": 1}, layer="loss")
