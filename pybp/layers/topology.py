"""The order of a directed acyclic graph of units, and what can be wrong with it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pybp.checks import real

Unit = int | str
MOST_EDGES = 2**28  # their lists count in 32 bits


def natural(unit: Unit) -> tuple:
    """A key to sort units by: numbers before names, and numbers within names by their value.

    >>> sorted(["x10", "x2", 3], key=natural)
    [3, 'x2', 'x10']
    """
    if isinstance(unit, int):
        return (0, unit)
    parts = re.split(r"(\d+)", unit)
    return (1, *((word, int(n)) for word, n in zip(parts[::2], [*parts[1::2], -1], strict=True)))


def read_edges(edges: Any) -> tuple[list[tuple], np.ndarray]:
    """The edges as they are given, and their weights, NaN where there is none."""
    if not isinstance(edges, Sequence | np.ndarray) or isinstance(edges, str):
        raise TypeError(
            f"NeuronGraph: edges is a list of (from, to) or (from, to, weight), got {edges!r}"
        )
    if not 1 <= len(edges) <= MOST_EDGES:
        raise ValueError(f"NeuronGraph takes 1 to {MOST_EDGES} edges, got {len(edges)}")
    if isinstance(edges, np.ndarray):
        edges = _rows(edges)
    found: list[tuple] = []
    weights = np.full(len(edges), math.nan)
    first: dict[tuple[Unit, Unit], int] = {}
    for k, edge in enumerate(edges):
        if not isinstance(edge, list | tuple) or len(edge) not in (2, 3):
            raise ValueError(f"edges[{k}] must be (from, to) or (from, to, weight), got {edge!r}")
        ends = edge[0], edge[1]
        if type(ends[0]) is not int or type(ends[1]) is not int:
            ends = _unit(edge[0], k), _unit(edge[1], k)
        if ends[0] == ends[1]:
            raise ValueError(
                f"edges[{k}]: unit {ends[0]!r} feeds itself; the graph must have no cycles"
            )
        if first.setdefault(ends, k) != k:
            raise ValueError(
                f"edges[{k}] leads from {ends[0]!r} to {ends[1]!r} as edges[{first[ends]}] does: "
                "give each connection once"
            )
        if len(edge) == 3:
            weights[k] = real(edge[2], f"edges[{k}], from {ends[0]!r} to {ends[1]!r}: the weight")
            found.append((*ends, float(weights[k])))
        else:
            found.append(ends)
    return found, weights


def _rows(edges: np.ndarray) -> list[Any]:
    """The rows of an array; beside weights, which are floats, units are whole ones."""
    rows = edges.tolist()
    if edges.ndim != 2 or edges.dtype.kind != "f":
        return rows
    return [[*(int(u) if u.is_integer() else u for u in row[:2]), *row[2:]] for row in rows]


def _unit(given: Any, k: int) -> Unit:
    if isinstance(given, np.integer):
        return int(given)
    if isinstance(given, bool) or not isinstance(given, int | str) or given == "":
        raise TypeError(f"edges[{k}]: a unit is a whole number or a name, got {given!r}")
    return given


def check_units(
    given: Iterable[Unit], known: Mapping[Unit, Any], what: str, trouble: str = "has no edges"
) -> None:
    """Refuse units that are not among the known ones, or stand twice in a list."""
    seen = set()
    for unit in given:
        if unit not in known:
            few = ", ".join(repr(u) for u in list(known)[:8]) + (", ..." if len(known) > 8 else "")
            raise ValueError(f"NeuronGraph: {what}: unit {unit!r} {trouble}. Known: {few}")
        if unit in seen:
            raise ValueError(f"NeuronGraph: {what}: unit {unit!r} is named twice")
        seen.add(unit)


class Topology:
    """Units, their successors and their levels: inputs 0, others one more than the highest level
    that feeds them."""

    def __init__(
        self,
        edges: Sequence[tuple],
        inputs: Sequence[Unit] | None,
        outputs: Sequence[Unit] | None,
    ) -> None:
        self.edges = edges
        self.successors: dict[Unit, list[Unit]] = {}
        self.predecessors: dict[Unit, list[Unit]] = {}
        for begin, end, *_ in edges:
            self.successors.setdefault(begin, []).append(end)
            self.predecessors.setdefault(end, []).append(begin)
        names = dict.fromkeys(unit for edge in edges for unit in edge[:2])
        self.units: list[Unit] = sorted(names, key=natural)
        self.level = self._sorted()
        sources = [unit for unit in self.units if unit not in self.predecessors]
        sinks = [unit for unit in self.units if unit not in self.successors]
        self.inputs = self._ends(inputs, sources, "inputs")
        self.level_zero = frozenset(self.inputs)
        if set(self.inputs) != set(sources):
            fed = [unit for unit in self.inputs if unit in self.predecessors]
            if fed:
                raise ValueError(
                    f"NeuronGraph: inputs: unit {fed[0]!r} is fed by "
                    f"{self.predecessors[fed[0]][0]!r}, and an input is fed by x alone"
                )
            left = next(unit for unit in sources if unit not in self.level_zero)
            raise ValueError(
                f"NeuronGraph: inputs: no edge leads to unit {left!r}, so it is an input too: name "
                "it in its place"
            )
        self.outputs = self._ends(outputs, sinks, "outputs")
        self._all_reach_outputs()

    def _ends(self, given: object, default: list[Unit], what: str) -> list[Unit]:
        if given is None:
            return default
        if not isinstance(given, Sequence) or isinstance(given, str) or not given:
            raise TypeError(f"NeuronGraph: {what} is a list of units, got {given!r}")
        check_units(given, dict.fromkeys(self.units), what)
        return list(given)

    def _sorted(self) -> dict[Unit, int]:
        """Every unit's level."""
        waits = {unit: len(feeding) for unit, feeding in self.predecessors.items()}
        level = {unit: 0 for unit in self.units if unit not in waits}
        ready = list(level)
        for unit in ready:  # which grows
            for after in self.successors.get(unit, ()):
                level[after] = max(level.get(after, 0), level[unit] + 1)
                waits[after] -= 1
                if waits[after] == 0:
                    ready.append(after)
        if len(ready) < len(self.units):
            self._refuse_cycle({unit for unit, left in waits.items() if left > 0})
        return level

    def _refuse_cycle(self, stuck: set[Unit]) -> None:
        """Back from a unit that waits to one that it waits for, until one comes again."""
        path: list[Unit] = [min(stuck, key=natural)]
        place = {path[0]: 0}
        while True:
            before = next(unit for unit in self.predecessors[path[-1]] if unit in stuck)
            if before in place:
                break
            place[before] = len(path)
            path.append(before)
        cycle = [before, *reversed(path[place[before] :])]
        words = [repr(unit) for unit in cycle]
        if len(words) > 12:
            words[6:-6] = ["..."]
        raise ValueError(
            f"NeuronGraph: the edges form a cycle: {' -> '.join(words)}; remove one of them, since "
            "a unit cannot wait for itself"
        )

    def _all_reach_outputs(self) -> None:
        reached = set(self.outputs)
        todo = list(self.outputs)
        while todo:
            for before in self.predecessors.get(todo.pop(), ()):
                if before not in reached:
                    reached.add(before)
                    todo.append(before)
        if len(reached) < len(self.units):
            idle = next(unit for unit in self.units if unit not in reached)
            raise ValueError(
                f"NeuronGraph: unit {idle!r} reaches none of the outputs, so it would do nothing: "
                "name it, or one that it feeds, among the outputs, or leave out its edges"
            )

    def feeds(self, unit: Unit) -> bool:
        """Whether an edge leads on from the unit."""
        return unit in self.successors

    def order(self, kind: Mapping[Unit, Any]) -> list[Unit]:
        """Inputs as they are given, then level by level, units of one kind beside each other."""
        hidden = [unit for unit in self.units if unit not in self.level_zero]
        hidden.sort(key=lambda unit: (self.level[unit], str(kind[unit])))
        return [*self.inputs, *hidden]

    def levels(self, order: Sequence[Unit]) -> np.ndarray:
        """The units' levels, in this order."""
        return np.array([self.level[unit] for unit in order])

    def ends(self, number: Mapping[Unit, int]) -> np.ndarray:
        """(from, to) of each edge, by the units' numbers."""
        return np.array([(number[edge[0]], number[edge[1]]) for edge in self.edges], np.int32)
