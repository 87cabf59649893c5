"""What a model's outputs say, and how right they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pybp.cli.problem import Part
from pybp.cli.screen import number


@dataclass(frozen=True)
class Scores:
    """How a model does on some rows."""

    rows: int
    values: dict[str, float]
    outputs: NDArray[Any]  # (rows, outputs)

    @property
    def headline(self) -> str:
        """The number that tells most, in words."""
        if "accuracy" in self.values:
            return f"{100 * self.values['accuracy']:.2f} % right"
        return f"RMSE {number('RMSE', self.values['RMSE'])}"


def classes(outputs: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The class said for every row, and how confidently; a single output is that of class 1."""
    outputs = both(outputs)
    said = outputs.argmax(axis=1)
    return said, np.take_along_axis(outputs, said[:, None], axis=1)[:, 0]


def both(outputs: NDArray[Any]) -> NDArray[Any]:
    """Outputs (N, C) with C > 1: a single one p stands for two, 1 - p and p."""
    return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs


def of_values(true: NDArray[Any], said: NDArray[Any]) -> dict[str, float]:
    """Errors in the target's own unit, and the share of its variance that is explained."""
    errors = said.astype(np.float64) - true
    squared, spread = float((errors**2).mean()), float(np.var(true))
    found = {"RMSE": squared**0.5, "MAE": float(np.abs(errors).mean())}
    found["R2"] = 1 - squared / spread if spread else float("nan")
    return found


def scores(model: Any, part: Part) -> Scores:
    """Loss and accuracy for class numbers, errors for values; `model` takes raw rows."""
    outputs = model.predict(part.x)
    if part.y.dtype.kind == "f":
        return Scores(len(part.y), of_values(part.y, outputs[:, 0]), outputs)
    y = part.y
    if model.state()["losses"][0]["kind"] in ("mse", "sse", "halfsse"):
        y = np.eye(outputs.shape[1])[y]
    found = {"loss": model.evaluate(part.x, y)["loss"]}
    # Counted from the outputs, so that the table says what the picture shows.
    found["accuracy"] = float((classes(outputs)[0] == part.y).mean())
    return Scores(len(part.y), found, outputs)
