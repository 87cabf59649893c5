"""Tables in text files, as arrays: what `pybp.datasets.load_csv` reads."""

from __future__ import annotations

import csv
import math
import os
import re
from array import array
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["classification", "regression"]
Cells = list[str]

# What files write where a value is missing.
_MISSING = {"", "?", "-", "na", "n/a", "nan", "null", "none"}
# As many distinct whole numbers still make classes, when each has rows enough to learn from.
_MOST_CLASSES = 20


@dataclass(frozen=True, eq=False)
class Table:
    """Features and labels of N rows: what `load_csv` returns.

    x: (N, F) float64. y: (N,) int64 indices into `class_names`, or float64 values when
    `class_names` is None (regression); None without a target.
    """

    x: NDArray[np.float64]
    y: NDArray[Any] | None
    feature_names: list[str]
    target_name: str | None = None
    target_column: int | None = None  # counted from 1
    class_names: list[str] | None = None

    @property
    def task(self) -> Task:
        """``"classification"`` or ``"regression"``."""
        return "regression" if self.class_names is None else "classification"


def load_csv(
    path: str | os.PathLike[str],
    target: str | int | None = None,
    *,
    features: Sequence[str | int] | None = None,
    drop: Iterable[str | int] = (),
    task: Task | None = None,
    header: bool | None = None,
) -> Table:
    """A table of numbers as features (N, F) and labels (N,), with the names of both.

    Cells are separated by commas, semicolons, tabs or spaces. `target` is the column to learn, by
    name or by number: columns count from 1, and -1 is the last one. All others are features,
    unless `features` lists those wanted or `drop` those not wanted. The first line holds the
    names when `header` says so, or (None) when none of its cells is a number.

    Texts as targets are classes, in alphabetical order, and so are a few distinct whole numbers,
    in their own order; other numbers are values to regress on. `task` overrides this.

    Raises ValueError naming line and column of a cell that is missing or not a number, or of a
    line with too few or too many cells, and naming the columns when one is not found;
    FileNotFoundError when there is no such file.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "irises.csv")
    ...     lines = "length,width,kind", "5.1,3.5,setosa", "7.0,3.2,versicolor"
    ...     _ = path.write_text(chr(10).join(lines))
    ...     table = load_csv(path, "kind")
    >>> table.x.tolist(), table.y.tolist(), table.class_names
    ([[5.1, 3.5], [7.0, 3.2]], [0, 1], ['setosa', 'versicolor'])
    """
    path = Path(path)
    if task not in (None, "classification", "regression"):
        raise ValueError(f"task must be 'classification', 'regression' or None, not {task!r}")
    with closing(_lines(path)) as lines:
        names, named, rows = _columns(path, lines, [target, *(features or [])], header)
        target_at = None if target is None else _position(path, names, target)
        if features is None:
            dropped = {_position(path, names, column) for column in drop}
            columns = [i for i in range(len(names)) if i != target_at and i not in dropped]
        else:
            columns = [_position(path, names, column) for column in features]
        if not columns:
            raise ValueError(f"{path}: no column is left for the features ({_quoted(names)})")
        x, labels, at = _values(path, rows, columns, target_at, names, named)

    feature_names = [names[i] for i in columns]
    if target_at is None:
        return Table(x, None, feature_names)
    where = f"{path}, target {names[target_at]!r}"
    y, class_names = _labels(where, labels, at, task)
    return Table(x, y, feature_names, names[target_at], target_at + 1, class_names)


def _values(
    path: Path,
    rows: Iterator[tuple[int, Cells]],
    columns: list[int],
    target: int | None,
    names: list[str],
    named: bool,
) -> tuple[NDArray[np.float64], Cells, list[int]]:
    """The numbers (N, F), the target's texts, and the line of each row."""
    values, labels, at = array("d"), Cells(), []
    for line, cells in rows:
        if len(cells) != len(names):
            raise ValueError(
                f"{path}, line {line}: {len(cells)} cells, where the first line has {len(names)}"
            )
        try:
            values.extend([float(cells[i]) for i in columns])
        except ValueError:
            raise _bad_cell(path, line, cells, columns, names, named) from None
        if target is not None:
            labels.append(cells[target].strip())
        at.append(line)
    if not at:
        raise ValueError(f"{path}: no rows{' below the names' if named else ''}")
    x = np.frombuffer(values, np.float64).reshape(len(at), len(columns))
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise _bad_value(path, at[row], names, columns[column], float(x[row, column]))
    return x, labels, at


def csv_columns(
    path: str | os.PathLike[str], header: bool | None = None, expected: Iterable[str] = ()
) -> tuple[list[str], bool]:
    """The names of a table's columns, and whether the file itself says them.

    Without names in the file they are "column 1", "column 2" and so on. A first line that holds
    one of the `expected` names is a header.
    """
    path = Path(path)
    with closing(_lines(path)) as lines:
        names, named, _ = _columns(path, lines, list(expected), header)
    return names, named


def csv_cells(path: str | os.PathLike[str], column: int, header: bool) -> list[str]:
    """The texts of one column, counted from 1, as they stand there; "" where a line ends early."""
    path = Path(path)
    with closing(_lines(path)) as lines:
        _, _, rows = _columns(path, lines, [], header)
        return [cells[column - 1].strip() if column <= len(cells) else "" for _, cells in rows]


