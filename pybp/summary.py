"""The table that `Model.summary` prints."""

from __future__ import annotations

import math

from pybp.graph import Node, topological
from pybp.layers import Layer
from pybp.layers.activation import name_of

TITLES = ("layer", "kind", "output", "parameters", "FLOPs/row")


def table(named: list[tuple[str, Layer, Node]]) -> str:
    """Layers by name with their output's shape, parameters, and FLOPs of one row's forward pass."""
    nodes = topological([named[-1][2]])
    rows: list[tuple[str, ...]] = [TITLES]
    parameters = flops = 0
    for name, layer, node in named:
        own = [n for n in nodes if n.layer == name and n.op != "feed"]
        count = sum(math.prod(p.shape) for n in own for p in n.parameters)
        work = sum(n.flops for n in own)
        parameters, flops = parameters + count, flops + work
        activation = name_of(getattr(layer, "activation", None))
        kind = f"{type(layer).__name__} {activation}".rstrip()
        shape = f"(N, {', '.join(map(str, node.shape))})"
        rows.append((name, kind, shape, f"{count:,}", f"{work:,}"))
    rows.append(("total", "", "", f"{parameters:,}", f"{flops:,}"))
    lines = _aligned(rows)
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Words to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(TITLES))]
    return [
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
