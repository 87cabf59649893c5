"""Losses of classes. C is the number of outputs, z their logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pybp import data
from pybp._core import Source
from pybp.checks import real
from pybp.graph import Node
from pybp.layouts import by_place, channels, given_shape, long_axes
from pybp.losses.base import OPEN, Loss, ending, logits, refuse_rows


def is_labels(array: np.ndarray, places: int = 1) -> bool:
    """Whether targets are class numbers, one for each place of each row."""
    return math.prod(array.shape[1:]) == places


def bind_labels(array: np.ndarray, classes: int, what: str) -> Source:
    """Class numbers, (N, places)."""
    found = Source(array.reshape(-1, 1)).check_labels(classes)
    if found is not None:
        at = np.unravel_index(found, array.shape if array.shape[1:] != (1,) else array.shape[:1])
        raise ValueError(
            f"{what}[{', '.join(map(str, at))}] is {array.reshape(-1)[found]}: with {classes} "
            f"outputs, class labels are whole numbers from 0 to {classes - 1}; renumber other "
            f"labels with np.unique({what}, return_inverse=True)[1]"
        )
    return Source(array.reshape(len(array), math.prod(array.shape[1:])))


def bind_probabilities(array: np.ndarray, output: Node, what: str) -> Source:
    """A distribution over the classes at every place of every row, (N, *shape of the output)."""
    source = data.finite_source(data.as_rows(array, output, what), what)
    shape = given_shape(output)
    axis = output.layout.index("C") if output.layout else -1
    values = source.array.reshape(len(array), *shape)
    total = values.sum(axis=axis, dtype=np.float64)
    bad = (np.abs(total - 1) > 1e-3) | (values < 0).any(axis=axis)
    if bad.any():
        at = tuple(np.argwhere(bad)[0])
        row = np.moveaxis(values, axis, -1)[at]
        raise ValueError(
            f"{what}[{', '.join(map(str, at))}] is {row}: one-hot rows, or probabilities, are >= 0 "
            f"and sum to 1, this one sums to {total[at]:g}"
        )
    return source


class Softmax(Loss):
    """Base of the losses of a softmax over classes: from its logits.

    Classes are the outputs, or of images and sequences the channels at each of the P places, or
    else the last axis; a row's loss is then the mean over its places.
    """

    def scores(self, output: Node) -> Node:
        if channels(output) == 1:
            raise ValueError(
                f"loss {self.name!r} needs at least two outputs, layer {output.layer!r} has one: "
                "use loss='binary_cross_entropy'"
            )
        if output.op in (*OPEN, "softmax", "log_softmax"):
            output = by_place(output)
        return logits(self.name, output, "softmax", "log_softmax")

    def places(self, output: Node) -> int:
        return math.prod(output.shape) // channels(output)

    def arranged(self, target: Node, output: Node) -> Node:
        if target.shape[-1] == self.places(output):
            return target
        return by_place(Node("reshape", (target,), shape=output.shape, layout=output.layout))

    def probable(self, output: Node, values: np.ndarray) -> np.ndarray:
        if ending(output)[0].op in ("softmax", "log_softmax"):
            return values
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        array, shape, classes = data.as_array(y, what), given_shape(output), channels(output)
        places = by_place(output).shape[:-1]
        if is_labels(array, self.places(output)):
            if array.ndim < 3 or long_axes(array.shape[1:]) == long_axes(places):
                return bind_labels(array, classes, what)
        elif array.shape[1:] == shape:
            return bind_probabilities(array, output, what)
        numbers = ", ".join(map(str, ("N", *places) if math.prod(places) > 1 else ("N",)))
        columns = ", ".join(map(str, shape))
        raise ValueError(
            f"{what} must hold class numbers ({numbers}{',' if numbers == 'N' else ''}) or one "
            f"column for each of the {classes} outputs of layer {output.layer!r}, (N, {columns}); "
            f"got shape {array.shape}"
        )

    def classes(self, targets: np.ndarray, output: Node) -> np.ndarray:
        if self.places(output) > 1:
            raise ValueError(
                f"class_weight needs one class for each row, and layer {output.layer!r} tells "
                f"classes at {self.places(output)} places of each: weigh rows with sample_weight"
            )
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
    u = (1 - label_smoothing) t + label_smoothing / C. Where each row has many places, as images
    (C, H, W) of scores have, they are class numbers (N, H, W) or probabilities in the layout of the
    outputs, and a row's loss is the mean over its places.

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
        if is_labels(array, self.places(output)):
            columns = ", ".join(map(str, given_shape(output)))
            raise ValueError(
                f"{what} has shape {array.shape}: loss 'kl_divergence' takes probabilities "
                f"(N, {columns}); for class numbers use loss='cross_entropy'"
            )
        return super().targets(array, output, dtype, what)


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
        sigmoid = ending(output)[0].op == "sigmoid" or channels(output) == 1
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
                f"{channels(output)}: weigh them with class_weight"
            )
        return form.scores(output)

    def binary(self, output: Node, width: int) -> bool:
        return self._form(output).binary(output, width)

    def places(self, output: Node) -> int:
        return self._form(output).places(output)

    def arranged(self, target: Node, output: Node) -> Node:
        return self._form(output).arranged(target, output)

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
        return width == math.prod(output.shape)

    def threshold(self, output: Node) -> float:
        return 0.0

    def scores(self, output: Node) -> Node:
        if ending(output)[0].op not in ("dense", "identity", "tanh"):
            raise ValueError(
                f"loss {self.name!r} takes a last layer with tanh or without activation, whose "
                f"scores reach -1 and 1, layer {output.layer!r} ends in {output.op}"
            )
        return output

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        array = data.as_array(y, what)
        if output.shape[-1] == math.prod(output.shape) > 1 and is_labels(array):
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
