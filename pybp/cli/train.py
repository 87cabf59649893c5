"""`pybp train`: from data to a table of results, a saved model and a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

import pybp as bp
from pybp.callbacks import Callback, CSVLogger, EarlyStopping, JSONLogger, TimeLimit
from pybp.cli import screen
from pybp.cli.answers import Scores, classes, scores
from pybp.cli.problem import Part, Problem, Source, Standardisation, load
from pybp.errors import unknown

_RATES = {"adam": 3e-3, "sgd": 0.1, "momentum": 0.02, "nesterov": 0.02}
_OPTIMIZERS: dict[str, Callable[[Any], bp.optim.Optimizer]] = {
    "adam": bp.optim.Adam,
    "sgd": bp.optim.SGD,
    "momentum": lambda rate: bp.optim.SGD(rate, momentum=0.9),
    "nesterov": lambda rate: bp.optim.SGD(rate, momentum=0.9, nesterov=True),
}
_SCHEDULES: dict[str, Callable[[float, int], bp.schedules.Schedule]] = {
    "constant": lambda rate, steps: bp.schedules.Constant(rate),
    "cosine": lambda rate, steps: bp.schedules.Cosine(rate, steps),
    "onecycle": lambda rate, steps: bp.schedules.OneCycle(rate, max(steps, 2)),
}
_SQUARED = ("mse", "sse", "half_sse")
_VALUES = (*_SQUARED, "mae", "huber", "log_cosh", "quantile")
_CLASSES = (*_SQUARED, "cross_entropy", "binary_cross_entropy", "focal", "hinge", "squared_hinge")
# Share of the outputs' range by which weights for raw columns may differ from those for
# standardised ones, in the model's precision, before it is worth a word.
_FOLDING_ERROR = 0.01


@dataclass(frozen=True)
class Settings:
    """How to train."""

    hidden: tuple[int, ...]
    activation: str
    dropout: float
    epochs: int
    patience: int | None
    time_limit: float | None
    batch_size: int
    optimizer: str
    learning_rate: float
    schedule: str
    loss: str
    seed: int
    dtype: str
    out: Path
    log: Path | None
    quiet: bool

    @classmethod
    def of(cls, problem: Problem, given: dict[str, Any]) -> Settings:
        """What was given, and for the rest (None) what suits the data."""
        suited = problem.defaults
        chosen: dict[str, Any] = {
            "hidden": suited.hidden,
            # Made for the network that suits; one of the user's own is left as it is.
            "dropout": suited.dropout if given["hidden"] is None else 0.0,
            "epochs": suited.epochs,
            "patience": None,
            "time_limit": None,
            "log": None,
            "batch_size": suited.batch_size,
            "learning_rate": _RATES.get(given["optimizer"], 0.01),
            "loss": "mse" if problem.class_names is None else "cross_entropy",
        }
        return cls(**chosen | {name: value for name, value in given.items() if value is not None})


def run(source: Source, given: dict[str, Any], threads: int | None) -> None:
    """The whole job."""
    if threads is not None:
        bp.set_num_threads(threads)
    with screen.working(f"reading {source.data}", given["quiet"]):
        problem = load(source)
    settings = Settings.of(problem, given)
    with _usage():
        model = _network(problem, settings)
        callbacks = _callbacks(problem, settings)
    model.metadata.update(problem.metadata())
    paths = _paths(problem, settings)
    job = _Job(problem, settings, model)
    try:
        history = job.fit(callbacks)
    except KeyboardInterrupt:
        raise _interrupted(job, paths[0]) from None
    job.finish()
    model.save(paths[0])
    kept = [("model", str(paths[0]))]
    if settings.log is not None:
        kept.append(("log", str(settings.log)))
    try:
        results = job.results()
        if _draw(job, history, results[-1][1], paths[1]):
            kept.append(("picture", str(paths[1])))
    except KeyboardInterrupt:
        screen.remark(f"Interrupted after the training. Kept: {paths[0]}")
        raise typer.Exit(screen.INTERRUPTED) from None
    if not settings.quiet:
        _show(job, results, kept)


@contextmanager
def _usage() -> Iterator[None]:
    """What the library refuses here was an option."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise screen.Usage(str(error)) from None


def _paths(problem: Problem, settings: Settings) -> tuple[Path, Path]:
    """Of the model and of the picture; that they can be written is known before training."""
    out = settings.out
    if out.exists() and not out.is_dir():
        raise screen.Usage(f"{out} is a file; name a folder", "--out")
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise PermissionError(f"cannot write to {out}: name another folder with --out")
    return out / f"{problem.stem}.safetensors", out / f"{problem.stem}.png"


