"""Padding and convolution, of any operands."""

from __future__ import annotations

from collections.abc import Sequence

from pybp.graph import Node
from pybp.layouts import as_given, as_image
from pybp.ops.linear import matmul
from pybp.ops.shaping import concatenate, reshape, strides_of, view
from pybp.ops.symbols import Value, as_node, constant, shapes_of, spread

Pair = int | Sequence[int]


def pad(x: Value, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Node:
    """More numbers of one value before and behind along every axis: widths is one pair an axis."""
    x = as_node(x, "pad")
    if len(widths) != x.ndim or any(len(pair) != 2 or min(pair) < 0 for pair in widths):
        raise ValueError(
            f"bp.ops.pad: rows of shape {shapes_of(x)} need {x.ndim} pairs, got {widths}"
        )
    for axis, pair in enumerate(widths):
        parts = [x]
        for place, width in zip((0, 2), pair, strict=True):
            if width:
                shape = (*x.shape[:axis], width, *x.shape[axis + 1 :])
                parts.insert(place, spread(constant(value), shape, x.batched))
        x = concatenate(parts, axis)
    return x


def conv2d(
    x: Value,
    weight: Value,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Node:
    """y[o, i, j] = sum_{c, k, l} weight[o, c, k, l] x[c, s i + d k, s j + d l]

    of rows x [C, H, W] with zeros around them, weight [O, C / groups, KH, KW], y [O, OH, OW]. A
    pair is of height and width; s is the stride and d the dilation. Images of a layout are read,
    and y is written, in its order of axes. Rows of a model go the way of `bp.Conv2D`, as fast, be
    the weights a layer's own or computed, the same for all rows. Under `bp.grad` and its kin, and
    with weights of every row's own, convolutions go by windows, which have derivatives of any order
    and KH KW times the memory of x.
    """
    given = x, weight = as_node(x, "conv2d"), as_node(weight, "conv2d")
    layout = x.layout or "NCHW"
    if x.layout and x.ndim == 3:
        x = as_image(x, x.layer, "bp.ops.conv2d")
    steps, around, apart = (_pair(v, n) for v, n in ((stride, 1), (padding, 0), (dilation, 1)))
    if x.ndim != 3 or weight.ndim != 4 or x.shape[0] != weight.shape[1] * groups:
        raise ValueError(
            f"bp.ops.conv2d: rows and weights of shapes {shapes_of(*given)} in {groups} groups do "
            f"not fit: they are {_axes(x)} and [O, C / groups, KH, KW]"
        )
    if weight.shape[0] % groups:
        raise ValueError(f"bp.ops.conv2d: {weight.shape[0]} outputs are not {groups} equal groups")
    reach = [d * (k - 1) + 1 for d, k in zip(apart, weight.shape[2:], strict=True)]
    size = [n + 2 * more for n, more in zip(x.shape[1:], around, strict=True)]
    if any(r > n for r, n in zip(reach, size, strict=True)):
        raise ValueError(
            f"bp.ops.conv2d: a kernel that spans {tuple(reach)} is larger than its input "
            f"{tuple(size)}, padding included, in shapes {shapes_of(*given)}"
        )
    if x.batched and not weight.batched:
        attrs = {"stride_h": steps[0], "stride_w": steps[1], "groups": groups}
        attrs |= {"dilation_h": apart[0], "dilation_w": apart[1]}
        attrs |= {"pad_top": around[0], "pad_bottom": around[0]}
        attrs |= {"pad_left": around[1], "pad_right": around[1]}
        own = weight.op == "parameter"
        inputs, parameters = ((x,), weight.parameters) if own else ((x, weight), ())
        return as_given(Node("conv", inputs, parameters, attrs, x.layer, layout=layout, image=True))
    y = _by_windows(x, weight, steps, around, apart, groups)
    y.layout, y.image = layout, True
    return as_given(y)


def _by_windows(
    x: Node,
    weight: Node,
    steps: tuple[int, int],
    around: tuple[int, int],
    apart: tuple[int, int],
    groups: int,
) -> Node:
    """Windows are read through strides, then multiplied."""
    x = pad(x, [(0, 0), *((n, n) for n in around)])
    kernel = weight.shape[2:]
    out = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[1:], kernel, steps, apart, strict=True)
    ]
    plane, row, _ = strides_of(x.shape)
    strides = (plane, apart[0] * row, apart[1], steps[0] * row, steps[1])
    windows = view(x, (x.shape[0], *weight.shape[2:], *out), strides)
    columns = reshape(windows, (groups, -1, out[0] * out[1]))
    rows = reshape(weight, (groups, weight.shape[0] // groups, -1))
    return reshape(matmul(rows, columns), (weight.shape[0], *out))


def _axes(x: Node) -> str:
    """The names of the axes of images as the user gives them."""
    return f"[{', '.join((x.layout or 'NCHW')[1:])}]"


def _pair(value: Pair, least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or min(pair) < least:
        raise ValueError(f"bp.ops.conv2d: expected one or two numbers >= {least}, got {value!r}")
    return pair[0], pair[1]


FUNCTIONS = {f.__name__: f for f in (pad, conv2d)}
