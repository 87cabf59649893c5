"""The command ``pybp``: train, predict and look at models without writing a program.

It is drawn with typer and rich, which are imported only when the command runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command with these arguments, those of the process by default, and exit."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ModuleNotFoundError as error:
        print(
            f'error: the command pybp needs {error.name}: pip install "pybp[cli]"', file=sys.stderr
        )
        sys.exit(1)
    from pybp.cli.app import app

    app(arguments)
    sys.exit(0)
