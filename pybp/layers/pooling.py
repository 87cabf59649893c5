"""Pooling: windows that slide over images and sequences, and pooling over all places."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pybp.checks import boolean
from pybp.graph import Node
from pybp.layers.base import Layer
from pybp.layers.image import enter, must_fit, over, padding, pads, places, sizes
from pybp.layouts import given_shape

if TYPE_CHECKING:
    from pybp.layers.image import Padding, Sizes


class _Pool(Layer):
    _axes: ClassVar[int] = 2
    _op: ClassVar[str] = "max_pool"

    def __init__(
        self,
        pool_size: Sizes = 2,
        stride: Sizes | None = None,
        padding: Padding | int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        self.pool_size = sizes(pool_size, f"{kind}: pool_size", self._axes)
        given = self.pool_size if stride is None else stride
        self.stride = sizes(given, f"{kind}: stride", self._axes)
        self.padding = _padding(padding, kind, self._axes)

    def _extra(self) -> dict[str, int]:
        return {}

    def build(self, x: Node | None, name: str) -> Node:
        kind = type(self).__name__
        x = enter(x, name, kind, self._axes)
        pool, stride = over(self.pool_size), over(self.stride)
        attrs = pads(self.padding, x, pool, stride)
        must_fit(x, "a pool", pool, attrs, name)
        for side, size in zip(attrs, (pool[0], pool[0], pool[1], pool[1]), strict=True):
            if attrs[side] >= size:
                raise ValueError(
                    f"layer {name!r}: padding of {attrs[side]} with a pool of {places(x, pool)} on "
                    f"layer {x.layer!r} (rows {given_shape(x)}, {x.layout}): windows would hold "
                    "nothing but padding; pad less than the pool's size"
                )
        attrs |= {"pool_h": pool[0], "pool_w": pool[1]}
        attrs |= {"stride_h": stride[0], "stride_w": stride[1]}
        return Node(self._op, (x,), attrs=attrs | self._extra(), layer=name)


_padding = padding  # the argument has its name


class MaxPool2D(_Pool):
    """The largest value of each window of an image, channel by channel.

    Parameters
    ----------
    pool_size : int or (height, width)
    stride : int or (height, width), optional
        From one window to the next; the pool's own size when left out.
    padding : 0, "valid", "same", int, (height, width) or ((top, bottom), (left, right))
        Places around the image that are never the largest; fewer than the pool's size.

    Windows that do not fit at the end are left out. The gradient goes to the first of the largest
    values. LeCun, Bottou, Bengio and Haffner, 1998; Riesenhuber and Poggio, Nature Neuroscience 2,
    1999.

    >>> import numpy as np, pybp as bp
    >>> model = bp.Sequential([bp.Input((1, 4, 4), layout="NCHW"), bp.MaxPool2D(2), bp.Flatten(),
    ...                        bp.Dense(1)])
    >>> model.compile(seed=0)
    >>> model.activations(np.arange(16.0).reshape(1, 1, 4, 4))["maxpool2d0"].ravel().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """


class MaxPool1D(MaxPool2D):
    """`MaxPool2D` over sequences: pool_size and stride are numbers, padding may be (left,
    right)."""

    _axes = 1


class AveragePool2D(_Pool):
    """The mean of each window of an image, channel by channel.

    Parameters
    ----------
    pool_size, stride, padding :
        As in `MaxPool2D`.
    count_padding : bool
        Whether zeros of the padding count in a mean, as by default in PyTorch; without, as in
        Keras, it is over the image's own values.
    """

    _op = "average_pool"

    def __init__(
        self,
        pool_size: Sizes = 2,
        stride: Sizes | None = None,
        padding: Padding | int = 0,
        count_padding: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(pool_size, stride, padding, name)
        self.count_padding = boolean(count_padding, f"{type(self).__name__}: count_padding")

    def _extra(self) -> dict[str, int]:
        return {"count_pad": int(self.count_padding)}


class AveragePool1D(AveragePool2D):
    """`AveragePool2D` over sequences: pool_size and stride are numbers, padding may be (left,
    right)."""

    _axes = 1


class _GlobalPool(Layer):
    _axes: ClassVar[int] = 2
    _op: ClassVar[str] = "max_pool"
    _extra: ClassVar[dict[str, int]] = {}

    def build(self, x: Node | None, name: str) -> Node:
        x = enter(x, name, type(self).__name__, self._axes)
        c, h, w = x.shape
        attrs = {"pool_h": h, "pool_w": w, "stride_h": h, "stride_w": w} | self._extra
        attrs |= {"pad_top": 0, "pad_bottom": 0, "pad_left": 0, "pad_right": 0}
        top = Node(self._op, (x,), attrs=attrs, layer=name)
        return Node("reshape", (top,), layer=name, shape=(c,), layout="")


class GlobalMaxPool2D(_GlobalPool):
    """The largest value of each channel of an image: rows of C values."""


class GlobalMaxPool1D(_GlobalPool):
    """The largest value of each channel of a sequence: rows of C values."""

    _axes = 1


class GlobalAveragePool2D(_GlobalPool):
    """The mean of each channel of an image: rows of C values. Lin, Chen and Yan, ICLR 2014.

    In front of the last `Dense` it takes the place of `Flatten` with far fewer weights.
    """

    _op = "average_pool"
    _extra: ClassVar[dict[str, int]] = {"count_pad": 0}


class GlobalAveragePool1D(GlobalAveragePool2D):
    """The mean of each channel of a sequence: rows of C values."""

    _axes = 1
