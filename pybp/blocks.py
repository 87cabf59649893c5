"""A rewrite for convolutional nets: samples go side by side in the lanes of vectors.

A row of an image is seldom a whole number of vectors, and few channels are none; but a pixel of as
many images as a vector has lanes always is one. So where a batch is large enough, convolutions and
what stands between them compute on blocks of rows (`blocked` in `csrc/pybp.h`), in which a
convolution is a product of every weight with whole vectors. What has no such form, a dense layer
or a loss, sees rows again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pybp import _core
from pybp.graph import Node, topological

STARTS = {"conv", "conv_transpose"}  # worth going into blocks for


def into_blocks(results: Sequence[Node], capacity: int) -> list[Node]:
    """The same results computed in blocks, where there are convolutions and blocks are full enough.

    The capacity is a power of two, so that one which is a multiple of a block's rows, as blocked
    tensors must have, leaves less than half of a batch's last block empty.
    """
    order = topological(results)
    width = _core.lanes()
    if width == 1 or capacity % width or not any(node.op in STARTS for node in order):
        return list(results)
    return _Rewriting().run(order, results)


class _Rewriting:
    """Old nodes and what became of them: `rows` and `blocks` are by id, of those that exist."""

    def __init__(self) -> None:
        self.rows: dict[int, Node] = {}
        self.blocks: dict[int, Node] = {}

    def run(self, order: Sequence[Node], results: Sequence[Node]) -> list[Node]:
        for node in order:
            if self.belongs(node):
                flowing, weights = node.inputs[: node.flowing], node.inputs[node.flowing :]
                inputs = (*map(self.blocked, flowing), *map(self.plain, weights))
                self.blocks[id(node)] = replace(node, inputs=inputs, blocked=True)
            elif node.op != "feed":
                inputs = tuple(self.plain(parent) for parent in node.inputs)
                same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
                self.rows[id(node)] = node if same else replace(node, inputs=inputs)
        return [self.plain(node) for node in results]

    def belongs(self, node: Node) -> bool:
        """Whether a node is computed in blocks: where it starts them, or stands behind one."""
        able = bool({"blocked", "elementwise"} & node.flags) and node.batched
        return able and (node.op in STARTS or any(id(p) in self.blocks for p in node.inputs))

    def blocked(self, node: Node) -> Node:
        """The value of an old node in blocks."""
        if id(node) not in self.blocks:
            if node.op == "feed":
                self.blocks[id(node)] = replace(node, blocked=True)
            else:
                self.blocks[id(node)] = Node("to_blocks", (self.plain(node),), layer=node.layer)
        return self.blocks[id(node)]

    def plain(self, node: Node) -> Node:
        """The value of an old node in rows."""
        if id(node) not in self.rows:
            if node.op == "feed":
                self.rows[id(node)] = node
            else:
                # Only a view of what it reads: the copy out of the blocks gives it its shape.
                source = node.inputs[0] if node.op == "reshape" else node
                self.rows[id(node)] = Node(
                    "from_blocks", (self.blocks[id(source)],), layer=node.layer, shape=node.shape
                )
        return self.rows[id(node)]
