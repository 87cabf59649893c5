"""Initialisers: how parameters are drawn before training.

Each is an object that is called with a NumPy generator and a shape [fan_out, fan_in] (or [units]
for a bias; or [O, I, ..] for a kernel, whose places count in both fans) and returns float64 values;
the model draws every parameter from a generator of its own, so that adding a layer does not change
the others' weights.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pybp.checks import real
from pybp.described import Described, from_data
from pybp.errors import unknown

Fan = Any  # a number, or an array of one for each weight


class Initializer(Described):
    """Base of all initialisers."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Values of `shape`, float64."""
        raise NotImplementedError


class _Scaled(Initializer):
    """Zero mean and a variance that the fans set."""

    def __init__(self, distribution: str = "uniform") -> None:
        if distribution not in ("uniform", "normal"):
            raise unknown("distribution", distribution, ["uniform", "normal"])
        self.distribution = distribution

    def variance(self, fan_in: Fan, fan_out: Fan) -> Fan:
        raise NotImplementedError

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        fan_in = math.prod(shape[1:])
        fan_out = math.prod(shape[:1]) * math.prod(shape[2:])
        deviation = math.sqrt(self.variance(fan_in, fan_out))
        if self.distribution == "normal":
            return rng.normal(0.0, deviation, shape)
        limit = math.sqrt(3.0) * deviation
        return rng.uniform(-limit, limit, shape)

    def of_edges(
        self, rng: np.random.Generator, fan_in: np.ndarray, fan_out: np.ndarray
    ) -> np.ndarray:
        """Single weights, each with fans of its own."""
        normal = self.distribution == "normal"
        unit = rng.normal(size=len(fan_in)) if normal else rng.uniform(-1, 1, len(fan_in)) * 3**0.5
        return unit * np.sqrt(self.variance(fan_in, fan_out))


class Glorot(_Scaled):
    """Variance 2 / (fan_in + fan_out): keeps the variance of signals both ways through tanh-like
    units. Glorot and Bengio, AISTATS 2010.

    >>> w = Glorot()(np.random.default_rng(0), (100, 300))
    >>> float(abs(w).max()) <= (6 / 400) ** 0.5, round(float(w.var() * 400 / 2), 1)
    (True, 1.0)
    """

    def variance(self, fan_in: Fan, fan_out: Fan) -> Fan:
        return 2.0 / (fan_in + fan_out)


class He(_Scaled):
    """Variance 2 / fan_in, for units that pass half of their input on, such as relu.
    He, Zhang, Ren and Sun, ICCV 2015."""

    def variance(self, fan_in: Fan, fan_out: Fan) -> Fan:
        return 2.0 / fan_in


class LeCun(_Scaled):
    """Variance 1 / fan_in. LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998."""

    def variance(self, fan_in: Fan, fan_out: Fan) -> Fan:
        return 1.0 / fan_in


class Uniform(Initializer):
    """Uniform on [low, high)."""

    def __init__(self, low: float = -0.05, high: float = 0.05) -> None:
        self.low = real(low, "Uniform: low")
        self.high = real(high, "Uniform: high", self.low)

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.uniform(self.low, self.high, shape)


class Normal(Initializer):
    """Normal with the given standard deviation and mean."""

    def __init__(self, deviation: float = 0.05, mean: float = 0.0) -> None:
        self.deviation = real(deviation, "Normal: deviation", 0)
        self.mean = real(mean, "Normal: mean")

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.normal(self.mean, self.deviation, shape)


class Constant(Initializer):
    """Every value the same."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = real(value, "Constant: value")

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, self.value)


KINDS: dict[str, type[Initializer]] = {
    "glorot": Glorot,
    "he": He,
    "lecun": LeCun,
    "uniform": Uniform,
    "normal": Normal,
    "constant": Constant,
}


def get(given: object, what: str) -> Initializer:
    """The initialiser that an object, a name, a number (a constant) or saved data stands for."""
    if isinstance(given, Initializer):
        return given
    if isinstance(given, dict):
        return from_data(KINDS, given, f"initialiser for {what}")
    if isinstance(given, str):
        if given.lower() not in KINDS:
            raise unknown(f"initialiser for {what}", given, KINDS)
        return KINDS[given.lower()]()
    return Constant(real(given, f"{what}: an initialiser, its name or a constant"))
