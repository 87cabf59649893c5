"""Layers for images: random variations in training, and fixed normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import numpy as np

from pybp import data, layouts
from pybp.checks import boolean, real, whole
from pybp.graph import Node, Parameter, Running, topological
from pybp.init import Constant
from pybp.layers.base import LARGEST, Layer

_MOST = 1e6  # of amounts in pixels


class Augment(Layer):
    """In training every image is mirrored, scaled, sheared, turned, bent and moved at random, and a
    part of it erased; the identity otherwise.

    All but the erasing is one map: a pixel p of the new image, counted from the middle, is read at

        q = F S^-1 H^-1 R^-1 (p - t) + d(p)

    of the old one, between its pixels by bilinear interpolation, and is `fill` where q lies
    outside. F mirrors, S scales, H shears, R turns, t moves and d bends. Amounts are drawn anew for
    every image and step, uniformly and independently, as a function of the model's seed, the step
    and the image's place in the batch: the same seed gives the same bits, for any number of threads
    and after `save` and `load`. The threads that train compute it behind the gather, image by
    image.

    Parameters
    ----------
    shift : float
        Pixels, in [0, 1e6]: moves by up to so many in both directions, not only by whole ones.
    rotation : float
        Degrees, in [0, 180]: turns by up to so many either way.
    scale : float
        Width and height are multiplied by (1 + scale)^u, u uniform in [-1, 1]: 0.1 for up to 10 %
        larger or as much smaller.
    shear : float
        Degrees, in [0, 80]: upright lines lean by up to so many either way.
    flip_horizontal, flip_vertical : bool
        Mirrors every other image, chosen at random, left to right, or top to bottom.
    crop : int
        Pixels: takes a crop of the image's own size from the image with a margin this wide, which
        is to say that it moves by whole pixels.
    elastic, elastic_sigma : float
        Elastic distortion: alpha and sigma of Simard, Steinkraus and Platt, ICDAR 2003, who found
        34 and 4 pixels good for digits of 29 x 29. Displacements are smooth over sigma pixels, and
        elastic / (sqrt(12 pi) sigma) pixels in the root mean square, here by cubic B-splines
        instead of Gaussians. sigma is at least 0.5.
    erase : float
        Probability that a rectangle is overwritten with `fill`: random erasing (Zhong et al.,
        arXiv 1708.04896).
    erase_area : (low, high)
        The rectangle's share of the image's area, within [0, 1].
    erase_aspect : float
        Its height over its width lies between 1 / erase_aspect and erase_aspect, at least 1.
    stretch : float
        The width is multiplied, and the height divided, by (1 + stretch)^u.
    fill : float
        What lies outside of the image, in the units of the layer's input: behind
        ``Input(..., scale=1 / 255)`` black is 0 and white 1.
    image_shape : (H, W) or (C, H, W), optional
        For flat rows such as those of ``Input(784)``.

    Rows have shape (C, H, W), or (H, W) for one channel, or are flat. Nothing is passed back
    through this layer, so it stands before all layers that are trained. `apply` shows what it does,
    and so does `pybp.plots.augmented`.

    >>> import numpy as np, pybp as bp
    >>> image = np.arange(12.0).reshape(1, 1, 3, 4)
    >>> bp.Augment(crop=1, fill=-1).apply(image, seed=1)[0, 0]
    array([[-1.,  4.,  5.,  6.],
           [-1.,  8.,  9., 10.],
           [-1., -1., -1., -1.]])
    >>> layers = [bp.Input((1, 3, 4)), bp.Augment(shift=1), bp.Dense(2)]
    """

    def __init__(
        self,
        shift: float = 0.0,
        rotation: float = 0.0,
        scale: float = 0.0,
        shear: float = 0.0,
        flip_horizontal: bool = False,
        flip_vertical: bool = False,
        crop: int = 0,
        elastic: float = 0.0,
        elastic_sigma: float = 4.0,
        erase: float = 0.0,
        erase_area: tuple[float, float] = (0.02, 0.4),
        erase_aspect: float = 3.0,
        stretch: float = 0.0,
        fill: float = 0.0,
        image_shape: Sequence[int] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.shift = real(shift, "Augment: shift", 0, _MOST)
        self.rotation = real(rotation, "Augment: rotation", 0, 180)
        self.scale = real(scale, "Augment: scale", 0, 1e3)
        self.shear = real(shear, "Augment: shear", 0, 80)
        self.flip_horizontal = boolean(flip_horizontal, "Augment: flip_horizontal")
        self.flip_vertical = boolean(flip_vertical, "Augment: flip_vertical")
        self.crop = whole(crop, "Augment: crop", 0, int(_MOST))
        self.elastic = real(elastic, "Augment: elastic", 0, _MOST)
        self.elastic_sigma = real(elastic_sigma, "Augment: elastic_sigma", 0.5, _MOST)
        self.erase = real(erase, "Augment: erase", 0, 1)
        self.erase_area = _area(erase_area)
        self.erase_aspect = real(erase_aspect, "Augment: erase_aspect", 1, 1e3)
        self.stretch = real(stretch, "Augment: stretch", 0, 1e3)
        self.fill = real(fill, "Augment: fill", -3e38, 3e38)
        self.image_shape = None if image_shape is None else _dims(image_shape)

    def config(self) -> dict:
        """The arguments that make an equal layer again, without those at their defaults."""
        defaults = {key: part.default for key, part in signature(Augment).parameters.items()}
        return {key: value for key, value in super().config().items() if value != defaults[key]}

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        for node in topological([x]):
            if any(p.trainable for p in node.parameters):
                raise ValueError(
                    f"layer {name!r}: nothing is passed back through Augment, so layer "
                    f"{node.layer!r} before it could not be trained: put Augment directly behind "
                    "bp.Input, or freeze the layers before it with trainable=False"
                )
        if x.layout in ("NCL", "NLC"):
            raise ValueError(
                f"layer {name!r}: Augment takes images, and layer {x.layer!r} gives sequences, "
                f"rows {layouts.given_shape(x)} in layout {x.layout!r}"
            )
        x = layouts.as_image(x, name, "Augment") if x.layout else x
        height, width = self._size(x, name)
        place = {"fill": self.fill, "height": height, "width": width}
        amounts = {
            "shift": self.shift,
            "rotation": self.rotation,
            "scale": self.scale,
            "stretch": self.stretch,
            "shear": self.shear,
            "flips": self.flip_horizontal + 2 * self.flip_vertical,
            "crop": self.crop,
            "elastic": self.elastic,
        }
        if any(amounts.values()) or not self.erase:
            attrs = amounts | {"sigma": self.elastic_sigma} | place
            x = Node("augment", (x,), attrs=attrs, layer=name)
        if self.erase:
            low, high = self.erase_area
            attrs = {"rate": self.erase, "low": low, "high": high, "aspect": self.erase_aspect}
            x = Node("erase", (x,), attrs=attrs | place, layer=name)
        return x

    def _size(self, x: Node, name: str) -> tuple[int, int]:
        """Height and width of the images that rows of x hold."""
        given, shape = self.image_shape, x.shape
        rows = f"rows {layouts.given_shape(x)} of layer {x.layer!r}"
        if given is None:
            if len(shape) not in (2, 3):
                raise ValueError(
                    f"layer {name!r}: Augment takes images, rows of shape (C, H, W), got {rows}: "
                    "say what they are with bp.Input((C, H, W)), or bp.Augment(..., "
                    "image_shape=(H, W)) for flat rows"
                )
            given = shape
        elif len(shape) != 1 and shape[-len(given) :] != given:
            raise ValueError(
                f"layer {name!r}: image_shape is {given}, got {rows}: leave image_shape out, it is "
                "for flat rows"
            )
        size, wanted = math.prod(shape), math.prod(given)
        if size % wanted or (len(given) == 3 and size != wanted):
            raise ValueError(
                f"layer {name!r}: image_shape is {given}, which is {wanted} values, but {rows} "
                f"have {size}: give it the shape of the images that are in them"
            )
        return given[-2], given[-1]

    def apply(self, x: object, seed: int = 0, step: int = 0, layout: str = "NCHW") -> np.ndarray:
        """The images as step `step` of a training with this seed would see them as its batch:
        `x`, (N, C, H, W), or (N, H, W, C) with the layout "NHWC", (N, H, W), or (N, values) with
        `image_shape`, of any real or integer type; the answer has x's shape and is float32, or
        float64 where x is.
        """
        from pybp.lower import lower
        from pybp.request import Request
        from pybp.store import ParameterStore

        array = data.not_empty(data.as_array(x, "x"), "x")
        seed, step = whole(seed, "seed", 0, 2**64 - 1), whole(step, "step", 0)
        rows = array.shape[1:]
        layout = layouts.check(layout, rows, "x") if len(rows) == 3 else ""
        shape, image = layouts.fed(rows, layout)
        marks: dict[str, Any] = {"layer": "x", "shape": shape, "layout": layout, "image": image}
        feed = Node("feed", attrs={"source": 0, "scale": 1.0}, **marks)
        output = layouts.as_given(self.build(feed, self.name or "augment"))
        dtype = np.float64 if array.dtype == np.float64 else np.float32
        store = ParameterStore([Parameter("none", (1,), Constant())], np.dtype(dtype))
        lowered = lower(Request(len(array), keep=[output], training=True), store)
        source = data.finite_source(array.reshape(len(array), -1), "x", shape=rows)
        (y,) = lowered.plan.once((source,), len(array), [lowered.value(output)], True, seed, step)
        return y.reshape(array.shape)


class Normalize(Layer):
    """y = (x - mean_c) / std_c with constants for each channel c, in training and otherwise: what
    published networks expect of their inputs. It is computed in doubles as rows are gathered, costs
    no pass of its own, and is saved with the model.

    Parameters
    ----------
    mean, std : float or sequence of float
        One for all channels or one for each, in the units of the input's scaled values: MNIST's
        0.1307 and 0.3081 belong behind ``Input(..., scale=1 / 255)``.

    It stands directly behind `Input`, whose rows have shape (C, ...). `StandardScaler` learns each
    column's numbers from data instead.

    >>> import numpy as np, pybp as bp
    >>> model = bp.Sequential([bp.Input((2, 1, 2)), bp.Normalize([1, 0], [2, 4]), bp.Dense(1)])
    >>> model.compile()
    >>> model.activations(np.array([[[[1.0, 3.0]], [[4.0, 8.0]]]]))["normalize0"]
    array([[[[0., 1.]],
    <BLANKLINE>
            [[1., 2.]]]], dtype=float32)
    """

    def __init__(
        self,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.mean = _numbers(mean, "Normalize: mean")
        self.std = _numbers(std, "Normalize: std")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"Normalize: std must be above 0, got {std!r}")
        if len({1, len(self.mean), len(self.std)}) > 2:
            raise ValueError(
                f"Normalize: mean and std speak of {len(self.mean)} and {len(self.std)} channels"
            )

    def build(self, x: Node | None, name: str) -> Node:
        x = None if x is None else layouts.as_fed(x)
        if x is None or x.op != "feed" or x.running:
            raise ValueError(
                f"layer {name!r}: Normalize changes the model's inputs, so it stands directly "
                "behind bp.Input and before bp.Augment, whose fill is then in normalised units; "
                "use bp.BatchNorm or bp.LayerNorm elsewhere"
            )
        axis = (x.layout or "").find("C") - 1 if x.layout and not x.image else 0
        channels = x.shape[axis]
        wanted = max(len(self.mean), len(self.std))
        if wanted not in (1, channels):
            remedy = "give one number, or one for each channel"
            if not x.layout and x.ndim in (2, 3) and x.shape[-1] == wanted:
                last = "NHWC" if x.ndim == 3 else "NLC"
                remedy = f"where channels come last, say bp.Input({x.shape}, layout={last!r})"
            raise ValueError(
                f"layer {name!r}: Normalize has numbers for {wanted} channels, but rows "
                f"{layouts.given_shape(x)} of layer {x.layer!r} have {channels}: {remedy}"
            )
        scale = x.attrs["scale"]
        along = tuple(-1 if k == axis else 1 for k in range(len(x.shape)))
        mean, std = (
            np.broadcast_to(np.reshape(part, along), x.shape).ravel()
            for part in (self.mean, self.std)
        )
        parts = {"offset": mean / scale, "factor": scale / std}
        running = tuple(
            Running(f"{name}.{part}", value.shape, 0.0, _setter(value))
            for part, value in parts.items()
        )
        attrs = x.attrs | {"scale": 1.0}
        feed = Node("feed", attrs=attrs, layer=name, shape=x.shape, running=running)
        feed.layout, feed.image = x.layout, x.image
        return feed


def _setter(value: np.ndarray) -> Callable[[np.ndarray], None]:
    def bind(view: np.ndarray) -> None:
        view[...] = value

    return bind


def _numbers(given: object, what: str) -> tuple[float, ...]:
    values = np.ravel(given).tolist() if isinstance(given, np.ndarray) else given
    several = list(values) if isinstance(values, list | tuple) else [values]
    found = tuple(real(value, what, -1e30, 1e30) for value in several)
    if not found:
        raise ValueError(f"{what} is empty: give a number, or one for each channel")
    return found


def _area(given: object) -> tuple[float, float]:
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise TypeError(f"Augment: erase_area must be (low, high), got {given!r}")
    low = real(given[0], "Augment: erase_area's low", 0, 1)
    return low, real(given[1], "Augment: erase_area's high", low, 1)


def _dims(given: Sequence[int]) -> tuple[int, ...]:
    dims = tuple(given) if isinstance(given, tuple | list) else ()
    if len(dims) not in (2, 3):
        raise ValueError(f"Augment: image_shape must be (H, W) or (C, H, W), got {given!r}")
    return tuple(whole(size, "Augment: image_shape", most=LARGEST) for size in dims)
