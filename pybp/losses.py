"""Losses: the node that each adds behind a model's output, and the targets that it takes.

Cross-entropies are computed from logits. A loss whose model ends in softmax (or sigmoid) is
attached to that activation's input, so both forms of the model train identically.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pybp import data
from pybp._core import Source
from pybp.errors import unknown
from pybp.graph import Node


class Loss:
    """Base of all losses.

    `mean` says whether a batch's loss is the mean over its rows or their sum; gradients follow.
    """

    name = ""
    op = ""
    mean = True

    def attrs(self, units: int) -> dict[str, Any]:
        """Attributes of the op for a model with this many outputs."""
        return {}

    def scores(self, output: Node) -> Node:
        """The node that the loss is computed from."""
        return output

    def threshold(self, output: Node) -> float:
        """Where a single score parts class 0 from class 1."""
        return 0.0 if output.op == "tanh" else 0.5

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        """`y` checked and bound, (N, width)."""
        raise NotImplementedError

    def attach(self, output: Node, target: Node) -> Node:
        """The node that holds the loss of every row."""
        units = output.shape[-1]
        return Node(self.op, (self.scores(output), target), attrs=self.attrs(units), layer="loss")


class SquaredError(Loss):
    """factor sum_c (y_c - t_c)^2 per row; see `csrc/ops/squared_error.c`."""

    op = "squared_error"

    def __init__(self, name: str, factor: float | None, mean: bool) -> None:
        self.name, self.factor, self.mean = name, factor, mean

    def attrs(self, units: int) -> dict[str, Any]:
        return {"factor": self.factor or 1 / units, "mean": int(self.mean)}

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        array = data.as_array(y, what)
        units = output.shape[-1]
        if units > 1 and array.ndim == 1:
            raise ValueError(
                f"{what} has shape {array.shape} but layer {output.layer!r} has {units} outputs "
                f"and loss {self.name!r} compares one by one: pass shape (N, {units}), for class "
                f"labels np.eye({units})[{what}], or use loss='cross_entropy'"
            )
        rows = data.as_rows(array, output.shape, what, output.layer)
        return data.finite_source(rows, what, data.largest(dtype))


class CrossEntropy(Loss):
    """-sum_c t_c log softmax(z)_c per row, from the logits z; mean over rows.

    Targets are class numbers (N,) or (N, 1), or probabilities (N, C), one-hot among them.
    """

    name = "cross_entropy"
    op = "softmax_cross_entropy"

    def scores(self, output: Node) -> Node:
        if output.shape[-1] == 1:
            raise ValueError(
                f"loss 'cross_entropy' needs at least two outputs, layer {output.layer!r} has one: "
                "use loss='binary_cross_entropy'"
            )
        if output.op in ("softmax", "log_softmax"):
            return output.inputs[0]
        if output.op not in ("dense", "identity"):
            raise ValueError(
                f"loss 'cross_entropy' takes a last layer with softmax, log_softmax or no "
                f"activation, "
                f"layer {output.layer!r} ends in {output.op}"
            )
        return output

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        array = data.as_array(y, what)
        classes = output.shape[-1]
        if array.ndim == 1 or array.shape[1:] == (1,):
            return self._labels(array.reshape(-1, 1), classes, what)
        if array.shape[1:] != (classes,):
            raise ValueError(
                f"{what} must hold class numbers (N,) or one column for each of the {classes} "
                f"outputs of layer {output.layer!r}, (N, {classes}); got shape {array.shape}"
            )
        return self._probabilities(array, what)

    @staticmethod
    def _labels(array: np.ndarray, classes: int, what: str) -> Source:
        source = Source(array)
        row = source.check_labels(classes)
        if row is not None:
            raise ValueError(
                f"{what}[{row}] is {array[row, 0]}: with {classes} outputs, class labels are whole "
                f"numbers from 0 to {classes - 1}; renumber other labels with "
                f"np.unique({what}, return_inverse=True)[1]"
            )
        return source

    @staticmethod
    def _probabilities(array: np.ndarray, what: str) -> Source:
        source = data.finite_source(array, what)
        total = array.sum(axis=1, dtype=np.float64)
        bad = (np.abs(total - 1) > 1e-3) | (array < 0).any(axis=1)
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(
                f"{what}[{row}] is {array[row]}: one-hot rows, or probabilities, are >= 0 and sum "
                f"to 1, this one sums to {total[row]:g}"
            )
        return source


class BinaryCrossEntropy(Loss):
    """-(t log p + (1 - t) log(1 - p)), p = sigmoid(z), mean over units and rows, from the logits.

    Targets are 0, 1 or probabilities, (N,) or (N, 1) for one unit and (N, C) for C units.
    """

    name = "binary_cross_entropy"
    op = "sigmoid_cross_entropy"

    def scores(self, output: Node) -> Node:
        if output.op == "sigmoid":
            return output.inputs[0]
        if output.op not in ("dense", "identity"):
            raise ValueError(
                f"loss 'binary_cross_entropy' takes a last layer with sigmoid or without "
                f"activation, layer {output.layer!r} ends in {output.op}"
            )
        return output

    def threshold(self, output: Node) -> float:
        return 0.0  # of the logit

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        array = data.as_rows(y, output.shape, what, output.layer)
        source = data.finite_source(array, what)
        bad = ((array < 0) | (array > 1)).any(axis=1) if len(array) else np.zeros(0, bool)
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(
                f"{what}[{row}] is {array[row]}: binary targets lie between 0 and 1; recode the "
                f"two classes, for instance with ({what} == positive_class)"
            )
        return source


KINDS: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        SquaredError("half_sse", 0.5, mean=False),
        SquaredError("sse", 1.0, mean=False),
        SquaredError("mse", None, mean=True),
        CrossEntropy(),
        BinaryCrossEntropy(),
    )
}


def get(given: object) -> Loss:
    """The loss of a name."""
    if not isinstance(given, str):
        raise TypeError(f"loss must be the name of a loss, got {given!r}")
    if given not in KINDS:
        raise unknown("loss", given, KINDS)
    return KINDS[given]
