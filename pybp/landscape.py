"""The loss along a line through a model's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pybp import inference
from pybp.checks import real, whole
from pybp.errors import unknown

if TYPE_CHECKING:
    from pybp.model import Model

Direction = dict[str, NDArray]


class Line(NamedTuple):
    """The loss at parameters + at direction; `here` and `slope` are it and its derivative at 0."""

    at: NDArray
    losses: NDArray
    here: float
    slope: float


def random_direction(model: Model, seed: int = 0) -> Direction:
    """A normal direction, each unit's weights as long as the unit's own, and zero for biases: so
    that a distance of 1 is as large in every layer. Li, Xu, Taylor, Studer and Goldstein,
    "Visualizing the loss landscape of neural nets", NeurIPS 2018.
    """
    rng = np.random.default_rng(whole(seed, "seed", 0))
    found = {}
    for name, view in model.parameters.items():
        if view.ndim < 2:
            continue
        own = view.reshape(len(view), -1).astype(np.float64)
        drawn = rng.normal(size=own.shape)
        lengths = np.linalg.norm(own, axis=1) / np.linalg.norm(drawn, axis=1)
        found[name] = (drawn * lengths[:, None]).reshape(view.shape)
    return found


def along(
    model: Model,
    x: object,
    y: object,
    direction: Mapping[str, ArrayLike] | None,
    span: float,
    points: int,
    seed: int = 0,
) -> Line:
    """The loss of the data at `points` places from -span to span along a direction. The model is
    afterwards what it was, to the bit."""
    model._require("loss_landscape")
    span = real(span, "loss_landscape: span", 0, open_low=True)
    at = np.linspace(-span, span, whole(points, "loss_landscape: points", 3))
    line = random_direction(model, seed) if direction is None else _checked(model, direction)
    gradient = model.gradients(x, y)
    slope = sum(float(np.sum(line[name] * gradient[name])) for name in line)
    with model._exclusive("loss_landscape"), _put_back(model):
        data = model._pair(x, y)
        start = {name: model.parameters[name].astype(np.float64) for name in line}
        here = inference.evaluate(model, *data)["loss"]
        losses = []
        for distance in at:
            for name, step in line.items():
                model.parameters[name][...] = start[name] + distance * step
            losses.append(inference.evaluate(model, *data)["loss"])
    return Line(at, np.array(losses), here, slope)


@contextmanager
def _put_back(model: Model) -> Iterator[None]:
    kept = {name: view.copy() for name, view in model.parameters.items()}
    try:
        yield
    finally:
        for name, view in model.parameters.items():
            view[...] = kept[name]


def _checked(model: Model, given: Mapping[str, ArrayLike]) -> Direction:
    if not isinstance(given, Mapping):
        raise TypeError(
            "loss_landscape: direction must map parameters' names to arrays, as model.gradients "
            f"does, got {type(given).__name__}"
        )
    parameters, found = model.parameters, {}
    for name, value in given.items():
        if name not in parameters:
            raise unknown("parameter in loss_landscape's direction", name, parameters)
        found[name] = np.asarray(value, np.float64)
        if found[name].shape != parameters[name].shape:
            raise ValueError(
                f"loss_landscape: the direction of {name} has shape {found[name].shape} instead of "
                f"{parameters[name].shape}"
            )
        if not np.isfinite(found[name]).all():
            raise ValueError(f"loss_landscape: the direction of {name} holds non-finite values")
    if not any(step.any() for step in found.values()):
        raise ValueError("loss_landscape: the direction is zero everywhere: nothing would change")
    return found
