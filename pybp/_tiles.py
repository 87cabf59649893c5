"""Grids of small pictures for `pybp.plots`: filters, maps, weights and images, as one mosaic each,
so that hundreds of them are drawn at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pybp import data, layouts
from pybp._draw import BLUE, GREY, INK, VERMILLION
from pybp.errors import NotAdaptedError
from pybp.graph import Node, topological

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

    from pybp.layers import Augment
    from pybp.model import Model

_BETWEEN = "#DADADA"  # tiles
_FINE = 48  # dots along the longer side of a tile, at least
_GAP = 4  # dots between tiles
_MOST_LABELS = 32
_ROUNDING = 1e-6  # of values between 0 and 1
_OUTLIERS = 99.8  # percent of the values lie within the scale


class Scale(NamedTuple):
    """Numbers as colours: from `low` to `high`, white in the middle or at the lower end."""

    colours: Colormap
    low: float
    high: float
    beyond: bool  # some values are

    def paint(self, values: NDArray[Any]) -> NDArray[Any]:
        """Red, green and blue of each value."""
        span = self.high - self.low
        return np.asarray(self.colours((values - self.low) / span))[..., :3]


def scale_for(values: NDArray[Any]) -> Scale:
    """Blue is above zero, vermillion below and white zero, even where one of them is missing."""
    from matplotlib.colors import LinearSegmentedColormap

    size = np.abs(values[np.isfinite(values)])
    most = float(np.percentile(size, _OUTLIERS)) if size.size else 0.0
    most = most or float(size.max(initial=0.0)) or 1.0
    signed = bool((values < 0).any())
    stops = [VERMILLION, "white", BLUE] if signed else ["white", BLUE]
    colours = LinearSegmentedColormap.from_list("signed" if signed else "size", stops)
    return Scale(colours, -most if signed else 0.0, most, bool((size > most).any()))


def as_pictures(images: NDArray[Any]) -> NDArray[Any]:
    """Images (N, C, H, W) of any range as colours (N, H, W, 3): three channels as they are, and
    the mean of other numbers of channels as black ink on white."""
    low, high = float(np.min(images)), float(np.max(images))
    if high > 1 + _ROUNDING or low < -_ROUNDING:
        images = (images - low) / ((high - low) or 1.0)
    if images.shape[1] == 3:
        return np.moveaxis(images, 1, -1)
    return np.repeat(1 - images.mean(axis=1)[..., None], 3, axis=-1)


def grid_for(count: int) -> tuple[int, int]:
    """Rows and columns for so many tiles: few places stay empty, and it is wider than high."""
    wide = math.sqrt(1.6 * count)
    columns = range(max(1, math.ceil(wide / 1.4)), math.ceil(1.6 * wide) + 1)
    best = min(columns, key=lambda n: (-count % n, abs(n - wide)))
    return -(-count // best), best


def wide_grid(count: int) -> tuple[int, int]:
    """Rows of at most sixteen."""
    return -(-count // 16), 16


def draw(
    axes: Axes,
    tiles: NDArray[Any],
    shape: tuple[int, int],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> None:
    """Tiles (N, h, w, 3) in a grid of this shape, row by row, with names of rows and columns."""
    height, width = tiles.shape[1:3]
    fine = max(1, -(-_FINE // max(height, width)))
    tiles = np.clip(tiles, 0, 1).repeat(fine, axis=1).repeat(fine, axis=2)
    down, across = tiles.shape[1] + _GAP, tiles.shape[2] + _GAP
    picture = np.ones((shape[0] * down + _GAP, shape[1] * across + _GAP, 3))
    for k, tile in enumerate(tiles):
        top, left = k // shape[1] * down, k % shape[1] * across
        picture[top : top + down + _GAP, left : left + across + _GAP] = _grey()
        picture[top + _GAP : top + down, left + _GAP : left + across] = tile
    axes.imshow(picture, interpolation="antialiased")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8, labelcolor=INK, top=False, labeltop=True)
    axes.tick_params(bottom=False, labelbottom=False)
    _name(axes.set_xticks, columns, across)
    _name(axes.set_yticks, rows, down)


def _grey() -> NDArray[Any]:
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(_BETWEEN))


def _name(put: Any, names: Sequence[str], step: int) -> None:
    """Names at the middles of the tiles, as many as can be read."""
    every = -(-len(names) // _MOST_LABELS) if names else 1
    places = [_GAP / 2 + (k + 0.5) * step for k in range(0, len(names), every)]
    put(places, names[::every])


def key(figure: Any, axes: Any, scale: Scale) -> None:
    """The colours and their numbers at the right of the axes."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    mapping = ScalarMappable(Normalize(scale.low, scale.high), scale.colours)
    ends = ("both" if scale.low else "max") if scale.beyond else "neither"
    shrink = min(0.85, 2.6 / figure.get_size_inches()[1])
    bar = figure.colorbar(
        mapping, ax=axes, shrink=shrink, aspect=20, extend=ends, ticks=MaxNLocator(5)
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, color=GREY, labelcolor=INK, length=2)


