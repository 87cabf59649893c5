"""What the compiler finds out about a graph before it emits instructions for it: which ops do
nothing in this use, and which are computed in the epilogue of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pybp.graph import Node


@dataclass
class Rewritten:
    """A graph read anew; all by id of the node.

    `same` are nodes that do nothing here, such as dropout at inference, and the node whose value is
    theirs. `fused` are producers and the elementwise node that each computes on its output. `host`
    is the producer of every such node.
    """

    same: dict[int, Node] = field(default_factory=dict)
    fused: dict[int, Node] = field(default_factory=dict)
    host: dict[int, Node] = field(default_factory=dict)

    def real(self, node: Node) -> Node:
        """The node itself, or the one whose value is its own."""
        return self.same.get(id(node), node)


def rewrite(
    order: Sequence[Node], roots: Sequence[Node], training: bool, backward: bool
) -> Rewritten:
    """What may be dropped and fused when the roots are wanted; `order` is topological."""
    r = Rewritten()
    readers: dict[int, list[Node]] = {id(node): [] for node in order}
    for node in order:
        if "random" in node.flags and not training:
            r.same[id(node)] = r.real(node.inputs[0])
            continue
        for parent in node.inputs:
            readers[id(r.real(parent))].append(node)
    wanted = {id(r.real(root)) for root in roots}
    for node in order:
        # Its only reader computes it in place, unless somebody else wants the value from before:
        # a result, or the reader itself for its derivative.
        if len(readers[id(node)]) != 1 or id(node) in wanted or "fuses" not in node.flags:
            continue
        reader = readers[id(node)][0]
        if "elementwise" in reader.flags and not (backward and "uses_x" in reader.flags):
            r.fused[id(node)] = reader
            r.host[id(reader)] = node
    return r
