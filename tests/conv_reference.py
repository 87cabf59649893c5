"""Convolutions in plain loops of NumPy, and the uses of them that the suite checks."""

from __future__ import annotations

import itertools

import numpy as np

AXES = ("stride_h", "stride_w", "dilation_h", "dilation_w")
PADS = ("pad_top", "pad_bottom", "pad_left", "pad_right")


def conv(x, weight, bias=0.0, *, groups, **attrs):
    """One sum per element of the kernel, over shifted and strided views of the padded image."""
    sh, sw, dh, dw = (attrs[name] for name in AXES)
    top, bottom, left, right = (attrs[name] for name in PADS)
    outputs, own, kernel_h, kernel_w = weight.shape
    x = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)])
    height = (x.shape[2] - dh * (kernel_h - 1) - 1) // sh + 1
    width = (x.shape[3] - dw * (kernel_w - 1) - 1) // sw + 1
    y = np.zeros((len(x), outputs, height, width))
    for group in range(groups):
        images = x[:, group * own : (group + 1) * own]
        rows = slice(group * outputs // groups, (group + 1) * outputs // groups)
        for a, b in itertools.product(range(kernel_h), range(kernel_w)):
            seen = images[:, :, a * dh :: sh, b * dw :: sw][:, :, :height, :width]
            y[:, rows] += np.einsum("ncij,oc->noij", seen, weight[rows, :, a, b])
    return y + np.reshape(bias, (-1, 1, 1))


def conv_transpose(x, weight, bias=0.0, *, groups, output_pad_h, output_pad_w, **attrs):
    """Every pixel draws the kernel into the larger image."""
    sh, sw, dh, dw = (attrs[name] for name in AXES)
    top, bottom, left, right = (attrs[name] for name in PADS)
    channels, own, kernel_h, kernel_w = weight.shape
    height, width = x.shape[2:]
    tall = (height - 1) * sh + dh * (kernel_h - 1) + 1 + output_pad_h
    wide = (width - 1) * sw + dw * (kernel_w - 1) + 1 + output_pad_w
    y = np.zeros((len(x), own * groups, tall, wide))
    for group in range(groups):
        rows = slice(group * channels // groups, (group + 1) * channels // groups)
        drawn = y[:, group * own : (group + 1) * own]
        for a, b in itertools.product(range(kernel_h), range(kernel_w)):
            part = np.einsum("ncij,co->noij", x[:, rows], weight[rows, :, a, b])
            seen = drawn[:, :, a * dh :: sh, b * dw :: sw]
            seen[:, :, :height, :width] += part
    return y[:, :, top : tall - bottom, left : wide - right] + np.reshape(bias, (-1, 1, 1))


def attributes(stride=(1, 1), dilation=(1, 1), pad=(0, 0, 0, 0), groups=1):
    """The op's attributes."""
    names = (*AXES, *PADS)
    return dict(zip(names, (*stride, *dilation, *pad), strict=True)) | {"groups": groups}


def uses(image, outputs, kernel, rows=3, **how):
    """With and without a bias."""
    groups = how.get("groups", 1)
    shapes = [(outputs, image[0] // groups, *kernel), (outputs,)]
    for bias in (0, 1):
        yield {
            "inputs": [image],
            "parameters": shapes[: 1 + bias],
            "attrs": attributes(**how),
            "rows": rows,
        }


CONVOLUTIONS = [
    *uses((1, 3, 3), 1, (2, 2), rows=1),
    *uses((1, 9, 28), 6, (5, 5), rows=2),
    *uses((6, 12, 12), 16, (5, 5)),
    *uses((3, 7, 9), 5, (3, 3), pad=(1, 1, 1, 1)),
    *uses((2, 8, 11), 3, (3, 2), stride=(2, 3), pad=(0, 2, 1, 0)),
    *uses((4, 10, 9), 7, (3, 3), dilation=(2, 3), pad=(2, 1, 0, 3)),
    *uses((2, 9, 10), 4, (4, 3), stride=(3, 2), dilation=(2, 3), pad=(3, 3, 2, 4)),
    *uses((6, 6, 5), 9, (3, 3), groups=3, pad=(1, 1, 1, 1)),
    *uses((5, 8, 8), 5, (3, 3), groups=5, stride=(2, 2), pad=(1, 1, 1, 1)),
    *uses((3, 5, 5), 6, (3, 3), groups=3),
    *uses((40, 4, 4), 18, (1, 1)),
    *uses((5, 4, 6), 4, (1, 1), stride=(2, 2)),
    *uses((3, 4, 5), 11, (4, 5)),
    *uses((1, 1, 30), 2, (1, 7), stride=(1, 4), pad=(0, 0, 3, 3)),
    *uses((300, 3, 3), 5, (3, 3), rows=2, pad=(1, 1, 1, 1)),  # longer sums than go together
    *uses((2, 5, 5), 200, (2, 2), rows=2),
    *uses((1, 40, 300), 1, (3, 30), rows=1, pad=(40, 0, 0, 200)),  # wider than a tile
    *uses((2, 6, 6), 2, (2, 2), rows=130, stride=(5, 1)),
    *uses((7, 9, 10), 18, (4, 4), stride=(2, 1), dilation=(1, 2)),  # a gradient without margin
    *uses((6, 8, 8), 34, (5, 5), groups=2, pad=(1, 0, 0, 1)),
    *uses((16, 6, 8), 17, (3, 3), rows=5, pad=(1, 1, 1, 1)),  # in blocks by Winograd
    *uses((19, 5, 3), 18, (3, 3), rows=9, pad=(0, 1, 2, 0)),
    *uses((7, 3, 5), 9, (1, 1), rows=5),  # in blocks as a product
    *uses((3, 7, 6), 6, (5, 3), rows=5, groups=3, dilation=(1, 2), pad=(2, 2, 2, 1)),
]


def transposed_uses(image, outputs, kernel, rows=3, output_pad=(0, 0), **how):
    """The same for transposed convolutions."""
    groups = how.get("groups", 1)
    shapes = [(image[0], outputs // groups, *kernel), (outputs,)]
    names = ("output_pad_h", "output_pad_w")
    for bias in (0, 1):
        yield {
            "inputs": [image],
            "parameters": shapes[: 1 + bias],
            "attrs": attributes(**how) | dict(zip(names, output_pad, strict=True)),
            "rows": rows,
        }


TRANSPOSED = [
    *transposed_uses((1, 1, 1), 1, (1, 1), rows=1),
    *transposed_uses((3, 5, 6), 4, (3, 3)),
    *transposed_uses((16, 6, 7), 3, (4, 4), stride=(2, 2), pad=(1, 1, 1, 1), rows=9),
    *transposed_uses((4, 5, 4), 6, (3, 2), stride=(2, 3), groups=2, output_pad=(1, 2)),
    *transposed_uses((3, 4, 5), 3, (3, 3), groups=3, dilation=(2, 1), pad=(0, 1, 2, 0)),
    *transposed_uses((2, 3, 4), 2, (1, 1), stride=(3, 2), output_pad=(2, 0)),
    *transposed_uses((18, 4, 5), 16, (3, 3), pad=(1, 0, 0, 2), rows=9),  # in blocks by Winograd
    *transposed_uses((5, 4, 3), 6, (1, 1), pad=(1, 0, 0, 0), output_pad=(1, 0)),
]

REFERENCE = {"conv": conv, "conv_transpose": conv_transpose}
CASES = {"conv": CONVOLUTIONS, "conv_transpose": TRANSPOSED}