def weight(model: Model, layer: str | None, dims: tuple[int, ...], what: str) -> tuple[str, Any]:
    """(name, weight) of the layer, or of the first one whose weight has so many dimensions."""
    found = {
        name.removesuffix(".weight"): np.asarray(view)
        for name, view in model.parameters.items()
        if name.endswith(".weight") and view.ndim in dims
    }
    name = next(iter(found), None) if layer is None else layer
    if name is None or name not in found:
        there = ", ".join(map(repr, found)) or "none of this model"
        wanted = "there is no layer" if name is None else f"layer {name!r} is not one"
        raise ValueError(f"{what}: {wanted} with such weights; layers that have them: {there}")
    return name, found[name]


def bank(model: Model, layer: str | None) -> tuple[str, NDArray[Any], int]:
    """(name, filters [O, C / groups, ...], groups) of the layer, or of the first convolution."""
    name, filters = weight(model, layer, (3, 4), "filters")
    node = _reader(model, name)
    groups = node.attrs.get("groups", 1)
    if node.op == "conv_transpose":  # whose weight is [C, O / groups, ...]
        filters = filters.reshape(groups, -1, *filters.shape[1:]).swapaxes(1, 2)
        filters = filters.reshape(-1, *filters.shape[2:])
    return name, filters, groups


def _reader(model: Model, layer: str) -> Node:
    """The node that reads the layer's weight."""
    return next(
        node
        for node in topological(model.network.nodes(model.network.outputs))
        if any(p.name == f"{layer}.weight" for p in node.parameters)
    )


def input_shape(shape: object, size: int, what: str) -> tuple[int, ...]:
    """(C, H, W) of images with so many values."""
    dims = tuple(shape) if isinstance(shape, tuple | list) else ()
    if len(dims) == 2:
        dims = (1, *dims)
    if len(dims) != 3 or math.prod(dims) != size:
        raise ValueError(
            f"{what}: image_shape must be (H, W) or (C, H, W) with {size} values in all, got "
            f"{shape!r}"
        )
    return dims


