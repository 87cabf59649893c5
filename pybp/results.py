"""What a plan sums over rows, the loss first, and the numbers that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pybp import data
from pybp._core import MAX_RESULTS
from pybp.graph import Node
from pybp.losses import Loss

if TYPE_CHECKING:
    from pybp.metrics import Metric

INPUTS, TARGETS, WEIGHTS = range(3)  # the sources of a plan


class Results:
    """Loss and metrics of targets with `width` values per row, with a weight per row or without.

    `nodes` are what the plan sums. With weights, one of the sums is theirs, which means are divided
    by. Equal nodes are shared, so that metrics may be made of the same sums.
    """

    def __init__(
        self, loss: Loss, metrics: Sequence[Metric], output: Node, width: int, weighted: bool
    ) -> None:
        self.loss, self.output, self.width, self.weighted = loss, output, width, weighted
        self.target = self._feed("target", TARGETS, width)
        self._weighing = (self._feed("weights", WEIGHTS, 1),) if weighted else ()
        self.nodes = [loss.attach(output, self.target, self._weighing)]
        self.scores = loss.scores(output)
        self._total = self.sum("row_weight", self.scores) if weighted else -1
        self._metrics = [(metric, metric.sums(self)) for metric in metrics if metric.native(output)]
        if len(self.nodes) > MAX_RESULTS:
            raise ValueError(
                f"metrics need {len(self.nodes)} sums over rows, of which a model has at most "
                f"{MAX_RESULTS}: name fewer"
            )

        self.kind = "dense"

    def reading(self, array: object) -> Results:
        """Itself, with nodes that read rows of this kind."""
        *self.nodes, self.output = data.for_rows(array, [*self.nodes, self.output])
        self.kind = data.kind(array)
        return self

    @staticmethod
    def _feed(layer: str, source: int, width: int) -> Node:
        return Node("feed", attrs={"source": source, "scale": 1.0}, layer=layer, shape=(width,))

    @property
    def sources(self) -> int:
        """How many arrays a plan binds."""
        return 2 + self.weighted

    @property
    def weights(self) -> int:
        """Which of them holds the weights, or -1."""
        return WEIGHTS if self.weighted else -1

    @property
    def names(self) -> list[str]:
        """Of the loss and of the metrics that have sums."""
        return ["loss", *(metric.name for metric, _ in self._metrics)]

    def sum(self, op: str, prediction: Node, **attrs: Any) -> int:
        """Which result is the sum of this op over rows; it is there from now on."""
        for index, node in enumerate(self.nodes):
            if (node.op, node.inputs[0], node.attrs) == (op, prediction, attrs):
                return index
        inputs = (prediction, self.target, *self._weighing)
        self.nodes.append(Node(op, inputs, attrs=attrs, layer=op))
        return len(self.nodes) - 1

    def columns(self, sums: np.ndarray, rows: int) -> dict[str, list[float]]:
        """Sums of many epochs, [epochs, results], each over so many rows, as what they mean."""
        total = sums[:, self._total, None] if self.weighted else float(rows)
        # Rows that all have weight 0 have sums that are 0.
        means = sums / np.where(total, total, 1.0)
        loss = means[:, 0] if self.loss.mean else sums[:, 0]
        found = {"loss": loss.tolist()}
        for metric, indices in self._metrics:
            found[metric.name] = metric.finish(*means.T[list(indices)]).tolist()
        return found

    def named(self, sums: Sequence[float] | np.ndarray, rows: int) -> dict[str, float]:
        """The same of one epoch."""
        columns = self.columns(np.reshape(sums, (1, -1)), rows)
        return {name: column[0] for name, column in columns.items()}
