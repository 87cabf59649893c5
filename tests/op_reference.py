"""One line of NumPy per op, and the uses of it that the suite checks.

A new op needs an entry in REFERENCE; `test_ops.py` refuses one without. An op that is not a map
from one array to another of the same shape also needs an entry in CASES.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import augment_reference
import conv_reference
import image_reference
import loss_reference
import merge_reference
import neuron_reference
import numpy as np
import symbolic_reference
from loss_reference import log_softmax, softmax


def centred(x):
    return x - x.mean(axis=-1, keepdims=True)


def scaled(x, eps):
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


erf = np.vectorize(math.erf, otypes=[float])
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FAMILIES = (
    loss_reference,
    merge_reference,
    augment_reference,
    neuron_reference,
    conv_reference,
    image_reference,
    symbolic_reference,
)

REFERENCE = {
    "feed": lambda x, source, scale: scale * x,
    "dense": lambda x, w, b=0.0: x @ w.T + b,
    "sparse_dense": lambda x, w, b=0.0, *, source, scale: scale * x @ w.T + b,
    # In lanes, [C, P]: tests/test_lanes.py trains with them.
    "lanes_feed": lambda x, source, scale: scale * x.T,
    "lanes_dense": lambda x, w, b=0.0: w @ x + np.reshape(b, (-1, 1)),
    "lanes_rows": lambda x: x.T,
    "lanes_softmax_cross_entropy": lambda z, t, smoothing: REFERENCE["softmax_cross_entropy"](
        z.T, t, smoothing
    ),
    # tests/test_blocks.py goes through blocks and back.
    "to_blocks": lambda x: x,
    "from_blocks": lambda x: x,
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "exp": np.exp,
    "log": np.log,
    "erf": erf,
    "step": lambda x: np.heaviside(x, 1.0),
    "leaky_relu": lambda x, negative_slope: np.where(x > 0, x, negative_slope * x),
    "elu": lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)),
    "selu": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "prelu": lambda x, a: np.where(x > 0, x, a * x),
    "maxout": lambda x, pieces: x.reshape(*x.shape[:-1], -1, pieces).max(axis=-1),
    "softmax": softmax,
    "log_softmax": log_softmax,
    "dropout": lambda x, rate: x,
    "alpha_dropout": lambda x, rate: x,
    "gaussian_dropout": lambda x, rate: x,
    "gaussian_noise": lambda x, stddev: x,
    "layer_norm": lambda x, gamma=1.0, beta=0.0, *, eps: gamma * scaled(centred(x), eps) + beta,
    "rms_norm": lambda x, gamma=1.0, *, eps: gamma * scaled(x, eps),
    "batch_norm_affine": lambda mean, variance, gamma=1.0, beta=0.0, *, eps: np.stack(
        [gamma / np.sqrt(variance + eps), beta - mean * gamma / np.sqrt(variance + eps)]
    ),
    "batch_norm": lambda x, mean, variance, gamma=1.0, beta=0.0, *, momentum, eps, frozen: (
        gamma * (x - mean) / np.sqrt(variance + eps) + beta
    ),
}
for family in FAMILIES:
    REFERENCE |= family.REFERENCE


@dataclass
class Case:
    """One use of an op: shapes of a row of each input and of each parameter, and attributes.

    `draw` makes the inputs (standard normal unless said); `mean` says
    whether a loss is averaged over the rows. Running state, of shapes `running`, is uniform in
    [0.5, 1.5). With `training` the op runs as in a training step, and `reference` says what it does
    there. `flowing` says how many of the inputs have gradients, 0 for all. `shape` is the output's,
    of an op that leaves it to the caller.
    """

    inputs: list[tuple[int, ...]]
    parameters: list[tuple[int, ...]] = field(default_factory=list)
    attrs: dict = field(default_factory=dict)
    draw: object = None
    mean: bool = True
    rows: int = 13
    running: list[tuple[int, ...]] = field(default_factory=list)
    training: bool = False
    reference: object = None
    flowing: int = 0
    shape: tuple[int, ...] = ()


def batch_norm_of_batch(x, mean, variance, gamma=1.0, beta=0.0, *, momentum, eps, frozen):
    """In training the statistics are the batch's, over all axes but the last."""
    axes = tuple(range(x.ndim - 1))
    return REFERENCE["batch_norm"](
        x, x.mean(axes), x.var(axes), gamma, beta, momentum=momentum, eps=eps, frozen=frozen
    )


def batch_norms():
    """With and without gamma and beta, in training and not; past the edges of blocks of columns."""
    for shape, rows in [((1,), 5), ((7,), 13), ((70,), 33), ((3, 5), 6), ((130,), 40)]:
        for affine in (0, 2):
            for training, frozen in [(False, 0), (True, 0), (True, 1)]:
                yield Case(
                    [shape],
                    [shape[-1:]] * affine,
                    {"momentum": 0.1, "eps": 0.1, "frozen": frozen},
                    rows=rows,
                    running=[shape[-1:]] * 2,
                    training=training,
                    reference=batch_norm_of_batch if training and not frozen else None,
                )


