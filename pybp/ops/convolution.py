"""Padding and convolution, of any operands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pybp.checks import whole
from pybp.graph import Node
from pybp.layouts import as_given, as_image
from pybp.ops.linear import matmul
from pybp.ops.shaping import concatenate, reshape, strides_of, view
from pybp.ops.symbols import Value, as_node, constant, shapes_of, spread

Pair = int | Sequence[int]


def pad(x: Value, widths: int | Sequence[Any], value: float = 0.0) -> Node:
    """More numbers of one value before and behind along every axis: widths is one pair an axis, or
    one pair or number for all of them."""
    x = as_node(x, "pad")
    try:
        pairs = np.broadcast_to(widths, (x.ndim, 2))
        fits = pairs.dtype.kind in "iu" and (pairs >= 0).all()
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"bp.ops.pad: rows of shape {shapes_of(x)} need {x.ndim} pairs of whole numbers >= 0, "
            f"or one, got {widths}"
        )
    for axis, pair in enumerate(pairs.tolist()):
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
    the weights a layer's own or computed, the same for all rows. Of arrays under `bp.grad` and its
    kin, and with weights of every row's own, convolutions go by windows, in KH KW times the memory
    of x. Derivatives are of any order either way.
    """
    steps = _pair(stride, "stride")
    around, apart = _pair(padding, "padding", 0), _pair(dilation, "dilation")
    return _convolved("conv2d", x, weight, steps, around, apart, groups)


def conv1d(
    x: Value,
    weight: Value,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Node:
    """y[o, i] = sum_{c, k} weight[o, c, k] x[c, s i + d k]

    of rows x [C, L] with zeros around them, weight [O, C / groups, K], y [O, OL]: `conv2d` of
    sequences. Those of a layout are read, and y is written, in its order of axes.
    """
    step = whole(stride, "bp.ops.conv1d: stride")
    around = whole(padding, "bp.ops.conv1d: padding", 0)
    apart = whole(dilation, "bp.ops.conv1d: dilation")
    return _convolved("conv1d", x, weight, (1, step), (0, around), (1, apart), groups)


def _convolved(
    what: str,
    x: Value,
    weight: Value,
    steps: tuple[int, int],
    around: tuple[int, int],
    apart: tuple[int, int],
    groups: int,
) -> Node:
    """Sequences are images one place high."""
    groups = whole(groups, f"bp.ops.{what}: groups")
    given = x, weight = as_node(x, what), as_node(weight, what)
    axes, usual = (1, "NCL") if what == "conv1d" else (2, "NCHW")
    layout = x.layout if len(x.layout or "") == len(usual) else usual
    kernel = (1, *weight.shape[2:])[-2:]
    if x.layout and x.ndim == axes + 1:
        x = as_image(x, x.layer, f"bp.ops.{what}")
    elif axes == 1 and x.ndim == 2:
        x = reshape(x, (x.shape[0], 1, x.shape[1]))
    fits = given[0].ndim == axes + 1 and weight.ndim == axes + 2
    if not fits or x.shape[0] != weight.shape[1] * groups:
        names = ", ".join(layout[1:]), "K" if axes == 1 else "KH, KW"
        raise ValueError(
            f"bp.ops.{what}: rows and weights of shapes {shapes_of(*given)} in {groups} groups do "
            f"not fit: they are [{names[0]}] and [O, C / groups, {names[1]}]"
        )
    if weight.shape[0] % groups:
        raise ValueError(f"bp.ops.{what}: {weight.shape[0]} outputs are not {groups} equal groups")
    reach = [d * (k - 1) + 1 for d, k in zip(apart, kernel, strict=True)]
    size = [n + 2 * more for n, more in zip(x.shape[1:], around, strict=True)]
    if any(r > n for r, n in zip(reach, size, strict=True)):
        raise ValueError(
            f"bp.ops.{what}: a kernel that spans {tuple(reach[-axes:])} is larger than its input "
            f"{tuple(size[-axes:])}, padding included, in shapes {shapes_of(*given)}"
        )
    attrs = {"stride_h": steps[0], "stride_w": steps[1], "groups": groups}
    attrs |= {"dilation_h": apart[0], "dilation_w": apart[1]}
    attrs |= {"pad_top": around[0], "pad_bottom": around[0]}
    attrs |= {"pad_left": around[1], "pad_right": around[1]}
    if x.batched and not weight.batched:
        own = weight.op == "parameter"
        inputs, parameters = ((x,), weight.parameters) if own else ((x, weight), ())
        return as_given(Node("conv", inputs, parameters, attrs, x.layer, layout=layout, image=True))
    y = by_windows(x, weight, attrs)
    if axes == 1 and not y.batched:
        return reshape(y, (y.shape[0], y.shape[2]))
    y.layout, y.image = layout, True
    return as_given(y)


def by_windows(x: Node, weight: Node, attrs: Mapping[str, int]) -> Node:
    """A `conv` of any operands: windows are read through strides, then multiplied."""
    steps, apart = ([attrs[f"{name}_{a}"] for a in "hw"] for name in ("stride", "dilation"))
    height, width = (attrs["pad_top"], attrs["pad_bottom"]), (attrs["pad_left"], attrs["pad_right"])
    x = pad(x, [(0, 0), height, width])
    groups, kernel = attrs["groups"], (1, *weight.shape[2:])[-2:]
    out = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[1:], kernel, steps, apart, strict=True)
    ]
    plane, row, _ = strides_of(x.shape)
    strides = (plane, apart[0] * row, apart[1], steps[0] * row, steps[1])
    windows = view(x, (x.shape[0], *kernel, *out), strides)
    columns = reshape(windows, (groups, -1, out[0] * out[1]))
    rows = reshape(weight, (groups, weight.shape[0] // groups, -1))
    return reshape(matmul(rows, columns), (weight.shape[0], *out))


def _pair(value: Pair, what: str, least: int = 1) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list | np.ndarray) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"bp.ops.conv2d: {what} is one number or a pair, got {value!r}")
    height, width = (whole(n, f"bp.ops.conv2d: {what}", least) for n in pair)
    return height, width


FUNCTIONS = {f.__name__: f for f in (pad, conv1d, conv2d)}
