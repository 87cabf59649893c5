"""The line that shows how far a long training is: where somebody is there to see it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

_PATIENCE = 0.5  # seconds of silence: shorter work is not worth a line
_INTERVAL = 0.1  # seconds between two looks of the line
_NOTEBOOK_WIDTH = 110  # characters; notebooks do not say theirs
_BARS = (20, 10, 4)  # characters: the longest that leaves room for the rest


class Progress:
    """A bar on one line of a terminal or a notebook, and nothing at all anywhere else.

    It shows the epoch, the share done, steps per second, the remaining time, and the latest losses
    and metrics, once the work has lasted half a second, ten times a second at most. It is quiet
    with `verbose` 0, where standard error is no terminal and no notebook, and under continuous
    integration (``$CI``), unless a `stream` is named. A stream that breaks makes it quiet; it
    never stops the work.

    total_steps: of all `epochs` together.

    >>> import io
    >>> class Terminal(io.StringIO):
    ...     encoding = "ascii"
    ...     def isatty(self): return True
    >>> seconds, screen = iter([0.0, 2.0]), Terminal()
    >>> progress = Progress(100, 4, stream=screen, clock=lambda: next(seconds), columns=80)
    >>> progress.update(25, 1, {"loss": 0.5})
    >>> print(screen.getvalue().strip())
    epoch 2/4  [#####---------------]  25%  12.5 steps/s  0:06 left  loss 0.5000
    """

    def __init__(
        self,
        total_steps: int,
        epochs: int,
        verbose: int = 1,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
        columns: int | None = None,
    ) -> None:
        # Somebody who names a stream knows who watches it.
        self.visible = bool(verbose) and (stream is not None or not _is_unattended())
        self._stream = stream = sys.stderr if stream is None else stream
        self.visible = self.visible and _is_watched(stream)
        if not self.visible:
            return
        self._total, self._epochs = max(total_steps, 1), epochs
        self._clock, self._columns = clock, columns
        self._start = clock()
        self._due = self._start + _PATIENCE
        self._shown = ""
        self._last: tuple[int, int, Mapping[str, float]] = (0, 0, {})
        self._full, self._empty = _marks(stream)

    def update(self, steps_done: int, epoch: int, values: Mapping[str, float]) -> None:
        """Where the work is: steps done of all, epochs finished, latest losses and metrics."""
        if not self.visible:
            return
        self._last = steps_done, epoch, values
        now = self._clock()
        if now >= self._due:
            self._due = now + _INTERVAL
            self._show(now, finished=False)

    def close(self) -> None:
        """Leave the line as it stands at the end, if there is one, and go below it."""
        if not self.visible:
            return
        if self._shown:
            self._show(self._clock(), finished=True)
            self._write("\n")
        self.visible = False

    def _show(self, now: float, finished: bool) -> None:
        width = self._width()
        for bar in _BARS:
            parts = self._parts(now, finished, bar)
            if len("  ".join(parts)) < width:
                break
        line = parts[0]
        for part in parts[1:]:
            # What does not fit is left out: a line that wraps could not be written over.
            if len(line) + 2 + len(part) >= width:
                break
            line += f"  {part}"
        self._write("\r" + line[: width - 1].ljust(len(self._shown)))
        self._shown = line

    def _parts(self, now: float, finished: bool, bar: int) -> list[str]:
        done, epoch, values = self._last
        elapsed = max(now - self._start, 1e-9)
        rate = done / elapsed
        share = min(done / self._total, 1.0)
        filled = round(share * bar)
        parts = [
            f"epoch {min(epoch + 1, self._epochs)}/{self._epochs}",
            f"[{self._full * filled}{self._empty * (bar - filled)}] {share:4.0%}",
            f"{_count(rate)} steps/s",
        ]
        if finished:
            parts.append(f"{_clock_time(elapsed)} in all")
        elif rate:
            parts.append(f"{_clock_time((self._total - done) / rate)} left")
        return parts + [f"{name} {_steady(value)}" for name, value in values.items()]

    def _width(self) -> int:
        if self._columns is not None:
            return self._columns
        if _is_notebook(self._stream):
            return _NOTEBOOK_WIDTH
        import shutil

        return shutil.get_terminal_size().columns

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # closed, gone, or unable to encode
            self.visible = False


def _is_notebook(stream: object) -> bool:
    # Not isinstance: that would import what may not be there.
    return type(stream).__module__.split(".")[0] == "ipykernel"


def _is_unattended() -> bool:
    return bool(os.environ.get("CI")) or os.environ.get("TERM") == "dumb"


def _is_watched(stream: TextIO | None) -> bool:
    """Whether somebody sees a line that is written over."""
    if stream is None:  # a program without a console
        return False
    if _is_notebook(stream):
        return True
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def _marks(stream: TextIO) -> tuple[str, str]:
    """Characters of the bar that the stream can write."""
    try:
        "━".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "#", "-"
    return "━", " "


def _steady(value: float) -> str:
    """A number whose width changes little while its value does.

    >>> [_steady(v) for v in (0.5, 0.09937, 2.31, 12345.6, 1e-5)]
    ['0.5000', '0.0994', '2.3100', '1.235e+04', '1e-05']
    """
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e3 else f"{value:.4g}"


def _count(number: float) -> str:
    """A number in four characters or so.

    >>> [_count(n) for n in (0.25, 12.5, 950, 12_345, 4_200_000)]
    ['0.25', '12.5', '950', '12.3k', '4.2M']
    """
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def _clock_time(seconds: float) -> str:
    """Hours, minutes, seconds as a clock shows them.

    >>> _clock_time(6.2), _clock_time(75), _clock_time(3725), _clock_time(400_000)
    ('0:06', '1:15', '1:02:05', '111:06:40')
    """
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
