"""The arrays that every peer gets: the same rows, labels and starting weights for all."""

import gzip
import os
from math import prod
from pathlib import Path

import numpy as np

_MNIST = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def _read_idx(path):
    """Return the uint8 array of an idx file: magic 0, 0, 8, ndim, then big-endian sizes."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        raw = file.read()
    if raw[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is no idx file of unsigned bytes")
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def _find(root, name):
    for path in (root / "mnist" / name, root / name):
        for candidate in (path, path.with_name(name + ".gz")):
            if candidate.is_file():
                return candidate
    return None


def mnist(root=None, part="train"):
    """Return MNIST as (x in [0, 1] float32 [N, 784], y int64 [N]), or None where it is missing.

    `root` (else ``$PYBP_DATA``) holds the four idx files, plain or gzipped, itself or in a
    folder ``mnist``.
    """
    root = root or os.environ.get("PYBP_DATA")
    paths = [_find(Path(root), name) for name in _MNIST[part]] if root else [None]
    if None in paths:
        return None
    images, labels = map(_read_idx, paths)
    return images.reshape(len(images), -1) / np.float32(255), labels.astype(np.int64)


def iris_like(rows):
    """Three Gaussian clouds with the means and spreads of Iris, divided by 8 to lie in [0, 1]."""
    rng = np.random.default_rng(1936)
    mean = np.array([[5.0, 3.4, 1.5, 0.25], [5.9, 2.8, 4.3, 1.3], [6.6, 3.0, 5.6, 2.0]])
    spread = np.array([[0.35, 0.38, 0.17, 0.1], [0.52, 0.31, 0.47, 0.2], [0.64, 0.32, 0.55, 0.27]])
    y = np.arange(rows) % 3
    x = (mean[y] + spread[y] * rng.standard_normal((rows, 4))) / 8
    return np.clip(x, 0, 1).astype(np.float32), y


def xor():
    """The four rows of the exclusive or."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return x, np.array([0, 1, 1, 0])


def random_rows(rows, inputs, classes):
    """Uniform rows in [0, 1], labelled by the largest of `classes` random projections."""
    rng = np.random.default_rng(2048)
    x = rng.random((rows, inputs), np.float32)
    teacher = rng.standard_normal((inputs, classes)).astype(np.float32)
    return x, np.argmax((x - 0.5) @ teacher, axis=1)


def load(workload, root=None):
    """Return (x, y, source): x [rows, I] or [rows, C, H, W] of the workload's dtype, y [rows].

    `source` names where the rows come from, since MNIST becomes random rows where its files
    are missing.
    """
    source, found = workload.data, None
    if workload.data == "mnist":
        found = mnist(root)
    elif workload.data == "iris":
        found = iris_like(workload.rows)
    elif workload.data == "xor":
        found = xor()
    if found is None:
        source = "random"
        shape = workload.network[0].inputs
        found = random_rows(workload.rows, prod(shape), workload.layers[-1])
    x, y = (array[: workload.rows] for array in found)
    if workload.images:
        x = x.reshape(len(x), *workload.layers[0])
    return np.ascontiguousarray(x, workload.dtype), np.ascontiguousarray(y, np.int64), source


def starting_weights(workload, seed=0):
    """Return [(weight, bias), ...]: He's normal for relu, else Glorot's uniform; zero biases.

    A dense layer's weight is [I, O], a convolution's [O, C, K, K].
    """
    rng = np.random.default_rng(seed)
    weights = []
    for layer in workload.network:
        shape = layer.weight_shape
        if shape is None:
            continue
        outputs = layer.outputs[0]
        if workload.activation == "relu":
            w = rng.standard_normal(shape) * np.sqrt(2 / layer.fan_in)
        else:
            w = rng.uniform(-1, 1, shape) * np.sqrt(6 / (layer.fan_in + outputs))
        weights.append((w.astype(workload.dtype), np.zeros(outputs, workload.dtype)))
    return weights
