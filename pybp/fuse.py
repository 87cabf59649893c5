"""Chains of elementwise functions become one node: a program that reads its inputs once.

A node joins the group of its readers when all of them are in one group and nobody else wants its
value. The value of a group is that of its last node, so no path leads out of it and back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pybp import _core
from pybp.graph import OPS, Node, topological

if TYPE_CHECKING:
    from pybp.request import Request

STEPS: dict[str, int] = _core.steps()  # how many operands a step has
NUMBERS = {name: number for number, name in enumerate(STEPS)}
MOST_STEPS, MOST_INPUTS = 64, 6  # of an expression, as csrc/ops/expression.c has it

SUM = [("add", (0, 1))]
Step = tuple[str, tuple[int | float, ...]]  # operands are values' indices; of a constant, its value


def encode(steps: Iterable[Step]) -> tuple[int, ...]:
    """The program that C reads: four numbers a step."""
    words: list[int] = []
    for name, operands in steps:
        if name == "constant":
            words += [0, *struct.unpack("=2i", struct.pack("=d", operands[0])), 0]
        else:
            words += [NUMBERS[name], *(int(k) for k in operands), *[0] * (3 - len(operands))]
    return tuple(words)


def decode(program: tuple[int, ...]) -> list[Step]:
    """The steps of a program."""
    names = list(STEPS)
    steps: list[Step] = []
    for i in range(0, len(program), 4):
        number, *words = program[i : i + 4]
        if number == 0:
            steps.append(("constant", struct.unpack("=d", struct.pack("=2i", *words[:2]))))
        else:
            steps.append((names[number], tuple(words[: STEPS[names[number]]])))
    return steps


def steps_of(node: Node) -> list[Step] | None:
    """A node's function as steps; None when it is not elementwise."""
    if node.op == "expression":
        return decode(node.attrs["program"])
    if "elementwise" not in node.flags or node.op not in STEPS:
        return None
    given = list(node.attrs.values())  # at most one, as a second operand
    constants: list[Step] = [("constant", (value,)) for value in given]
    return [*constants, (node.op, (0, *(1 + k for k in range(len(given)))))]


@dataclass
class _Group:
    """Nodes that become one, in reverse order: the first gives the value."""

    nodes: list[Node] = field(default_factory=list)
    ids: set[int] = field(default_factory=set)
    size: int = 0

    def add(self, node: Node, steps: int) -> None:
        self.nodes.append(node)
        self.ids.add(id(node))
        self.size += steps

    def takes(self, node: Node, steps: int) -> bool:
        """Whether the node fits, in shape and in number."""
        root = self.nodes[0]
        if (node.shape, node.batched) != (root.shape, root.batched):
            return False
        inputs = {id(x) for member in [*self.nodes, node] for x in member.inputs}
        few = len(inputs - self.ids - {id(node)}) <= MOST_INPUTS
        return few and self.size + steps <= MOST_STEPS


class _Pass:
    """One way through the graph of a request, which makes another of it."""

    def __init__(self, request: Request) -> None:
        self.request = request
        ends = [] if request.output is None else [request.output]
        self.roots = [*request.results, *ends, *request.keep]
        self.order = topological(self.roots)
        self.held = {id(node) for node in [*self.roots, *request.wrt]}
        self.new: dict[int, Node] = {}
        self.readers: dict[int, list[Node]] = {id(node): [] for node in self.order}
        for node in self.order:
            for x in node.inputs:
                self.readers[id(x)].append(node)

    def run(self) -> Request:
        for node in self.order:
            found = self.replaced(node)
            if found is not None:
                self.new[id(node)] = found

        def now(nodes: Iterable[Node]) -> list[Node]:
            return [self.new.get(id(node), node) for node in nodes]

        r = self.request
        output = None if r.output is None else self.new[id(r.output)]
        return replace(r, results=now(r.results), output=output, keep=now(r.keep), wrt=now(r.wrt))

    def replaced(self, node: Node) -> Node | None:
        """What stands for the node, all before it being replaced; None where nothing need."""
        inputs = tuple(self.new[id(x)] for x in node.inputs)
        same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        return node if same else replace(node, inputs=inputs)

    def inside(self, node: Node) -> bool:
        """Whether one node alone reads it."""
        return len(self.readers[id(node)]) == 1 and id(node) not in self.held


class _BehindPools(_Pass):
    """The largest of a window of relus is the relu of the largest: behind max pooling, a relu and
    its derivative have a window's part of the work, and the pooling computes them in its epilogue.
    Nothing else changes: of equal positive values the first gets the gradient, of others none."""

    def replaced(self, node: Node) -> Node | None:
        relu = node.inputs[0] if node.op == "max_pool" else node
        if relu is node or relu.op != "relu" or not self.inside(relu):
            return super().replaced(node)
        pooled = replace(node, inputs=(self.new[id(relu.inputs[0])],))
        return replace(relu, inputs=(pooled,), shape=pooled.shape)


