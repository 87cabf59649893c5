"""NumPy references of the ops of single units, and uses of them, for `op_reference.py`."""

from __future__ import annotations

import numpy as np

from pybp.graph import OPS
from pybp.layers.neuron_graph import NeuronGraph

SAMPLES = 16  # of a block


def to_blocks(rows):
    """Rows [N, U] as they lie in memory: blocks [U, w] of up to sixteen samples."""
    parts = [rows[n : n + SAMPLES].T.ravel() for n in range(0, len(rows), SAMPLES)]
    return np.concatenate(parts).reshape(rows.shape)


def from_blocks(blocks):
    """The rows of what lies in blocks."""
    parts = (blocks[n : n + SAMPLES] for n in range(0, len(blocks), SAMPLES))
    return np.concatenate([part.reshape(part.shape[::-1]).T for part in parts])


FUNCTIONS = {
    "identity": lambda s, a: s,
    "sigmoid": lambda s, a: 1 / (1 + np.exp(-s)),
    "tanh": lambda s, a: np.tanh(s),
    "silu": lambda s, a: s / (1 + np.exp(-s)),
    "elu": lambda s, a: np.where(s > 0, s, a * np.expm1(s)),
}
NAMES = {OPS[name]["number"]: name for name in FUNCTIONS}


def neurons(x, weight, bias=None, *, runs, functions, incoming, outgoing, ends):
    """Unit by unit, by the list of edges alone."""
    table = np.asarray(functions, np.int32).reshape(-1, 3)
    values = np.empty((len(x), runs[-2]))
    begin = 0
    for end, f in np.reshape(runs, (-1, 2)):
        for unit in range(begin, end):
            if unit < x.shape[1]:
                total = x[:, unit]
            else:
                total = np.full(len(x), 0.0 if bias is None else bias[unit - x.shape[1]])
                for edge, (source, target) in enumerate(np.reshape(ends, (-1, 2))):
                    if target == unit:
                        total = total + weight[edge] * values[:, source]
            argument = table[f, 1:].copy().view(np.float64)[0]
            values[:, unit] = FUNCTIONS[NAMES[table[f, 0]]](total, argument)
        begin = end
    return to_blocks(values)


def random_edges(rng, inputs, units, share):
    """A share of all edges from lower to higher numbers, and each unit fed by one at least."""
    edges = []
    for unit in range(inputs, units):
        chosen = np.flatnonzero(rng.random(unit) < share)
        chosen = chosen if len(chosen) else [rng.integers(unit)]
        edges += [(int(source), unit) for source in chosen]
    fed = {source for source, _ in edges}
    edges += [(i, inputs) for i in range(inputs) if i not in fed]
    rng.shuffle(edges)
    return [tuple(map(int, edge)) for edge in edges]


def cases():
    """With and without biases; with functions whose derivative reads the argument; batches past the
    edges of blocks."""
    rng = np.random.default_rng(0)
    sizes = [(1, 3, 1.0, 1), (2, 9, 0.4, 5), (3, 14, 0.3, 16), (4, 20, 0.2, 33), (5, 24, 0.3, 130)]
    for inputs, units, share, rows in sizes:
        edges = random_edges(rng, inputs, units, share)
        for bias, names in [(0, ["sigmoid", "tanh"]), (1, ["tanh", "silu", "identity"])]:
            graph = NeuronGraph(edges, {u: names[u % len(names)] for u in range(units)})
            parameters = [(len(edges),), (units - inputs,)][: 1 + bias]
            yield {
                "inputs": [(inputs,)],
                "parameters": parameters,
                "attrs": graph._attrs(graph._functions),
                "rows": rows,
            }


REFERENCE = {
    "neurons": neurons,
    "neurons_rows": lambda x, units: from_blocks(x)[:, units],
}
CASES = {
    "neurons": list(cases()),
    "neurons_rows": [
        {"inputs": [(u,)], "attrs": {"units": chosen}, "rows": n}
        for u, chosen, n in [(1, [0], 1), (7, [3, 0, 6], 13), (50, list(range(0, 50, 3)), 40)]
    ],
}
