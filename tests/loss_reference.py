"""One line of NumPy per loss and metric, and the uses of it that the suite checks. All take the
weights of the rows as an optional third input."""

from __future__ import annotations

import math

import numpy as np


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def one_hot(t, classes):
    return np.eye(classes)[t[:, 0].astype(int)] if t.shape[1] == 1 and classes > 1 else t


def cross_entropy(z, t, smoothing):
    u = (1 - smoothing) * one_hot(t, z.shape[1]) + smoothing / z.shape[1]
    return -(u * log_softmax(z)).sum(axis=1)


def huber(y, t, delta):
    e = np.abs(y - t)
    return np.where(e > delta, delta * (e - delta / 2), e**2 / 2).mean(axis=1)


def hinge(z, t, squared):
    return (np.maximum(0, 1 - np.where(t > 0, z, -z)) ** (1 + squared)).mean(axis=1)


def class_hinge(z, t, squared):
    mine = one_hot(t, z.shape[1]) == 1
    rival = np.where(mine, -np.inf, z).max(axis=1)
    return np.maximum(0, 1 + rival - z[mine]) ** (1 + squared)


def poisson(y, t, log_input, eps):
    return (np.exp(y) - t * y if log_input else y - t * np.log(y + eps)).mean(axis=1)


def sigmoid_focal(z, t, gamma, alpha):
    p = 1 / (1 + np.exp(np.where(t > 0.5, -z, z)))
    a = 1.0 if alpha < 0 else np.where(t > 0.5, alpha, 1 - alpha)
    return -(a * (1 - p) ** gamma * np.log(p)).mean(axis=1)


def softmax_focal(z, t, gamma):
    p = softmax(z)
    return -(one_hot(t, z.shape[1]) * (1 - p) ** gamma * np.log(p)).sum(axis=1)


def cosine_similarity(y, t):
    return 1 - (y * t).sum(1) / np.linalg.norm(y, axis=1) / np.linalg.norm(t, axis=1)


def quantile(y, t, q):
    return np.maximum(q * (t - y), (q - 1) * (t - y)).mean(axis=1)


def accuracy(y, t, binary, threshold):
    if binary:
        return ((y > threshold) == (t > 0.5)).mean(axis=1)
    return (y.argmax(1) == one_hot(t, y.shape[1]).argmax(1)).astype(float)


def top_k_accuracy(y, t, k):
    best = np.argsort(-y, axis=1, kind="stable")[:, :k]
    return (best == one_hot(t, y.shape[1]).argmax(1)[:, None]).any(axis=1).astype(float)


def positives(y, t, threshold, of):
    both = [(y > threshold) & (t > 0.5), y > threshold, t > 0.5]
    return both[of].sum(axis=1).astype(float)


ROWS = {
    "squared_error": lambda y, t, factor, mean: factor * ((y - t) ** 2).sum(axis=1),
    "absolute_error": lambda y, t: np.abs(y - t).mean(axis=1),
    "huber": huber,
    "log_cosh": lambda y, t: np.log(np.cosh(y - t)).mean(axis=1),
    "quantile": quantile,
    "poisson": poisson,
    "cosine_similarity": cosine_similarity,
    "softmax_cross_entropy": cross_entropy,
    "sigmoid_cross_entropy": lambda z, t, smoothing: (
        np.logaddexp(0, z) - z * ((1 - smoothing) * t + smoothing / 2)
    ).mean(axis=1),
    "hinge": hinge,
    "class_hinge": class_hinge,
    "kl_divergence": lambda z, t: (t * (np.log(t) - log_softmax(z))).sum(axis=1),
    "sigmoid_focal": sigmoid_focal,
    "softmax_focal": softmax_focal,
    "accuracy": accuracy,
    "top_k_accuracy": top_k_accuracy,
    "positives": positives,
    "row_weight": lambda y, t: np.ones(len(y)),
}


def weighted(rows):
    def value(y, t, w=None, **attrs):
        """With classes at several places of a row, the mean over them."""
        places = math.prod(y.shape[1:-1])
        found = rows(y.reshape(-1, y.shape[-1]), t.reshape(len(t) * places, -1), **attrs)
        return found.reshape(-1, places).mean(axis=1) * (1.0 if w is None else w[:, 0])

    return value


REFERENCE = {name: weighted(rows) for name, rows in ROWS.items()}


def labels(rng, n, classes):
    """Class numbers."""
    return rng.integers(0, classes, (n, 1)) * 1.0


