"""Weights of rows: what a user gives, checked and multiplied."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pybp import data
from pybp._core import Source
from pybp.graph import Node
from pybp.layouts import channels
from pybp.losses import Loss


def of_rows(given: object, rows: int, dtype: np.dtype, what: str) -> Source:
    """A weight for every row, (N, 1) float64, rounded to what the model computes in."""
    array = data.as_array(given, what)
    if array.shape not in ((rows,), (rows, 1)):
        raise ValueError(
            f"{what} must hold one weight for each of the {rows} rows, ({rows},), got shape "
            f"{array.shape}"
        )
    array = array.reshape(-1)
    bad = ~np.isfinite(array) | (array < 0)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{what}[{row}] is {array[row]}: weights must be finite and >= 0")
    return _bind(array, dtype, what)


def of_classes(
    given: object, loss: Loss, sources: tuple[Source, ...], output: Node, dtype: np.dtype
) -> Source:
    """The same from class_weight and targets, times weights, where the sources have those too."""
    labels = loss.classes(sources[0].array, output)
    weight = _of_labels(given, labels, channels(output))
    if len(sources) > 1:
        weight = weight * sources[1].array[:, 0]
    return _bind(weight, dtype, "class_weight")


def _bind(weight: np.ndarray, dtype: np.dtype, what: str) -> Source:
    with np.errstate(over="ignore"):
        weight = weight.astype(dtype).astype(np.float64).reshape(-1, 1)
        finite = np.isfinite(weight.sum())
    if not finite:
        raise ValueError(f"{what}: the weights are too large for {dtype}: scale them down")
    source = Source(weight)
    check_total(source, what)
    return source


def check_total(source: Source, what: str) -> None:
    """Weights must not all be zero."""
    if not source.array.any():
        raise ValueError(
            f"{what}: all {len(source.array)} rows have weight 0, so nothing is left: at least one "
            "row needs a weight above 0"
        )


def _of_labels(given: object, labels: np.ndarray, outputs: int) -> np.ndarray:
    """class_weight's number for the class of every row."""
    classes, number, count = np.unique(labels, return_inverse=True, return_counts=True)
    number = number.reshape(-1)
    if isinstance(given, str) and given == "balanced":
        return (len(labels) / (len(classes) * count))[number]
    if not isinstance(given, Mapping):
        raise TypeError(
            'class_weight must be a dict {label: weight}, or "balanced", which gives every class '
            f"the same total, got {given!r}"
        )
    table = np.ones(len(classes))
    known = range(outputs) if outputs > 1 else (-1, 0, 1)
    for label, weight in given.items():
        if isinstance(label, bool) or not isinstance(label, int | float | np.number):
            raise TypeError(f"class_weight: labels are numbers as in y, got {label!r}")
        if label not in known:
            allowed = f"0 to {outputs - 1}" if outputs > 1 else "0 and 1, or -1 and 1"
            raise ValueError(f"class_weight: there is no class {label!r}: labels are {allowed}")
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
            raise TypeError(f"class_weight[{label!r}] must be a number, got {weight!r}")
        if not 0 <= weight < np.inf:
            raise ValueError(f"class_weight[{label!r}] is {weight!r}: it must be finite and >= 0")
        table[classes == label] = weight
    return table[number]
