"""Losses of classes. C is the number of outputs, z their logits."""

from __future__ import annotations

from typing import Any

import numpy as np

from pybp import data
from pybp._core import Source
from pybp.checks import real
from pybp.graph import Node
from pybp.losses.base import Loss, logits, refuse_rows


def is_labels(array: np.ndarray) -> bool:
    """Whether targets are class numbers, one for each row."""
    return array.ndim == 1 or array.shape[1:] == (1,)


def bind_labels(array: np.ndarray, classes: int, what: str) -> Source:
    """Class numbers, (N, 1)."""
    source = Source(array.reshape(-1, 1))
    row = source.check_labels(classes)
    if row is not None:
        raise ValueError(
            f"{what}[{row}] is {source.array[row, 0]}: with {classes} outputs, class labels are "
            f"whole numbers from 0 to {classes - 1}; renumber other labels with "
            f"np.unique({what}, return_inverse=True)[1]"
        )
    return source


def bind_probabilities(array: np.ndarray, output: Node, what: str) -> Source:
    """A distribution over the classes in every row, (N, C)."""
    classes = output.shape[-1]
    if array.shape[1:] != (classes,):
        raise ValueError(
            f"{what} must hold class numbers (N,) or one column for each of the {classes} "
            f"outputs of layer {output.layer!r}, (N, {classes}); got shape {array.shape}"
        )
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


class Softmax(Loss):
    """Base of the losses of a softmax over classes: from its logits."""

    def scores(self, output: Node) -> Node:
        if output.shape[-1] == 1:
            raise ValueError(
                f"loss {self.name!r} needs at least two outputs, layer {output.layer!r} has one: "
                "use loss='binary_cross_entropy'"
            )
        return logits(self.name, output, "softmax", "log_softmax")

    def probable(self, output: Node, values: np.ndarray) -> np.ndarray:
        if output.op in ("softmax", "log_softmax"):
            return values
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        array = data.as_array(y, what)
        if is_labels(array):
            return bind_labels(array, output.shape[-1], what)
        return bind_probabilities(array, output, what)

    def classes(self, targets: np.ndarray, output: Node) -> np.ndarray:
        return targets[:, 0] if is_labels(targets) else targets.argmax(axis=1)


class Sigmoid(Loss):
    """Base of the losses of independent sigmoid units: from their logits."""

    def binary(self, output: Node, width: int) -> bool:
        return True

    def threshold(self, output: Node) -> float:
        return 0.0  # of the logit

    def scores(self, output: Node) -> Node:
        return logits(self.name, output, "sigmoid")

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        array = data.as_rows(y, output, what)
        source = data.finite_source(array, what)
        refuse_rows(
            (array < 0) | (array > 1),
            array,
            what,
            "binary targets lie between 0 and 1; recode the two classes, for instance with "
            f"({what} == positive_class)",
        )
        return source

    def classes(self, targets: np.ndarray, output: Node) -> np.ndarray:
        if targets.shape[1] > 1:
            raise ValueError(
                f"class_weight needs one class for each row, and the {targets.shape[1]} outputs of "
                f"layer {output.layer!r} are independent: weigh rows with sample_weight"
            )
        return targets[:, 0]


class CrossEntropy(Softmax):
    """-sum_c u_c log softmax(z)_c per row, from the logits z; mean over rows.

    Targets t are class numbers (N,) or (N, 1), or probabilities (N, C), one-hot among them;
    u = (1 - label_smoothing) t + label_smoothing / C.

    Label smoothing: Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the inception
    architecture for computer vision", CVPR 2016.
    """

    name = "cross_entropy"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = real(
            label_smoothing, "CrossEntropy: label_smoothing", 0, 1, open_high=True
        )

    def kernel(self, output: Node, width: int) -> tuple[str, dict[str, Any]]:
        return "softmax_cross_entropy", {"smoothing": self.label_smoothing}


class BinaryCrossEntropy(Sigmoid):
    """-(u log p + (1 - u) log(1 - p)), p = sigmoid(z), mean over units and rows, from the logits.

    Targets t are 0, 1 or probabilities, (N,) or (N, 1) for one unit and (N, C) for C units;
    u = (1 - label_smoothing) t + label_smoothing / 2.
    """

    name = "binary_cross_entropy"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = real(
            label_smoothing, "BinaryCrossEntropy: label_smoothing", 0, 1, open_high=True
        )

    def kernel(self, output: Node, width: int) -> tuple[str, dict[str, Any]]:
        return "sigmoid_cross_entropy", {"smoothing": self.label_smoothing}


class KLDivergence(Softmax):
    """sum_c t_c (log t_c - log softmax(z)_c) per row, mean over rows, from the logits z: how far
    the model's probabilities are from the target's. Targets are probabilities (N, C).

    Its gradient is cross-entropy's; its value is 0 where the two agree.
    """

    name = "kl_divergence"

    def kernel(self, output: Node, width: int) -> tuple[str, dict[str, Any]]:
        return "kl_divergence", {}

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        array = data.as_array(y, what)
        if is_labels(array):
            raise ValueError(
                f"{what} has shape {array.shape}: loss 'kl_divergence' takes probabilities "
                f"(N, {output.shape[-1]}); for class numbers use loss='cross_entropy'"
            )
        return bind_probabilities(array, output, what)


