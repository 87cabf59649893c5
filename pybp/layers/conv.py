"""Convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pybp import init
from pybp.checks import boolean, whole
from pybp.graph import Node
from pybp.layers.activation import activate, activation_of, weight_init_for
from pybp.layers.base import LARGEST
from pybp.layers.image import (
    LARGEST_WINDOW,
    enter,
    must_fit,
    must_hold,
    over,
    padding,
    pads,
    places,
    sizes,
    spread,
)
from pybp.layers.trained import TrainedLayer
from pybp.layouts import given_shape

if TYPE_CHECKING:
    from typing import Unpack

    from pybp.layers.activation import Activation, PReLU
    from pybp.layers.image import Padding, Sizes
    from pybp.layers.trained import Training


SIDES = {"pad_top": 0, "pad_bottom": 0, "pad_left": 0, "pad_right": 0}
STEPS = {"stride_h": 1, "stride_w": 1, "dilation_h": 1, "dilation_w": 1}
POINTWISE = SIDES | STEPS | {"groups": 1}  # a kernel of one place


class _Conv(TrainedLayer):
    """What all convolutions are told."""

    has_rows = True
    _axes: ClassVar[int] = 2
    _op: ClassVar[str] = "conv"

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes,
        padding_: Padding | int,
        dilation: Sizes,
        activation: str | Activation | PReLU | None,
        use_bias: bool,
        weight_init: object,
        bias_init: object,
        name: str | None,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(name, **training)
        kind = type(self).__name__
        self.kernel_size = sizes(kernel_size, f"{kind}: kernel_size", self._axes)
        self.stride = sizes(stride, f"{kind}: stride", self._axes)
        self.padding = padding(padding_, kind, self._axes)
        self.dilation = sizes(dilation, f"{kind}: dilation", self._axes)
        self.activation = activation_of(activation, kind)
        self.use_bias = boolean(use_bias, f"{kind}: use_bias")
        if weight_init is None:
            weight_init = weight_init_for(self.activation)
        self.weight_init = init.get(weight_init, f"{kind}: weight_init")
        self.bias_init = init.get(bias_init, f"{kind}: bias_init")

    def _attrs(self, x: Node, filters: int, groups: int, name: str) -> dict[str, int]:
        """Of the op on rows (C, H, W)."""
        stride, window = over(self.stride), self._window()
        attrs = pads(self.padding, x, window, stride)
        high, wide = must_fit(x, "a kernel", window, attrs, name)
        size = (high - window[0]) // stride[0] + 1, (wide - window[1]) // stride[1] + 1
        must_hold(x, filters, size, name, "pad less, or take fewer filters")
        return attrs | self._steps(groups)

    def _window(self) -> tuple[int, int]:
        """How far the kernel reaches."""
        return spread(over(self.kernel_size), over(self.dilation))

    def _kernel(self) -> tuple[int, ...]:
        """The axes of one channel's weights."""
        size = over(self.kernel_size)
        return size if self._axes == 2 else size[1:]

    def _steps(self, groups: int) -> dict[str, int]:
        stride, dilation = over(self.stride), over(self.dilation)
        found = {"stride_h": stride[0], "stride_w": stride[1], "groups": groups}
        return found | {"dilation_h": dilation[0], "dilation_w": dilation[1]}

    def _parameters(self, name: str, shape: tuple[int, ...], filters: int) -> tuple:
        weight = self.weight(f"{name}.weight", shape, self.weight_init)
        if not self.use_bias:
            return (weight,)
        return weight, self.bias(f"{name}.bias", (filters,), self.bias_init)


def _in_groups(x: Node, filters: int, groups: int, name: str) -> None:
    rows = f"rows {given_shape(x)}, {x.layout}"
    for what, count in (
        (f"the {x.shape[0]} channels of layer {x.layer!r} ({rows})", x.shape[0]),
        (f"its {filters} filters, of the {x.shape[0]} channels of layer {x.layer!r},", filters),
    ):
        if count % groups:
            raise ValueError(
                f"layer {name!r}: {what} do not divide into groups={groups}: both numbers must be "
                "multiples of it"
            )


