"""Metrics: what `model.compile(metrics=[...])` takes, by name, as an object with its arguments, or
as a function of yours::

    model.compile(loss="cross_entropy",
                  metrics=["accuracy", bp.metrics.TopKAccuracy(k=3), "auc"])

There are two kinds. Metrics of sums over rows are summed natively beside the loss, in training too,
where an epoch's value is that of the outputs as they were at each step. Metrics of all predictions
at once, which say so below, are computed after an evaluation: they are in the answer of `evaluate`
and, as "val_...", in the history of a `fit` with validation data.

Sample weights count as often as a row does: weight 0 is a row left out, weight 2 a row given twice.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pybp.checks import whole
from pybp.described import Described, from_data, to_data
from pybp.errors import unknown
from pybp.graph import Node
from pybp.layouts import by_place, channels, given_shape
from pybp.losses.base import ending

if TYPE_CHECKING:
    from pybp.results import Part

Array = np.ndarray


class Metric(Described):
    """Base of all metrics.

    `rising` says whether more is better, None where only the user knows.
    """

    name = ""
    rising: bool | None = False

    def native(self, output: Node) -> bool:
        """Whether it is made of sums over rows, for this output layer."""
        return True

    def sums(self, results: Part) -> tuple[int, ...]:
        """Which results it is made of."""
        raise NotImplementedError

    def finish(self, *means: Array) -> Array:
        """Its values, from the weighted means over rows of those results, one per epoch."""
        return means[0]

    def measure(self, results: Part, y: Array, output: Array, weight: Array) -> float:
        """Its value from all targets (N, width), outputs (N, *shape) and weights > 0, (N,)."""
        raise NotImplementedError


class Accuracy(Metric):
    """Share of the rows whose largest output is the target's class; with one output, or independent
    ones, share of the units on the target's side of the threshold (probability 1/2)."""

    name = "accuracy"
    rising = True

    def sums(self, results: Part) -> tuple[int, ...]:
        # Scores order classes as their probabilities do, so the activation need not be computed.
        loss, output = results.loss, results.output
        binary = int(loss.binary(output, results.width))
        if not binary and loss.places(output) * channels(output) < math.prod(output.shape):
            raise ValueError(
                f"metric {self.name!r} of outputs {given_shape(output)} needs a loss of classes, "
                "such as 'cross_entropy'"
            )
        threshold = loss.threshold(output)
        return (results.sum("accuracy", results.scores, binary=binary, threshold=threshold),)


class TopKAccuracy(Metric):
    """Share of the rows whose class is among the k largest outputs; of equal ones the first count
    as larger. `name` is what it is called in histories."""

    rising = True

    def __init__(self, k: int = 5, name: str = "top_k_accuracy") -> None:
        self.k, self.name = whole(k, "TopKAccuracy: k"), str(name)

    def sums(self, results: Part) -> tuple[int, ...]:
        classes = channels(results.output)
        if results.loss.binary(results.output, results.width) or self.k >= classes:
            raise ValueError(
                f"metric {self.name!r} needs a loss of one class in many and k below their number: "
                f"k is {self.k}, outputs are {classes}"
            )
        return (results.sum("top_k_accuracy", results.scores, k=self.k),)


class _Errors(Metric):
    """Base of the metrics of outputs less targets."""

    def _compare(self, results: Part, op: str, **attrs: Any) -> tuple[int, ...]:
        units = math.prod(results.output.shape)
        if results.width != units:
            raise ValueError(
                f"metric {self.name!r} compares outputs with targets one by one: with class "
                f"labels, pass one-hot targets (N, {units}), for instance np.eye({units})[y]"
            )
        return (results.sum(op, results.output, **attrs),)


class MSE(_Errors):
    """Mean of (y - t)^2 over outputs and rows."""

    name = "mse"

    def sums(self, results: Part) -> tuple[int, ...]:
        return self._compare(
            results, "squared_error", factor=1 / math.prod(results.output.shape), mean=1
        )


class RMSE(MSE):
    """Square root of the mean of (y - t)^2 over outputs and rows."""

    name = "rmse"

    def finish(self, *means: Array) -> Array:
        return np.sqrt(means[0])


class MAE(_Errors):
    """Mean of |y - t| over outputs and rows."""

    name = "mae"

    def sums(self, results: Part) -> tuple[int, ...]:
        return self._compare(results, "absolute_error")


