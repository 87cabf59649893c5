"""Averages of the parameters over the steps of a training: often better than the last ones."""

from __future__ import annotations

import numpy as np

from pybp.checks import boolean, real, whole
from pybp.described import Described, from_data
from pybp.errors import unknown


class Average(Described):
    """Base of all averages: average <- average + weight (parameters - average) after some steps."""

    def weights(self, count: int, steps: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """The weight after every step of a run; 0 leaves the average as it is.

        `count` parameters went into the average before. `steps` numbers the steps from 1 over the
        model's life; `epochs` does so for epochs where a step is an epoch's last, 0 elsewhere.
        """
        raise NotImplementedError


class EMA(Average):
    """Exponential moving average: average <- decay average + (1 - decay) parameters, every step.

    Parameters
    ----------
    decay : float
        In [0, 1). The average looks back over about 1 / (1 - decay) steps.
    bias_correction : bool
        Divide by 1 - decay^t, as in Adam, so that the parameters from before the training, from
        which the average would start otherwise, do not count.

    >>> EMA(0.5).weights(0, np.arange(1, 4), np.zeros(3)).round(3).tolist()
    [1.0, 0.667, 0.571]
    """

    def __init__(self, decay: float = 0.999, bias_correction: bool = True) -> None:
        self.decay = real(decay, "EMA: decay", 0, 1, open_high=True)
        self.bias_correction = boolean(bias_correction, "EMA: bias_correction")

    def weights(self, count: int, steps: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        new = np.full(len(steps), 1 - self.decay)
        if self.bias_correction:
            new /= 1 - self.decay ** (count + 1.0 + np.arange(len(steps)))
        return new


class SWA(Average):
    """Stochastic weight averaging: the plain mean of the parameters after `start`,
    `start` + `every`, `start` + 2 `every`, ... epochs (or steps) of the model's life, best with a
    learning rate that stays high. Izmailov et al., UAI 2018 (arXiv 1803.05407).

    >>> SWA(2, unit="step").weights(0, np.arange(1, 6), np.zeros(5)).round(3).tolist()
    [0.0, 1.0, 0.5, 0.333, 0.25]
    """

    def __init__(self, start: int, every: int = 1, unit: str = "epoch") -> None:
        self.start = whole(start, "SWA: start")
        self.every = whole(every, "SWA: every")
        if unit not in ("epoch", "step"):
            raise unknown("unit of SWA", unit, ("epoch", "step"))
        self.unit = unit

    def weights(self, count: int, steps: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        now = epochs if self.unit == "epoch" else steps
        taken = (now >= self.start) & ((now - self.start) % self.every == 0)
        return np.where(taken, 1.0 / np.maximum(count + np.cumsum(taken), 1), 0.0)


KINDS: dict[str, type[Average]] = {"ema": EMA, "swa": SWA}


def get(given: object, what: str) -> Average | None:
    """The average that an object or saved data stands for."""
    if given is None or isinstance(given, Average):
        return given
    if isinstance(given, dict):
        return from_data(KINDS, given, "average")
    raise TypeError(f"{what} must be bp.optim.EMA(...), bp.optim.SWA(...) or None, got {given!r}")