class Focal(Loss):
    """-a (1 - p)^gamma log p, p being the probability that the model gives to what is true: a
    cross-entropy that cares less for what is right already. Mean over rows.

    A last layer with sigmoid, or of one unit, gets the sigmoid form, mean over units: targets are 0
    and 1, (N,) or (N, C), and `a` is `alpha` for 1, 1 - `alpha` for 0, or 1 without `alpha`. Others
    get the softmax form, with targets as for cross-entropy; there `class_weight` says what
    `alpha` would.

    Lin, Goyal, Girshick, He and Dollar, "Focal loss for dense object detection", ICCV 2017.
    """

    name = "focal"

    def __init__(self, gamma: float = 2.0, alpha: float | None = None) -> None:
        self.gamma = real(gamma, "Focal: gamma", 0)
        self.alpha = None if alpha is None else real(alpha, "Focal: alpha", 0, 1)

    def _form(self, output: Node) -> Loss:
        """The cross-entropy whose targets and scores it shares."""
        sigmoid = output.op == "sigmoid" or output.shape[-1] == 1
        form: Loss = BinaryCrossEntropy() if sigmoid else CrossEntropy()
        form.name = self.name
        return form

    def kernel(self, output: Node, width: int) -> tuple[str, dict[str, Any]]:
        if isinstance(self._form(output), Softmax):
            return "softmax_focal", {"gamma": self.gamma}
        alpha = -1.0 if self.alpha is None else self.alpha
        return "sigmoid_focal", {"gamma": self.gamma, "alpha": alpha}

    def scores(self, output: Node) -> Node:
        form = self._form(output)
        if self.alpha is not None and isinstance(form, Softmax):
            raise ValueError(
                f"Focal: alpha parts two classes, and layer {output.layer!r} has "
                f"{output.shape[-1]}: weigh them with class_weight"
            )
        return form.scores(output)

    def binary(self, output: Node, width: int) -> bool:
        return self._form(output).binary(output, width)

    def threshold(self, output: Node) -> float:
        return self._form(output).threshold(output)

    def probable(self, output: Node, values: np.ndarray) -> np.ndarray:
        return self._form(output).probable(output, values)

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        form = self._form(output)
        source = form.targets(y, output, dtype, what)
        if isinstance(form, Sigmoid):
            array = source.array
            refuse_rows(
                (array != 0) & (array != 1), array, what, "loss 'focal' takes targets 0 and 1"
            )
        return source

    def classes(self, targets: np.ndarray, output: Node) -> np.ndarray:
        return self._form(output).classes(targets, output)


class Hinge(Loss):
    """How far the scores are from being right by a margin of 1; mean over rows.

    Two classes: mean over units of max(0, 1 - s_c z_c), s_c = +-1 being the target's class. Targets
    are -1 and 1, or 0 and 1, (N,) for one unit and (N, C) for C units.

    Many classes, one for each output, when C >= 2 outputs get class numbers (N,) or (N, 1):
    max(0, 1 + max_{c != t} z_c - z_t), after Crammer and Singer, JMLR 2, 2001.

    The last layer has no activation, or tanh.
    """

    name = "hinge"
    squared = False

    def kernel(self, output: Node, width: int) -> tuple[str, dict[str, Any]]:
        op = "hinge" if self.binary(output, width) else "class_hinge"
        return op, {"squared": int(type(self).squared)}

    def binary(self, output: Node, width: int) -> bool:
        return width == output.shape[-1]

    def threshold(self, output: Node) -> float:
        return 0.0

    def scores(self, output: Node) -> Node:
        if output.op not in ("dense", "identity", "tanh"):
            raise ValueError(
                f"loss {self.name!r} takes a last layer with tanh or without activation, whose "
                f"scores reach -1 and 1, layer {output.layer!r} ends in {output.op}"
            )
        return output

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        array = data.as_array(y, what)
        if output.shape[-1] > 1 and is_labels(array):
            return bind_labels(array, output.shape[-1], what)
        array = data.as_rows(array, output, what)
        source = data.finite_source(array, what)
        wanted = f"loss {self.name!r} takes targets -1 and 1, or 0 and 1"
        refuse_rows(~np.isin(array, (-1, 0, 1)), array, what, wanted)
        if (array == -1).any():
            refuse_rows(array == 0, array, what, f"{wanted}, and there are -1 too")
        return source

    def classes(self, targets: np.ndarray, output: Node) -> np.ndarray:
        if targets.shape[1] > 1:
            return BinaryCrossEntropy().classes(targets, output)
        return targets[:, 0]


class SquaredHinge(Hinge):
    """The squares of what `Hinge` takes the mean of: no kink at the margin, and large errors weigh
    more."""

    name = "squared_hinge"
    squared = True
