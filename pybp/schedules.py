"""Learning rates as functions of the optimiser step, computed for a whole run at once."""

from __future__ import annotations

import numpy as np

from pybp.checks import real, whole
from pybp.described import Described, from_data


class Schedule(Described):
    """Base of all schedules: `rates(steps)` maps step numbers (from 0) to learning rates."""

    def rates(self, steps: np.ndarray) -> np.ndarray:
        """Learning rates, float64, of an array of step numbers."""
        raise NotImplementedError


class Constant(Schedule):
    """The same rate at every step."""

    def __init__(self, rate: float) -> None:
        self.rate = real(rate, "learning_rate", 0, open_low=True)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.float64(self.rate), steps.shape)


class Cosine(Schedule):
    """From `rate` down to `final` along half a cosine over `steps` steps, and `final` after that:
    final + (rate - final) (1 + cos(pi t / steps)) / 2. Loshchilov and Hutter, ICLR 2017.

    >>> Cosine(1.0, steps=4).rates(np.arange(6)).round(3).tolist()
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    def __init__(self, rate: float, steps: int, final: float = 0.0) -> None:
        self.rate = real(rate, "learning_rate", 0, open_low=True)
        self.steps = whole(steps, "Cosine: steps")
        self.final = real(final, "Cosine: final", 0)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        t = np.minimum(steps, self.steps) / self.steps
        return self.final + (self.rate - self.final) * (1 + np.cos(np.pi * t)) / 2


class OneCycle(Schedule):
    """Up from `peak / start_divisor` to `peak` during the first `warmup` of `steps`, then down to
    `peak / final_divisor`, both along half a cosine. Smith and Topin, 2017 (arXiv 1708.07120).

    >>> OneCycle(1.0, steps=10).rates(np.arange(10)).argmax()
    np.int64(3)
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        warmup: float = 0.3,
        start_divisor: float = 25.0,
        final_divisor: float = 1e4,
    ) -> None:
        self.peak = real(peak, "OneCycle: peak", 0, open_low=True)
        self.steps = whole(steps, "OneCycle: steps", 2)
        self.warmup = real(warmup, "OneCycle: warmup", 0, 1, open_low=True, open_high=True)
        self.start_divisor = real(start_divisor, "OneCycle: start_divisor", 1)
        self.final_divisor = real(final_divisor, "OneCycle: final_divisor", 1)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        last = self.steps - 1
        top = min(max(round(self.warmup * self.steps), 1), last)
        start, final = self.peak / self.start_divisor, self.peak / self.final_divisor
        up = np.clip(steps / top, 0, 1)
        down = np.clip((steps - top) / max(last - top, 1), 0, 1)
        rising = start + (self.peak - start) * (1 - np.cos(np.pi * up)) / 2
        falling = final + (self.peak - final) * (1 + np.cos(np.pi * down)) / 2
        return np.where(steps < top, rising, falling)


KINDS: dict[str, type[Schedule]] = {"constant": Constant, "cosine": Cosine, "onecycle": OneCycle}


def get(given: object) -> Schedule:
    """The schedule that an object, a plain learning rate or saved data stands for."""
    if isinstance(given, Schedule):
        return given
    if isinstance(given, dict):
        return from_data(KINDS, given, "schedule")
    return Constant(real(given, "learning_rate"))
