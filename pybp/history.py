"""What a training run recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History:
    """What a call of `fit` recorded of every finished epoch.

    Attributes
    ----------
    history : dict[str, list[float]]
        "loss" and each metric by name; with validation data also "val_loss" and so on.
    epochs : int
        Number of finished epochs.
    learning_rate : list[float]
        Of the last step of every epoch.
    seconds : float
        Duration of the call on the clock, with validation and callbacks.
    ending : str
        "finished"; "stopped", when a callback or another thread set `model.stop_training`;
        "diverged", when a callback took the DivergenceError. Callbacks, whose `on_train_end` is
        called in any case, may also see "interrupted" (Ctrl-C) and "failed" (another exception).
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.seconds = 0.0
        self.ending = ""
        self.learning_rate: list[float] = []

    @property
    def epochs(self) -> int:
        return len(self.history.get("loss", []))

    def extend(self, values: dict[str, list[float]], rates: Sequence[float] = ()) -> None:
        """Add epochs, or more values of epochs that are there."""
        for name, column in values.items():
            self.history.setdefault(name, []).extend(column)
        self.learning_rate.extend(rates)

    def last(self) -> dict[str, float]:
        """The values of the last epoch."""
        return {name: column[-1] for name, column in self.history.items()}

    def complete(self) -> None:
        """NaN for what was not measured any more when training broke off after an epoch."""
        for column in self.history.values():
            column.extend([math.nan] * (self.epochs - len(column)))

    def plot(self, path: str | PathLike | None = None) -> Figure:
        """Curves of the losses and metrics; saved to `path` when one is given.
        Needs matplotlib (`pip install "pybp[plot]"`)."""
        from pybp import plots

        return plots.history(self, path)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items())
        return f"History({self.epochs} epochs{': ' + last if last else ''})"
