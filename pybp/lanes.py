"""A rewrite for tiny nets: their samples go side by side in the lanes of vectors.

At ten units a layer, a matrix product is mostly edges, and a step mostly the way from one
instruction to the next. With tensors [C, P], one vector per feature, dense layers need no packing
and no partial vectors, and every weight is one fused multiply-add for all samples; see
`csrc/ops/lanes.h`. Most losses and metrics still see rows: few numbers behind so small a net.
"""

from __future__ import annotations

from collections.abc import Sequence

from pybp import _core
from pybp.graph import Node, topological

MOST_ROWS = 64  # of a batch
MOST_UNITS = 32  # of a layer: beyond it the products of `dense` are the faster ones
REPLACED = {"feed": "lanes_feed", "dense": "lanes_dense"}
SAME = {"add", "multiply", "extreme", "concat"}  # along the first axis, whatever lies behind it


def into_lanes(results: Sequence[Node], capacity: int) -> list[Node]:
    """The same results computed in lanes, where every layer is tiny and has such a form."""
    tails = _predictions(results)
    body = topological(tails)
    if capacity > MOST_ROWS or not all(_fits(node) for node in body):
        return list(results)
    width = _core.lanes()
    pitch = -(-capacity // width) * width
    new: dict[int, Node] = {}
    for node in body:
        new[id(node)] = Node(
            REPLACED.get(node.op, node.op),
            tuple(new[id(parent)] for parent in node.inputs),
            node.parameters,
            node.attrs,
            node.layer,
            (*node.shape, pitch),
            batched=False,
        )
    rows = {id(t): Node("lanes_rows", (new[id(t)],), layer=t.layer) for t in tails}
    return [_ending(result, new, rows) for result in results]


def _ending(result: Node, new: dict[int, Node], rows: dict[int, Node]) -> Node:
    """A loss or metric behind the lanes."""
    own = result.op == "softmax_cross_entropy" and len(result.inputs) == 2
    prediction, *others = result.inputs
    return Node(
        f"lanes_{result.op}" if own else result.op,
        ((new if own else rows)[id(prediction)], *others),
        attrs=result.attrs,
        layer=result.layer,
    )


def _predictions(results: Sequence[Node]) -> list[Node]:
    """What of the network the losses and metrics read."""
    tails = {id(result.inputs[0]): result.inputs[0] for result in results if result.inputs}
    return list(tails.values())


def _fits(node: Node) -> bool:
    tiny = len(node.shape) == 1 and node.shape[0] <= MOST_UNITS
    known = node.op in REPLACED or node.op in SAME or "elementwise" in node.flags
    return tiny and known and not node.running