class Conv2D(_Conv):
    """A bank of filters that slides over images:

        y[o, i, j] = f(bias[o] + sum_{c,u,v} weight[o, c, u, v] x[c, i s + u d - p, j s + v d - p])

    with stride s, dilation d and padding p. (Cross-correlation, as everywhere in this field.)

    Parameters
    ----------
    filters : int
        Channels of the output O. `weight` has shape [O, C / groups, KH, KW] in every layout,
        `bias` [O].
    kernel_size, stride, dilation : int or (height, width)
    padding : 0, "valid", "same", int, (height, width) or ((top, bottom), (left, right))
        Zeros around the image. "same" gives outputs of ceil(size / stride): what PyTorch and Keras
        do at stride 1, and Keras beyond, where PyTorch has no such word. An odd zero goes to the
        end.
    groups : int
        Channels and filters fall into so many groups that do not see each other; as many groups as
        channels are a depthwise convolution.
    activation : str, `Activation` or `PReLU`, optional
        f, by name or with its arguments; linear when left out.
    use_bias : bool
    weight_init, bias_init : initialiser, its name, or a constant
        As in `Dense`, fans counting the places of the kernel.
    **training
        weight_regularizer, bias_regularizer, max_norm (of one filter), learning_rate_factor,
        trainable: see `pybp.layers.TrainedLayer`.

    Images come from ``bp.Input((1, 28, 28), layout="NCHW")`` or another layout; LeCun, Bottou,
    Bengio and Haffner, Proceedings of the IEEE 86, 1998.

    >>> import numpy as np, pybp as bp
    >>> x = np.random.default_rng(0).normal(size=(64, 1, 6, 6))
    >>> edges = x[:, :, :, 1:] - x[:, :, :, :-1]
    >>> model = bp.Sequential([bp.Input((1, 6, 6), layout="NCHW"), bp.Conv2D(1, (1, 2))])
    >>> model.compile(optimizer=bp.optim.Adam(0.05), loss="mse", seed=0)
    >>> history = model.fit(x, edges, epochs=100, verbose=0)
    >>> model.parameters["conv2d0.weight"].ravel().round(2).tolist()
    [-1.0, 1.0]
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Padding | int = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        activation: str | Activation | PReLU | None = None,
        use_bias: bool = True,
        weight_init: object = None,
        bias_init: object = 0.0,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        given = kernel_size, stride, padding, dilation, activation, use_bias, weight_init, bias_init
        super().__init__(*given, name, **training)
        self.filters = whole(filters, f"{type(self).__name__}: filters", most=LARGEST)
        self.groups = whole(groups, f"{type(self).__name__}: groups", most=LARGEST)

    def build(self, x: Node | None, name: str) -> Node:
        x = enter(x, name, type(self).__name__, self._axes)
        _in_groups(x, self.filters, self.groups, name)
        shape = self._shape(x.shape[0])
        parameters = self._parameters(name, shape, self.filters)
        attrs = self._attrs(x, self.filters, self.groups, name)
        y = Node(self._op, (x,), parameters, attrs, name)
        return activate(y, self.activation, name, self)

    def _shape(self, channels: int) -> tuple[int, ...]:
        """Of the weight."""
        return (self.filters, channels // self.groups, *self._kernel())


class Conv1D(Conv2D):
    """`Conv2D` over sequences:

        y[o, i] = f(bias[o] + sum_{c,u} weight[o, c, u] x[c, i s + u d - p])

    kernel_size, stride and dilation are numbers, padding may be (left, right), and `weight` has
    shape [O, C / groups, K]. Sequences come from ``bp.Input((100, 3), layout="NLC")``, "NCL", or
    an `Embedding`.
    """

    _axes = 1


class ConvTranspose2D(Conv2D):
    """The transpose of a convolution: every value of the input adds the kernel, times itself, to
    the output, `stride` places further than its neighbour's.

        y[o, i s + u d - p, j s + v d - p] += weight[c, o, u, v] x[c, i, j],  then bias and f

    Outputs have (H - 1) s - p_top - p_bottom + (KH - 1) d + 1 + output_padding rows: with stride 2
    images grow to twice their size. Zeiler, Krishnan, Taylor and Fergus, CVPR 2010.

    Parameters
    ----------
    filters : int
        Channels of the output O. `weight` has shape [C, O / groups, KH, KW], `bias` [O].
    padding :
        As in `Conv2D`, cut off the output. "same" makes outputs of size times stride, Keras's rule.
    output_padding : int or (height, width)
        More places at the end, fewer than the stride or the dilation; none where padding is "same",
        which says it all.
    max_norm : float, optional
        Of all the weights that one channel of the input is multiplied by, weight[c], not of one
        filter.

    All else as in `Conv2D`.
    """

    _op = "conv_transpose"

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Padding | int = 0,
        output_padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        activation: str | Activation | PReLU | None = None,
        use_bias: bool = True,
        weight_init: object = None,
        bias_init: object = 0.0,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        given = filters, kernel_size, stride, padding, dilation, groups
        more = activation, use_bias, weight_init, bias_init, name
        super().__init__(*given, *more, **training)
        what = f"{type(self).__name__}: output_padding"
        self.output_padding = sizes(output_padding, what, self._axes, 0)

    def _shape(self, channels: int) -> tuple[int, ...]:
        return (channels, self.filters // self.groups, *self._kernel())

    def _attrs(self, x: Node, filters: int, groups: int, name: str) -> dict[str, int]:
        stride, window, given = over(self.stride), self._window(), self.padding
        more = self.output_padding
        more = (0, more) if isinstance(more, int) else more
        if given == "same":
            high, wide = max(window[0] - stride[0], 0), max(window[1] - stride[1], 0)
            given = (high // 2, high - high // 2), (wide // 2, wide - wide // 2)
            more = (max(stride[0] - window[0], 0), max(stride[1] - window[1], 0))
        limits = [max(*both) for both in zip(stride, over(self.dilation), strict=True)]
        if any(m >= limit for m, limit in zip(more, limits, strict=True)):
            raise ValueError(
                f"layer {name!r}: output_padding {self.output_padding} behind layer {x.layer!r} "
                f"(rows {given_shape(x)}, {x.layout}) must be smaller than the stride "
                f"{self.stride} or the dilation {self.dilation}: pad less"
            )
        attrs = pads(given, x, window, stride)
        size = _grown(x, window, stride, attrs, more, name)
        remedy = "make stride, dilation or kernel_size smaller"
        must_hold(x, filters, size, name, remedy, LARGEST_WINDOW)
        return attrs | self._steps(groups) | {"output_pad_h": more[0], "output_pad_w": more[1]}


def _grown(
    x: Node, window: tuple[int, int], stride: tuple[int, int], attrs: dict, more: tuple, name: str
) -> tuple[int, int]:
    """Height and width of the output, of which padding must not cut everything off."""
    cut = attrs["pad_top"] + attrs["pad_bottom"], attrs["pad_left"] + attrs["pad_right"]
    high = (x.shape[1] - 1) * stride[0] + window[0]
    wide = (x.shape[2] - 1) * stride[1] + window[1]
    size = high + more[0] - cut[0], wide + more[1] - cut[1]
    if min(size) <= 0:
        raise ValueError(
            f"layer {name!r}: padding cuts off all of the {places(x, (high, wide))} that layer "
            f"{x.layer!r} (rows {given_shape(x)}, {x.layout}) and the kernel make: pad less"
        )
    return size


class ConvTranspose1D(ConvTranspose2D):
    """`ConvTranspose2D` over sequences: sizes are numbers, padding may be (left, right), and
    `weight` has shape [C, O / groups, K]."""

    _axes = 1


class DepthwiseConv2D(_Conv):
    """Filters that see one channel each: `depth_multiplier` of them for every channel.

    `Conv2D` with as many groups as channels and depth_multiplier times as many filters; `weight`
    has shape [C depth_multiplier, 1, KH, KW].
    """

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Padding | int = 0,
        dilation: Sizes = 1,
        depth_multiplier: int = 1,
        activation: str | Activation | PReLU | None = None,
        use_bias: bool = True,
        weight_init: object = None,
        bias_init: object = 0.0,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        given = kernel_size, stride, padding, dilation, activation, use_bias, weight_init, bias_init
        super().__init__(*given, name, **training)
        what = f"{type(self).__name__}: depth_multiplier"
        self.depth_multiplier = whole(depth_multiplier, what, most=LARGEST)

    def build(self, x: Node | None, name: str) -> Node:
        x = enter(x, name, type(self).__name__, self._axes)
        channels = x.shape[0]
        filters = channels * self.depth_multiplier
        parameters = self._parameters(name, (filters, 1, *self._kernel()), filters)
        attrs = self._attrs(x, filters, channels, name)
        y = Node("conv", (x,), parameters, attrs, name)
        return activate(y, self.activation, name, self)


class DepthwiseConv1D(DepthwiseConv2D):
    """`DepthwiseConv2D` over sequences: sizes are numbers, padding may be (left, right), and
    `weight` has shape [C depth_multiplier, 1, K]."""

    _axes = 1


class SeparableConv2D(Conv2D):
    """A depthwise convolution, then one of size 1 across the channels: far fewer weights than
    `Conv2D` has for the same reach. Chollet, CVPR 2017.

    `depthwise` has shape [C depth_multiplier, 1, KH, KW], `weight` [O, C depth_multiplier, 1, 1],
    `bias` [O]. There is nothing between the two; for a norm or an activation there, stack
    `DepthwiseConv2D` and `Conv2D`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Padding | int = 0,
        dilation: Sizes = 1,
        depth_multiplier: int = 1,
        activation: str | Activation | PReLU | None = None,
        use_bias: bool = True,
        weight_init: object = None,
        bias_init: object = 0.0,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        given = filters, kernel_size, stride, padding, dilation, 1
        more = activation, use_bias, weight_init, bias_init, name
        super().__init__(*given, *more, **training)
        del self.groups
        what = f"{type(self).__name__}: depth_multiplier"
        self.depth_multiplier = whole(depth_multiplier, what, most=LARGEST)

    def build(self, x: Node | None, name: str) -> Node:
        x = enter(x, name, type(self).__name__, self._axes)
        channels = x.shape[0]
        deep = channels * self.depth_multiplier
        kernel = (deep, 1, *self._kernel())
        depthwise = self.weight(f"{name}.depthwise", kernel, self.weight_init)
        y = Node("conv", (x,), (depthwise,), self._attrs(x, deep, channels, name), name)
        pixel = (self.filters, deep, *[1] * self._axes)
        parameters = self._parameters(name, pixel, self.filters)
        return activate(
            Node("conv", (y,), parameters, POINTWISE, name), self.activation, name, self
        )


class SeparableConv1D(SeparableConv2D):
    """`SeparableConv2D` over sequences: sizes are numbers, padding may be (left, right), and the
    weights have shapes [C depth_multiplier, 1, K] and [O, C depth_multiplier, 1]."""

    _axes = 1
