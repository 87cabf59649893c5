"""One line of NumPy per op that merges several inputs, and the uses of it that the suite checks."""

from __future__ import annotations

from functools import reduce

import numpy as np


def extreme(*x, least):
    return reduce(np.minimum if least else np.maximum, x)


def concat(*x, axis):
    if axis < 0:
        return np.concatenate([part.reshape(len(part), -1) for part in x], axis=1)
    return np.concatenate(x, axis=axis + 1)


REFERENCE = {
    "add": lambda *x, scale, rest: scale * (x[0] + rest * sum(x[1:])),
    "multiply": lambda *x: reduce(np.multiply, x),
    "extreme": extreme,
    "concat": concat,
    # Its gradient is not that of its value: tests/test_multi_io.py trains with it.
    "scale_gradient": lambda x, factor: x,
}


def apart(shape, inputs):
    """Inputs of which no two are nearer than 0.1."""

    def draw(rng, n):
        steps = rng.permuted(np.tile(np.arange(inputs) - 1.0, (n, *shape, 1)), axis=-1)
        return list(0.1 * np.moveaxis(steps, -1, 0))

    return draw


ALIKE = [((1,), 2, 5), ((7,), 2, 13), ((3, 5), 3, 6), ((130,), 6, 40), ((2, 3, 4), 2, 600)]

CASES = {
    "add": [
        {"inputs": [shape] * count, "attrs": {"scale": scale, "rest": rest}, "rows": rows}
        for shape, count, rows in ALIKE
        for scale, rest in [(1.0, 1.0), (1.0, -1.0), (1 / count, 1.0)]
    ],
    "multiply": [
        {"inputs": [shape] * count, "rows": rows} for shape, count, rows in ALIKE if count < 6
    ],
    "extreme": [
        {
            "inputs": [shape] * count,
            "attrs": {"least": least},
            "rows": rows,
            "draw": apart(shape, count),
        }
        for shape, count, rows in ALIKE
        for least in (0, 1)
    ],
    "concat": [
        {"inputs": shapes, "attrs": {"axis": axis}, "rows": rows}
        for shapes, axis, rows in [
            ([(1,), (1,)], 0, 1),
            ([(7,), (3,), (1,), (9,), (16,), (2,)], 0, 13),
            ([(2, 5), (4, 5)], 0, 6),
            ([(4, 2), (4, 3), (4, 1)], 1, 5),
            ([(2, 3, 4), (2, 1, 4)], 1, 40),
            ([(3,), (2, 2), (1, 2, 3)], -1, 9),
        ]
    ],
    "scale_gradient": [{"inputs": [(7,)], "attrs": {"factor": 1.0}, "rows": 13}],
}