class R2(Metric):
    """Coefficient of determination 1 - sum (t - y)^2 / sum (t - mean t)^2, averaged over the
    outputs; of all predictions. Where the targets are all the same it is 1 for a perfect
    prediction, and else 0."""

    name = "r2"
    rising = True

    def native(self, output: Node) -> bool:
        return False

    def measure(self, results: Part, y: Array, output: Array, weight: Array) -> float:
        output = output.reshape(len(output), -1)
        if y.shape != output.shape:
            raise ValueError(
                f"metric 'r2' compares outputs with targets one by one: y has {y.shape[1]} values "
                f"per row, the model {output.shape[1]} outputs"
            )
        y, output = y.astype(np.float64), output.astype(np.float64)
        mean = np.average(y, axis=0, weights=weight)
        rest = np.average((y - output) ** 2, axis=0, weights=weight)
        spread = np.average((y - mean) ** 2, axis=0, weights=weight)
        found = np.where(spread > 0, 1 - _share(rest, spread), rest == 0)
        return float(found.mean())


class Counted(Metric):
    """Base of precision, recall and F1: from how many are positive in the target, in the prediction
    and in both.

    With one output, positive is what lies beyond the threshold (probability 1/2). With more it is
    the mean over the classes (macro average), of all predictions; of exclusive classes those count
    that occur in targets or predictions. Where there is nothing to divide by it is 0.
    """

    rising = True

    def native(self, output: Node) -> bool:
        return math.prod(output.shape) == 1

    def sums(self, results: Part) -> tuple[int, ...]:
        threshold = results.loss.threshold(results.output)
        return tuple(
            results.sum("positives", results.scores, threshold=threshold, of=of) for of in range(3)
        )

    def measure(self, results: Part, y: Array, output: Array, weight: Array) -> float:
        y, output, weight = _at_places(results, y, output, weight)
        true, predicted = _positives(results, y, output)
        counts = [weight @ (true & predicted), weight @ predicted, weight @ true]
        values = self.finish(*counts)
        if not results.loss.binary(results.output, results.width):
            values = values[counts[1] + counts[2] > 0]
        return float(values.mean())


class Precision(Counted):
    """Share of the predicted positives that are positive; see `Counted`."""

    name = "precision"

    def finish(self, *means: Array) -> Array:
        both, predicted, _ = means
        return _share(both, predicted)


class Recall(Counted):
    """Share of the positives that are predicted; see `Counted`."""

    name = "recall"

    def finish(self, *means: Array) -> Array:
        both, _, true = means
        return _share(both, true)


class F1(Counted):
    """Harmonic mean of precision and recall; see `Counted`."""

    name = "f1"

    def finish(self, *means: Array) -> Array:
        both, predicted, true = means
        return _share(2 * both, predicted + true)


class AUC(Metric):
    """Area under the ROC curve: how likely it is that a positive gets a larger output than a
    negative, ties counting half. Exact, by ranking all predictions.

    With more than one output the mean over the classes, each against the rest, by probability.
    """

    name = "auc"
    rising = True

    def native(self, output: Node) -> bool:
        return False

    def measure(self, results: Part, y: Array, output: Array, weight: Array) -> float:
        y, output, weight = _at_places(results, y, output, weight)
        true, _ = _positives(results, y, output)
        score = results.loss.probable(results.output, output)
        columns = range(output.shape[1])
        return float(np.mean([_area(true[:, c], score[:, c], weight, c) for c in columns]))


class Function(Metric):
    """A function of yours, (y_true, y_pred) -> number, of all predictions; `name` is what histories
    call it, else the function's own name.

    y_true and y_pred are (N,) where there is one value per row, class numbers among them, and else
    have the output's shape (N, ...). With sample weights the function must take `sample_weight`
    too, as scikit-learn's do. A model file does not hold it: a loaded model is without, and says
    so.

    >>> import pybp as bp
    >>> model = bp.Sequential([bp.Input(1), bp.Dense(1)])
    >>> def worst(y_true, y_pred):
    ...     return abs(y_true - y_pred).max()
    >>> model.compile(loss="mse", metrics=["rmse", worst])
    >>> sorted(model.evaluate([[0.0], [1.0]], [0.0, 2.0]))
    ['loss', 'rmse', 'worst']
    """

    rising = None

    def __init__(self, function: Callable[..., float], name: str | None = None) -> None:
        if not callable(function):
            raise TypeError(f"metrics.Function: {function!r} is no function")
        self.function = function
        self.name = str(name or getattr(function, "__name__", type(function).__name__))

    def native(self, output: Node) -> bool:
        return False

    def measure(self, results: Part, y: Array, output: Array, weight: Array) -> float:
        given: dict[str, Array] = {}
        if results.weighted:
            if "sample_weight" not in inspect.signature(self.function).parameters:
                raise ValueError(
                    f"metric {self.name!r} takes no sample_weight, and the rows have weights: give "
                    "the function an argument sample_weight"
                )
            given["sample_weight"] = weight
        if y.size == output.size:
            y = y.reshape(output.shape)
        elif y.shape[1] == results.loss.places(results.output) > 1:  # class numbers
            y = y.reshape(len(y), *by_place(results.output).shape[:-1])
        value = self.function(_flat(y), _flat(output), **given)
        try:
            return float(value)
        except (TypeError, ValueError):
            remedy = ": it gets arrays, so write it with NumPy" if isinstance(value, Node) else ""
            raise TypeError(
                f"metric {self.name!r} must return one number, got {value!r}{remedy}"
            ) from None


