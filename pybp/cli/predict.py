"""`pybp predict`: a saved model's answers to the rows of a file."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pybp as bp
from pybp import datasets
from pybp.cli import screen
from pybp.cli.answers import both, classes, of_values
from pybp.cli.problem import class_names, feature_names


def run(model_path: Path, data: Path, out: Path | None, header: bool | None) -> None:
    """Answers as a table: the class said and the outputs behind it, or the value."""
    if out is not None and out.is_dir():
        raise screen.Usage(f"{out} is a folder; name a file in it", "--out")
    model = bp.load(model_path)
    ends = len(model.network.inputs), len(model.network.outputs)
    if ends != (1, 1):
        raise ValueError(
            f"{model_path}: a table is the rows of a model of one input and one output, and this "
            f"one has {ends[0]} and {ends[1]}: use bp.load(...).predict([...]) in Python"
        )
    x, truth = _rows(data, model, header)
    outputs = model.predict(x)
    if out is not None and out.suffix == ".npy":
        with out.open("wb") as stream:
            np.save(stream, outputs)
    else:
        text = _table(outputs, model.metadata)
        if out is None:
            sys.stdout.write(text)
        else:
            out.write_text(text, encoding="utf-8", newline="")
    if out is not None:
        screen.err().print(f"{len(outputs):,} rows: {out}", soft_wrap=True)
    if truth is not None:
        _compare(outputs, truth, model.metadata)


def _rows(path: Path, model: Any, header: bool | None) -> tuple[NDArray[Any], list[str] | None]:
    """Rows for the model, and the target where the file has it."""
    if path.suffix == ".npy":
        return _npy(path), None
    known, metadata = feature_names(model.metadata), model.metadata
    if known is None:
        return datasets.load_csv(path, header=header).x, None
    target = metadata.get("target_name", "")
    names, named = datasets.csv_columns(path, header, [*known, target])
    by_name = named and not all(name.startswith("column ") for name in known)
    if by_name:
        missing = [name for name in known if name not in names]
        if missing:
            raise ValueError(
                f"{path}: the model needs the columns {', '.join(map(repr, missing))}; "
                f"the file has {', '.join(map(repr, names))}"
            )
        features: list[str | int] = list(known)
        column = names.index(target) + 1 if target in names else None
    else:
        features, column = _by_place(path, len(names), len(known), metadata)
    table = datasets.load_csv(path, features=features, header=named)
    truth = None if column is None else datasets.csv_cells(path, column, named)
    return table.x, truth


def _by_place(
    path: Path, found: int, needed: int, metadata: dict[str, str]
) -> tuple[list[str | int], int | None]:
    """Columns by number: all, or all but the target."""
    column = metadata.get("target_column", "")
    if found == needed:
        return list(range(1, found + 1)), None
    if found == needed + 1 and column.isdecimal() and 1 <= int(column) <= found:
        return [i for i in range(1, found + 1) if i != int(column)], int(column)
    raise ValueError(
        f"{path} has {found} columns; the model needs {needed}, or these and the target"
    )


def _npy(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: no array of numbers in NumPy's format ({error})") from None


def _table(outputs: NDArray[Any], metadata: dict[str, str]) -> str:
    """The answers as CSV."""
    names = class_names(metadata)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    if names is not None and len(names) == max(2, outputs.shape[1]):
        said, _ = classes(outputs)
        writer.writerow(["predicted", *names])
        for label, row in zip(said, both(outputs).tolist(), strict=True):
            writer.writerow([names[label], *(f"{value:.6g}" for value in row)])
    else:
        columns = [f"output {i}" for i in range(1, outputs.shape[1] + 1)]
        single = [f"predicted {metadata.get('target_name', '')}".strip()]
        writer.writerow(single if len(columns) == 1 else columns)
        writer.writerows([f"{value:.9g}" for value in row] for row in outputs.tolist())
    return stream.getvalue()


def _compare(outputs: NDArray[Any], truth: list[str], metadata: dict[str, str]) -> None:
    """Say how right the answers are, where the truth is among the names or numbers known."""
    names = class_names(metadata)
    if names is not None:
        index = {name: i for i, name in enumerate(names)}
        labels = np.array([index.get(cell, index.get(_whole(cell), -1)) for cell in truth])
        known = labels >= 0
        if not known.any():
            return
        right = int((classes(outputs)[0] == labels)[known].sum())
        count = int(known.sum())
        words = f"accuracy {right / count:.4f}: {right:,} of {count:,} rows are right"
    else:
        try:
            values = np.array([float(cell) for cell in truth])
        except ValueError:
            return
        found = of_values(values, outputs[:, 0])
        words = ", ".join(f"{name} {screen.number(name, found[name])}" for name in found)
    screen.err().print(words, soft_wrap=True)


def _whole(cell: str) -> str:
    """A number as class names write it: "2" for "2.0"."""
    try:
        value = float(cell)
    except ValueError:
        return cell
    return f"{value:.0f}" if value.is_integer() else repr(value)
