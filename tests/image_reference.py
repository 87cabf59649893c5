"""One plain function of NumPy per op on images, and the uses of it that the suite checks. Rows are
(C, H, W), x [N, C, H, W]."""

from __future__ import annotations

import itertools

import numpy as np


def padded(x, top, bottom, left, right, value=0.0):
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def windows(x, size, stride, pads, value):
    """Every window of the padded planes: [N, C, OH, OW, *size]."""
    x = padded(x, *pads, value=value)
    seen = np.lib.stride_tricks.sliding_window_view(x, size, axis=(2, 3))
    return seen[:, :, :: stride[0], :: stride[1]]


def pool_windows(x, a, value):
    pads = a["pad_top"], a["pad_bottom"], a["pad_left"], a["pad_right"]
    size, stride = (a["pool_h"], a["pool_w"]), (a["stride_h"], a["stride_w"])
    return windows(x, size, stride, pads, value)


def max_pool(x, **attrs):
    return pool_windows(x, attrs, -np.inf).max(axis=(4, 5))


def average_pool(x, count_pad, **attrs):
    ones = np.ones_like(x[:1])
    own = pool_windows(ones, attrs, float(count_pad)).sum(axis=(4, 5))
    return pool_windows(x, attrs, 0.0).sum(axis=(4, 5)) / own


def zero_pad(x, top, bottom, left, right):
    x = padded(x, *(max(side, 0) for side in (top, bottom, left, right)))
    h, w = x.shape[2:]
    return x[:, :, max(-top, 0) : h - max(-bottom, 0), max(-left, 0) : w - max(-right, 0)]


def along(x, factor, axis, bilinear):
    """One axis enlarged: repeated, or by lines between the centres."""
    if not bilinear:
        return np.repeat(x, factor, axis)
    n = x.shape[axis]
    at = np.clip((np.arange(n * factor) + 0.5) / factor - 0.5, 0, n - 1)
    first = np.floor(at).astype(int)
    part = (at - first).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    second = np.minimum(first + 1, n - 1)
    return (1 - part) * np.take(x, first, axis) + part * np.take(x, second, axis)


def upsample(x, factor_h, factor_w, bilinear):
    return along(along(x, factor_h, 2, bilinear), factor_w, 3, bilinear)


def by_channel(vector):
    return np.reshape(vector, (-1, 1, 1)) if np.ndim(vector) else vector


def channel_batch_norm(x, mean, variance, gamma=1.0, beta=0.0, *, momentum, eps, frozen):
    mean, variance, gamma, beta = (by_channel(v) for v in (mean, variance, gamma, beta))
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


def channel_batch_norm_of_batch(x, mean, variance, gamma=1.0, beta=0.0, **attrs):
    """In training the statistics are the batch's."""
    axes = (0, 2, 3)
    return channel_batch_norm(x, x.mean(axes), x.var(axes), gamma, beta, **attrs)


def group_norm(x, gamma=1.0, beta=0.0, *, groups, eps):
    g = x.reshape(len(x), groups, -1)
    h = (g - g.mean(2, keepdims=True)) / np.sqrt(g.var(2, keepdims=True) + eps)
    return by_channel(gamma) * h.reshape(x.shape) + by_channel(beta)


REFERENCE = {
    "max_pool": max_pool,
    "average_pool": average_pool,
    "reshape": lambda x: x,
    "permute": lambda x, axes: x.transpose(0, *(1 + axis for axis in axes)),
    "zero_pad": zero_pad,
    "upsample": upsample,
    "channel_batch_norm": channel_batch_norm,
    "group_norm": group_norm,
    "channel_prelu": lambda x, a: np.where(x > 0, x, by_channel(a) * x),
    "spatial_dropout": lambda x, rate: x,
    "embedding": lambda x, weight: weight[x.astype(int)],
}


def spaced(shape):
    """Values that all differ by at least 0.1, so that no difference changes which is largest."""

    def draw(rng, n):
        values = 0.1 * (np.arange(n * np.prod(shape)) - n * np.prod(shape) / 2 + 0.5)
        return [rng.permutation(values).reshape(n, *shape)]

    return draw


def pool(shape, size, stride, pads=(0, 0, 0, 0), rows=5, **more):
    attrs = dict(zip(("pool_h", "pool_w", "stride_h", "stride_w"), (*size, *stride), strict=True))
    attrs |= dict(zip(("pad_top", "pad_bottom", "pad_left", "pad_right"), pads, strict=True))
    return {"inputs": [shape], "attrs": attrs | more, "draw": spaced(shape), "rows": rows}


