"""Backpropagation unit by unit, on a graph with a skip; and what skips are good for.

The first part writes out the theorem: the error signal of a unit is its slope times the sum over
its successors, weight by weight, and an edge's derivative is the value at its beginning times the
signal at its end. The second trains two nets of the same fifteen units on two spirals, once with
connections from layer to layer, and once with connections from every layer to all later ones (Lang
and Witbrock, 1988).

    python examples/neuron_graph.py
"""

from pathlib import Path

import numpy as np

import pybp as bp

RATE = 0.1
X, T = [[0.5]], [[1.0]]
EDGES = [
    ("in", "i", 0.3),
    ("i", "j", -0.2),
    ("i", "k", 0.4),
    ("j", "o", 0.7),
    ("k", "o", -0.6),
    ("i", "o", 0.25),  # the skip
]


def write_out(edges):
    """Print every signal, derivative and update; the largest difference from the library's."""
    graph = bp.NeuronGraph(edges, {"o": "identity"}, use_bias=False, name="net")
    model = bp.Sequential([bp.Input(1), graph])
    model.compile(bp.optim.SGD(RATE), loss="half_sse", dtype="float64")
    gradients = model.gradients(X, T, deltas=True)
    y = dict(zip(graph.units, model.activations(X)["net.units"][0], strict=True))
    found = dict(zip(graph.units, gradients["net.delta"][0], strict=True))

    delta = {"o": y["o"] - T[0][0]}
    print(f"E = (o - t)^2 / 2 = {delta['o'] ** 2 / 2:.12f}\n")
    print(f"delta_o = o - t\n        = {y['o']:.6f} - {T[0][0]:.2f} = {delta['o']:.12f}")
    for unit in reversed(graph.units[1:-1]):
        after = [(end, weight) for begin, end, weight in edges if begin == unit]
        words = " + ".join(f"w_{unit}{end} delta_{end}" for end, _ in after)
        numbers = " + ".join(f"{weight:.2f} ({delta[end]:.6f})" for end, weight in after)
        slope = y[unit] * (1 - y[unit])
        delta[unit] = slope * sum(weight * delta[end] for end, weight in after)
        print(
            f"delta_{unit} = {unit} (1 - {unit}) ({words})\n"
            f"        = {slope:.6f} ({numbers}) = {delta[unit]:.12f}"
        )
    apart = max(abs(delta[unit] - found[unit]) for unit in delta)
    print()
    for (begin, end, weight), gradient in zip(edges, gradients["net.weight"], strict=True):
        value = y[begin] * delta[end]
        apart = max(apart, abs(value - gradient))
        print(
            f"dE/dw_{begin}{end} = {begin} delta_{end} = {value:.12f}   "
            f"w_{begin}{end} <- {weight} - {RATE} dE/dw_{begin}{end} = {weight - RATE * value:.12f}"
        )
    return apart


def spirals():
    """Two spirals of 97 points, each three times around the other."""
    at = np.arange(97)
    angle, radius = at * np.pi / 16, (104 - at) / 104
    one = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    return np.concatenate([one, -one]), np.repeat([1.0, 0.0], 97)


def layered(widths, skips):
    """Edges from each layer to the next, or to all that follow."""
    layers = [[f"{level}.{k}" for k in range(width)] for level, width in enumerate(widths)]
    return [
        (a, b)
        for end in range(1, len(layers))
        for begin in (range(end) if skips else [end - 1])
        for a in layers[begin]
        for b in layers[end]
    ]


def compare(folder):
    """Accuracy on the spirals without and with skips; pictures of the trained nets."""
    x, y = spirals()
    accuracy = []
    for skips in (False, True):
        edges = layered([2, 5, 5, 5, 1], skips)
        functions = {end: "tanh" for _, end in edges} | {"4.0": "sigmoid"}
        graph = bp.NeuronGraph(edges, functions, name="net")
        model = bp.Sequential([bp.Input(2), graph])
        model.compile(bp.optim.Adam(0.02), "binary_cross_entropy", metrics=["accuracy"])
        model.fit(x, y, epochs=3000, batch_size=len(x), verbose=0)
        accuracy.append(model.evaluate(x, y)["accuracy"])
        name = "with skips" if skips else "without skips"
        print(f"{name}: {len(edges)} weights, {100 * accuracy[-1]:.1f} % of the points are right")
        path = Path(folder) / f"{name.replace(' ', '_')}.png"
        bp.plots.neuron_graph(graph, model.parameters["net.weight"], path)
    return accuracy


def main(folder="."):
    """Both parts; the largest difference of the first, the accuracies of the second."""
    apart = write_out(EDGES)
    print()
    return apart, compare(folder)


if __name__ == "__main__":
    main()