def images_read(model: Model, layer: str, weight: NDArray[Any], given: object) -> NDArray[Any]:
    """The weights [units, inputs] of a dense layer as images (units, C, H, W) like those that it
    reads."""
    node = _reader(model, layer).inputs[0]
    size = weight.shape[1]
    while node.ndim == 1 and len(node.inputs) == 1 and not node.parameters:
        if math.prod(node.inputs[0].shape) != size:
            break
        node = node.inputs[0]
    if node.image and node.shape[1:] == (1, 1):
        raise ValueError(
            f"weights: layer {layer!r} reads one value of each of {size} channels, which make no "
            f"images: its weights are model.parameters[{layer + '.weight'!r}]"
        )
    if node.ndim in (2, 3) and given is not None and not _same_image(given, node.shape):
        raise ValueError(
            f"weights: layer {layer!r} reads images of shape {layouts.given_shape(node)}, got "
            f"image_shape={given!r}: leave image_shape out, it is for flat rows"
        )
    if node.ndim == 1 and given is None:
        side = math.isqrt(size)
        example = f"({side}, {side})" if side * side == size else "(H, W)"
        raise ValueError(
            f"weights: layer {layer!r} reads flat rows of {size} values: say which images they "
            f"are, such as image_shape={example}"
        )
    shape = input_shape(node.shape if given is None else given, size, "weights")
    if node.layout == "NHWC" and not node.image and node.ndim == 3:
        return np.moveaxis(weight.reshape(-1, *node.shape), -1, 1)
    return weight.reshape(-1, *shape)


def _same_image(given: object, shape: tuple[int, ...]) -> bool:
    """Whether they differ in axes of length 1 at most."""
    dims = tuple(given) if isinstance(given, tuple | list) else ()
    return layouts.long_axes(dims) == layouts.long_axes(shape)


class Disturbed(NamedTuple):
    """A layer that augments and the first images that it is given, in its units: they are shown
    times `scale` plus `offset`."""

    layer: Augment
    images: NDArray[Any]
    layout: str
    scale: Any = 1.0
    offset: Any = 0.0


def augmenting(given: Augment | Model, x: object, layout: str, most: int) -> Disturbed:
    """What a layer augments of images `x`, or a model with one of its rows."""
    from pybp.layers import Augment

    if not isinstance(given, Augment):
        return _augmenting_in(given, x, most)
    layout = layouts.check(layout, (1, 1, 1), "augmented")
    images = np.asarray(x)[:most]
    if images.ndim < 2 or not len(images):
        raise ValueError(f"augmented: x must hold images (N, ...), got shape {images.shape}")
    return Disturbed(given, images, layout)


def _augmenting_in(model: Model, x: object, most: int) -> Disturbed:
    from pybp.layers import Augment, Input

    network = model.network
    step = next((step for step in network.steps if isinstance(step.layer, Augment)), None)
    if step is None:
        raise ValueError("augmented: the model has no layer bp.Augment(...)")
    node = step.node
    while node.layer == step.node.layer and node.op in ("augment", "erase"):
        node = node.inputs[0]
    feed, moves = layouts.moved(node)
    if feed.op != "feed":
        raise ValueError(
            f"augmented: layer {step.label!r} is given what layer {feed.layer!r} makes, and not "
            "images of the input: pass the layer itself and the images that it is given, which "
            "model.activations(x) shows"
        )
    rows = data.not_empty(data.as_rows(x, feed, "x"), "x")[:most]
    entrance = network.steps[network.inputs[feed.attrs["source"]]].layer
    assert isinstance(entrance, Input) and isinstance(step.layer, Augment)
    order, scale = layouts.order_of(feed, moves), entrance.scale
    offset, factor = np.zeros(order.size), np.full(order.size, scale)
    if feed.running:
        offset, factor = (model.buffers[part.name] for part in feed.running)
    if not factor.all():
        raise NotAdaptedError(f"layer {feed.layer!r} does not know the data: call model.adapt(x)")
    images, offset, factor = (
        part[..., order].reshape(*part.shape[:-1], *node.shape)
        for part in ((rows - offset) * factor, offset, factor)
    )
    return Disturbed(step.layer, images, "NCHW", scale / factor, scale * offset)


def count(shown: int, total: int, thing: str) -> str:
    """How many, in words."""
    many = f"{total} {thing}" + "s" * (total != 1)
    return many if shown == total else f"{shown} of {many}"


def by(maps: NDArray[Any]) -> str:
    """The size of maps (N, ...), in words."""
    return " by ".join(map(str, maps.shape[1:]))
