"""The training loop above the native one: slices of time, history, validation, interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from pybp import cursor, parameters, rows
from pybp._core import Run, Source
from pybp.binding import Sources
from pybp.blocks import STARTS, into_blocks
from pybp.checks import boolean, whole
from pybp.errors import OUTSIDE, DivergenceError
from pybp.goals import all_names
from pybp.graph import OPS, topological
from pybp.history import History
from pybp.inference import evaluate, has_functions
from pybp.lanes import into_lanes
from pybp.lower import capacity_for, sharing
from pybp.progress import Progress
from pybp.request import Lowered, Request

if TYPE_CHECKING:
    from pybp.callbacks.base import Watchers
    from pybp.model import Model
    from pybp.results import Results

SLICE_SECONDS = 0.1  # how long a native call stays away from Ctrl-C and the progress bar
BRIEF_FLOPS = 4e9  # a step below this is over in a fraction of Ctrl-C's 0.2 s
MOST_STEPS = 1_000_000  # learning rates computed ahead
PIECE_BYTES = 8 << 20  # of activations and their gradients, which then stay in the last cache
LEAST_PIECE = 16  # rows: no block of any instruction set is larger


def fit(
    model: Model,
    given: rows.Given,
    held_out: tuple[object, object],
    epochs: int,
    batch_size: int,
    shuffle: bool,
    callbacks: Sequence[object],
    verbose: int,
) -> History:
    """See `Model.fit`."""
    model._require("fit")
    epochs = whole(epochs, "epochs")
    batch_size = whole(batch_size, "batch_size")
    shuffle = boolean(shuffle, "shuffle")
    verbose = whole(verbose, "verbose", 0) if not isinstance(verbose, bool) else int(verbose)
    watchers = _watchers(callbacks)
    with model._exclusive("fit"):
        sources, validation = rows.divided(model, given, held_out)
        rows.warn_of_zeros(model)
        batch_size = min(batch_size, len(sources[0].array))
        trainer = _kind(model)(model, sources, batch_size, shuffle, watchers, _accumulated(model))
        trainer.fit(epochs, validation, verbose)
    return trainer.history


def train_on_batch(model: Model, given: rows.Given) -> dict[str, float]:
    """See `Model.train_on_batch`."""
    model._require("train_on_batch")
    with model._exclusive("train_on_batch"):
        sources = rows.bound(model, given)
        trainer = _kind(model)(model, sources, len(sources[0].array), shuffle=False)
        trainer.counts_epochs = False
        epoch = model.progress.epoch
        trainer.train(1)
        model.progress.epoch = epoch  # a single step is no epoch
    return {name: values[0] for name, values in trainer.history.history.items()}


def _watchers(callbacks: object) -> Watchers | None:
    if isinstance(callbacks, tuple | list) and not callbacks:
        return None
    from pybp.callbacks.base import Watchers

    return Watchers(callbacks)


def _accumulated(model: Model) -> int:
    assert model._optimizer is not None
    return model._optimizer.accumulate


def _kind(model: Model) -> type[_Trainer]:
    """The loop that suits the optimiser."""
    assert model._optimizer is not None
    if not model._optimizer.full_batch:
        return _Trainer
    from pybp.full_batch import FullBatchTrainer

    return FullBatchTrainer


class _Trainer:
    """Runs epochs over one data set and keeps the model's cursor in step with what was done."""

    def __init__(
        self,
        model: Model,
        sources: Sources,
        batch: int,
        shuffle: bool,
        watchers: Watchers | None = None,
        accumulate: int = 1,
    ) -> None:
        self.model, self.sources, self.shuffle = model, sources, shuffle
        self.watchers = watchers
        self.rows = len(sources[0].array)
        self.piece = batch  # rows that go through the plan at once
        self.batch = min(batch * accumulate, self.rows)  # rows of a step
        self.batches = -(-self.rows // self.batch)
        self.counts_epochs = True
        self.history = History()
        self.results = model._results(sources)
        parameters.check_in_place(model)
        self.lowered = self._lower()
        _check_smallest_batch(self.lowered, self.rows, batch)
        if model.progress.plan != self.plan:
            model.progress.row, model.progress.sums = 0, []

    def _lower(self) -> Lowered:
        self.piece = _piece(self.model, self.results, self.piece)
        return _training_plan(self.model, self.results, self.piece, self.piece < self.batch)

    @property
    def plan(self) -> list[int]:
        return [self.rows, self.batch, int(self.shuffle), int(self.results.weighted)]

    def fit(self, epochs: int, validation: Sources | None, verbose: int) -> None:
        """Train, watched by callbacks and on a progress line, until `epochs` are done or somebody
        sets `model.stop_training`."""
        model, history, watchers = self.model, self.history, self.watchers
        model.stop_training = False
        names = self.results.names
        if validation:
            names = [*names, *(f"val_{name}" for name in all_names(model._goals))]
        progress = Progress(epochs * self.batches, epochs, verbose)
        start = time.perf_counter()
        with watchers.watching(model, history, names) if watchers else nullcontext():
            try:
                history.ending = "failed"
                self._epochs(epochs, validation, progress)
                history.ending = "finished" if history.epochs == epochs else "stopped"
            except KeyboardInterrupt:
                history.ending = "interrupted"
                raise
            except DivergenceError as error:
                if not (watchers and watchers.diverged(error)):
                    raise
                history.ending = "diverged"
            finally:
                history.seconds = time.perf_counter() - start
                history.complete()
                progress.close()

    def _epochs(self, epochs: int, validation: Sources | None, progress: Progress) -> None:
        model, history, watchers = self.model, self.history, self.watchers
        watched = validation is not None or (watchers is not None and watchers.epochs)
        most = 1 if watched else max(1, MOST_STEPS // self.batches)
        begun = -1
        while history.epochs < epochs and not model.stop_training:
            before, epoch = history.epochs, model.progress.epoch
            if watchers and watchers.epochs and epoch != begun:
                watchers.epoch_begin(epoch)
                begun = epoch
            self.train(min(most, epochs - before), progress)
            finished = history.epochs > before
            if validation and finished:
                found = evaluate(model, *validation)
                self.add({f"val_{name}": value for name, value in found.items()})
            if watchers and watchers.epochs and finished:
                watchers.epoch_end(epoch, history.last())
            self.show(progress)

    def train(self, epochs: int, progress: Progress | None = None) -> None:
        """`epochs` epochs, the first of which may have been begun by an earlier call. Ends early,
        between two steps, once `model.stop_training` or another learning rate is set."""
        model, at = self.model, self.model.progress
        settings = cursor.rate_settings(model)
        self.lowered = self._lower()  # a callback may have frozen layers since
        steps = at.step + np.arange(epochs * self.batches - at.row // self.batch)
        run = self.run(epochs, cursor.rates(model, steps))
        started = at.epoch, self.history.epochs, at.averaged
        seconds = 0.0 if self.watchers and self.watchers.batches else SLICE_SECONDS  # 0: one step
        done = False
        try:
            while not done:
                done = self.lowered.plan.train(run, seconds)
                self._record(run, *started)
                if self.watchers:
                    self._tell()
                if progress is not None and not done:
                    self.show(progress)
                if model.stop_training or cursor.rate_settings(model) != settings:
                    break
        except FloatingPointError:
            self._record(run, *started)
            raise self._divergence(run) from None
        finally:  # also when Ctrl-C comes in between: the cursor must tell where the model stands
            self._record(run, *started)
        self._check_parameters(run)

    def run(self, epochs: int, rates: np.ndarray) -> Run:
        """A native run of so many epochs from where the model stands."""
        model, at = self.model, self.model.progress
        return Run(
            self.sources,
            self.rows,
            self.batch,
            epochs,
            self.shuffle,
            model._seed,
            rates,
            len(self.results.nodes),
            at.epoch,
            at.step,
            at.row,
            tuple(at.sums),
            self.piece,
            at.last_loss,
            parameters.average_weights(model, len(rates), self.epoch_ends),
        )

    def epoch_ends(self, steps: int) -> np.ndarray:
        """Of the steps to come: which epoch of the model's life each of them ends, from 1, or 0."""
        at = self.model.progress
        done = at.row // self.batch + np.arange(1, steps + 1)
        ends = (done % self.batches == 0) & self.counts_epochs
        return np.where(ends, at.epoch + done // self.batches, 0)

    def _tell(self) -> None:
        """The callbacks that a step, or a slice of time, is over."""
        assert self.watchers is not None
        if self.watchers.batches:
            row = self.model.progress.row or self.rows
            self.watchers.batch_end(-(-row // self.batch) - 1, self._latest())
        self.watchers.pause()

    def _check_parameters(self, run: Run) -> None:
        """Did the last update overflow? There is no loss after it that would tell."""
        store = self.model._store
        assert store is not None
        if _is_finite(store.vector):
            return
        name = next(name for name in store.parameters if not np.isfinite(store.view(name)).all())
        raise DivergenceError(
            f"training diverged at step {run.step - 1}: parameter {name} went non-finite in its "
            "update; use a smaller learning rate and start from initialize() or a saved model. In "
            "functions of your own, look for a derivative that is not finite, as that of sqrt at 0",
            name,
            run.step - 1,
            self.history.epochs - 1,
        )

    def _record(
        self, run: Run, epochs_before: int, recorded_before: int, averaged_before: int
    ) -> None:
        """Take over where the run stands: cursor and finished epochs. Twice does no harm."""
        at, recorded = self.model.progress, self.history.epochs - recorded_before
        new = run.results[recorded : run.epoch]
        if len(new):
            first = self.batches * (recorded + 1) - 1 - run.first_row // self.batch
            last_steps = run.rates[first :: self.batches][: len(new)]
            self.history.extend(self.results.columns(new, self.rows), last_steps.tolist())
        at.step, at.epoch = run.step, epochs_before + run.epoch
        at.last_loss, at.averaged = run.last_loss, averaged_before + run.averaged
        at.row, at.sums, at.plan = run.row, run.sums, self.plan

    def add(self, values: dict[str, float]) -> None:
        """More values of the last epoch."""
        self.history.extend({name: [value] for name, value in values.items()})

    def show(self, progress: Progress) -> None:
        """How far it is."""
        epochs = self.history.epochs
        done = epochs * self.batches + self.model.progress.row // self.batch
        progress.update(done, epochs, self._latest())

    def _latest(self) -> dict[str, float]:
        """The results of the epoch under way, or else of the last."""
        at = self.model.progress
        return self.results.named(at.sums, at.row) if at.row else self.history.last()

    def _divergence(self, run: Run) -> DivergenceError:
        kind, index = run.culprit or ("instr", 0)
        if kind == "param":
            op = self.lowered.parameter_names[index]
            what = f"parameter {op} went non-finite in the step before"
        else:
            node = self.lowered.order[self.lowered.instructions[index]["node"]]
            op = node.layer
            what = f"layer {op!r} overflowed"
            if has_functions(self.model, op):
                what += f", or {OUTSIDE}"
            if "per_row" in node.flags:
                what = f"the {op} is not finite"
        rate = float(cursor.rates(self.model, np.array([run.step]))[0])
        epoch = self.history.epochs
        return DivergenceError(
            f"training diverged at step {run.step} (epoch {epoch}, batch {run.row // self.batch}): "
            f"{what}; use a smaller learning rate (it was {rate:g}) or scale the inputs. The "
            "parameters are those from before this step",
            op,
            run.step,
            epoch,
        )


def _check_smallest_batch(lowered: Lowered, rows: int, batch: int) -> None:
    """One value has no variance: layers that look at the whole batch need two."""
    smallest = rows % batch or batch
    for k in lowered.instructions:
        if k["phase"] != "commit":
            continue
        node = lowered.order[k["node"]]
        columns = node.running[0].shape[0] if node.running else 1
        if "mixes_rows" in node.flags and smallest * math.prod(node.shape) < 2 * columns:
            raise ValueError(
                f"layer {node.layer!r} needs at least two rows in every batch, and {rows} rows in "
                f"batches of {batch} leave a batch of one: choose another batch_size, or leave out "
                "a row"
            )


def _is_finite(vector: np.ndarray) -> bool:
    return Source(vector.reshape(1, -1)).check_finite() is None


def _piece(model: Model, results: Results, rows: int) -> int:
    """How many of so many rows go through the plan at once: of images, so few that activations stay
    in the cache between the forward pass and the backward one. The gradients of a batch's pieces
    add up, so every row must have a gradient of its own, and the parameters must be few."""
    assert model._store is not None
    nodes = topological(results.nodes)
    mixed = any("mixes_rows" in node.flags or OPS[node.op]["commits"] for node in nodes)
    if mixed or not any(node.op in STARTS for node in nodes):
        return rows
    stored = [n.shape for n in nodes if n.batched and "elementwise" not in n.flags]
    row = 2 * sum(map(math.prod, stored)) * model._store.dtype.itemsize
    fit = max(LEAST_PIECE, PIECE_BYTES // row)
    if rows <= fit or model._store.vector.nbytes > PIECE_BYTES:
        return rows
    return 1 << (fit.bit_length() - 1)


def _training_plan(model: Model, results: Results, rows: int, pieces: bool) -> Lowered:
    """The plan of a step, or of the pieces of so many rows of which it is made."""
    assert model._store is not None and model._optimizer is not None
    store, optimizer = model._store, model._optimizer
    capacity = capacity_for(rows)

    def request() -> Request:
        parameters.check_trainable(model)
        # A step that has changed parameters must be ended, one that has not may be abandoned. So in
        # steps that last, all updates come last, and Ctrl-C need not wait for the whole step.
        nodes = topological(results.nodes)
        flops = 3 * capacity * sum(node.flops for node in nodes)
        fuse = flops < BRIEF_FLOPS and optimizer.fusible and not pieces
        whole = not fuse or sharing(results.nodes) or any("whole" in n.flags for n in nodes)
        return Request(
            capacity,
            results=into_blocks(into_lanes(results.nodes, capacity), capacity),
            training=True,
            backward=True,
            optimizer=optimizer.kernel(),
            state=() if optimizer.full_batch else store.state,
            gradient=store.new_vector() if whole else None,
            rules=optimizer.rules(),
            average=store.average,
            fuse_update=fuse,
            accumulate=pieces or optimizer.full_batch,
            update=not optimizer.full_batch,
            sources=results.sources,
            weights=results.weights,
            losses=results.losses,
        )

    key = ("train", results.widths, results.weighted, results.kind, capacity, pieces)
    return model._plan(key, request)