def _network(problem: Problem, settings: Settings) -> bp.Sequential:
    """The network, compiled; a double softmax, a wrong name or rate is refused here."""
    for what, name, known in (
        ("optimizer", settings.optimizer, _OPTIMIZERS),
        ("schedule", settings.schedule, _SCHEDULES),
    ):
        if name not in known:
            raise unknown(what, name, known)
    units, last = _outputs(problem, settings.loss)
    features = math.prod(problem.train.x.shape[1:])
    layers: list[bp.Layer] = [bp.Input(features, scale=problem.scale)]
    for size in settings.hidden:
        layers.append(bp.Dense(size, activation=settings.activation))
        if settings.dropout:
            layers.append(bp.Dropout(settings.dropout))
    model = bp.Sequential([*layers, bp.Dense(units, activation=last)])
    _compile(model, problem, settings)
    return model


def _callbacks(problem: Problem, settings: Settings) -> list[Callback]:
    """What watches the training."""
    found: list[Callback] = []
    if settings.patience is not None:
        if problem.validation is None:
            raise screen.Usage("needs rows to watch: --validation-fraction above 0", "--patience")
        found.append(EarlyStopping("val_loss", settings.patience))
    if settings.time_limit is not None:
        found.append(TimeLimit(settings.time_limit))
    if settings.log is not None:
        kinds = {".csv": CSVLogger, ".jsonl": JSONLogger}
        if settings.log.suffix not in kinds:
            raise screen.Usage(f"{settings.log} ends neither in .csv nor in .jsonl", "--log")
        found.append(kinds[settings.log.suffix](settings.log))
    return found


def _outputs(problem: Problem, loss: str) -> tuple[int, str | None]:
    """Units and activation of the last layer."""
    if problem.class_names is None:
        if loss not in _VALUES and loss in _CLASSES:
            raise ValueError(f"loss {loss!r} is for classes; values take {', '.join(_VALUES)}")
        return 1, None
    if loss not in _CLASSES and loss in _VALUES:
        raise ValueError(f"loss {loss!r} is for values; classes take {', '.join(_CLASSES)}")
    count = len(problem.class_names)
    if loss == "binary_cross_entropy":
        if count != 2:
            raise ValueError(
                f"loss 'binary_cross_entropy' is for 2 classes, here are {count}: use cross_entropy"
            )
        return 1, "sigmoid"
    if loss in ("hinge", "squared_hinge"):
        return count, None
    return count, "sigmoid" if loss in _SQUARED else "softmax"


