"""Learning rates as functions of the optimiser step, computed for a whole run at once.

Steps t count from 0 over the model's life, or from where `model.learning_rate` was set to the
schedule. An epoch has ceil(rows / batch_size) steps. Schedules nest: `Warmup(Step(0.1, every=500),
steps=100)`; a subclass of `Schedule` that defines `rates` is a schedule too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pybp.checks import real, whole
from pybp.described import Described, from_data
from pybp.errors import unknown


class Schedule(Described):
    """Base of all schedules: `rates(steps)` maps step numbers (from 0) to learning rates."""

    def rates(self, steps: np.ndarray) -> np.ndarray:
        """Learning rates, float64, of an array of step numbers."""
        raise NotImplementedError

    def stored(self) -> dict[str, Any]:
        if KINDS.get(type(self).__name__.lower()) is not type(self):
            raise TypeError(
                f"the schedule {self!r} is Python code, which model files do not hold: before "
                "saving, set one of pybp.schedules, for instance model.learning_rate = "
                "bp.schedules.Constant(0.01)"
            )
        return super().stored()


def _rate(value: object) -> float:
    return real(value, "learning_rate", 0, open_low=True)


class Constant(Schedule):
    """The same rate at every step."""

    def __init__(self, rate: float) -> None:
        self.rate = _rate(rate)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        return np.ndarray(steps.shape, buffer=np.array(self.rate), strides=(0,) * steps.ndim)


class Step(Schedule):
    """Times `factor` after every so many steps: rate factor^floor(t / every).

    >>> Step(1.0, every=2, factor=0.5).rates(np.arange(6)).tolist()
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    def __init__(self, rate: float, every: int, factor: float = 0.1) -> None:
        self.rate = _rate(rate)
        self.every = whole(every, "Step: every")
        self.factor = real(factor, "Step: factor", 0, open_low=True)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        return self.rate * self.factor ** (steps // self.every).astype(np.float64)


class MultiStep(Schedule):
    """Times `factor` at each of the steps `at`: rate factor^(number of them that are <= t).

    >>> MultiStep(1.0, at=[2, 5], factor=0.1).rates(np.arange(6)).round(3).tolist()
    [1.0, 1.0, 0.1, 0.1, 0.1, 0.01]
    """

    def __init__(self, rate: float, at: list[int], factor: float = 0.1) -> None:
        self.rate = _rate(rate)
        if not isinstance(at, tuple | list):
            raise TypeError(f"MultiStep: at must be a list of steps, got {at!r}")
        self.at = [whole(step, "MultiStep: at") for step in at]
        if self.at != sorted(set(self.at)):
            raise ValueError(f"MultiStep: at must be increasing steps, got {self.at}")
        self.factor = real(factor, "MultiStep: factor", 0, open_low=True)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        passed = np.searchsorted(self.at, steps, side="right")
        return self.rate * self.factor ** passed.astype(np.float64)


class Exponential(Schedule):
    """Times `factor` within every `steps` steps, bit by bit: rate factor^(t / steps).

    >>> Exponential(1.0, factor=0.25, steps=2).rates(np.arange(5)).tolist()
    [1.0, 0.5, 0.25, 0.125, 0.0625]
    """

    def __init__(self, rate: float, factor: float, steps: int = 1) -> None:
        self.rate = _rate(rate)
        self.factor = real(factor, "Exponential: factor", 0, open_low=True)
        self.steps = whole(steps, "Exponential: steps")

    def rates(self, steps: np.ndarray) -> np.ndarray:
        return self.rate * self.factor ** (steps / self.steps)


class Polynomial(Schedule):
    """From `rate` to `final` over `steps` steps, along a line where `power` is 1, and `final` after
    that: final + (rate - final) (1 - t / steps)^power.

    >>> Polynomial(1.0, steps=4).rates(np.arange(6)).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """

    def __init__(self, rate: float, steps: int, power: float = 1.0, final: float = 0.0) -> None:
        self.rate = _rate(rate)
        self.steps = whole(steps, "Polynomial: steps")
        self.power = real(power, "Polynomial: power", 0, open_low=True)
        self.final = real(final, "Polynomial: final", 0)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        left = 1 - np.minimum(steps, self.steps) / self.steps
        return self.final + (self.rate - self.final) * left**self.power


class Cosine(Schedule):
    """From `rate` down to `final` along half a cosine over `steps` steps, and `final` after that:
    final + (rate - final) (1 + cos(pi t / steps)) / 2. Loshchilov and Hutter, ICLR 2017.

    >>> Cosine(1.0, steps=4).rates(np.arange(6)).round(3).tolist()
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    def __init__(self, rate: float, steps: int, final: float = 0.0) -> None:
        self.rate = _rate(rate)
        self.steps = whole(steps, "Cosine: steps")
        self.final = real(final, "Cosine: final", 0)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        t = np.minimum(steps, self.steps) / self.steps
        return self.final + (self.rate - self.final) * (1 + np.cos(np.pi * t)) / 2


class CosineRestarts(Schedule):
    """Half a cosine from `rate` down to `final`, again and again; the i-th takes
    steps multiplier^i steps:

        final + (rate - final) (1 + cos(pi t_i / (steps multiplier^i))) / 2

    with t_i the steps since the last restart. Loshchilov and Hutter, "SGDR", ICLR 2017.

    >>> CosineRestarts(1.0, steps=2, multiplier=2).rates(np.arange(8)).round(3).tolist()
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0, 0.962]
    """

    def __init__(self, rate: float, steps: int, multiplier: int = 1, final: float = 0.0) -> None:
        self.rate = _rate(rate)
        self.steps = whole(steps, "CosineRestarts: steps")
        self.multiplier = whole(multiplier, "CosineRestarts: multiplier")
        self.final = real(final, "CosineRestarts: final", 0)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        if self.multiplier == 1:
            done = (steps % self.steps) / self.steps
        else:
            restarts, last = [0], int(steps.max(initial=0))
            while restarts[-1] <= last:  # in whole numbers: logarithms would miss a restart
                restarts.append(restarts[-1] * self.multiplier + self.steps)
            i = np.searchsorted(restarts, steps, side="right") - 1
            done = (steps - np.array(restarts)[i]) / (self.steps * float(self.multiplier) ** i)
        return self.final + (self.rate - self.final) * (1 + np.cos(np.pi * done)) / 2


class Cyclic(Schedule):
    """Up from `low` to `high` within `up` steps and down again within `down`, for ever:

        low + (high - low) s(t) a(t)

    s rises from 0 to 1 and falls back to 0 along lines. The amplitude a is 1 in mode "triangular",
    2^-c in "triangular2" (c full cycles before t), and gamma^t in "exp_range". Smith, "Cyclical
    learning rates for training neural networks", WACV 2017.

    >>> Cyclic(0.0, 1.0, up=2, mode="triangular2").rates(np.arange(9)).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5, 0.25, 0.0]
    """

    def __init__(
        self,
        low: float,
        high: float,
        up: int,
        down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
    ) -> None:
        self.low = real(low, "Cyclic: low", 0)
        self.high = real(high, "Cyclic: high", self.low, open_low=True)
        self.up = whole(up, "Cyclic: up")
        self.down = self.up if down is None else whole(down, "Cyclic: down")
        if mode not in ("triangular", "triangular2", "exp_range"):
            raise unknown("mode of Cyclic", mode, ["triangular", "triangular2", "exp_range"])
        self.mode = mode
        self.gamma = real(gamma, "Cyclic: gamma", 0, 1, open_low=True)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        cycle, t = np.divmod(steps, self.up + self.down)
        height = np.minimum(t / self.up, (self.up + self.down - t) / self.down)
        if self.mode == "triangular2":
            height *= 0.5 ** cycle.astype(np.float64)
        elif self.mode == "exp_range":
            height *= self.gamma ** steps.astype(np.float64)
        return self.low + (self.high - self.low) * height


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


class Warmup(Schedule):
    """Up along a line to another schedule, which begins when it is reached, so that its own steps
    count from there:

        r(0) (start + (1 - start) t / steps)   for t < steps,      r(t - steps)   from then on,

    with r the rates of `schedule` (or a number). Goyal et al., 2017 (arXiv 1706.02677).

    >>> Warmup(Step(1.0, every=2), steps=4).rates(np.arange(8)).round(3).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.1, 0.1]
    """

    def __init__(self, schedule: Schedule | float, steps: int, start: float = 0.0) -> None:
        self.schedule = get(schedule)
        self.steps = whole(steps, "Warmup: steps")
        self.start = real(start, "Warmup: start", 0, 1)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        share = self.start + (1 - self.start) * np.minimum(steps, self.steps) / self.steps
        return self.schedule.rates(np.maximum(steps - self.steps, 0)) * share


class WarmupCosine(Schedule):
    """`Warmup` over the first `warmup` of `steps` steps, and `Cosine` from `rate` to `final` over
    the rest.

    >>> WarmupCosine(1.0, steps=6, warmup=2).rates(np.arange(7)).round(3).tolist()
    [0.0, 0.5, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    def __init__(self, rate: float, steps: int, warmup: int, final: float = 0.0) -> None:
        self.rate = _rate(rate)
        self.steps = whole(steps, "WarmupCosine: steps", 2)
        self.warmup = whole(warmup, "WarmupCosine: warmup", 1, self.steps - 1)
        self.final = real(final, "WarmupCosine: final", 0)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        cosine = Cosine(self.rate, self.steps - self.warmup, self.final)
        return Warmup(cosine, self.warmup).rates(steps)


class Sequence(Schedule):
    """One schedule for `steps` steps, and then another one, whose own steps count from there.

    >>> Sequence(Constant(1.0), 2, Polynomial(0.5, steps=2)).rates(np.arange(5)).tolist()
    [1.0, 1.0, 0.5, 0.25, 0.0]
    """

    def __init__(self, first: Schedule | float, steps: int, then: Schedule | float) -> None:
        self.first = get(first)
        self.steps = whole(steps, "Sequence: steps")
        self.then = get(then)

    def rates(self, steps: np.ndarray) -> np.ndarray:
        first = self.first.rates(np.minimum(steps, self.steps))
        return np.where(
            steps < self.steps, first, self.then.rates(np.maximum(steps - self.steps, 0))
        )


class Function(Schedule):
    """A function of your own: the step, an int, to the learning rate, a number >= 0.

    It is called once per step, ahead of the run; a subclass of `Schedule`, whose `rates` takes all
    steps at once, is quicker. Models with it cannot be saved: files hold no code.

    >>> Function(lambda step: 0.1 / (1 + step)).rates(np.arange(3)).round(3).tolist()
    [0.1, 0.05, 0.033]
    """

    def __init__(self, function: Callable[[int], float]) -> None:
        if not callable(function):
            raise TypeError(f"Function: takes a function of the step, got {function!r}")
        self.function = function

    def rates(self, steps: np.ndarray) -> np.ndarray:
        return np.array([self._at(step) for step in steps.tolist()], np.float64)

    def _at(self, step: int) -> float:
        return real(self.function(step), f"learning rate of {self!r} at step {step}", 0)


KINDS: dict[str, type[Schedule]] = {
    kind.__name__.lower(): kind
    for kind in (
        Constant,
        Step,
        MultiStep,
        Exponential,
        Polynomial,
        Cosine,
        CosineRestarts,
        Cyclic,
        OneCycle,
        Warmup,
        WarmupCosine,
        Sequence,
    )
}


def get(given: object) -> Schedule:
    """The schedule that an object, a plain learning rate or saved data stands for."""
    if isinstance(given, Schedule):
        return given
    if isinstance(given, dict):
        return from_data(KINDS, given, "schedule")
    if callable(given):
        raise TypeError(
            f"learning_rate must be a number or a schedule, got {given!r}: a function of the step "
            "is bp.schedules.Function(function)"
        )
    return Constant(_rate(given))