def _flat(array: Array) -> Array:
    return array[:, 0] if array.shape[1:] == (1,) else array


def _share(part: Array, whole: Array) -> Array:
    """part / whole, 0 where there is nothing."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)


def _at_places(results: Part, y: Array, output: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Each place of images and sequences as a row of its own."""
    shape = given_shape(results.output)
    classes = channels(results.output)
    places = math.prod(shape) // classes
    if places == 1:
        return y, output, weight
    axis = results.output.layout.index("C") if results.output.layout else -1

    def rows(array: Array) -> Array:
        if array.size == len(array) * places:
            return array.reshape(-1, 1)
        return np.moveaxis(array.reshape(-1, *shape), axis, -1).reshape(-1, classes)

    return rows(y), rows(output), np.repeat(weight, places)


def _positives(results: Part, y: Array, output: Array) -> tuple[Array, Array]:
    """What is positive in targets and in predictions, (N, C) both."""
    classes = output.shape[1]
    if results.loss.binary(results.output, results.width):
        probable = ending(results.output)[0].op == "sigmoid"
        threshold = 0.5 if probable else results.loss.threshold(results.output)
        return y > 0.5, output > threshold
    label = y[:, 0].astype(int) if y.shape[1] == 1 else y.argmax(axis=1)
    return np.eye(classes, dtype=bool)[label], np.eye(classes, dtype=bool)[output.argmax(axis=1)]


def _area(true: Array, score: Array, weight: Array, column: int) -> float:
    """Area under the ROC curve of one column."""
    _, rank = np.unique(score, return_inverse=True)
    rank = rank.reshape(-1)
    positive = np.bincount(rank, weight * true)
    negative = np.bincount(rank, weight * ~true)
    total = positive.sum() * negative.sum()
    if not total:
        what = "positive" if not positive.sum() else "negative"
        raise ValueError(
            f"metric 'auc' needs positive and negative rows for output {column}, and there is no "
            f"{what} one: evaluate more rows, or leave out the metric"
        )
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / total)


KINDS: dict[str, type[Metric]] = {
    kind.__name__.lower(): kind
    for kind in (Accuracy, TopKAccuracy, MSE, RMSE, MAE, R2, Precision, Recall, F1, AUC)
}
NAMES: dict[str, type[Metric]] = {kind.name or "top_k_accuracy": kind for kind in KINDS.values()}


def get(given: object) -> Metric:
    """The metric of a name, of a description, of a function, or as it is."""
    if isinstance(given, Metric):
        return given
    if isinstance(given, dict):
        return from_data(KINDS, given, "metric")
    if isinstance(given, str):
        if given not in NAMES:
            raise unknown("metric", given, NAMES)
        return NAMES[given]()
    if isinstance(given, type) or not callable(given):
        raise TypeError(
            "metrics must be names, objects such as bp.metrics.TopKAccuracy(k=5) or functions of "
            f"(y_true, y_pred), got {given!r}"
        )
    return Function(given)


def get_all(given: object) -> tuple[Metric, ...]:
    """A list of metrics, all of different names."""
    if isinstance(given, str):
        raise TypeError(f"metrics must be a list of names: [{given!r}]")
    if not isinstance(given, Sequence):
        raise TypeError(f"metrics must be a list, metrics=[...], got {given!r}")
    found = tuple(get(each) for each in given)
    names = ["loss", *(metric.name for metric in found)]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"metrics: two are called {name!r}; give one another name, such as "
                "bp.metrics.TopKAccuracy(k=3, name='top_3') or "
                "bp.metrics.Function(f, name='mine')"
            )
    return found


def state(metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """As plain data; of functions, the names."""
    return [{"function": m.name} if isinstance(m, Function) else to_data(m) for m in metrics]


def restore(state: Sequence[dict[str, Any]]) -> list[Metric]:
    """The metrics that `state` described, without functions, which it warns of."""
    lost = [each["function"] for each in state if "function" in each]
    if lost:
        import warnings

        warnings.warn(
            f"the model was compiled with metrics that are functions, which its file does not "
            f"hold: {', '.join(map(str, lost))}",
            UserWarning,
            stacklevel=2,
        )
    return [get(each) for each in state if "function" not in each]