def probabilities(rng, n, classes):
    """A distribution over the classes."""
    return softmax(rng.normal(size=(n, classes)))


def bits(rng, n, units):
    """Zeros and ones."""
    return rng.integers(0, 2, (n, units)) * 1.0


def counts(rng, n, units):
    return rng.poisson(2.0, (n, units)) * 1.0


def normal(rng, n, units):
    return rng.normal(size=(n, units))


def positive(rng, n, units):
    return rng.uniform(0.5, 2, (n, units))


def weights(rng, n):
    """One per row, some of them zero."""
    return rng.choice([0.0, 0.5, 1.0, 3.0], (n, 1))


def uses(c, target, predictions=normal, places=(), **attrs):
    """With and without weights, of few rows and of many."""
    several = math.prod(places)
    for rows, weighing in [(13, False), (13, True), (70, True)]:
        width = 1 if target is labels else c
        inputs = [(*places, c), (several * width,)] + [(1,)] * weighing

        def draw(rng, n, weighing=weighing):
            drawn = [predictions(rng, n * several, c), target(rng, n * several, c)]
            drawn = [drawn[0].reshape(n, *places, c), drawn[1].reshape(n, -1)]
            return drawn + [weights(rng, n)] * weighing

        yield {"inputs": inputs, "attrs": attrs, "draw": draw, "rows": rows}


CASES = {
    "squared_error": [
        *uses(4, normal, factor=0.5, mean=0),
        *uses(4, normal, factor=1.0, mean=0),
        *uses(5, normal, factor=0.2, mean=1),
    ],
    "absolute_error": [*uses(4, normal), *uses(1, normal)],
    "huber": [*uses(4, normal, delta=1.0), *uses(1, normal, delta=0.3)],
    "log_cosh": [*uses(4, normal), *uses(1, normal)],
    "quantile": [*uses(4, normal, q=0.5), *uses(1, normal, q=0.9)],
    "poisson": [
        *uses(4, counts, log_input=1, eps=1e-8),
        *uses(3, counts, positive, log_input=0, eps=1e-8),
    ],
    "cosine_similarity": [*uses(4, normal), *uses(17, normal)],
    "softmax_cross_entropy": [
        *uses(10, labels, smoothing=0.0),
        *uses(3, probabilities, smoothing=0.0),
        *uses(10, labels, smoothing=0.1),
        *uses(3, probabilities, smoothing=0.2),
        *uses(5, labels, places=(2, 3), smoothing=0.1),
        *uses(3, probabilities, places=(4,), smoothing=0.0),
    ],
    "sigmoid_cross_entropy": [
        *uses(1, bits, smoothing=0.0),
        *uses(5, bits, smoothing=0.0),
        *uses(5, bits, smoothing=0.1),
    ],
    "hinge": [*uses(1, bits, squared=0), *uses(5, bits, squared=1)],
    "class_hinge": [
        *uses(10, labels, squared=0),
        *uses(3, labels, squared=1),
        *uses(3, labels, places=(5,), squared=1),
    ],
    "kl_divergence": [*uses(4, probabilities), *uses(3, probabilities, places=(2, 2))],
    "sigmoid_focal": [*uses(1, bits, gamma=2.0, alpha=-1.0), *uses(5, bits, gamma=1.5, alpha=0.25)],
    "softmax_focal": [
        *uses(10, labels, gamma=2.0),
        *uses(3, probabilities, gamma=0.5),
        *uses(3, labels, gamma=0.0),
        *uses(4, labels, places=(3,), gamma=2.0),
        *uses(3, probabilities, places=(2, 2), gamma=1.0),
    ],
    "accuracy": [
        *uses(10, labels, binary=0, threshold=0.5),
        *uses(3, probabilities, binary=0, threshold=0.5),
        *uses(4, labels, places=(2, 3), binary=0, threshold=0.5),
        *uses(3, probabilities, places=(5,), binary=0, threshold=0.5),
        *uses(4, bits, binary=1, threshold=0.0),
    ],
    "top_k_accuracy": [
        *uses(10, labels, k=3),
        *uses(5, probabilities, k=1),
        *uses(5, labels, places=(7,), k=2),
    ],
    "positives": [*(u for of in range(3) for u in uses(4, bits, threshold=0.2, of=of))],
    "row_weight": [*uses(3, normal), *uses(3, labels)],
}
for use in CASES["squared_error"]:
    use["mean"] = bool(use["attrs"]["mean"])