def _lines(path: Path) -> Generator[tuple[int, Cells], None, None]:
    """Number and cells of each line that is not blank. The file is open until this is closed."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            first = ""
            for first in stream:
                if first.strip():
                    break
            unquoted = re.sub(r'"[^"]*"', "", first)
            delimiter = next((mark for mark in "\t;," if mark in unquoted), " ")
            stream.seek(0)
            if delimiter == " ":
                trimmed = (line.strip() for line in stream)
                reader = csv.reader(trimmed, delimiter=" ", skipinitialspace=True)
            else:
                reader = csv.reader(stream, delimiter=delimiter)
            for cells in reader:
                if any(cell and not cell.isspace() for cell in cells):
                    yield reader.line_num, cells
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not a text file in UTF-8 ({error.reason})") from None
        except csv.Error as error:
            raise ValueError(f"{path}: not a table in text ({error})") from None


def _columns(
    path: Path,
    lines: Iterator[tuple[int, Cells]],
    wanted: Sequence[str | int | None],
    header: bool | None,
) -> tuple[list[str], bool, Iterator[tuple[int, Cells]]]:
    """The columns' names, whether the file says them, and the lines that hold values."""
    line, cells = next(lines, (0, Cells()))
    if not cells:
        raise ValueError(f"{path}: empty")
    stripped = [cell.strip() for cell in cells]
    if header is None:
        named = not any(_is_number(cell) for cell in stripped)
        # A name asked for that stands there is a name, unless it might as well be a value.
        named = named or any(name in stripped for name in wanted if not _is_number(name))
    else:
        named = header
    names = [f"column {i}" for i in range(1, len(cells) + 1)]
    if named:
        names = [cell or name for cell, name in zip(stripped, names, strict=True)]
        return names, True, lines
    return names, False, chain([(line, cells)], lines)


def _is_number(cell: object) -> bool:
    try:
        float(str(cell))
    except ValueError:
        return False
    return True


def _quoted(names: Sequence[str], most: int = 12) -> str:
    listed = ", ".join(repr(name) for name in names[:most])
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed


def _position(path: Path, names: list[str], column: str | int) -> int:
    """Index of a column given by name or by number (from 1; -1 is the last)."""
    if isinstance(column, str) and column in names:
        if names.count(column) > 1:
            raise ValueError(f"{path}: several columns are named {column!r}: give a number")
        return names.index(column)
    try:
        number = int(column)
    except ValueError:
        near = get_close_matches(str(column), names, 1)
        hint = f": did you mean {near[0]!r}?" if near else f". It has {_quoted(names)}"
        raise ValueError(f"{path}: no column is named {column!r}{hint}") from None
    if not 1 <= abs(number) <= len(names):
        raise ValueError(
            f"{path}: no column {number}: they count from 1 to {len(names)}, and -1 is the last"
        )
    return number - 1 if number > 0 else len(names) + number


def _bad_cell(
    path: Path, line: int, cells: Cells, columns: list[int], names: list[str], named: bool
) -> ValueError:
    column = next(i for i in columns if not _is_number(cells[i]))
    cell = cells[column].strip()
    where = f"{path}, line {line}, {_named(names, column)}"
    if cell.lower() in _MISSING:
        return ValueError(f"{where}: the value is missing: fill it in, or leave the row out")
    remedy = "write numbers, or drop the column"
    if line == 1 and not named:
        remedy += "; if line 1 holds the names of the columns, say header"
    return ValueError(f"{where}: {cell!r} is not a number: {remedy}")


def _bad_value(path: Path, line: int, names: list[str], column: int, value: float) -> ValueError:
    found = "the value is missing" if math.isnan(value) else f"{value} is not a finite number"
    where = f"{path}, line {line}, {_named(names, column)}"
    return ValueError(f"{where}: {found}: fill it in, or leave the row out")


def _named(names: list[str], column: int) -> str:
    plain = f"column {column + 1}"
    return plain if names[column] == plain else f"{plain} ({names[column]!r})"


def _labels(
    where: str, cells: Cells, lines: list[int], task: Task | None
) -> tuple[NDArray[Any], list[str] | None]:
    """Class indices and names, or values and None."""
    for cell, line in zip(cells, lines, strict=True):
        if cell.lower() in _MISSING:
            raise ValueError(f"{where}, line {line}: the value is missing: leave the row out")
    texts = [(cell, line) for cell, line in zip(cells, lines, strict=True) if not _is_number(cell)]
    if task == "regression" and texts:
        raise ValueError(f"{where}, line {texts[0][1]}: {texts[0][0]!r} is not a number")
    if texts:
        names = sorted(set(cells))
        index = {name: i for i, name in enumerate(names)}
        classes = np.array([index[cell] for cell in cells], np.int64)
    else:
        values = np.array([float(cell) for cell in cells])
        if not np.isfinite(values).all():
            worst = int(np.argmin(np.isfinite(values)))
            raise ValueError(f"{where}, line {lines[worst]}: {values[worst]} is not finite")
        distinct, classes = np.unique(values, return_inverse=True)
        whole = bool((distinct == np.round(distinct)).all())
        most = min(_MOST_CLASSES, max(2, len(values) // 4))
        if task == "regression" or (task is None and not (whole and len(distinct) <= most)):
            return values, None
        names = [
            f"{value:.0f}" if value.is_integer() else repr(value) for value in distinct.tolist()
        ]
    if len(names) == 1:
        raise ValueError(f"{where}: all rows have the same value, {names[0]!r}: nothing to learn")
    if len(names) > max(2, len(cells) // 2):
        raise ValueError(
            f"{where}: {len(names)} different values in {len(cells)} rows are not classes"
        )
    return classes.astype(np.int64).reshape(-1), names
