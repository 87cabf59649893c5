"""What a plan sums over rows, the losses first, and the numbers that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pybp import data
from pybp._core import MAX_RESULTS
from pybp.goals import Goal, log_names
from pybp.graph import Node


class Part:
    """What is summed of one output: loss and metrics, of targets with `width` values per row."""

    def __init__(self, results: Results, goal: Goal, width: int, source: int) -> None:
        self._results = results
        self.goal, self.loss, self.output, self.width = goal, goal.loss, goal.output, width
        self.target = self.loss.arranged(_feed("target", source, width), self.output)
        loss = goal.loss.attach(self.output, self.target, results.weighing)
        self.scores = goal.loss.scores(self.output)
        if goal.prefix:
            loss.layer = f"{goal.prefix}loss"
        if goal.weight != 1:
            first = loss.inputs[0]
            scaled = Node("scale_gradient", (first,), attrs={"factor": goal.weight})
            scaled.layer = first.layer
            loss.inputs = (scaled, *loss.inputs[1:])
        results.add(loss, self.scores)

    @property
    def weighted(self) -> bool:
        """Whether rows have weights."""
        return self._results.weighted

    def sum(self, op: str, prediction: Node, **attrs: Any) -> int:
        """Which result is the sum of this op over rows; it is there from now on."""
        inputs = (prediction, self.target, *self._results.weighing)
        return self._results.add(Node(op, inputs, attrs=attrs, layer=op), prediction)


class Results:
    """Losses and metrics of targets with so many values per row, with a weight per row or without.

    `nodes` are what the plan sums. With weights, one of the sums is theirs, which means are divided
    by. Equal nodes are shared, so that metrics may be made of the same sums. The plan's sources are
    the model's `inputs`, then the targets, then the weights.
    """

    def __init__(
        self, goals: Sequence[Goal], inputs: int, widths: tuple[int, ...], weighted: bool
    ) -> None:
        self.goals, self.widths, self.weighted = goals, widths, weighted
        self._first = inputs
        last = inputs + len(goals)
        self.weighing = (_feed("weights", last, 1),) if weighted else ()
        self.nodes: list[Node] = []
        self._keys: list[tuple] = []
        self.parts = [
            Part(self, goal, width, inputs + k)
            for k, (goal, width) in enumerate(zip(goals, widths, strict=True))
        ]
        first = self.parts[0]
        self._total = first.sum("row_weight", first.scores) if weighted else -1
        self._metrics = [
            (f"{part.goal.prefix}{metric.name}", metric, metric.sums(part))
            for part in self.parts
            for metric in part.goal.metrics
            if metric.native(part.output)
        ]
        if len(self.nodes) > MAX_RESULTS:
            raise ValueError(
                f"metrics need {len(self.nodes)} sums over rows, of which a model has at most "
                f"{MAX_RESULTS}: name fewer"
            )
        self.outputs = [part.output for part in self.parts]
        self.kind = "dense"

    def reading(self, array: object) -> Results:
        """Itself, with nodes that read rows of this kind."""
        found = data.for_rows(array, [*self.nodes, *self.outputs])
        self.nodes, self.outputs = found[: len(self.nodes)], found[len(self.nodes) :]
        self.kind = data.kind(array)
        return self

    @property
    def sources(self) -> int:
        """How many arrays a plan binds."""
        return self._first + len(self.goals) + self.weighted

    @property
    def weights(self) -> int:
        """Which of them holds the weights, or -1."""
        return self.sources - 1 if self.weighted else -1

    @property
    def losses(self) -> tuple[float, ...]:
        """The weights of the losses, which are the first results."""
        return tuple(goal.weight for goal in self.goals)

    @property
    def names(self) -> list[str]:
        """Of the losses and of the metrics that have sums."""
        return log_names(self.goals, lambda goal, metric: metric.native(goal.output))

    def add(self, node: Node, prediction: Node) -> int:
        """Which result is this node, or one equal to it, that looks at the prediction."""
        key = node.op, id(prediction), node.attrs, [id(n) for n in node.inputs[1:]]
        if key not in self._keys:
            self._keys.append(key)
            self.nodes.append(node)
        return self._keys.index(key)

    def columns(self, sums: np.ndarray, rows: int) -> dict[str, list[float]]:
        """Sums of many epochs, [epochs, results], each over so many rows, as what they mean."""
        total = sums[:, self._total, None] if self.weighted else float(rows)
        # Rows that all have weight 0 have sums that are 0.
        means = sums / np.where(total, total, 1.0)
        single = [(means if goal.loss.mean else sums)[:, k] for k, goal in enumerate(self.goals)]
        found = {"loss": self.total_loss(single).tolist()}
        if len(self.goals) > 1:
            for goal, values in zip(self.goals, single, strict=True):
                found[f"{goal.prefix}loss"] = values.tolist()
        for name, metric, indices in self._metrics:
            found[name] = metric.finish(*means.T[list(indices)]).tolist()
        return found

    def total_loss(self, single: Sequence[np.ndarray]) -> np.ndarray:
        """sum_k weight_k loss_k."""
        found = self.losses[0] * single[0]
        for weight, values in zip(self.losses[1:], single[1:], strict=True):
            found = found + weight * values
        return found

    def named(self, sums: Sequence[float] | np.ndarray, rows: int) -> dict[str, float]:
        """The same of one epoch."""
        columns = self.columns(np.reshape(sums, (1, -1)), rows)
        return {name: column[0] for name, column in columns.items()}


def _feed(layer: str, source: int, width: int) -> Node:
    return Node("feed", attrs={"source": source, "scale": 1.0}, layer=layer, shape=(width,))
