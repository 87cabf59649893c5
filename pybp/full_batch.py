"""The training loop of optimisers for full batches: their objective as native calls, their state in
the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pybp._core import Run
from pybp.optim.full_batch import FullBatch
from pybp.optim.line_search import Point
from pybp.store import ParameterStore
from pybp.training import _Trainer

if TYPE_CHECKING:
    from pybp.progress import Progress
    from pybp.request import Lowered

PIECE = 1024  # rows that go through the plan at once


@dataclass
class _Evaluated(Point):
    """A point with the native run that looked at it."""

    run: Run


class FullBatchTrainer(_Trainer):
    """Runs the iterations of `pybp.optim.LBFGS` and `pybp.optim.ConjugateGradient`."""

    def _lower(self) -> Lowered:
        name = type(self.model._optimizer).__name__
        if self.batch < self.rows:
            raise ValueError(
                f"{name} looks at all rows at every step: call fit(..., batch_size={self.rows}), "
                f"the number of rows, instead of batch_size={self.batch}"
            )
        self.piece = min(self.rows, PIECE)
        self.shuffle = False  # the same sums in the same order, so that values can be compared
        lowered = super()._lower()
        for node in lowered.order:
            if node.flags & {"random", "mixes_rows"}:
                raise ValueError(
                    f"{name} needs a loss that the parameters alone decide, and layer "
                    f"{node.layer!r} ({node.op}) has another one in training: leave it out, or "
                    "use another optimiser, such as bp.optim.Adam()"
                )
            for p in node.parameters:
                if p.max_norm or p.learning_rate_factor != 1:
                    raise ValueError(
                        f"{name} has no learning rates to multiply and no max_norm: leave them "
                        f"out of layer {node.layer!r}, or use another optimiser"
                    )
        return lowered

    def train(self, epochs: int, progress: Progress | None = None) -> None:
        """`epochs` iterations; fewer when a minimum is reached, which stops the training."""
        model, at = self.model, self.model.progress
        store, optimizer = model._store, model._optimizer
        assert store is not None and isinstance(optimizer, FullBatch)
        self.lowered = self._lower()
        penalty = _Penalty(store)
        old = self._look(store.vector.astype(np.float64), penalty)
        if not math.isfinite(old.value):
            raise self._divergence(old.run)
        for _ in range(epochs):
            before = at.last_loss if at.step else None
            new, length = self._iterate(optimizer, store, old, before, penalty)
            new.run.rates[0] = length
            self._record(new.run, at.epoch, self.history.epochs, at.averaged)
            at.last_loss = old.value
            model.stop_training |= new is old
            if self.watchers:
                self._tell()
            if progress is not None:
                self.show(progress)
            if model.stop_training:
                break
            old = new

    def _iterate(
        self,
        optimizer: FullBatch,
        store: ParameterStore,
        old: _Evaluated,
        before: float | None,
        penalty: _Penalty,
    ) -> tuple[_Evaluated, float]:
        """The next point and the step length to it; `old` itself when there is none lower."""
        here, length = old, 0.0
        try:
            if np.abs(old.gradient).max() > optimizer.tolerance:
                here, length = optimizer.step(
                    lambda w: self._look(w, penalty), store.state, old, before
                )
        finally:  # the last point looked at need not be the one, also when Ctrl-C comes
            store.vector[:] = here.w
        return here, length

    def _look(self, w: np.ndarray, penalty: _Penalty) -> _Evaluated:
        """Value and gradient at w, as the model's precision holds it."""
        store, goals = self.model._store, self.model._goals
        assert store is not None and self.lowered.gradient is not None
        store.vector[:] = w
        w = store.vector.astype(np.float64)
        run = self.run(1, np.zeros(1))
        try:
            self.lowered.plan.train(run, math.inf)
        except FloatingPointError:
            return _Evaluated(w, math.inf, np.zeros_like(w), run)
        sums = [*run.results[0, : len(goals), None]]
        mean = goals[0].loss.mean
        value = run.last_loss if mean else self.results.total_loss(sums).item()
        gradient = self.lowered.gradient.astype(np.float64)
        return _Evaluated(w, value + penalty.value(w), gradient + penalty.slope(w), run)


class _Penalty:
    """The penalties of all layers that train: sum of l1 |w| + l2/2 w^2."""

    def __init__(self, store: ParameterStore) -> None:
        self.l1, self.l2 = np.zeros(store.vector.size), np.zeros(store.vector.size)
        for name, p in store.parameters.items():
            begin, end = store.span(name)
            if p.trainable:
                self.l1[begin:end], self.l2[begin:end] = p.l1, p.l2

    def value(self, w: np.ndarray) -> float:
        return float(self.l1 @ np.abs(w) + self.l2 @ (w * w) / 2)

    def slope(self, w: np.ndarray) -> np.ndarray:
        return self.l1 * np.sign(w) + self.l2 * w