# shape of a row, window, stride, padding: apart, overlapping, with gaps, whole planes, odd edges.
POOLS = [
    ((1, 4, 4), (2, 2), (2, 2)),
    ((3, 5, 7), (2, 2), (2, 2)),
    ((2, 6, 6), (3, 3), (2, 2), (1, 1, 1, 1)),
    ((2, 5, 4), (3, 2), (1, 1), (1, 0, 0, 1)),
    ((2, 7, 8), (2, 2), (3, 3)),
    ((4, 3, 5), (3, 5), (3, 5)),
    ((2, 1, 9), (1, 3), (1, 2), (0, 0, 1, 1)),
    ((2, 6, 6), (2, 2), (2, 2), (1, 1, 1, 1)),
]


def channel_norms():
    """With and without gamma and beta, in training and not."""
    for shape, rows in [((1, 1, 1), 5), ((3, 2, 5), 6), ((2, 7, 9), 19)]:
        for affine, (training, frozen) in itertools.product(
            (0, 2), [(False, 0), (True, 0), (True, 1)]
        ):
            yield {
                "inputs": [shape],
                "parameters": [shape[:1]] * affine,
                "attrs": {"momentum": 0.1, "eps": 0.1, "frozen": frozen},
                "rows": rows,
                "running": [shape[:1]] * 2,
                "training": training,
                "reference": channel_batch_norm_of_batch if training and not frozen else None,
            }


def group_norms():
    for shape, groups, rows in [((1, 2, 3), 1, 5), ((6, 3, 3), 3, 6), ((4, 5, 5), 4, 19)]:
        for affine in (0, 2):
            attrs = {"groups": groups, "eps": 0.1}
            yield {
                "inputs": [shape],
                "parameters": [shape[:1]] * affine,
                "attrs": attrs,
                "rows": rows,
            }


def away_from_zero(shape):
    def draw(rng, n):
        x = rng.normal(size=(n, *shape))
        return [np.where(np.abs(x) < 0.01, 0.02, x)]

    return draw


CASES = {
    "max_pool": [pool(*use) for use in POOLS],
    "average_pool": [pool(*use, count_pad=count) for use in POOLS for count in (0, 1)],
    "reshape": [
        {"inputs": [(2, 3, 4)], "shape": (24,), "reference": lambda x: x.reshape(-1, 24)},
        {"inputs": [(15,)], "shape": (5, 3), "reference": lambda x: x.reshape(-1, 5, 3)},
    ],
    "permute": [
        {"inputs": [shape], "attrs": {"axes": axes}, "rows": 6}
        for shape, axes in [
            ((5,), (0,)),
            ((3, 4), (1, 0)),
            ((3, 4, 5), (1, 2, 0)),
            ((3, 4, 5), (2, 0, 1)),
            ((2, 3, 4, 5), (3, 1, 0, 2)),
        ]
    ],
    "zero_pad": [
        {
            "inputs": [(2, 4, 5)],
            "attrs": dict(zip(("top", "bottom", "left", "right"), sides, strict=True)),
        }
        for sides in [(1, 1, 1, 1), (0, 2, 3, 0), (-1, 1, 1, -2), (-1, -2, -2, -1), (0, 0, 0, 0)]
    ],
    "upsample": [
        {
            "inputs": [shape],
            "attrs": {"factor_h": h, "factor_w": w, "bilinear": bilinear},
        }
        for shape, h, w in [((1, 1, 1), 2, 3), ((2, 3, 4), 2, 2), ((3, 2, 5), 3, 1)]
        for bilinear in (0, 1)
    ],
    "channel_batch_norm": list(channel_norms()),
    "group_norm": list(group_norms()),
    "channel_prelu": [
        {"inputs": [s], "parameters": [s[:1]], "draw": away_from_zero(s), "rows": 6}
        for s in [(1, 2, 2), (3, 4, 5)]
    ],
    "spatial_dropout": [{"inputs": [(3, 4, 5)], "attrs": {"rate": 0.4}}],
    "embedding": [
        {
            "inputs": [(length,)],
            "parameters": [(words, size)],
            "draw": lambda rng, n, length=length, words=words: [
                rng.integers(0, words, (n, length)).astype(float)
            ],
        }
        for length, words, size in [(1, 2, 1), (7, 5, 3), (4, 50, 17)]
    ],
}
