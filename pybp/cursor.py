"""Where a model stands in its training, and how it gets back there."""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pybp.checks import boolean, real, whole
from pybp.schedules import Schedule

if TYPE_CHECKING:
    from pybp.model import Model


@dataclass(eq=False, repr=False)
class Cursor:
    """Where a model stands in its training.

    `step` counts optimiser steps and `epoch` finished epochs over the model's life: the random
    numbers follow them. After an interruption, `row` rows of the current epoch are done, `sums` are
    their results, and `plan` says what the epoch was: (rows, batch size, shuffled, weighted).

    `last_loss` is the loss per row of the last step, `averaged` counts the parameters that went
    into their average, and `swapped` says that the model now holds the average in their place.

    The learning rate of step t is `rate_factor` times what the schedule says about step
    t - `schedule_origin`.
    """

    step: int = 0
    epoch: int = 0
    row: int = 0
    sums: list[float] = field(default_factory=list)
    plan: list[int] = field(default_factory=list)
    rate_factor: float = 1.0
    schedule_origin: int = 0
    last_loss: float = 0.0
    averaged: int = 0
    swapped: bool = False

    def __post_init__(self) -> None:
        for name in ("step", "epoch", "row", "schedule_origin", "averaged"):
            whole(getattr(self, name), f"cursor: {name}", 0)
        real(self.last_loss, "cursor: last_loss")
        boolean(self.swapped, "cursor: swapped")
        real(self.rate_factor, "cursor: rate_factor", 0, open_low=True)
        if self.averaged > self.step or (self.swapped and not self.averaged):
            raise ValueError("cursor: more was averaged than there were steps, or nothing")
        if self.schedule_origin > self.step:
            raise ValueError("cursor: the schedule cannot begin after the step")
        if not all(isinstance(value, float) for value in self.sums):
            raise ValueError("cursor: sums must be numbers")
        if self.row and (len(self.plan) != 4 or self.row >= self.plan[0]):
            raise ValueError("cursor: a started epoch needs its plan")

    def state(self) -> dict[str, Any]:
        return asdict(self)

    def copy(self) -> Cursor:
        return replace(self, sums=list(self.sums), plan=list(self.plan))


class Snapshot:
    """All that training changes in a model, kept aside: parameters, the optimiser's state and the
    cursor. Training on from a snapshot that was put back gives the bits that it gave before."""

    def __init__(self, model: Model) -> None:
        self._tensors = {name: view.copy() for name, view in model.tensors().items()}
        self._cursor = model.progress.copy()

    def retake(self, model: Model) -> None:
        """What the model is now, in the memory of what it was."""
        for name, view in model.tensors().items():
            self._tensors[name][...] = view
        self._cursor = model.progress.copy()

    def put_back(self, model: Model) -> None:
        """Make the model what it was."""
        for name, view in model.tensors().items():
            view[...] = self._tensors[name]
        model.progress = self._cursor.copy()


def rate_settings(model: Model) -> tuple[object, ...]:
    """What the learning rates of all steps follow from: equal as long as nobody sets another."""
    assert model._optimizer is not None
    at = model.progress
    return model._optimizer.learning_rate, at.rate_factor, at.schedule_origin


def rates(model: Model, steps: np.ndarray) -> np.ndarray:
    """Learning rates, float64, of an array of step numbers."""
    cursor = model.progress
    assert model._optimizer is not None
    found = model._optimizer.learning_rate.rates(steps - cursor.schedule_origin)
    return found if cursor.rate_factor == 1 else found * cursor.rate_factor


def learning_rate(model: Model) -> float:
    """See `Model.learning_rate`."""
    return float(rates(model, np.array([model.progress.step]))[0])


def set_learning_rate(model: Model, value: object) -> None:
    """See `Model.learning_rate`."""
    cursor = model.progress
    assert model._optimizer is not None
    if model._optimizer.full_batch:
        raise ValueError(
            f"{type(model._optimizer).__name__} finds the length of every step itself and has no "
            "learning rate to set: compile with another optimiser, such as bp.optim.Adam()"
        )
    if isinstance(value, Schedule):
        model._optimizer = copy(model._optimizer)  # it may serve other models too
        model._optimizer.learning_rate = value
        cursor.rate_factor, cursor.schedule_origin = 1.0, cursor.step
        return
    rate = real(value, "learning_rate", 0, open_low=True)
    scheduled = learning_rate(model) / cursor.rate_factor
    factor = rate / scheduled if scheduled else np.inf
    if not np.isfinite(factor) or not factor:
        raise ValueError(
            f"learning_rate {rate:g}: the schedule {model._optimizer.learning_rate!r} stands at "
            f"{scheduled:g}, of which it is no multiple; set a schedule, for instance "
            f"model.learning_rate = bp.schedules.Constant({rate:g})"
        )
    cursor.rate_factor = factor
