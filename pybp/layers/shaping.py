"""Layers that give rows another shape and compute nothing."""

from __future__ import annotations

import math
from typing import ClassVar

from pybp import layouts
from pybp.checks import whole
from pybp.errors import unknown
from pybp.graph import Node
from pybp.layers.base import LARGEST, Layer
from pybp.layers.image import Padding, Sizes, enter, must_hold, over, padding, pads, places, sizes


class Flatten(Layer):
    """All values of a row side by side, in the order in which the user sees them: what `Dense`
    takes.

    Rows (C, H, W) of layout "NCHW" are read channel by channel, as in PyTorch; rows (H, W, C) of
    layout "NHWC" place by place, as in Keras, so that the weights behind are those of either.
    """

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        x = layouts.as_given(x)
        return Node("reshape", (x,), layer=name, shape=(math.prod(x.shape),), layout="")


class Reshape(Layer):
    """The values of a row in their order, as a row of another shape.

    Parameters
    ----------
    shape : int or tuple of int
        One of them may be -1: what is left.
    layout : "NCHW", "NHWC", "NCL" or "NLC", optional
        Makes images or sequences of the rows: which axis is which.
    """

    def __init__(
        self, shape: int | tuple[int, ...], layout: str | None = None, name: str | None = None
    ) -> None:
        super().__init__(name)
        dims = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
        self.shape = tuple(
            -1 if size == -1 else whole(size, "Reshape: shape", most=LARGEST) for size in dims
        )
        if not dims or dims.count(-1) > 1:
            raise ValueError(f"Reshape: shape needs sizes, of which one may be -1, got {shape!r}")
        self.layout = layouts.check(layout, self.shape, "Reshape")

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        x = layouts.as_given(x)
        size, known = math.prod(x.shape), math.prod(abs(n) for n in self.shape)
        shape = tuple(size // known if n == -1 else n for n in self.shape)
        if math.prod(shape) != size:
            raise ValueError(
                f"layer {name!r}: the {size} values of a row {x.shape} of layer {x.layer!r} do not "
                f"fit the shape {self.shape}"
            )
        return Node("reshape", (x,), layer=name, shape=shape, layout=self.layout)


class Permute(Layer):
    """The axes of a row in another order: axis i of the output is axis `axes[i]` of the input.

    Axes count from 0, the batch not among them (in Keras, from 1). The output has no layout unless
    one is given by `layout`.
    """

    def __init__(
        self, axes: tuple[int, ...], layout: str | None = None, name: str | None = None
    ) -> None:
        super().__init__(name)
        given = list(axes) if isinstance(axes, tuple | list) else [axes]
        self.axes = tuple(whole(axis, "Permute: axes", 0) for axis in given)
        if sorted(self.axes) != list(range(len(self.axes))):
            raise ValueError(f"Permute: axes must hold each of 0, 1, ... once, got {axes!r}")
        self.layout = layouts.check(layout, self.axes, "Permute")

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        x = layouts.as_given(x)
        if len(x.shape) != len(self.axes):
            raise ValueError(
                f"layer {name!r}: axes {self.axes} do not fit rows {x.shape} of layer {x.layer!r}"
            )
        return Node("permute", (x,), attrs={"axes": self.axes}, layer=name, layout=self.layout)


class _Frame(Layer):
    """What the layers share that add and cut off margins."""

    _axes: ClassVar[int]  # of places
    _sign: ClassVar[int]

    def __init__(self, padding: Padding | int = 1, name: str | None = None) -> None:
        super().__init__(name)
        self.padding = _padding(padding, type(self).__name__, self._axes, words=False)

    def build(self, x: Node | None, name: str) -> Node:
        x = enter(x, name, type(self).__name__, self._axes)
        attrs = {side.removeprefix("pad_"): n for side, n in pads(self.padding, x).items()}
        high, wide = attrs["top"] + attrs["bottom"], attrs["left"] + attrs["right"]
        if self._sign < 0 and (high >= x.shape[1] or wide >= x.shape[2]):
            size = places(x, (x.shape[1], x.shape[2]))
            raise ValueError(
                f"layer {name!r}: cropping {self.padding} leaves nothing of the {size} of layer "
                f"{x.layer!r} (rows {layouts.given_shape(x)}, {x.layout}): crop less"
            )
        high, wide = x.shape[1] + self._sign * high, x.shape[2] + self._sign * wide
        must_hold(x, x.shape[0], (high, wide), name, "pad less")
        attrs = {side: self._sign * n for side, n in attrs.items()}
        return Node("zero_pad", (x,), attrs=attrs, layer=name)


_padding = padding  # the argument has its name


class ZeroPad1D(_Frame):
    """Zeros before and behind sequences.

    Parameters
    ----------
    padding : int or (before, behind)
    """

    _axes, _sign = 1, 1


class ZeroPad2D(_Frame):
    """A frame of zeros around images.

    Parameters
    ----------
    padding : int, (height, width) or ((top, bottom), (left, right))
    """

    _axes, _sign = 2, 1


class Crop1D(_Frame):
    """Cuts off the ends of sequences: the reverse of `ZeroPad1D`, with the same argument."""

    _axes, _sign = 1, -1


class Crop2D(_Frame):
    """Cuts a frame off images: the reverse of `ZeroPad2D`, with the same argument."""

    _axes, _sign = 2, -1


class _Upsample(Layer):
    """What the layers share that enlarge."""

    _axes: ClassVar[int]
    _between: ClassVar[str]  # what interpolation by lines is called

    def __init__(
        self, factor: Sizes = 2, interpolation: str = "nearest", name: str | None = None
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        self.factor = sizes(factor, f"{kind}: factor", self._axes)
        if interpolation not in ("nearest", self._between):
            known = ["nearest", self._between]
            raise unknown(f"interpolation for {kind}", interpolation, known)
        self.interpolation = interpolation

    def build(self, x: Node | None, name: str) -> Node:
        x = enter(x, name, type(self).__name__, self._axes)
        high, wide = over(self.factor)
        size = x.shape[1] * high, x.shape[2] * wide
        must_hold(x, x.shape[0], size, name, "make factor smaller")
        attrs = {"factor_h": high, "factor_w": wide}
        attrs["bilinear"] = int(self.interpolation == self._between)
        return Node("upsample", (x,), attrs=attrs, layer=name)


class Upsample1D(_Upsample):
    """Sequences made longer by a whole factor.

    Parameters
    ----------
    factor : int
    interpolation : "nearest" or "linear"
        Every value repeated; or lines between the centres of the places, as in `Upsample2D`.
    """

    _axes, _between = 1, "linear"


class Upsample2D(_Upsample):
    """Images enlarged by whole factors.

    Parameters
    ----------
    factor : int or (height, width)
    interpolation : "nearest" or "bilinear"
        Every value repeated; or lines between the centres of the pixels (PyTorch's
        align_corners=False, Keras's rule).
    """

    _axes, _between = 2, "bilinear"