def _compile(model: bp.Sequential, problem: Problem, settings: Settings) -> None:
    batches = -(-len(problem.train.y) // settings.batch_size)
    rate = _SCHEDULES[settings.schedule](settings.learning_rate, settings.epochs * batches)
    model.compile(
        optimizer=_OPTIMIZERS[settings.optimizer](rate),
        loss=settings.loss,
        metrics=["mae" if problem.class_names is None else "accuracy"],
        dtype=settings.dtype,
        seed=settings.seed,
    )


class _Job:
    """A model on its way: trained on standardised columns, finished for raw ones."""

    def __init__(self, problem: Problem, settings: Settings, model: bp.Sequential) -> None:
        self.problem, self.settings, self.model = problem, settings, model
        self.trained = ""
        self._columns: Standardisation | None = None
        self._target: Standardisation | None = None
        if problem.table is not None:
            self._columns = Standardisation.of(problem.train.x)
            if problem.class_names is None:
                self._target = Standardisation.of(problem.train.y[:, None])

    def fit(self, callbacks: list[Callback]) -> Any:
        """Train."""
        problem, settings = self.problem, self.settings
        validation = problem.validation
        x, y = self._prepared(problem.train)
        history = self.model.fit(
            x,
            y,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            validation_data=None if validation is None else self._prepared(validation),
            callbacks=callbacks,
            verbose=0 if settings.quiet else 1,
        )
        speed = history.epochs * len(y) / max(history.seconds, 1e-9)
        self.trained = f"{history.epochs} epochs in {history.seconds:.3g} s, {speed:,.0f} samples/s"
        if settings.patience is not None:
            self.trained += f"; the best model is that after {self.model.progress.epoch} epochs"
        return history

    def _prepared(self, part: Part) -> tuple[NDArray[Any], NDArray[Any]]:
        """Inputs and targets as the loss takes them."""
        x, y = part
        if self._columns is not None:
            x = self._columns(x)
        if self._target is not None:
            y = self._target(y[:, None])
        elif self.settings.loss in _SQUARED and self.problem.class_names is not None:
            y = np.eye(len(self.problem.class_names))[y]
        return x, y

    def finish(self) -> None:
        """Make the model one for raw columns and raw targets, and write down what it went through.

        The standardisation goes into the first and the last layer's weights. The optimiser's state
        belongs to the weights before that, so it starts afresh.
        """
        model, cursor = self.model, self.model.progress
        model.metadata["epochs"] = str(cursor.epoch)
        model.metadata["steps"] = str(cursor.step)
        if self._columns is None:
            return
        probe = self.problem.train.x[:1000]
        before = model.predict(self._columns(probe)).astype(np.float64)
        parameters = model.parameters
        last = f"dense{len(self.settings.hidden)}"
        self._columns.into_first(parameters["dense0.weight"], parameters["dense0.bias"])
        if self._target is not None:
            before = before * self._target.divisor + self._target.mean
            self._target.into_last(parameters[f"{last}.weight"], parameters[f"{last}.bias"])
        _compile(model, self.problem, self.settings)
        moved = np.abs(model.predict(probe) - before).max()
        if moved > _FOLDING_ERROR * max(float(np.ptp(before)), 1e-12):
            screen.remark(
                "A column's values are much larger than its spread, which costs digits in "
                f"{self.settings.dtype}: use --dtype float64, or subtract a constant from it."
            )

    def results(self) -> list[tuple[str, Scores]]:
        """How the finished model does on raw data, part by part."""
        return [(name, scores(self.model, part)) for name, part in self.problem.parts]


def _interrupted(job: _Job, path: Path) -> typer.Exit:
    """Ctrl-C: what there is of the model goes beside, never over, a finished one."""
    done, epochs = job.model.progress.epoch, job.settings.epochs
    if not job.model.progress.step:
        screen.remark("Interrupted before the first step: nothing was saved.")
        return typer.Exit(screen.INTERRUPTED)
    job.finish()
    job.model.metadata["interrupted"] = f"after {done} of {epochs} epochs"
    path = path.with_name(f"{path.stem}-interrupted{path.suffix}")
    job.model.save(path)
    screen.remark(f"Interrupted after {done} of {epochs} epochs. Kept: the model so far, {path}")
    return typer.Exit(screen.INTERRUPTED)


def _draw(job: _Job, history: Any, found: Scores, path: Path) -> bool:
    """The picture; False, with a remark, where matplotlib is missing."""
    if not history.epochs:
        screen.remark("No picture: the time was over before the first epoch was.")
        return False
    problem = job.problem
    part_name, part = list(problem.parts)[-1]
    rows = f"{len(part.y):,} {part_name} {'rows' if problem.table else 'images'}"
    subtitle = f"{describe(job.model)}, {count_parameters(job.model):,} parameters, "
    subtitle += f"{job.model.metadata['epochs']} epochs in {history.seconds:.3g} s"
    with screen.working("drawing", job.settings.quiet):
        try:
            if problem.class_names is None:
                assert problem.table is not None
                figure = bp.plots.report(
                    history,
                    part.y,
                    found.outputs[:, 0],
                    regression=True,
                    target_name=str(problem.table.target_name),
                    title=f"{problem.name}: {found.headline} on {rows}",
                    subtitle=subtitle + ". Losses are of the standardised target",
                )
            else:
                said, sure = classes(found.outputs)
                figure = bp.plots.report(
                    history,
                    part.y,
                    said,
                    class_names=problem.class_names,
                    images=None if problem.table else part.x,
                    confidence=sure,
                    title=f"{problem.name}: {found.headline} on {rows}",
                    subtitle=subtitle,
                )
        except ModuleNotFoundError as error:
            screen.remark(f"No picture: {error}")
            return False
        content = BytesIO()
        figure.savefig(content, format="png")
        # Whole or not at all.
        temporary = path.with_suffix(".png.part")
        temporary.write_bytes(content.getvalue())
        temporary.replace(path)
    return True


def describe(model: Any) -> str:
    """Sizes of the layers: "64 - 32 relu - 10 softmax"."""
    sizes = [str(math.prod(model.layers[0].shape))]
    for layer in model.layers[1:]:
        if isinstance(layer, bp.Dense):
            sizes.append(f"{layer.units} {layer.activation or ''}".strip())
        elif isinstance(layer, bp.Dropout):
            sizes[-1] += f" (dropout {layer.rate:g})"
    return " - ".join(sizes)


def count_parameters(model: Any) -> int:
    """Of all layers together."""
    return sum(view.size for view in model.parameters.values())


def _show(job: _Job, results: list[tuple[str, Scores]], kept: list[tuple[str, str]]) -> None:
    problem, settings = job.problem, job.settings
    console = screen.out()
    console.print(
        screen.facts(
            [
                ("data", f"{problem.name}: {problem.summary}"),
                ("network", describe(job.model)),
                ("parameters", f"{count_parameters(job.model):,} {settings.dtype}"),
                (
                    "settings",
                    f"{settings.optimizer}, batches of {settings.batch_size}, "
                    f"{bp.get_num_threads()} threads, seed {settings.seed}",
                ),
                ("training", job.trained),
            ]
        )
    )
    columns = ["", "rows", *results[0][1].values]
    rows = []
    for name, found in results:
        numbers = [screen.number(key, value) for key, value in found.values.items()]
        rows.append([name, f"{found.rows:,}", *numbers])
    console.print(screen.numbers(columns, rows))
    console.print(screen.facts(kept))
