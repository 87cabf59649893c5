"""What `pybp train` learns: rows to train on, to validate with and to test on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pybp import datasets
from pybp.cli.screen import Usage

# A table is trained for as many epochs as make about this many steps, within bounds.
_TABLE_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS = 1000, 50, 500


class Part(NamedTuple):
    """Rows as the data have them: x (N, ...), y (N,) class numbers or values."""

    x: NDArray[Any]
    y: NDArray[Any]


@dataclass(frozen=True)
class Defaults:
    """Settings that suit the data where none are given."""

    hidden: tuple[int, ...]
    dropout: float
    epochs: int
    batch_size: int = 32


@dataclass(frozen=True)
class Problem:
    """Data, and what is known of them."""

    name: str
    train: Part
    validation: Part | None
    test: Part | None
    class_names: list[str] | None  # None: regression
    defaults: Defaults
    scale: float = 1.0
    table: datasets.Table | None = None  # None: images

    @property
    def stem(self) -> str:
        """Of the names of files about it."""
        return f"pybp-{Path(self.name).stem}"

    @property
    def parts(self) -> Iterator[tuple[str, Part]]:
        """Those there are, the most telling one last."""
        for name, part in ("training", self.train), ("validation", self.validation):
            if part is not None:
                yield name, part
        if self.test is not None:
            yield "test", self.test

    @property
    def summary(self) -> str:
        """What is learnt from what."""
        if self.table is None:
            what = " x ".join(map(str, self.train.x.shape[1:])) + " images"
        else:
            count = len(self.table.feature_names)
            what = f"{count} column{'' if count == 1 else 's'}"
        if self.class_names is not None:
            return f"{what}, {len(self.class_names)} classes"
        assert self.table is not None
        return f"{what}, the value of {self.table.target_name!r}"

    def metadata(self) -> dict[str, str]:
        """What `pybp predict` needs to know, as a model file keeps it."""
        known = {
            "data": self.name,
            "task": "regression" if self.class_names is None else "classification",
        }
        if self.class_names is not None:
            known["class_names"] = json.dumps(self.class_names)
        if self.table is not None:
            known["feature_names"] = json.dumps(self.table.feature_names)
            known["target_name"] = str(self.table.target_name)
            known["target_column"] = str(self.table.target_column)
        return known


class Source(NamedTuple):
    """The options that say what to learn."""

    data: str
    data_root: Path | None
    target: str | None
    task: str | None
    drop: tuple[str, ...]
    header: bool | None
    validation_fraction: float
    test_fraction: float
    seed: int


def load(source: Source) -> Problem:
    """The data, split: what is to be tested on has no part in anything before."""
    rng = np.random.default_rng(source.seed)
    if source.data in ("digits", "mnist"):
        _only_for_tables(source)
        problem = _images(source)
        train, validation = _split(problem.train, source.validation_fraction, True, rng)
        return replace(problem, train=train, validation=validation)
    if source.data_root is not None:
        raise Usage("is for --data mnist; name a CSV file by its path", "--data-root")
    return _table(source, rng)


def _only_for_tables(source: Source) -> None:
    given = {
        "--target": source.target,
        "--task": source.task,
        "--drop": source.drop or None,
        "--header": source.header,
    }
    for option, value in given.items():
        if value is not None:
            raise Usage(f"{source.data} has its own labels; this is for CSV files", option)
    if source.data_root is not None and source.data != "mnist":
        raise Usage(f"is for --data mnist; {source.data} comes with scikit-learn", "--data-root")


def _images(source: Source) -> Problem:
    names = [str(i) for i in range(10)]
    if source.data == "digits":
        train, test = (Part(*pair) for pair in datasets.digits())
        defaults = Defaults((256, 128), dropout=0.3, epochs=40)
        return Problem("digits", train, None, test, names, defaults, scale=1 / 16)
    train, test = (Part(*pair) for pair in datasets.mnist(source.data_root))
    defaults = Defaults((256, 128), dropout=0.2, epochs=10, batch_size=64)
    return Problem("mnist", train, None, test, names, defaults, scale=1 / 255)


def _table(source: Source, rng: np.random.Generator) -> Problem:
    path = Path(source.data)
    if not path.exists() and not path.suffix:
        raise Usage(f"{source.data!r} is neither digits, mnist nor a file", "--data")
    if source.target is None:
        names, _ = datasets.csv_columns(path, source.header)
        raise Usage(
            f"say which column of {path} to learn, by name or number (-1 is the last); "
            f"it has {', '.join(names[:20])}{' ...' if len(names) > 20 else ''}",
            "--target",
        )
    table = datasets.load_csv(
        path,
        source.target,
        drop=source.drop,
        task=source.task,  # type: ignore[arg-type]  # checked there
        header=source.header,
    )
    assert table.y is not None
    classes = table.class_names is not None
    rest, test = _split(Part(table.x, table.y), source.test_fraction, classes, rng)
    train, validation = _split(rest, source.validation_fraction, classes, rng)
    epochs = int(np.clip(32 * _TABLE_STEPS // len(train.y), _FEWEST_EPOCHS, _MOST_EPOCHS))
    defaults = Defaults((64, 32), dropout=0.1, epochs=epochs)
    return Problem(path.name, train, validation, test, table.class_names, defaults, table=table)


def _split(
    part: Part, fraction: float, by_class: bool, rng: np.random.Generator
) -> tuple[Part, Part | None]:
    """`part` shuffled, and in two: without and with `fraction` of its rows, or of each class's."""
    order = rng.permutation(len(part.y))
    taken = np.zeros(len(order), bool)
    groups = [order]
    if by_class:
        groups = [order[part.y[order] == label] for label in np.unique(part.y)]
    for group in groups:
        # Something is left to learn of every class.
        taken[group[: min(round(fraction * len(group)), len(group) - 1)]] = True
    if not taken.any():
        return part, None
    kept, chosen = order[~taken[order]], order[taken[order]]
    return Part(part.x[kept], part.y[kept]), Part(part.x[chosen], part.y[chosen])


