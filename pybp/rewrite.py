"""What the compiler finds out about a graph before it emits instructions for it: which ops do
nothing in this use, and which are computed in the epilogue of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pybp.graph import Node


@dataclass
class Rewritten:
    """A graph read anew; all by id of the node.

    `same` are nodes that do nothing here, such as dropout at inference or a parameter that has been
    read before, and the node whose value is theirs. `fused` are producers and the elementwise node
    that each computes on its output; `folded` are producers and the batch normalisation that is a
    scale and a shift of its output's columns, before the elementwise node or, with the producer in
    `late`, after it. `host` is the producer of every such node.
    """

    same: dict[int, Node] = field(default_factory=dict)
    fused: dict[int, Node] = field(default_factory=dict)
    folded: dict[int, Node] = field(default_factory=dict)
    late: set[int] = field(default_factory=set)
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
    parameters: dict[str, Node] = {}
    for node in order:
        if node.op == "parameter":
            first = parameters.setdefault(node.parameters[0].name, node)
            if first is not node:
                r.same[id(node)] = first
            continue
        if "random" in node.flags and not training:
            r.same[id(node)] = r.real(node.inputs[0])
            continue
        for parent in node.inputs:
            readers[id(r.real(parent))].append(node)
    wanted = {id(r.real(root)) for root in roots}

    def only_reader(node: Node) -> Node | None:
        """The node that alone needs this one's value."""
        alone = len(readers[id(node)]) == 1 and id(node) not in wanted
        return readers[id(node)][0] if alone else None

    for node in order:
        # Its only reader computes it in place, unless somebody else wants the value from before:
        # a result, or the reader itself for its derivative.
        reader = only_reader(node)
        if reader is None or "fuses" not in node.flags or "elementwise" not in reader.flags:
            continue
        if not (backward and "uses_x" in reader.flags):
            r.fused[id(node)] = reader
            r.host[id(reader)] = node
    if not training and not backward:
        for node in order:
            if "affine" in node.flags and not node.blocked:
                _fold(node, r, only_reader)
    return r


def _fold(node: Node, r: Rewritten, only_reader: Callable[[Node], Node | None]) -> None:
    """Fold the batch normalisation behind a node into it, be an activation behind or between."""
    reader = only_reader(node)
    if reader is not None and id(reader) in r.fused and "fuses" not in node.flags:
        return  # it could not take the activation over
    if reader is not None and reader.op == "batch_norm":
        r.folded[id(node)], r.host[id(reader)] = reader, node
        if id(reader) in r.fused:
            activation = r.fused.pop(id(reader))
            r.fused[id(node)], r.host[id(activation)] = activation, node
    elif id(node) in r.fused:
        reader = only_reader(r.fused[id(node)])
        if reader is not None and reader.op == "batch_norm" and id(reader) not in r.fused:
            r.folded[id(node)], r.host[id(reader)] = reader, node
            r.late.add(id(node))
