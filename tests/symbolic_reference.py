"""NumPy lines and uses of the ops that the functions of `bp.ops` are made of."""

import numpy as np

from pybp.fuse import encode


def words(values):
    return tuple(np.asarray(values, np.float64).reshape(-1).view(np.int32).tolist())


def evaluate(*inputs, program):
    """An expression by its program: only of the programs below, which are written twice."""
    return PROGRAMS[program][1](*inputs)


def constants(*, values, dims):
    return np.array(values, np.int32).view(np.float64).reshape(dims)


def view(x, dims, strides, offset):
    flat = x.reshape(len(x), -1)
    at = offset + sum(
        np.arange(n).reshape([-1] + [1] * (len(dims) - 1 - d)) * s
        for d, (n, s) in enumerate(zip(dims, strides, strict=True))
    )
    return flat[:, np.broadcast_to(at, dims)]


def fold(x, how):
    return [np.max, np.min, np.prod, np.argmax, np.argmin][how](x, axis=-1).astype(float)


def broadcast(x, dims, batched):
    return np.broadcast_to(
        x.reshape(len(x), *[1] * (len(dims) + 1 - x.ndim), *x.shape[1:]), (len(x), *dims)
    )


def matmul(a, b, transpose_a, transpose_b):
    a = np.swapaxes(a, -1, -2) if transpose_a else a
    return a @ (np.swapaxes(b, -1, -2) if transpose_b else b)


def chain(*steps):
    return encode(steps)


# A product of two, one of them spread; a step of its own attribute; more steps than a tile holds.
PROGRAMS = {
    chain(("multiply", (0, 1)), ("tanh", (2,)), ("add", (3, 0))): (
        2,
        lambda x, y: np.tanh(x * y) + x,
    ),
    chain(("constant", (0.3,)), ("elu", (0, 1)), ("square", (2,))): (
        1,
        lambda x: np.where(x > 0, x, 0.3 * np.expm1(x)) ** 2,
    ),
    chain(*[("sin", (i,)) for i in range(50)]): (
        1,
        lambda x: [x := np.sin(x) for _ in range(50)][-1],
    ),
    chain(("constant", (0.0,)), ("less", (1, 0)), ("exp", (0,)), ("where", (2, 0, 3))): (
        1,
        lambda x: np.where(x > 0, x, np.exp(x)),
    ),
}
EXPRESSIONS = list(PROGRAMS)

REFERENCE = {
    "expression": evaluate,
    "constant": constants,
    "row_value": lambda x, mean: x.reshape(len(x), 1),
    "broadcast": broadcast,
    "sum": lambda x, axes, keep: x.sum(tuple(a + 1 for a in axes), keepdims=bool(keep)),
    "view": view,
    "fold": fold,
    "scan": lambda x, product: (np.cumprod if product else np.cumsum)(x, axis=-1),
    "take": lambda x, at: np.stack([row[i.astype(int)] for row, i in zip(x, at, strict=True)]),
    "matmul": matmul,
}


def apart(shape):
    """Values along the last axis that differ by a tenth."""

    def draw(rng, n):
        steps = np.tile(np.arange(1.0, shape[-1] + 1), (n, *shape[:-1], 1))
        return [0.1 * rng.permuted(steps, axis=-1) + 0.3]

    return draw


def table(shape, count):
    """A table, and numbers of its slices."""
    return lambda rng, n: [
        rng.normal(size=(n, *shape)),
        rng.integers(0, shape[0], (n, *count)).astype(float),
    ]


CASES = {
    "expression": [
        {"inputs": [s] * PROGRAMS[program][0], "attrs": {"program": program}, "rows": n}
        for program in EXPRESSIONS
        for s, n in [((1,), 5), ((7,), 13), ((3, 5), 13), ((130,), 40)]
    ]
    + [
        {
            "inputs": [(3, 5), s],
            "attrs": {"program": EXPRESSIONS[0]},
            "reference": wide,
            "flowing": 1,
        }
        for s, wide in [
            ((3, 1), lambda x, y, program: np.tanh(x * y) + x),
            ((1,), lambda x, y, program: np.tanh(x * y[:, :, None]) + x),
        ]
    ],
    "constant": [
        {"inputs": [], "attrs": {"values": words(np.arange(6) / 7), "dims": (2, 3)}, "rows": 2}
    ],
    "row_value": [
        {"inputs": [(1,)], "attrs": {"mean": mean}, "mean": bool(mean)} for mean in (0, 1)
    ],
    "broadcast": [
        {"inputs": [s], "attrs": {"dims": dims, "batched": 1}, "rows": n}
        for s, dims, n in [
            ((1,), (7,), 5),
            ((3, 1), (3, 5), 6),
            ((5,), (3, 5), 6),
            ((1, 4, 1), (2, 4, 70), 9),
            ((2, 1, 3, 1), (2, 9, 3, 5), 3),
        ]
    ],
    "sum": [
        {"inputs": [s], "attrs": {"axes": axes, "keep": keep}, "rows": n}
        for s, axes, n in [
            ((7,), (0,), 5),
            ((3, 5), (0,), 6),
            ((3, 130), (0, 1), 4),
            ((2, 9, 3, 5), (0, 2), 3),
        ]
        for keep in (0, 1)
    ],
    "view": [
        {"inputs": [s], "attrs": {"dims": d, "strides": t, "offset": at}, "rows": 5}
        for s, d, t, at in [
            ((6,), (3,), (2,), 1),
            ((3, 4), (4, 3), (1, 4), 0),
            ((3, 4), (2, 2), (-4, -2), 11),
            ((2, 3, 4), (24,), (1,), 0),
            ((6,), (4, 3), (1, 1), 0),  # overlapping windows
        ]
    ],
    "fold": [
        {"inputs": [s], "attrs": {"how": how}, "draw": apart(s), "rows": n}
        for how in range(5)
        for s, n in [((1,), 5), ((7,), 13), ((3, 5), 40)]
    ],
    "scan": [
        {"inputs": [s], "attrs": {"product": product}, "rows": n}
        for product in (0, 1)
        for s, n in [((1,), 5), ((7,), 13), ((3, 5), 40)]
    ],
    "take": [
        {"inputs": [s, c], "draw": table(s, c), "rows": 9, "flowing": 1}
        for s, c in [((4,), (3,)), ((5, 3), (2,)), ((2, 3), (2, 2))]
    ],
    "matmul": [
        {"inputs": [a, b], "attrs": {"transpose_a": ta, "transpose_b": tb}, "rows": n}
        for a, b, ta, tb, n in [
            ((3, 4), (4, 5), 0, 0, 6),
            ((3, 4), (5, 4), 0, 1, 6),
            ((4, 3), (4, 5), 1, 0, 6),
            ((2, 17, 33), (2, 33, 9), 0, 0, 5),
        ]
    ],
}
