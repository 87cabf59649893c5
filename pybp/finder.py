"""Which learning rate? A short training whose rate grows from step to step tells.

Smith, "Cyclical learning rates for training neural networks", WACV 2017 (arXiv 1506.01186, 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from pybp import training
from pybp.binding import Sources
from pybp.checks import boolean, real, whole
from pybp.cursor import Snapshot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pybp.model import Model

_MEMORY = 0.9  # of the running mean that sees an explosion
_EXPLODED = 4.0  # times the least running mean: the search is over
_WINDOW = 0.07  # share of the steps that a smoothed loss is the mean of
_FEWEST = 5  # points that show how the loss runs


@dataclass
class RateSearch:
    """What `find_learning_rate` found.

    Attributes
    ----------
    rates, losses : array (n,)
        The learning rate of each step and the loss of its batch before the step; n is less than
        `steps` where the loss exploded.
    smoothed : array (n,)
        Means of the losses over the neighbouring steps on both sides.
    suggestion : float or None
        The rate at which the smoothed loss has fallen half the way from what it is at the lowest
        rates to its least value, which is about where it falls most steeply: a good learning rate
        to begin with, or the highest of a schedule. None where the loss falls by no more than it
        scatters from batch to batch.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray = field(init=False)
    suggestion: float | None = field(init=False)

    def __post_init__(self) -> None:
        side = max(2, int(_WINDOW * len(self.losses) / 2))
        total = np.concatenate([[0.0], np.cumsum(self.losses)])
        places = np.arange(len(self.losses))
        begin, end = np.maximum(places - side, 0), np.minimum(places + side + 1, len(places))
        self.smoothed = (total[end] - total[begin]) / (end - begin)

        least = int(self.smoothed.argmin())
        high, low = self.losses[: max(least // 4, 2 * side + 1)].mean(), self.smoothed[least]
        # From neighbour to neighbour, so that the fall is not in it; the explosion is left out.
        jumps = np.abs(np.diff(self.losses[: max(least, len(places) // 2) + 1]))
        scatter = 1.05 * np.median(jumps) / np.sqrt(2 * side + 1)  # 1.05: if it is normal
        fell = high - low > max(5 * scatter, 1e-3 * abs(high))
        above = np.flatnonzero(self.smoothed[: least + 1] >= (high + low) / 2)
        self.suggestion = float(self.rates[above[-1]]) if fell and len(above) else None

    def plot(self, path: str | PathLike | None = None) -> Figure:
        """The losses over the rates, and the suggestion; saved to `path` when one is given.
        Needs matplotlib (`pip install "pybp[plot]"`)."""
        from pybp import plots

        return plots.rate_search(self, path)

    def __repr__(self) -> str:
        low, high = self.rates[0], self.rates[-1]
        said = None if self.suggestion is None else f"{self.suggestion:.3g}"
        return (
            f"RateSearch(suggestion={said}, {len(self.rates)} rates from {low:.3g} to {high:.3g})"
        )


def find_learning_rate(
    model: Model,
    x: object,
    y: object,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    batch_size: int = 32,
    shuffle: bool = True,
    sample_weight: object = None,
) -> RateSearch:
    """Train some steps while the learning rate grows evenly on a logarithmic scale from `lowest` to
    `highest`, step t using lowest (highest / lowest)^(t / (steps - 1)); and put the model back.

    It ends where the running mean of the losses is beyond four times its least value so far, or a
    loss is not finite. Afterwards the model's parameters, optimiser state and place in training are
    what they were, to the bit, also after an error or Ctrl-C. Batches and weights are as for `fit`.

    Raises
    ------
    ValueError
        The loss explodes within the first five steps: `lowest` is too high.

    >>> import pybp as bp
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> model = bp.Sequential([bp.Input(1), bp.Dense(8, activation="tanh"), bp.Dense(1)])
    >>> model.compile(optimizer=bp.optim.SGD(), loss="mse")
    >>> found = find_learning_rate(model, x, x**2)
    >>> 1e-3 < found.suggestion < 1.0
    True
    >>> model.learning_rate = found.suggestion
    """
    rates = _rates(model, lowest, highest, steps)
    batch_size = whole(batch_size, "batch_size")
    shuffle = boolean(shuffle, "shuffle")
    with model._exclusive("find_learning_rate"):
        sources = model._pair(x, y, sample_weight)
        before = Snapshot(model)
        try:
            losses = _losses(model, sources, min(batch_size, len(sources[0].array)), shuffle, rates)
        finally:
            before.put_back(model)
    if len(losses) < _FEWEST:
        raise ValueError(
            f"find_learning_rate: the loss explodes at once, at a rate of "
            f"{rates[len(losses) - 1]:.3g}: begin with a lower one, for instance "
            f"lowest={rates[0] / 1000:.0e}"
        )
    return RateSearch(rates[: len(losses)], np.array(losses))


def _rates(model: Model, lowest: object, highest: object, steps: object) -> np.ndarray:
    """The rates to try on a model that has one."""
    what = "find_learning_rate"
    model._require(what)
    assert model._optimizer is not None
    if model._optimizer.full_batch:
        raise ValueError(
            f"{what}: {type(model._optimizer).__name__} finds the length of every step itself and "
            "has no learning rate: compile with another optimiser, such as bp.optim.SGD()"
        )
    low = real(lowest, f"{what}: lowest", 0, open_low=True)
    high = real(highest, f"{what}: highest", low, open_low=True)
    return np.geomspace(low, high, whole(steps, f"{what}: steps", 2 * _FEWEST, training.MOST_STEPS))


def _losses(
    model: Model, sources: Sources, batch: int, shuffle: bool, rates: np.ndarray
) -> list[float]:
    """The loss of every step until it explodes."""
    trainer = training._Trainer(model, sources, batch, shuffle)
    epochs = -(-len(rates) // trainer.batches) + 1  # the first may be under way
    spare = np.full(epochs * trainer.batches - len(rates), rates[-1])
    run = trainer.run(epochs, np.concatenate([rates, spare]))
    losses: list[float] = []
    mean, least = 0.0, math.inf
    while len(losses) < len(rates):
        row, sums = run.row, run.sums
        try:
            trainer.lowered.plan.train(run, 0.0)  # one step
        except FloatingPointError:
            break
        ended = run.row == 0
        after = run.results[run.epoch - 1].tolist() if ended else run.sums
        rows = (trainer.rows if ended else run.row) - row
        loss = trainer.results.named(np.subtract(after, sums), rows)["loss"]
        mean = _MEMORY * mean + (1 - _MEMORY) * loss
        running = mean / (1 - _MEMORY ** (len(losses) + 1))
        losses.append(loss)
        if running > _EXPLODED * least:
            break
        least = min(least, running)
    return losses
