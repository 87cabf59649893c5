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
from pybp.graph import Node, topological

if TYPE_CHECKING:
    from pybp.lower import Request

STEPS: dict[str, int] = _core.steps()  # how many operands a step has
NUMBERS = {name: number for number, name in enumerate(STEPS)}
MOST_STEPS, MOST_INPUTS = 64, 6  # of an expression, as csrc/ops/expression.c has it

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


class _Merger:
    def __init__(self, request: Request) -> None:
        self.request = request
        self.backward = request.backward
        ends = [request.output] if request.output else []
        self.roots = [*request.results, *ends, *request.keep]
        self.order = topological(self.roots)
        self.held = {id(node) for node in [*self.roots, *request.wrt]}
        self.new: dict[int, Node] = {}
        self.needs: set[int] = {id(node) for node in request.wrt}
        for node in self.order:
            trains = any(p.trainable or not request.optimizer for p in node.parameters)
            if trains or any(id(x) in self.needs for x in node.inputs):
                self.needs.add(id(node))

    def run(self) -> Request:
        groups = self.groups()
        for node in self.order:
            group = groups.get(id(node))
            if group is not None:
                if node is group.nodes[0]:
                    self.new[id(node)] = self.program(node, group)
                continue
            inputs = tuple(self.new[id(x)] for x in node.inputs)
            same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
            self.new[id(node)] = node if same else replace(node, inputs=inputs)

        def now(nodes: Iterable[Node]) -> list[Node]:
            return [self.new.get(id(node), node) for node in nodes]

        r = self.request
        output = self.new[id(r.output)] if r.output else None
        return replace(
            r, results=now(r.results), output=output, keep=now(r.keep), wrt=now(r.wrt)
        )

    def groups(self) -> dict[int, _Group]:
        """The group of every node that is in one."""
        readers: dict[int, list[Node]] = {id(node): [] for node in self.order}
        for node in self.order:
            for x in node.inputs:
                readers[id(x)].append(node)
        found: dict[int, _Group] = {}
        for node in reversed(self.order):
            steps = steps_of(node)
            if steps is None or not self.free(node, readers):
                continue
            around = {id(found.get(id(reader))): found.get(id(reader)) for reader in readers[id(node)]}
            group = next(iter(around.values())) if len(around) == 1 else None
            if id(node) in self.held or group is None or not group.takes(node, len(steps)):
                if node.op != "expression":
                    continue
                group = _Group()
            group.add(node, len(steps))
            found[id(node)] = group
        return found

    def free(self, node: Node, readers: dict[int, list[Node]]) -> bool:
        """Whether no producer would compute the node in its own epilogue."""
        if node.op == "expression":
            return True
        producer = node.inputs[0]
        fuses = "fuses" in producer.flags and len(readers[id(producer)]) == 1
        return not (fuses and not (self.backward and "uses_x" in node.flags))

    def program(self, root: Node, group: _Group) -> Node:
        """One node for the group."""
        inputs: list[Node] = []
        place: dict[int, int] = {}  # of the inputs, and then of the members' values
        for member in reversed(group.nodes):
            for x in member.inputs:
                if id(x) not in group.ids and id(x) not in place:
                    place[id(x)] = len(inputs)
                    inputs.append(self.unspread(x))
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
        return Node("expression", tuple(inputs), attrs={"program": encode(steps)}, layer=root.layer)

    def unspread(self, node: Node) -> Node:
        """What a broadcast reads, where an expression may read it too: nobody wants its gradient."""
        new = self.new[id(node)]
        if node.op != "broadcast" or (self.backward and id(node) in self.needs):
            return new
        source = new.inputs[0]
        given = [(source.shape, source.batched), (new.shape, new.batched)]
        program = {"program": encode([("add", (0, 1))])}
        return source if _core.infer("expression", program, given) else new


def merged(request: Request) -> Request:
    """The request with every chain of elementwise functions as one node."""
    return _Merger(request).run() if request.merge else request
