"""The picture of a graph of single units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pybp._draw import BLUE, GREY, INK, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from pybp.layers import NeuronGraph

MOST_UNITS = 200  # beyond it a picture is a blot
_LABELS = 40  # units whose names are written


def places(graph: NeuronGraph) -> NDArray[np.float64]:
    """(x, y) of each unit: levels from left to right, their units above one another, each near the
    mean height of those that feed it."""
    levels = graph.unit_levels
    at = np.zeros((len(levels), 2))
    at[:, 0] = levels
    feeding: dict[int, list[int]] = {}
    for begin, end, *_ in graph.edges:
        feeding.setdefault(graph.column(end), []).append(graph.column(begin))
    for level in range(int(levels.max()) + 1):
        units = np.flatnonzero(levels == level)
        wish = [at[feeding[u], 1].mean() if u in feeding else -float(u) for u in map(int, units)]
        order = units[np.argsort(-np.array(wish), kind="stable")]
        spread = (len(units) - 1) / 2
        at[order, 1] = spread - np.arange(len(units))
        # A unit alone on its level steps aside, or an edge past it would go through it.
        if len(units) == 1 and 0 < level < levels.max():
            at[units, 1] = 0.6 if level % 2 else -0.6
    return at


def draw(axes: Axes, graph: NeuronGraph, weights: NDArray[Any] | None) -> None:
    """Edges as bowed lines, of the width and colour of their weights, under circles."""
    from matplotlib.patches import FancyArrowPatch

    at = places(graph)
    few = len(at) <= _LABELS
    radius = 0.2 if few else 0.1
    largest = 0.0 if weights is None else float(np.abs(weights).max(initial=0.0))
    for k, (begin, end, *_) in enumerate(graph.edges):
        p, q = at[graph.column(begin)], at[graph.column(end)]
        weight = 0.0 if weights is None or largest == 0 else float(weights[k]) / largest
        color = GREY if weights is None else VERMILLION if weight > 0 else BLUE
        strength = 0.5 if weights is None else abs(weight)
        bow = 0.0 if q[0] - p[0] == 1 else 0.18
        axes.add_patch(
            FancyArrowPatch(
                p,
                q,
                connectionstyle=f"arc3,rad={bow}",
                arrowstyle="-|>" if few else "-",
                mutation_scale=8,
                shrinkA=0,
                shrinkB=14 if few else 0,
                linewidth=0.4 + 2.2 * strength,
                color=color,
                alpha=0.25 + 0.7 * strength,
                zorder=1,
            )
        )
    _circles(axes, graph, at, radius, few)
    low, high = at.min(axis=0) - 0.5, at.max(axis=0) + 0.5
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_axis_off()


def _circles(
    axes: Axes, graph: NeuronGraph, at: NDArray[np.float64], radius: float, few: bool
) -> None:
    from matplotlib.patches import Circle

    ends = {*graph.inputs, *graph.outputs}
    for unit, place in zip(graph.units, at, strict=True):
        thick = 1.8 if unit in ends else 1.0
        axes.add_patch(Circle(place, radius, facecolor="white", edgecolor=INK, lw=thick, zorder=2))
        if few:
            name = str(unit) if len(str(unit)) <= 5 else f"{str(unit)[:4]}…"
            text = name.replace("$", r"\$")  # which would start mathematics
            axes.text(place[0], place[1], text, ha="center", va="center", fontsize=7, zorder=3)
