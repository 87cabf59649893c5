"""The rows that a training is given: to train on, with their weights, and to validate with."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

from pybp import data
from pybp.binding import Sources
from pybp.checks import real

if TYPE_CHECKING:
    from pybp.model import Model

Given = tuple[object, object, object, object]  # x, y, sample_weight, class_weight


def bound(model: Model, given: Given) -> Sources:
    """The rows of a single step."""
    x, y, sample_weight, class_weight = given
    return weighed(model, model._pair(x, y, sample_weight), class_weight)


def divided(
    model: Model, given: Given, held_out: tuple[object, object]
) -> tuple[Sources, Sources | None]:
    """The rows to train on and those to validate with; `held_out` is (validation_data,
    validation_split)."""
    x, y, sample_weight, class_weight = given
    validation_data, fraction = held_out
    sources = model._pair(x, y, sample_weight)
    validation = _validation(model, validation_data)
    if fraction:
        sources, validation = _split(sources, fraction, validation, _data(model))
    return weighed(model, sources, class_weight), validation


def _validation(model: Model, given: object) -> Sources | None:
    if given is None:
        return None
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise ValueError(
            "validation_data must be a pair (x, y) or (x, y, sample_weight), got "
            f"{type(given).__name__}"
        )
    x, y, weight = (*given, None)[:3]
    names = ("validation_data[0]", "validation_data[1]", "validation_data[2]")
    return model._pair(x, y, weight, names)


def weighed(model: Model, sources: Sources, class_weight: object) -> Sources:
    """The sources, with what class_weight says in their weights."""
    if class_weight is None:
        return sources
    from pybp import weights

    if len(model._goals) > 1:
        names = ", ".join(model.network.names(model.network.outputs))
        raise ValueError(
            f"class_weight needs a model of one output, and this one has several ({names}): weigh "
            "rows with sample_weight, or outputs with compile(loss_weights=...)"
        )
    (goal,) = model._goals
    last = _data(model)
    given = sources[last - 1], *sources[last:]
    found = weights.of_classes(class_weight, goal.loss, given, goal.output, model.dtype)
    return (*sources[:last], found)


def _data(model: Model) -> int:
    """How many sources are inputs and targets: weights come behind them."""
    return len(model.network.inputs) + len(model._goals)


def _split(
    sources: Sources, fraction: object, validation: Sources | None, data_sources: int
) -> tuple[Sources, Sources]:
    """The rows to train on, and the last ones, to validate with."""
    fraction = real(fraction, "validation_split", 0, 1, open_high=True)
    if validation is not None:
        raise ValueError("validation_split and validation_data exclude each other: pass one")
    rows = len(sources[0].array)
    kept = math.floor(rows * (1 - fraction) + 1e-9)  # 0.9 of ten rows is one row to keep
    if not 0 < kept < rows:
        raise ValueError(
            f"validation_split={fraction:g} of {rows} rows leaves {kept} to train on and "
            f"{rows - kept} to validate with: both need at least one"
        )
    first = tuple(data.part(source, 0, kept) for source in sources)
    last = tuple(data.part(source, kept, rows) for source in sources)
    for part in (first, last):
        if len(part) > data_sources:
            from pybp import weights

            weights.check_total(part[-1], "sample_weight of a part of validation_split")
    return first, last


def warn_of_zeros(model: Model) -> None:
    """A hidden layer whose weights are all zero: its units are alike, and what reaches the layers
    before it is zero."""
    store = model._store
    assert store is not None
    if model.progress.step:
        return
    weights = [p for p in store.parameters.values() if len(p.shape) > 1]
    for p in weights[:-1]:
        if p.shape[0] > 1 and not store.view(p.name).any():
            warnings.warn(
                f"layer {p.name.rsplit('.', 1)[0]!r} starts with all weights zero: its units all "
                "compute the same and may never learn to differ; draw the weights, for instance "
                "with weight_init='glorot' or, for relu, 'he'",
                UserWarning,
                stacklevel=4,
            )
