"""What the command shows: tables on standard output, errors as one red line on standard error."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

P = ParamSpec("P")
R = TypeVar("R")

INTERRUPTED = 130  # what shells report after Ctrl-C


def out() -> Console:
    """Standard output, as it is now: tests and notebooks exchange it."""
    return Console(highlight=False)


def err() -> Console:
    """Standard error, as it is now."""
    return Console(stderr=True, highlight=False)


def complain(message: str) -> None:
    """One red line."""
    line = " ".join(message.split())
    err().print(Text(f"error: {line}", style="bold red"), soft_wrap=True)


def remark(message: str) -> None:
    """One line that is no result: it does not go where results are piped to."""
    err().print(Text(message, style="yellow"), soft_wrap=True)


@contextmanager
def working(what: str, quiet: bool = False) -> Iterator[None]:
    """Something turns on a terminal meanwhile."""
    if quiet:
        yield
        return
    with err().status(what):
        yield


def number(name: str, value: float) -> str:
    """A result as its table shows it: four digits, and an exponent only where zeros would swamp.

    >>> number("accuracy", 0.9876), number("loss", 0.012346), number("RMSE", 58241.7)
    ('98.76 %', '0.01235', '58,242')
    """
    if name == "accuracy":
        return f"{100 * value:.2f} %"
    if not 1e-4 <= abs(value) < 1e9:
        return f"{value:.4g}"
    return f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """A table of names and values."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def numbers(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of numbers, right-aligned below their columns' names; the last row is bold."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    rows = list(rows)
    for i, row in enumerate(rows):
        table.add_row(*row, style="bold" if i == len(rows) - 1 else None)
    return table


class Usage(typer.BadParameter):
    """An argument that cannot be meant."""

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message, param_hint=option or None)

    def format_message(self) -> str:
        hint = f"{self.param_hint}: " if self.param_hint else ""
        return f"{hint}{self.message}"


def command(function: Callable[P, R]) -> Callable[P, R]:
    """A command whose failures are one line and exit code 1."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            remark("Interrupted: nothing was saved.")
            raise typer.Exit(INTERRUPTED) from None
        except MemoryError:
            complain("out of memory: use less data, a smaller --batch-size or a smaller network")
            raise typer.Exit(1) from None
        except BrokenPipeError:  # whoever read the output has seen enough
            _silence_stdout()
            raise typer.Exit(1) from None
        except (ValueError, TypeError, OSError, ArithmeticError, ImportError) as error:
            if os.environ.get("PYBP_TRACEBACK"):
                raise
            complain(_sentence(error))
            raise typer.Exit(1) from None

    return wrapped


def _sentence(error: Exception) -> str:
    """What an error says; the system's own come as numbers."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error) or type(error).__name__


def _silence_stdout() -> None:
    """Keep the interpreter from writing the rest of its buffer to a pipe that is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Group(TyperGroup):
    """Commands whose usage errors, too, are one red line with the remedy."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and exit with 0 for success, 1 for failure, 2 for wrong usage."""
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.Abort:
            code = 1
        except Exception as error:
            # Of all errors, only typer's own about usage can say themselves in a sentence.
            sentence = getattr(error, "format_message", None)
            if sentence is None:
                raise
            context = getattr(error, "ctx", None)
            path = context.command_path if context is not None else "pybp"
            complain(f"{sentence()} (see {path} --help)")
            code = error.exit_code  # type: ignore[attr-defined]
        code = code if isinstance(code, int) else 0
        if standalone_mode:
            sys.exit(code)
        return code
