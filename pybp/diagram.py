"""The picture that `Model.plot` draws: layers in rows by their depth, joined by arrows."""

from __future__ import annotations

from itertools import pairwise
from os import PathLike
from typing import TYPE_CHECKING, Any

from pybp.layers.activation import name_of
from pybp.layouts import given_shape
from pybp.plots import _figure, _saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pybp.network import Network

ROW, BOX, GAP = 1.1, 0.62, 0.35  # inches: from row to row, a box's height, between boxes
LETTER = 0.085  # ... a letter's width
PASS = 0.3  # ... of the lane in which an arrow passes a row
SWEEPS = 8
IN, HIDDEN, OUT = "#dbe9f6", "#f2f2f2", "#fde3c8"


def draw(network: Network, path: str | PathLike | None = None) -> Figure:
    """See `Model.plot`."""
    layout = _Layout(network)
    figure = _figure(layout.width + 0.4, layout.height + 0.3)
    from matplotlib.patches import Rectangle

    axes = figure.add_subplot(aspect="equal")
    axes.set(xlim=(-0.2, layout.width + 0.2), ylim=(layout.height + 0.15, -0.15))
    axes.axis("off")
    shared = {step.layer for step in network.steps if step.label != step.name}
    for i, step in enumerate(network.steps):
        x, y, width = layout.place(i)
        fill = IN if i in network.inputs else OUT if i in network.outputs else HIDDEN
        corner = x - width / 2, y - BOX / 2
        box = Rectangle(corner, width, BOX, fc=fill, ec="#444444", zorder=2)
        if step.layer in shared:
            box.set(linestyle="--", linewidth=1.4)
        axes.add_patch(box)
        lines = layout.text[i]
        how: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 3, "parse_math": False}
        axes.text(x, y - 0.15, lines[0], weight="bold", size=9, **how)
        axes.text(x, y + 0.04, lines[1], size=8, **how)
        axes.text(x, y + 0.2, lines[2], size=8, color="#555", **how)
    for way in layout.ways():
        axes.plot(*zip(*way[:-1], strict=True), color="#444444", linewidth=1, zorder=1)
        arrow = {"arrowstyle": "-|>", "color": "#444444", "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", way[-1], way[-2], arrowprops=arrow, zorder=1)
    return _saved(figure, path)


class _Layout:
    """Sugiyama, Tagawa and Toda's layers (IEEE SMC 11, 1981): a step's row is the length of the
    longest way to it; arrows over several rows pass through empty places of the rows between; and
    places in a row are ordered by the mean of their neighbours' until little crosses."""

    def __init__(self, network: Network) -> None:
        steps = network.steps
        self.text = [_lines(step.layer, step.label, given_shape(step.node)) for step in steps]
        depth: list[int] = []
        for step in steps:
            depth.append(1 + max((depth[j] for j in step.inputs), default=-1))
        rows: list[list[int]] = [[] for _ in range(max(depth) + 1)]
        self._size = [LETTER * max(map(len, lines)) + 0.25 for lines in self.text]
        self._row = list(depth)
        for i in range(len(steps)):
            rows[depth[i]].append(i)
        # Chains of places: from an input, through the rows between, to the step that takes it.
        self._chains: list[list[int]] = []
        for i, step in enumerate(steps):
            for j in step.inputs:
                between = []
                for row in range(depth[j] + 1, depth[i]):
                    between.append(len(self._row))
                    rows[row].append(len(self._row))
                    self._row.append(row)
                    self._size.append(PASS)
                self._chains.append([j, *between, i])
        self._order(rows)
        self._spread(rows)
        self.height = ROW * (len(rows) - 1) + BOX

    def _neighbours(self) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        above: dict[int, list[int]] = {i: [] for i in range(len(self._row))}
        below: dict[int, list[int]] = {i: [] for i in range(len(self._row))}
        for way in self._chains:
            for a, b in pairwise(way):
                above[b].append(a)
                below[a].append(b)
        return above, below

    def _order(self, rows: list[list[int]]) -> None:
        above, below = self._neighbours()
        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            near = above if down else below
            place = {i: k - len(row) / 2 for row in rows for k, i in enumerate(row)}
            for row in rows if down else reversed(rows):
                mean = {
                    i: sum(place[j] for j in near[i]) / len(near[i]) if near[i] else place[i]
                    for i in row
                }
                row.sort(key=mean.__getitem__)
                place |= {i: k - len(row) / 2 for k, i in enumerate(row)}

    def _spread(self, rows: list[list[int]]) -> None:
        """Places along the rows: near the mean of their neighbours', and apart from each other."""
        above, below = self._neighbours()
        x: dict[int, float] = {}
        for row in rows:
            at = -sum(self._size[i] + GAP for i in row) / 2
            for i in row:
                x[i] = at + self._size[i] / 2
                at += self._size[i] + GAP
        for sweep in range(3 * SWEEPS):
            near = above if sweep % 2 == 0 else below
            for row in rows if sweep % 2 == 0 else reversed(rows):
                wish = [sum(x[j] for j in near[i]) / len(near[i]) if near[i] else x[i] for i in row]
                x |= dict(zip(row, self._apart(row, wish), strict=True))
        left = min(x[i] - self._size[i] / 2 for i in x)
        self.width = max(x[i] + self._size[i] / 2 for i in x) - left
        self._x = {i: x[i] - left for i in x}

    def _apart(self, row: list[int], wish: list[float]) -> list[float]:
        """Places that keep their distance: pushed to the right, pushed to the left, the mean."""
        right, left = list(wish), list(wish)
        for k in range(1, len(row)):
            apart = (self._size[row[k - 1]] + self._size[row[k]]) / 2 + GAP
            right[k] = max(right[k], right[k - 1] + apart)
        for k in reversed(range(len(row) - 1)):
            apart = (self._size[row[k]] + self._size[row[k + 1]]) / 2 + GAP
            left[k] = min(left[k], left[k + 1] - apart)
        return [(a + b) / 2 for a, b in zip(right, left, strict=True)]

    def place(self, i: int) -> tuple[float, float, float]:
        """Centre and width of a place."""
        return self._x[i], ROW * self._row[i] + BOX / 2, self._size[i]

    def ways(self) -> list[list[tuple[float, float]]]:
        """The corners of every arrow."""
        found = []
        for way in self._chains:
            points = []
            for k, i in enumerate(way):
                x, y, _ = self.place(i)
                if k:
                    points.append((x, y - BOX / 2))
                if k < len(way) - 1:
                    points.append((x, y + BOX / 2))
            found.append(points)
        return found


def _lines(layer: object, label: str, shape: tuple[int, ...]) -> tuple[str, str, str]:
    kind = f"{type(layer).__name__} {name_of(getattr(layer, 'activation', None))}".rstrip()
    return label, kind, f"({', '.join(map(str, shape))})"