def row_norms(parameters):
    """With and without parameters; past the edges of blocks of columns."""
    for shape, rows in [((1,), 5), ((7,), 13), ((3, 5), 6), ((130,), 40)]:
        for count in (0, parameters):
            yield Case([shape], [shape[-1:]] * count, {"eps": 0.1}, rows=rows)


def mostly_zeros(columns):
    """One value in five."""
    return lambda rng, n: [rng.normal(size=(n, columns)) * (rng.random((n, columns)) < 0.2)]


def away_from(*kinks, shape, span=1.0):
    """Normal values, none so near a kink that a difference could reach over it."""

    def draw(rng, n):
        x = span * rng.normal(size=(n, *shape))
        for kink in kinks:
            x = np.where(np.abs(x - kink) < 0.01, kink + 0.02, x)
        return [x]

    return draw


def apart(shape):
    """Values that differ by at least 0.1 along the last axis."""
    return lambda rng, n: [
        0.1 * rng.permuted(np.tile(np.arange(shape[-1]) - 3.0, (n, *shape[:-1], 1)), axis=-1)
    ]


def kinked(*kinks, span=1.0, **attrs):
    """An elementwise op with kinks."""
    return [
        Case([s], attrs=attrs, draw=away_from(*kinks, shape=s, span=span), rows=n)
        for s, n in [((1,), 13), ((7,), 13), ((3, 5), 13), ((130,), 40)]
    ]


SAME_SHAPE = [Case([(1,)]), Case([(7,)]), Case([(3, 5)]), Case([(130,)], rows=40)]

# Inputs, outputs, rows: tiny, odd, and past the edges of tiles.
DENSE_SIZES = [(1, 1, 1), (3, 2, 5), (17, 33, 16), (64, 10, 130), (100, 128, 32), (40, 7, 9)]

CASES = {
    "log": [
        Case([(s,)], draw=lambda rng, n, s=s: [rng.uniform(0.1, 3, (n, s))]) for s in (1, 7, 130)
    ],
    "relu": kinked(0.0),
    "leaky_relu": kinked(0.0, negative_slope=0.01) + kinked(0.0, negative_slope=0.3),
    "elu": kinked(0.0, alpha=1.0) + kinked(0.0, alpha=0.4),
    "selu": kinked(0.0),
    "hard_sigmoid": kinked(-3.0, 3.0, span=3.0),
    "hard_tanh": kinked(-1.0, 1.0),
    "prelu": [
        Case([s], [(c,)], draw=away_from(0.0, shape=s), rows=n)
        for s, c, n in [((1,), 1, 5), ((7,), 7, 9), ((7,), 1, 9), ((3, 5), 5, 6), ((90,), 90, 40)]
    ],
    "maxout": [
        Case([s], attrs={"pieces": p}, draw=apart(s), rows=n)
        for s, p, n in [((2,), 2, 5), ((12,), 3, 13), ((3, 4), 2, 6), ((130,), 5, 40), ((4,), 1, 3)]
    ],
    "log_softmax": [Case([(2,)]), Case([(10,)], rows=70), Case([(3, 4)])],
    **{op: [] for op in REFERENCE if op.startswith("lanes_") or op.endswith("_blocks")},
    "feed": [Case([(5,)], attrs={"source": 0, "scale": 0.25})],
    "dense": [
        Case([(i,)], [(o, i), (o,)][: 1 + bias], rows=n)
        for i, o, n in DENSE_SIZES
        for bias in (0, 1)
    ]
    + [Case([(4, 6)], [(5, 6), (5,)], rows=3), Case([(900,)], [(300, 900), (300,)], rows=600)],
    "sparse_dense": [
        Case(
            [(i,)],
            [(o, i), (o,)][: 1 + bias],
            {"source": 0, "scale": 0.5},
            rows=n,
            draw=mostly_zeros(i),
        )
        for i, o, n in [*DENSE_SIZES, (700, 50, 90)]
        for bias in (0, 1)
    ],
    "softmax": [Case([(2,)]), Case([(10,)], rows=70), Case([(3, 4)])],
    "dropout": [Case([(9,)], attrs={"rate": 0.4})],
    "alpha_dropout": [Case([(9,)], attrs={"rate": 0.4})],
    "gaussian_dropout": [Case([(9,)], attrs={"rate": 0.4})],
    "gaussian_noise": [Case([(9,)], attrs={"stddev": 0.4})],
    "batch_norm": list(batch_norms()),
    "batch_norm_affine": [  # two rows, whatever the batch is
        Case([], [(c,)] * count, {"eps": 0.1}, rows=2, running=[(c,)] * 2)
        for c in (1, 70)
        for count in (0, 2)
    ],
    "layer_norm": list(row_norms(2)),
    "rms_norm": list(row_norms(1)),
}
for family in FAMILIES:
    CASES |= {op: [Case(**use) for use in uses] for op, uses in family.CASES.items()}
