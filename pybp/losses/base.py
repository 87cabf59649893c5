"""What a loss is: the node that it adds behind a model's output, and the targets that it takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from pybp import data
from pybp._core import Source
from pybp.described import Described
from pybp.graph import OPS, Node
from pybp.layouts import channels, move, moved, order_of

# Ops that may end in scores: no activation, or the functions of a custom layer.
OPEN = {"dense", "identity", "conv", "conv_transpose", "matmul", "expression", "sum", "take"}
# ... and those that only move or add what others have computed.
OPEN |= {"view", "reshape", "permute", "concat", "add"}


class Loss(Described):
    """Base of all losses.

    `mean` says whether a batch's loss is the mean over its rows or their sum; gradients follow.
    """

    name = ""
    mean = True

    def kernel(self, output: Node, width: int) -> tuple[str, dict[str, Any]]:
        """The op and its attributes, for targets with `width` values per row."""
        raise NotImplementedError

    def scores(self, output: Node) -> Node:
        """The node that the loss is computed from; ValueError when the last layer does not suit."""
        return output

    def binary(self, output: Node, width: int) -> bool:
        """Whether each output parts two classes of its own, instead of standing for one of many."""
        return channels(output) == 1

    def places(self, output: Node) -> int:
        """At how many places of a row one class of many is told from the others."""
        return 1

    def threshold(self, output: Node) -> float:
        """Where a single score parts class 0 from class 1."""
        return 0.0 if ending(output)[0].op == "tanh" else 0.5

    def probable(self, output: Node, values: np.ndarray) -> np.ndarray:
        """Outputs (N, C) of which a larger one is more probable, across the rows too."""
        return values

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        """`y` checked and bound, (N, width)."""
        raise NotImplementedError

    def arranged(self, target: Node, output: Node) -> Node:
        """Targets (width,) in the order of the scores."""
        return target

    def classes(self, targets: np.ndarray, output: Node) -> np.ndarray:
        """The class of every row, (N,), of bound targets; ValueError when they have none."""
        raise ValueError(
            f"class_weight needs targets that are classes, and loss {self.name!r} takes values: "
            "weigh rows with sample_weight"
        )

    def attach(self, output: Node, target: Node, weights: tuple[Node, ...] = ()) -> Node:
        """The node that holds the loss of every row."""
        op, attrs = self.kernel(output, target.shape[-1])
        return Node(op, (self.scores(output), target, *weights), attrs=attrs, layer="loss")


def ending(output: Node) -> tuple[Node, list[Node]]:
    """The node whose values the output moves, and how; a function of `bp.ops` as the op it is."""
    last, steps = moved(output)
    if last.op == "expression":
        from pybp.fuse import steps_of

        (name, operands), *more = steps_of(last) or [("", ())]
        if not more and name in OPS:
            last = Node(name, (last.inputs[int(operands[0])],), layer=last.layer)
    return last, steps


def logits(name: str, output: Node, *activations: str) -> Node:
    """What goes into the last layer's activation, for a loss that includes it."""
    last, steps = ending(output)
    if last.op in activations:
        order, scores = order_of(last, steps), last.inputs[0]
        if (order == np.arange(len(order))).all():
            return scores
        if last.op == "sigmoid" or _moves_rows(order, last.shape[-1], output.shape[-1]):
            return move(scores, steps)
        raise ValueError(
            f"loss {name!r} is over the last axis of layer {output.layer!r}, {output.shape}, but "
            f"the {last.op} of layer {last.layer!r} is over another one: leave the {last.op} out"
        )
    if output.op not in OPEN:
        raise ValueError(
            f"loss {name!r} takes a last layer with {', '.join(activations)} or no activation, "
            f"layer {output.layer!r} ends in {output.op}"
        )
    blended = {ending(part)[0].op for part in last.inputs} if last.op == "add" else set()
    if blended and blended <= {*activations}:
        raise ValueError(
            f"loss {name!r} takes scores, and layer {output.layer!r} is a sum of what has been "
            f"through {', '.join(sorted(blended))}: sum what goes into it, or use loss='mse'"
        )
    return output


def _moves_rows(order: np.ndarray, before: int, after: int) -> bool:
    """Whether values that were side by side along the last axis still are."""
    rows = order.reshape(-1, after)
    return before == after and bool((rows == rows[:, :1] // after * after + np.arange(after)).all())


def refuse_rows(bad: np.ndarray, array: np.ndarray, what: str, wanted: str) -> None:
    """The error for the first row in which something is bad."""
    rows = bad.reshape(len(bad), -1).any(axis=1)
    if rows.any():
        row = int(rows.argmax())
        raise ValueError(f"{what}[{row}] is {array[row]}: {wanted}")


def one_by_one(name: str, y: object, output: Node, dtype: np.dtype, what: str) -> Source:
    """Targets (N, C) that C outputs are compared with one by one."""
    array = data.as_array(y, what)
    units = output.shape[-1]
    if units > 1 and array.ndim == 1:
        raise ValueError(
            f"{what} has shape {array.shape} but layer {output.layer!r} has {units} outputs "
            f"and loss {name!r} compares one by one: pass shape (N, {units}), for class "
            f"labels np.eye({units})[{what}], or use loss='cross_entropy'"
        )
    rows = data.as_rows(array, output, what)
    return data.finite_source(rows, what, data.largest(dtype))
