"""Metrics: numbers per row that are averaged over a data set, computed natively beside the loss."""

from __future__ import annotations

from pybp.errors import unknown
from pybp.graph import Node
from pybp.losses import Loss

KINDS = ("accuracy", "mse", "mae")


def get(given: object) -> str:
    """The metric of a name, checked."""
    if not isinstance(given, str):
        raise TypeError(f"metrics must be names of metrics, got {given!r}")
    if given not in KINDS:
        raise unknown("metric", given, KINDS)
    return given


def attach(metric: str, loss: Loss, output: Node, target: Node) -> Node:
    """The node that holds the metric of every row."""
    units = output.shape[-1]
    if metric == "accuracy":
        # Scores order classes as their probabilities do, so the activation need not be computed.
        attrs = {
            "binary": int(units == 1 or loss.name == "binary_cross_entropy"),
            "threshold": loss.threshold(output),
        }
        return Node("accuracy", (loss.scores(output), target), attrs=attrs, layer=metric)
    if target.shape != output.shape:
        raise ValueError(
            f"metric {metric!r} compares outputs with targets one by one: with class labels, pass "
            f"one-hot targets (N, {units}), for instance np.eye({units})[y]"
        )
    if metric == "mse":
        attrs = {"factor": 1 / units, "mean": 1}
        return Node("squared_error", (output, target), attrs=attrs, layer=metric)
    return Node("absolute_error", (output, target), layer=metric)