class _Linear(_Pass):
    """x W' and x W' + b with parameters W [O, I] and b [O] are the op `dense`, which hands their
    gradients to the optimiser as it makes them."""

    def replaced(self, node: Node) -> Node | None:
        found: tuple[Node, tuple] | None = (node, ())
        if node.op == "expression" and decode(node.attrs["program"]) == SUM:
            found = self.biased(*node.inputs)
        if found is None or self.weight(found[0]) is None:
            return super().replaced(node)
        product, bias = found
        x, weight = self.new[id(product.inputs[0])], product.inputs[1]
        return Node("dense", (x,), (*weight.parameters, *bias), layer=node.layer or product.layer)

    @staticmethod
    def weight(node: Node) -> Node | None:
        """W, where the node is x W'."""
        plain = {"transpose_a": 0, "transpose_b": 1}
        if node.op != "matmul" or node.attrs != plain or not node.inputs[0].batched:
            return None
        found = node.inputs[1]
        return found if found.op == "parameter" and found.ndim == 2 else None

    def biased(self, a: Node, b: Node) -> tuple[Node, tuple] | None:
        """The product and the bias of a sum; None for any other sum."""
        for product, wide in ((a, b), (b, a)):
            source = wide.inputs[0] if wide.op == "broadcast" else wide
            fits = source.op == "parameter" and source.shape == product.shape[-1:]
            if self.weight(product) is not None and self.inside(product) and fits:
                return product, source.parameters
        return None


class _Merger(_Pass):
    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.backward = request.backward
        self.needs: set[int] = {id(node) for node in request.wrt}
        for node in self.order:
            trains = any(p.trainable or not request.optimizer for p in node.parameters)
            if trains or any(id(x) in self.needs for x in node.inputs):
                self.needs.add(id(node))

        self.changing: set[int] = set()  # what stands for the nodes that need a gradient
        self.found = self.groups()

    def replaced(self, node: Node) -> Node | None:
        group = self.found.get(id(node))
        if group is not None and node is not group.nodes[0]:
            return None
        new = super().replaced(node) if group is None else self.program(node, group)
        if id(node) in self.needs and new is not None:
            self.changing.add(id(new))
        return new

    def groups(self) -> dict[int, _Group]:
        """The group of every node that is in one."""
        found: dict[int, _Group] = {}
        for node in reversed(self.order):
            steps = steps_of(node)
            if steps is None or not self.free(node):
                continue
            around = {id(g): g for g in (found.get(id(r)) for r in self.readers[id(node)])}
            group = next(iter(around.values())) if len(around) == 1 else None
            if id(node) in self.held or group is None or not group.takes(node, len(steps)):
                if node.op != "expression":
                    continue
                group = _Group()
            group.add(node, len(steps))
            found[id(node)] = group
        return found

    def free(self, node: Node) -> bool:
        """Whether no producer would compute the node in its own epilogue."""
        if node.op == "expression":
            return True
        producer = node.inputs[0]
        fuses = "fuses" in producer.flags and self.inside(producer)
        return not (fuses and not (self.backward and "uses_x" in node.flags))

    def program(self, root: Node, group: _Group) -> Node:
        """One node for the group."""
        inputs: list[Node] = []
        place: dict[int, int] = {}  # of the inputs, and then of the members' values
        for member in reversed(group.nodes):
            for x in member.inputs:
                if id(x) not in group.ids and id(x) not in place:
                    place[id(x)] = len(inputs)
                    inputs.append(self.new[id(x)])
        inputs = self.unspread(inputs, root)
        steps: list[Step] = []
        constants: dict[bytes, int] = {}
        for member in reversed(group.nodes):
            values = [place[id(x)] for x in member.inputs]
            for name, operands in steps_of(member) or []:
                if name == "constant":
                    bits = struct.pack("=d", operands[0])
                    if bits not in constants:
                        constants[bits] = len(inputs) + len(steps)
                        steps.append((name, operands))
                    values.append(constants[bits])
                    continue
                steps.append((name, tuple(values[int(k)] for k in operands)))
                values.append(len(inputs) + len(steps) - 1)
            place[id(member)] = values[-1]
        name = steps[0][0]
        plain = name in OPS and "elementwise" in OPS[name]["flags"]
        plain = plain and (OPS[name]["differentiable"] or not self.backward)
        if len(steps) == len(inputs) == 1 and plain and inputs[0].shape == root.shape:
            return Node(name, tuple(inputs), layer=root.layer)  # which its producer may compute
        return Node("expression", tuple(inputs), attrs={"program": encode(steps)}, layer=root.layer)

    def unspread(self, inputs: list[Node], root: Node) -> list[Node]:
        """The inputs, with what broadcasts read in the place of those whose gradient nobody wants,
        as long as one of them has the whole shape: an expression spreads the others itself."""
        found = list(inputs)
        for i, node in enumerate(inputs):
            if node.op != "broadcast" or (self.backward and id(node) in self.changing):
                continue
            trial = [*found[:i], node.inputs[0], *found[i + 1 :]]
            given = [(x.shape, x.batched, False) for x in trial]
            program = encode([("add", (0, len(trial) - 1))])
            rule = _core.infer("expression", {"program": program}, given)
            if rule and rule[:2] == (root.shape, root.batched):
                found = trial
        return found


def merged(request: Request) -> Request:
    """The request with relus behind max pooling, products of rows with a weight as `dense`, and
    every chain of elementwise functions as one node."""
    if not request.merge:
        return request
    return _Merger(_Linear(_BehindPools(request).run()).run()).run()
