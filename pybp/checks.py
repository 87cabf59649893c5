"""Checks of plain arguments: what was given, what is wanted, in one sentence."""

from __future__ import annotations

import math
from numbers import Integral, Real

ANY = -(2**62)  # the least of whole numbers of either sign


def whole(value: object, what: str, least: int = 1, most: int = 2**62) -> int:
    """`value` as an int in [least, most]; bools and fractions are refused.

    >>> whole(3, "epochs")
    3
    >>> whole(2.5, "epochs")
    Traceback (most recent call last):
    TypeError: epochs must be a whole number, got 2.5
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{what} must be a whole number, got {value!r}")
    value = int(value)
    if value < least:
        raise ValueError(f"{what} must be at least {least}, got {value}")
    if value > most:
        raise ValueError(f"{what} must be at most {most}, got {value}")
    return value


def real(
    value: object,
    what: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """`value` as a finite float in [low, high]; an open end excludes its bound.

    >>> real(0.5, "rate", 0, 1)
    0.5
    >>> real(-1, "learning_rate", 0, open_low=True)
    Traceback (most recent call last):
    ValueError: learning_rate must be a finite number > 0, got -1
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{what} must be a number, got {value!r}")
    number = float(value)
    inside = (number > low if open_low else number >= low) and (
        number < high if open_high else number <= high
    )
    if not math.isfinite(number) or not inside:
        bounds = [f"{'>' if open_low else '>='} {low:g}"] if low > -math.inf else []
        bounds += [f"{'<' if open_high else '<='} {high:g}"] if high < math.inf else []
        wanted = f"a finite number {' and '.join(bounds)}".rstrip()
        raise ValueError(f"{what} must be {wanted}, got {value!r}")
    return number


def boolean(value: object, what: str) -> bool:
    """`value` as a bool; only True and False (and NumPy's) are taken."""
    if type(value).__name__ not in {"bool", "bool_"}:
        raise TypeError(f"{what} must be True or False, got {value!r}")
    return bool(value)
