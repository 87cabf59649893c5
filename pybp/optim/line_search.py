"""A step length for the strong Wolfe conditions: the value has fallen enough and the slope has
flattened enough. Nocedal and Wright, "Numerical Optimization", 2006, algorithms 3.5 and 3.6; where
values cannot be told apart, the approximate conditions of Hager and Zhang, SIAM J. Optim. 16, 2005.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

DECREASE = 1e-4  # c1
ROUNDING = 1e-14  # of a value, relative


@dataclass
class Point:
    """Where the objective was looked at: w, its value there, inf where it is not finite, and its
    gradient."""

    w: np.ndarray
    value: float
    gradient: np.ndarray


P = TypeVar("P", bound=Point)


@dataclass
class _Trial(Generic[P]):
    """A step length, with the value and the slope along the direction that were found there."""

    length: float
    point: P
    slope: float

    @property
    def value(self) -> float:
        return self.point.value


def search(
    objective: Callable[[np.ndarray], P],
    start: P,
    d: np.ndarray,
    length: float,
    curvature: float,
    most: int,
) -> tuple[P, float] | None:
    """The point at w + length d that meets the conditions, first tried at `length`, and its step
    length. When `most` evaluations do not lead there, the lowest point that has fallen enough, or
    None."""
    at_start = _Trial(0.0, start, float(start.gradient @ d))
    trials: list[_Trial[P]] = []

    def attempt(length: float) -> _Trial[P]:
        point = objective(start.w + length * d)
        trials.append(_Trial(length, point, float(point.gradient @ d)))
        return trials[-1]

    def fallen(t: _Trial[P]) -> bool:
        if t.value <= start.value + DECREASE * t.length * at_start.slope:
            return True
        # Near a minimum values differ by rounding alone, and slopes tell more.
        level = t.value <= start.value + ROUNDING * abs(start.value)
        return level and t.slope <= (2 * DECREASE - 1) * at_start.slope

    def flat(t: _Trial[P]) -> bool:
        return abs(t.slope) <= -curvature * at_start.slope

    low: _Trial[P] = at_start
    high: _Trial[P] | None = None
    while len(trials) < most:
        if high is None:  # ever longer, until a minimum lies between
            now = attempt(length)
            length *= 2
        else:
            now = attempt(_between(low, high))
        if fallen(now) and flat(now):
            return now.point, now.length
        if not fallen(now) or (now.value >= low.value and low is not at_start):
            high = now
        else:
            ahead = 1.0 if high is None else high.length - low.length
            if now.slope * ahead >= 0:
                high = low
            low = now
        if high is not None and abs(high.length - low.length) * np.abs(d).max() < 1e-16:
            break
    good = [t for t in trials if fallen(t) and t.value < start.value]
    best = min(good, key=lambda t: t.value, default=None)
    return None if best is None else (best.point, best.length)


def _between(a: _Trial, b: _Trial) -> float:
    """The minimum of the cubic through both values and slopes, kept off the ends; the middle where
    there is none."""
    low, high = sorted((a.length, b.length))
    middle, margin = (low + high) / 2, 0.1 * (high - low)
    if not np.isfinite(a.value) or not np.isfinite(b.value):
        return low + margin if np.isfinite(a.value) and a.length == low else middle
    if abs(a.value - b.value) <= ROUNDING * abs(a.value) and a.slope != b.slope:  # slopes alone
        found = a.length - a.slope * (b.length - a.length) / (b.slope - a.slope)
        return float(min(max(found, low + margin), high - margin))
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.length - b.length)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return middle
    d2 = np.copysign(np.sqrt(square), b.length - a.length)
    below = b.slope - a.slope + 2 * d2
    if below == 0:
        return middle
    found = b.length - (b.length - a.length) * (b.slope + d2 - d1) / below
    return float(min(max(found, low + margin), high - margin))