class Standardisation(NamedTuple):
    """Mean and spread of every column of the rows trained on."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]  # 0 for a constant column

    @classmethod
    def of(cls, x: NDArray[Any]) -> Standardisation:
        """Of the columns of x (N, F)."""
        x = np.asarray(x, np.float64)
        mean, spread = x.mean(axis=0), x.std(axis=0)
        # Rounding gives a constant column a spread, too.
        spread[spread <= 1e-12 * np.abs(mean)] = 0.0
        return cls(mean, spread)

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """(x - mean) / spread."""
        return (x - self.mean) / self.divisor

    @property
    def divisor(self) -> NDArray[np.float64]:
        """The spread, and 1 for a constant column."""
        return np.where(self.spread > 0, self.spread, 1.0)

    def into_first(self, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        """Change a first layer for standardised columns to one for raw columns, in place.

        W' = W / spread, b' = b - W mean / spread. Of a constant column nothing was learnt: its
        weights become 0.
        """
        divided = np.where(self.spread > 0, weight / self.divisor, 0.0)
        bias[...] = bias - divided @ self.mean
        weight[...] = divided

    def into_last(self, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        """Change a last layer for standardised targets to one for raw targets, in place."""
        weight[...] = weight * self.divisor[:, None]
        bias[...] = bias * self.divisor + self.mean


def class_names(metadata: dict[str, str]) -> list[str] | None:
    """Names of the classes that a model's outputs stand for, if it says so."""
    return _names(metadata, "class_names")


def feature_names(metadata: dict[str, str]) -> list[str] | None:
    """Names of the columns that a model takes, if it says so."""
    return _names(metadata, "feature_names")


def _names(metadata: dict[str, str], key: str) -> list[str] | None:
    names = None
    with contextlib.suppress(ValueError):
        names = json.loads(metadata.get(key, "null"))
    return [str(name) for name in names] if isinstance(names, list) else None
