"""Callbacks that write to files: the model, or what its training recorded."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import string
import time
from os import PathLike
from pathlib import Path

from pybp.callbacks.base import Callback, Logs
from pybp.callbacks.monitor import Monitor, check_name
from pybp.checks import boolean


class ModelCheckpoint(Monitor):
    """Saves the model after each epoch, or after those that are the best so far.

    Parameters
    ----------
    path : path
        May hold fields: {epoch}, the number of epochs done, and any of the logs, with formats as
        of `str.format`: "runs/{epoch:03d}-{val_loss:.3f}.safetensors". Without fields one file is
        written over again, each time in one step.
    save_best_only : bool
        Only after epochs whose `monitor` is better than all before in this training.
    monitor, mode : as of `EarlyStopping`

    >>> import tempfile
    >>> import pybp as bp
    >>> model = bp.Sequential([bp.Input(1), bp.Dense(1)])
    >>> model.compile(loss="mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saving = ModelCheckpoint(folder + "/{epoch}.safetensors")
    ...     _ = model.fit([[1.0]], [[2.0]], epochs=3, callbacks=[saving], verbose=0)
    ...     sorted(os.listdir(folder))
    ['1.safetensors', '2.safetensors', '3.safetensors']
    """

    def __init__(
        self,
        path: str | PathLike[str],
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, mode)
        self.path = os.fspath(path)
        self.save_best_only = boolean(save_best_only, "ModelCheckpoint: save_best_only")

    def on_train_begin(self) -> None:
        if self.save_best_only:
            super().on_train_begin()
        try:
            fields = [name for _, name, _, _ in string.Formatter().parse(self.path) if name]
        except ValueError as error:
            raise ValueError(f"ModelCheckpoint: path {self.path!r}: {error}") from None
        for name in fields:
            check_name(name, ["epoch", *self.names], f"the path {self.path!r} asks for")
        example = self._filled(0, dict.fromkeys(self.names, 0.0))
        if not example.parent.is_dir():
            raise FileNotFoundError(
                f"ModelCheckpoint: cannot save to {self.path}: folder {example.parent} does not "
                "exist; create it first"
            )
        if example.is_dir():
            raise IsADirectoryError(
                f"ModelCheckpoint: cannot save to {self.path}: it is a folder; name a file in it"
            )

    def _filled(self, epoch: int, logs: Logs) -> Path:
        try:
            return Path(self.path.format(**{**logs, "epoch": epoch + 1}))
        except (ValueError, IndexError) as error:
            raise ValueError(f"ModelCheckpoint: path {self.path!r}: {error}") from None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if not self.save_best_only or self.improved(epoch, logs):
            self.model.save(self._filled(epoch, logs))


class _Logger(Callback):
    """Base of callbacks that write a line per epoch: `epoch`, the number of epochs done; `seconds`
    since the training began; `learning_rate`, that of the epoch's last step; and the logs.

    The file is open only while a line is written, so that others may read it, and nothing is lost
    with the process. A file that cannot be opened is an error before the training begins, one that
    cannot be written to any more ends it.
    """

    def __init__(self, path: str | PathLike[str], append: bool = False) -> None:
        self.path = Path(path)
        self.append = boolean(append, f"{type(self).__name__}: append")

    def on_train_begin(self) -> None:
        self._start = time.perf_counter()
        self._place = self.path.absolute()  # wherever the program goes meanwhile
        columns = ["epoch", "seconds", "learning_rate", *self.names]
        kept = self._kept() if self.append else ""
        self._check(kept, columns)
        if not kept:
            self._write(self._header(columns), "w")
        else:
            self._write("" if kept.endswith("\n") else "\n")  # a last line that was torn off

    def _kept(self) -> str:
        """What an earlier training wrote."""
        if not self.path.is_file():
            return ""
        try:
            return self.path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise self._foreign("it is no text") from None

    def _foreign(self, why: str) -> ValueError:
        return ValueError(
            f"{type(self).__name__}: cannot append to {self.path}: {why}; name another file, or "
            "write it anew with append=False"
        )

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        seconds = round(time.perf_counter() - self._start, 6)
        rate = self.history.learning_rate[-1]
        self._write(
            self._line({"epoch": epoch + 1, "seconds": seconds, "learning_rate": rate, **logs})
        )

    def _write(self, text: str, mode: str = "a") -> None:
        with self._place.open(mode, newline="", encoding="utf-8") as file:
            file.write(text)

    def _check(self, kept: str, columns: list[str]) -> None:
        """That lines of these columns can follow what is there."""
        raise NotImplementedError

    def _header(self, columns: list[str]) -> str:
        raise NotImplementedError

    def _line(self, record: dict[str, float]) -> str:
        raise NotImplementedError


class CSVLogger(_Logger):
    """Writes a CSV file, a row per epoch: epoch, seconds, learning_rate, loss and so on.

    Parameters
    ----------
    path : path
        An existing file is replaced, unless
    append : bool
        asks for the rows to follow those of an earlier training with the same columns.

    >>> import tempfile
    >>> import pybp as bp
    >>> model = bp.Sequential([bp.Input(1), bp.Dense(1, weight_init=1.0)])
    >>> model.compile(optimizer=bp.optim.SGD(0.25), loss="mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = Path(folder, "log.csv")
    ...     _ = model.fit([[0.0]], [[1.0]], epochs=2, callbacks=[CSVLogger(log)], verbose=0)
    ...     for row in csv.DictReader(log.read_text().splitlines()):
    ...         print(row["epoch"], row["learning_rate"], row["loss"])
    1 0.25 1.0
    2 0.25 0.25
    """

    def _check(self, kept: str, columns: list[str]) -> None:
        found = next(csv.reader(io.StringIO(kept)), columns)
        if found != columns:
            raise self._foreign(
                f"its columns are {', '.join(found)}, those of this training {', '.join(columns)}"
            )

    def _header(self, columns: list[str]) -> str:
        return _csv_row(columns)

    def _line(self, record: dict[str, float]) -> str:
        return _csv_row(record.values())


def _csv_row(values: object) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(values)  # type: ignore[arg-type]
    return stream.getvalue()


class JSONLogger(_Logger):
    """Writes a JSON object per line and epoch: {"epoch": 1, "seconds": ..., "loss": ...}.

    NaN, which JSON does not know, is written as null. Parameters are those of `CSVLogger`; what is
    appended may have other names.
    """

    def _check(self, kept: str, columns: list[str]) -> None:
        first = kept.split("\n", 1)[0]
        try:
            sound = not first or isinstance(json.loads(first), dict)
        except ValueError:
            sound = False
        if not sound:
            raise self._foreign("its first line is no JSON object")

    def _header(self, columns: list[str]) -> str:
        return ""

    def _line(self, record: dict[str, float]) -> str:
        finite = {name: value if math.isfinite(value) else None for name, value in record.items()}
        return json.dumps(finite) + "\n"
