"""What a training run recorded."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History:
    """Losses and metrics of every finished epoch.

    Attributes
    ----------
    history : dict[str, list[float]]
        "loss" and each metric by name; with validation data also "val_loss" and so on.
    epochs : int
        Number of finished epochs.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}

    @property
    def epochs(self) -> int:
        return len(self.history.get("loss", []))

    def extend(self, values: dict[str, list[float]]) -> None:
        """Add epochs."""
        for name, column in values.items():
            self.history.setdefault(name, []).extend(column)

    def plot(self, path: str | PathLike | None = None) -> Figure:
        """Curves of the losses and metrics; saved to `path` when one is given.
        Needs matplotlib (`pip install "pybp[plot]"`)."""
        from pybp import plots

        return plots.history(self, path)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items())
        return f"History({self.epochs} epochs{': ' + last if last else ''})"
