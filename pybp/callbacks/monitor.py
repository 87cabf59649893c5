"""Watching one number of the logs: is it better than it was?"""

from __future__ import annotations

import math

from pybp import goals
from pybp.callbacks.base import Callback, Logs
from pybp.checks import real
from pybp.errors import unknown


class Monitor(Callback):
    """Base of callbacks that follow one of the logs and know its best value so far."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        kind = type(self).__name__
        if not isinstance(monitor, str):
            raise TypeError(f"{kind}: monitor must be a name in the logs, got {monitor!r}")
        if mode not in ("auto", "min", "max"):
            raise unknown(f"mode of {kind}", mode, ["auto", "min", "max"])
        self.monitor, self.mode = monitor, mode
        self.min_delta = real(min_delta, f"{kind}: min_delta", 0)
        self.rising = mode == "max"
        self.best = math.inf
        self.best_epoch = -1

    def on_train_begin(self) -> None:
        check_name(self.monitor, self.names, f"{type(self).__name__} monitors")
        if self.mode == "auto":
            self.rising = self._direction()
        self.best = -math.inf if self.rising else math.inf
        self.best_epoch = -1

    def _direction(self) -> bool:
        """Whether more is better, as the metric knows; of losses less is."""
        name = self.monitor.removeprefix("val_")
        rising = goals.directions(self.model._goals).get(name, False)
        if rising is None:
            raise ValueError(
                f"{type(self).__name__} cannot know whether more of {self.monitor!r}, a function "
                "of yours, is better: say mode='max' or mode='min'"
            )
        return rising

    def improved(self, epoch: int, logs: Logs) -> bool:
        """Whether the value is better than the best by more than `min_delta`; then it is the best.
        NaN is never better."""
        value = logs[self.monitor]
        gain = value - self.best if self.rising else self.best - value
        if not gain > self.min_delta:
            return False
        self.best, self.best_epoch = value, epoch
        return True


def check_name(name: str, names: list[str], what: str) -> None:
    """That the logs will hold `name`."""
    if name in names:
        return
    if name.startswith("val_") and not any(known.startswith("val_") for known in names):
        raise ValueError(
            f"{what} {name!r}, but this training has no validation data: pass validation_data or "
            f"validation_split to fit; without there are {', '.join(names)}"
        )
    raise unknown(f"name in the logs: {what}", name, names)
