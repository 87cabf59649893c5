"""The training loop above the native one: slices of time, history, validation, interruption."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pybp._core import Run, Source
from pybp.checks import boolean, whole
from pybp.errors import DivergenceError
from pybp.graph import topological
from pybp.history import History
from pybp.inference import evaluate
from pybp.lower import Lowered, Request, capacity_for
from pybp.progress import Progress

if TYPE_CHECKING:
    from pybp.model import Model

SLICE_SECONDS = 0.1  # how long a native call stays away from Ctrl-C and the progress bar
BRIEF_FLOPS = 4e9  # a step below this is over in a fraction of Ctrl-C's 0.2 s
MOST_STEPS = 1_000_000  # learning rates computed ahead


@dataclass
class Cursor:
    """Where a model stands in its training.

    `step` counts optimiser steps and `epoch` finished epochs over the model's life: the random
    numbers follow them. After an interruption, `row` rows of the current epoch are done, `sums` are
    their results, and `plan` says what the epoch was: (rows, batch size, shuffled).
    """

    step: int = 0
    epoch: int = 0
    row: int = 0
    sums: list[float] = field(default_factory=list)
    plan: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("step", "epoch", "row"):
            whole(getattr(self, name), f"cursor: {name}", 0)
        if not all(isinstance(value, float) for value in self.sums):
            raise ValueError("cursor: sums must be numbers")
        if self.row and (len(self.plan) != 3 or self.row >= self.plan[0]):
            raise ValueError("cursor: a started epoch needs its plan")

    def state(self) -> dict[str, Any]:
        return asdict(self)


def fit(
    model: Model,
    x: object,
    y: object,
    epochs: int,
    batch_size: int,
    validation_data: tuple[object, object] | None,
    shuffle: bool,
    verbose: int,
) -> History:
    """See `Model.fit`."""
    model._require("fit")
    epochs = whole(epochs, "epochs")
    batch_size = whole(batch_size, "batch_size")
    shuffle = boolean(shuffle, "shuffle")
    verbose = whole(verbose, "verbose", 0) if not isinstance(verbose, bool) else int(verbose)
    with model._exclusive("fit"):
        sources = model._pair(x, y)
        validation = _validation(model, validation_data)
        trainer = _Trainer(model, sources, min(batch_size, len(sources[0].array)), shuffle)
        progress = Progress(epochs * trainer.batches, epochs, verbose)
        try:
            while trainer.history.epochs < epochs:
                left = epochs - trainer.history.epochs
                many = max(1, min(left, MOST_STEPS // trainer.batches))
                trainer.train(1 if validation else many, progress)
                if validation:
                    found = evaluate(model, *validation)
                    trainer.add({f"val_{name}": value for name, value in found.items()})
                trainer.show(progress)
        finally:
            progress.close()
    return trainer.history


def train_on_batch(model: Model, x: object, y: object) -> dict[str, float]:
    """See `Model.train_on_batch`."""
    model._require("train_on_batch")
    with model._exclusive("train_on_batch"):
        sources = model._pair(x, y)
        trainer = _Trainer(model, sources, len(sources[0].array), shuffle=False)
        epoch = model.progress.epoch
        trainer.train(1)
        model.progress.epoch = epoch  # a single step is no epoch
    return {name: values[0] for name, values in trainer.history.history.items()}


def _validation(model: Model, given: object) -> tuple[Source, Source] | None:
    if given is None:
        return None
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(f"validation_data must be a pair (x, y), got {type(given).__name__}")
    x, y = given
    return model._pair(x, y, ("validation_data[0]", "validation_data[1]"))


class _Trainer:
    """Runs epochs over one data set and keeps the model's cursor in step with what was done."""

    def __init__(
        self, model: Model, sources: tuple[Source, Source], batch: int, shuffle: bool
    ) -> None:
        self.model, self.sources, self.batch, self.shuffle = model, sources, batch, shuffle
        self.rows = len(sources[0].array)
        self.batches = -(-self.rows // batch)
        self.history = History()
        self.lowered = _training_plan(model, sources[1].array.shape[1], batch)
        cursor = model.progress
        if cursor.plan != self.plan:
            cursor.row, cursor.sums = 0, []

    @property
    def plan(self) -> list[int]:
        return [self.rows, self.batch, int(self.shuffle)]

    def train(self, epochs: int, progress: Progress | None = None) -> None:
        """`epochs` epochs, the first of which may have been begun by an earlier call."""
        model, cursor = self.model, self.model.progress
        steps = cursor.step + np.arange(epochs * self.batches - cursor.row // self.batch)
        assert model._optimizer is not None
        rates = np.asarray(model._optimizer.learning_rate.rates(steps))
        run = Run(
            self.sources,
            self.rows,
            self.batch,
            epochs,
            self.shuffle,
            model._seed,
            rates,
            1 + len(model._metrics),
            cursor.epoch,
            cursor.step,
            cursor.row,
            tuple(cursor.sums),
        )
        started = cursor.epoch, self.history.epochs
        try:
            while not self.lowered.plan.train(run, SLICE_SECONDS):
                self._record(run, *started)
                if progress is not None:
                    self.show(progress)
        except FloatingPointError:
            self._record(run, *started)
            raise self._divergence(run) from None
        finally:  # also when Ctrl-C comes in between: the cursor must tell where the model stands
            self._record(run, *started)
        self._check_parameters(run)

    def _check_parameters(self, run: Run) -> None:
        """Did the last update overflow? There is no loss after it that would tell."""
        store = self.model._store
        assert store is not None
        if _is_finite(store.vector):
            return
        name = next(name for name in store.parameters if not np.isfinite(store.view(name)).all())
        raise DivergenceError(
            f"training diverged at step {run.step - 1}: parameter {name} went non-finite in its "
            "update; use a smaller learning rate and start from initialize() or a saved model",
            name,
            run.step - 1,
            self.history.epochs - 1,
        )

    def _record(self, run: Run, epochs_before: int, recorded_before: int) -> None:
        """Take over where the run stands: cursor and finished epochs. Twice does no harm."""
        cursor = self.model.progress
        new = run.results[self.history.epochs - recorded_before : run.epoch]
        if len(new):
            self.history.extend(self.model._named_columns(new, self.rows))
        cursor.step, cursor.epoch = run.step, epochs_before + run.epoch
        cursor.row, cursor.sums, cursor.plan = run.row, run.sums, self.plan

    def add(self, values: dict[str, float]) -> None:
        """More values of the last epoch."""
        self.history.extend({name: [value] for name, value in values.items()})

    def show(self, progress: Progress) -> None:
        """How far it is, with the results of the epoch under way, or else of the last."""
        cursor, epochs = self.model.progress, self.history.epochs
        if cursor.row:
            values = self.model._named_results(cursor.sums, cursor.row)
        else:
            values = {name: found[-1] for name, found in self.history.history.items()}
        progress.update(epochs * self.batches + cursor.row // self.batch, epochs, values)

    def _divergence(self, run: Run) -> DivergenceError:
        kind, index = run.culprit or ("instr", 0)
        if kind == "param":
            op = self.lowered.parameter_names[index]
            what = f"parameter {op} went non-finite in the step before"
        else:
            op = self.lowered.order[self.lowered.instructions[index]["node"]].layer
            what = "the loss is not finite" if op == "loss" else f"layer {op!r} overflowed"
        assert self.model._optimizer is not None
        rate = float(self.model._optimizer.learning_rate.rates(np.array([run.step]))[0])
        epoch = self.history.epochs
        return DivergenceError(
            f"training diverged at step {run.step} (epoch {epoch}, batch {run.row // self.batch}): "
            f"{what}; use a smaller learning rate (it was {rate:g}) or scale the inputs. The "
            "parameters are those from before this step",
            op,
            run.step,
            epoch,
        )


def _is_finite(vector: np.ndarray) -> bool:
    return Source(vector.reshape(1, -1)).check_finite() is None


def _training_plan(model: Model, width: int, batch: int) -> Lowered:
    assert model._store is not None and model._optimizer is not None
    store, kernel = model._store, model._optimizer.kernel()
    capacity = capacity_for(batch)

    def request() -> Request:
        results = model._results(width)
        # A step that has changed parameters must be ended, one that has not may be abandoned. So in
        # steps that last, all updates come last, and Ctrl-C need not wait for the whole step.
        flops = 3 * capacity * sum(node.flops for node in topological(results))
        brief = flops < BRIEF_FLOPS
        return Request(
            capacity,
            results=results,
            training=True,
            backward=True,
            optimizer=kernel,
            state=store.state,
            gradient=None if brief else store.new_vector(),
            fuse_update=brief,
            sources=2,
        )

    return model._plan(("train", width, capacity), request)
