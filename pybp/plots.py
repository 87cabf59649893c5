"""Pictures of a training and of what a model gets right and wrong.

Every function returns a matplotlib Figure, and writes it to `path` when one is given. Figures are
made directly, without pyplot: no window opens, no backend is chosen, nothing is left behind. Needs
matplotlib: ``pip install "pybp[plot]"``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from os import PathLike, fspath
from os.path import splitext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pybp import _draw, _tiles
from pybp.checks import whole
from pybp.layouts import given_shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pybp.finder import RateSearch
    from pybp.layers import Augment, NeuronGraph
    from pybp.model import Model

Path = str | PathLike[str] | None

_DPI = 130
_MISTAKES = 12  # images shown
_LETTER = 0.09  # inches of a title, about
_TILES = 64  # filters, units or maps of a layer that are shown


def history(history: Any, path: Path = None) -> Figure:
    """Loss and metrics over the epochs, those of validation beside those of training, and the
    learning rate where it changed.

    history: what `Model.fit` returns, or a dict such as ``{"loss": [0.9, 0.4], "val_loss": ...}``.
    """
    curves = _curves(history)
    names = _panels(curves)
    figure = _figure(4.6 * len(names) + 0.4, 3.6)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        _draw.curve(axes, curves, name)
    return _saved(figure, path)


def rate_search(search: RateSearch, path: Path = None) -> Figure:
    """The losses that `find_learning_rate` saw over its learning rates, and its suggestion."""
    figure = _figure(5.4, 3.8)
    _draw.rate_search(figure.subplots(), search)
    return _saved(figure, path)


def neuron_graph(graph: NeuronGraph, weights: ArrayLike | None = None, path: Path = None) -> Figure:
    """The units of a `pybp.NeuronGraph` by level, from left to right, and its edges; thick circles
    are inputs and outputs.

    With `weights` [E], such as ``model.parameters["graph.weight"]``, edges are as thick as their
    weights are large, vermillion above zero and blue below. Of at most 200 units.
    """
    from pybp import _draw_graph

    given = None if weights is None else np.asarray(weights, float)
    if given is not None and given.shape != (len(graph.edges),):
        raise ValueError(f"weights must have shape ({len(graph.edges)},), got {given.shape}")
    if len(graph.units) > _draw_graph.MOST_UNITS:
        raise ValueError(
            f"a graph of {len(graph.units)} units cannot be seen in a picture: "
            f"{_draw_graph.MOST_UNITS} are the most"
        )
    place = _draw_graph.places(graph)
    width, height = place.max(axis=0) - place.min(axis=0) + 1.2
    scale = min(1.0, 12 / max(width, height))
    figure = _figure(max(2.4, width * scale), max(1.6, height * scale))
    _draw_graph.draw(figure.subplots(), graph, given)
    return _saved(figure, path)


def activations(path: Path = None) -> Figure:
    """Every activation and its derivative, as the library computes them; docs/activations.md has
    their equations."""
    from pybp import _gallery

    rows, columns = len(_gallery.ROWS), len(_gallery.ROWS[0])
    figure = _figure(2.1 * columns, 1.95 * rows + 0.4)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True)
    for axes, curve in zip(panels.flat, _gallery.curves(), strict=True):
        _draw.activation(axes, curve)
    figure.legend(
        handles=panels.flat[0].get_lines()[:1:-1],
        loc="outside upper center",
        ncols=2,
        frameon=False,
        fontsize=10,
        labelcolor=_draw.INK,
    )
    return _saved(figure, path)


def loss_landscape(
    model: Model,
    x: object,
    y: object,
    direction: Mapping[str, ArrayLike] | None = None,
    span: float = 1.0,
    points: int = 61,
    seed: int = 0,
    visited: ArrayLike = (),
    path: Path = None,
) -> Figure:
    """The loss of the data over the distance from a model's parameters along a line through them,
    with the slope there and the lowest point on the line.

    direction: parameters' names and the steps that a distance of 1 stands for, such as
    ``model.gradients(x, y)``; parameters that it leaves out stay. Without it a random one, drawn
    from `seed`, in which every unit's weights change by a vector as long as they are (Li et al.,
    NeurIPS 2018).
    span: distances run from -span to span. visited: distances of points to mark in their order,
    such as the steps of a descent. The model is left as it was.
    """
    from pybp import landscape

    places = np.asarray(visited, float)
    if not (np.abs(places) <= span).all():
        raise ValueError(f"loss_landscape: visited must lie between -span and span, {span:g}")
    line = landscape.along(model, x, y, direction, span, points, seed)
    figure = _figure(5.4, 3.8)
    _draw.landscape(figure.subplots(), line, places)
    return _saved(figure, path)


def confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_names: Sequence[str] | None = None,
    path: Path = None,
) -> Figure:
    """How often each true class (rows) was taken for each class (columns).

    y_true, y_pred: (N,) class numbers. Blue cells are right answers, orange ones mistakes; both
    are the stronger, the larger their share of the true class.
    """
    given = _draw.answers(y_true, y_pred, class_names)
    side = 3.2 + 0.24 * min(len(given.names), 30)
    figure = _figure(side + 0.6, side)
    _draw.confusion(figure.subplots(), given)
    return _saved(figure, path)


def misclassified(
    images: ArrayLike,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_names: Sequence[str] | None = None,
    confidence: ArrayLike | None = None,
    count: int = _MISTAKES,
    path: Path = None,
) -> Figure:
    """Some images whose class was mistaken, with the class that was said and the true one.

    images: (N, H, W) grey or (N, H, W, 3) colour. confidence: (N,); with it the most confident
    mistakes come first, without it the first in the data.
    """
    count = whole(count, "misclassified: count")
    given = _draw.answers(y_true, y_pred, class_names, confidence)
    shown = len(given.mistakes(count))
    across = max(1, min(6, shown))
    down = max(1, -(-shown // across))
    figure = _figure(1.5 * max(across, 3) + 0.3, 1.9 * down + 0.4)
    _draw.mistakes(figure, (down, across), np.asarray(images), given, count)
    figure.suptitle(_draw.mistakes_title(given, count), fontsize=11, color=_draw.INK)
    return _saved(figure, path)


def predicted_vs_true(
    y_true: ArrayLike, y_pred: ArrayLike, name: str = "target", path: Path = None
) -> Figure:
    """Predicted values over true ones, (N,) each; right predictions lie on the diagonal."""
    true, said = _draw.values(y_true, y_pred)
    figure = _figure(5.0, 4.8)
    _draw.scatter(figure.subplots(), true, said, name)
    return _saved(figure, path)


def filters(
    model: Model, layer: str | None = None, count: int = _TILES, path: Path = None
) -> Figure:
    """The filters of a convolution: blue weights are positive, orange ones negative, all on one
    scale.

    layer: its name, such as "conv2d0"; the model's first convolution when left out. Filters that
    read one channel lie side by side in reading order; otherwise a row is a filter and a column one
    of the channels that it reads. At most `count` filters and 16 channels are shown.
    """
    count = whole(count, "filters: count")
    name, weight, groups = _tiles.bank(model, layer)
    weight = weight if weight.ndim == 4 else weight[:, :, None]
    total, channels = weight.shape[:2]
    shown = weight[:count, :16]
    words = f"{name}: {_tiles.count(len(shown), total, 'filter')} of {_tiles.by(weight[0])}"
    if channels == 1:
        return _signed_tiles(shown[:, 0], _tiles.grid_for(len(shown)), words, path)
    words += f", {_tiles.count(shown.shape[1], channels, 'channel')}"
    words += f" in each of {groups} groups" if groups > 1 else ""
    rows, columns = (list(map(str, range(n))) for n in shown.shape[:2])
    # In groups a column is another channel in every group.
    names = rows, [] if groups > 1 else columns
    return _signed_tiles(shown.reshape(-1, *shown.shape[2:]), shown.shape[:2], words, path, names)


def weights(
    model: Model,
    layer: str | None = None,
    image_shape: Sequence[int] | None = None,
    count: int = _TILES,
    path: Path = None,
) -> Figure:
    """What each unit of a dense layer behind images looks for: its weights as an image. Blue ones
    are positive, orange ones negative, all on one scale; of several channels the sum is shown.

    layer: its name; the first dense layer when left out. image_shape: (H, W) or (C, H, W) of the
    images in flat rows such as those of ``Input(784)``; of rows that were images before a `Flatten`
    the model knows it. The first `count` units are shown.
    """
    count = whole(count, "weights: count")
    name, weight = _tiles.weight(model, layer, (2,), "weights")
    images = _tiles.images_read(model, name, weight[:count], image_shape)
    shown = images.sum(axis=1)
    words = f"{name}: weights of {_tiles.count(len(shown), len(weight), 'unit')}"
    return _signed_tiles(shown, _tiles.grid_for(len(shown)), words, path)


def feature_maps(
    model: Model,
    x: ArrayLike,
    layer: str | None = None,
    count: int = _TILES,
    path: Path = None,
) -> Figure:
    """What the layers make of one image: the image, and the maps, one per channel, of a layer or of
    every layer that has some and changes something. White is zero, blue above it and orange below;
    every layer has a scale of its own.

    x: one row, or a batch of one. layer: its name. At most `count` maps of a layer are shown.
    """
    count = whole(count, "feature_maps: count")
    row = np.asarray(x)
    feeds = model.network.nodes(model.network.inputs)
    if len(feeds) == 1 and row.size != math.prod(feeds[0].shape):
        raise ValueError(
            f"feature_maps: x must be one row {given_shape(feeds[0])}, or a batch of one, "
            f"got shape {row.shape}"
        )
    outputs = model.activations(row if row.ndim > 1 and row.shape[0] == 1 else row[None])
    maps: dict[str, np.ndarray] = {}
    layouts = {step.label: step.node.layout for step in model.network.steps}
    for name, value in outputs.items():
        if layouts.get(name) == "NHWC" and value.ndim == 4:
            value = np.moveaxis(value, -1, 1)
        same = maps and np.array_equal(value[0], list(maps.values())[-1])
        if value.ndim == 4 and (name == layer or not same):
            maps[name] = value[0]
    if layer is not None and layer not in maps:
        there = ", ".join(map(repr, maps)) or "none"
        raise ValueError(f"feature_maps: layer {layer!r} has no maps; layers that do: {there}")
    if not maps:
        raise ValueError("feature_maps: no layer of the model has an output of shape (C, H, W)")
    first = next(iter(maps))
    chosen = {first: maps[first]} | (maps if layer is None else {layer: maps[layer]})
    grids = [_tiles.wide_grid(min(count, len(value))) for value in chosen.values()]
    heights = [0.62 * down + 0.42 for down, _ in grids]
    figure = _figure(10.6, sum(heights))
    bands = figure.subfigures(len(chosen), 1, squeeze=False, height_ratios=heights)[:, 0]
    for band, grid, (name, value) in zip(bands, grids, chosen.items(), strict=True):
        shown = value[:count]
        words = f"{name}: {_tiles.count(len(shown), len(value), 'map')} of {_tiles.by(value)}"
        axes = band.subplots()
        _tiles.draw(axes, _tiles.scale_for(shown).paint(shown), grid)
        axes.set_anchor("W")
        band.suptitle(words, fontsize=10, color=_draw.INK, x=0.01, ha="left", parse_math=False)
    return _saved(figure, path)


def augmented(
    augment: Augment | Model,
    x: ArrayLike,
    versions: int = 8,
    seed: int = 0,
    layout: str = "NCHW",
    path: Path = None,
) -> Figure:
    """Images, and beside each some of the versions that a network sees of it in training.

    augment: a `pybp.Augment`, or a model with one, whose input's scale and layout are then applied
    too; what it normalises is shown as it was before, and so is the layer's `fill`. x: rows of the
    model, or (N, C, H, W), (N, H, W, C) with the layout "NHWC", (N, H, W), or flat rows with the
    layer's image_shape; the first eight are shown.
    """
    versions = whole(versions, "augmented: versions")
    seen = _tiles.augmenting(augment, x, layout, most=8)
    layer, images = seen.layer, seen.images
    drawn = layer.apply(np.repeat(images, versions, axis=0), seed, layout=seen.layout)
    both = np.concatenate(
        [images[:, None], drawn.reshape(len(images), versions, *images.shape[1:])], axis=1
    )
    both = both * seen.scale + seen.offset
    if seen.layout == "NHWC" and images.ndim == 4:
        both = np.moveaxis(both, -1, 2)
    shape = layer.image_shape or both.shape[2:]
    tiles = _tiles.as_pictures(both.reshape(-1, *_tiles.input_shape(shape, both[0, 0].size, "x")))
    figure = _figure(0.9 * (versions + 1) + 0.3, 0.9 * len(images) + 0.35)
    names = ["original", *(str(k + 1) for k in range(versions))]
    _tiles.draw(figure.subplots(), tiles, (len(images), versions + 1), (), names)
    return _saved(figure, path)


def _signed_tiles(
    values: np.ndarray,
    grid: tuple[int, ...],
    words: str,
    path: Path,
    names: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> Figure:
    """Weights (N, h, w) as tiles on one scale, with the scale beside them and names of the grid's
    rows and columns."""
    down, across = grid
    ratio = values.shape[1] / values.shape[2]
    side = min(0.9, 9.0 / across, 9.0 / down / ratio)
    width = max(_LETTER * len(words), side * across + 1.3)
    figure = _figure(width, max(1.5, side * ratio * down + 0.6))
    axes, scale = figure.subplots(), _tiles.scale_for(values)
    _tiles.draw(axes, scale.paint(values), (down, across), *names)
    figure.suptitle(words, fontsize=11, color=_draw.INK, x=0.01, ha="left", parse_math=False)
    _tiles.key(figure, axes, scale)
    return _saved(figure, path)


def report(
    history: Any,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    images: ArrayLike | None = None,
    confidence: ArrayLike | None = None,
    regression: bool = False,
    target_name: str = "target",
    title: str = "",
    subtitle: str = "",
    path: Path = None,
) -> Figure:
    """One picture of a whole training: the curves of `history`, and how the model does on data.

    For classes, (N,) class numbers: the confusion matrix, and some misclassified `images` or,
    without images, each class's share of right answers. For `regression`, (N,) values: predicted
    over true values, and how the errors are distributed.
    """
    curves = _curves(history)
    if regression:
        figure = _figure(13.5, 6.0)
        main, side = _beside_curves(figure, curves, (1.0, 1.35, 0.85))
        true, said = _draw.values(y_true, y_pred)
        _draw.scatter(main, true, said, target_name)
        _draw.errors(side, true, said, target_name)
    elif images is None:
        figure = _figure(13.5, 6.0)
        main, side = _beside_curves(figure, curves, (1.0, 1.35, 0.85))
        given = _draw.answers(y_true, y_pred, class_names)
        _draw.confusion(main, given)
        _draw.recall(side, given)
    else:
        figure = _figure(12.5, 8.8)
        given = _draw.answers(y_true, y_pred, class_names, confidence)
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.4, 1.0])[:, 0]
        (main,) = _beside_curves(upper, curves, (1.0, 1.15))
        _draw.confusion(main, given)
        _draw.mistakes(lower, (1, _MISTAKES), np.asarray(images), given, _MISTAKES)
        words = _draw.mistakes_title(given, _MISTAKES)
        lower.suptitle(words, fontsize=11, color=_draw.INK, x=0.01, ha="left")
    _entitle(figure, title, subtitle)
    return _saved(figure, path)


def _entitle(figure: Figure, title: str, subtitle: str) -> None:
    """Two lines at the top left, for which the layout leaves room."""
    engine: Any = figure.get_layout_engine()
    height = figure.get_size_inches()[1]
    lines = [(title, 15, _draw.INK, 0.36), (subtitle, 10, "#555555", 0.26)]
    top = 0.08  # inches
    for text, size, colour, room in lines:
        if text:
            y = 1 - top / height
            figure.text(0.01, y, text, fontsize=size, color=colour, va="top", in_layout=False)
            top += room
    engine.set(rect=(0, 0, 1, 1 - top / height))


def _beside_curves(figure: Any, curves: _draw.Curves, widths: Sequence[float]) -> list[Any]:
    """Draw the loss, and below it the first metric, in the left column; the axes beside them."""
    names = _panels(curves)[:2]
    grid = figure.add_gridspec(2, len(widths), width_ratios=widths)
    for row, name in enumerate(names):
        place = grid[row, 0] if len(names) > 1 else grid[:, 0]
        _draw.curve(figure.add_subplot(place), curves, name)
    return [figure.add_subplot(grid[:, column]) for column in range(1, len(widths))]


def _curves(history: Any) -> dict[str, list[float]]:
    curves = dict(history if isinstance(history, Mapping) else history.history)
    rates = getattr(history, "learning_rate", [])
    if len(set(rates)) > 1:
        curves[_draw.LEARNING_RATE] = rates
    if not curves.get("loss"):
        raise ValueError("history: no finished epoch to plot: train for at least one epoch")
    return curves


def _panels(curves: _draw.Curves) -> list[str]:
    """What there are curves of, some of them perhaps in validation only."""
    return list(dict.fromkeys(name.removeprefix("val_") for name in curves))


@cache
def _figure_class() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'plots are drawn with matplotlib: pip install "pybp[plot]"', name=error.name
        ) from None

    class Shown(Figure):
        """A figure that notebooks show without pyplot."""

        def _repr_png_(self) -> bytes:
            from io import BytesIO

            stream = BytesIO()
            self.savefig(stream, format="png")
            return stream.getvalue()

    return Shown


def _figure(width: float, height: float) -> Figure:
    return _figure_class()(
        figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white"
    )


def _saved(figure: Figure, path: Path) -> Figure:
    if path is None:
        return figure
    ending = splitext(path)[1][1:].lower()
    if ending and ending not in figure.canvas.get_supported_filetypes():
        raise ValueError(
            f"no picture can be written to {fspath(path)!r}: let its name end in .png, .svg or .pdf"
        )
    figure.savefig(path)
    return figure
