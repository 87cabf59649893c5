"""The table that `Model.summary` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pybp.graph import Node, topological
from pybp.layers.activation import name_of
from pybp.layouts import given_shape
from pybp.network import Network

TITLES = ("layer", "role", "kind", "output", "parameters", "FLOPs/row")
WITH_UNITS = {"dense", "matmul", "conv", "conv_transpose", "neurons"}
MOVES = {"reshape", "permute", "zero_pad", "embedding", "identity", "view"}  # compute nothing
WORDS = 4  # columns of words, before those of numbers


def table(network: Network) -> str:
    """Layers by name with their role, their output's shape, parameters, and FLOPs of one row's
    forward pass; where they are no plain chain, also with what they are connected to. What training
    leaves as it is says so."""
    nodes = topological(network.nodes(network.outputs))
    steps = network.steps
    role = _roles(network, {n.layer.split(".")[0] for n in nodes if n.op in WITH_UNITS})
    rows: list[tuple[str, ...]] = []
    parameters = frozen = flops = 0
    for step in steps:
        inputs = [steps[i] for i in step.inputs]
        own = [n for n in _between(step.node, [s.node for s in inputs]) if n.op != "feed"]
        first = step.label == step.name  # later uses have no parameters of their own
        sizes = {p.name: math.prod(p.shape) for n in own for p in n.parameters}
        count = sum(sizes.values()) if first else 0
        work = sum(n.flops for n in own if n.op not in MOVES)
        parameters, flops = parameters + count, flops + work
        stays = count > 0 and not any(p.trainable for n in own for p in n.parameters)
        frozen += count * stays
        activation = name_of(getattr(step.layer, "activation", None))
        kind = " ".join(filter(None, (type(step.layer).__name__, activation, "(frozen)" * stays)))
        shape = f"({', '.join(['N', *map(str, given_shape(step.node))])})"
        words = (step.label, role[step.label], kind, shape)
        behind = () if network.is_chain else (", ".join(s.label for s in inputs),)
        rows.append((*words, *behind, f"{count:,}", f"{work:,}"))
    linked = () if network.is_chain else ("connected to",)
    titles = (*TITLES[:WORDS], *linked, *TITLES[WORDS:])
    blank = ("",) * (WORDS - 1 + len(linked))
    total = ("total", *blank, f"{parameters:,}", f"{flops:,}")
    still = [("of which frozen", *blank, f"{frozen:,}", "")] if frozen else []
    lines = _aligned([titles, *rows, total, *still], WORDS + len(linked))
    rule, end = "-" * max(map(len, lines)), len(rows) + 1
    return "\n".join([lines[0], rule, *lines[1:end], rule, *lines[end:]])


def _between(node: Node, inputs: Sequence[Node]) -> list[Node]:
    """The nodes of one step."""
    before = {id(n) for n in topological(inputs)}
    return [n for n in topological([node]) if id(n) not in before]


def _roles(network: Network, with_units: set[str]) -> dict[str, str]:
    """Output layers: the model's outputs, and what each is alone made of back to the last units.
    Input layers: no units at them or before them. All others are hidden."""
    steps = network.steps
    units = [step.name in with_units for step in steps]
    behind_units = list(units)
    for i, step in enumerate(steps):
        behind_units[i] |= any(behind_units[j] for j in step.inputs)
    found = ["hidden" if behind else "input" for behind in behind_units]
    for i in network.outputs:
        found[i] = "output"
        while not units[i] and len(steps[i].inputs) == 1 and behind_units[i]:
            (i,) = steps[i].inputs
            found[i] = "output"
    return {step.label: role for step, role in zip(steps, found, strict=True)}


def _aligned(rows: list[tuple[str, ...]], words: int) -> list[str]:
    """Words to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
