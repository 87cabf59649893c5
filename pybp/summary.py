"""The table that `Model.summary` prints."""

from __future__ import annotations

import math

from pybp.graph import Node, topological
from pybp.layers import Layer
from pybp.layers.activation import name_of
from pybp.layouts import given_shape

TITLES = ("layer", "role", "kind", "output", "parameters", "FLOPs/row")
WITH_UNITS = {"dense", "conv", "conv_transpose"}
MOVES = {"reshape", "permute", "zero_pad", "embedding"}  # ops that compute nothing
WORDS = 4  # columns of words, before those of numbers


def table(named: list[tuple[str, Layer, Node]]) -> str:
    """Layers by name with their role, their output's shape, parameters, and FLOPs of one row's
    forward pass."""
    nodes = topological([named[-1][2]])
    role = _roles([name for name, _, _ in named], {n.layer for n in nodes if n.op in WITH_UNITS})
    rows: list[tuple[str, ...]] = [TITLES]
    parameters = flops = 0
    for name, layer, node in named:
        own = [n for n in nodes if n.layer == name and n.op != "feed"]
        count = sum(math.prod(p.shape) for n in own for p in n.parameters)
        work = sum(n.flops for n in own if n.op not in MOVES)
        parameters, flops = parameters + count, flops + work
        activation = name_of(getattr(layer, "activation", None))
        kind = f"{type(layer).__name__} {activation}".rstrip()
        shape = f"(N, {', '.join(map(str, given_shape(node)))})"
        rows.append((name, role[name], kind, shape, f"{count:,}", f"{work:,}"))
    rows.append(("total", "", "", "", f"{parameters:,}", f"{flops:,}"))
    lines = _aligned(rows)
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _roles(names: list[str], with_units: set[str]) -> dict[str, str]:
    """Output layer: the last one with units, and what follows it. Input layer: what comes before
    the first with units. All others are hidden."""
    units = [i for i, name in enumerate(names) if name in with_units] or [len(names)]
    first, last = units[0], units[-1]
    return {
        name: "output" if i >= last else "input" if i < first else "hidden"
        for i, name in enumerate(names)
    }


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Words to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(TITLES))]
    return [
        "  ".join(
            cell.ljust(width) if i < WORDS else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
