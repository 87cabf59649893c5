"""The judge: float64 NumPy forward passes that say what a peer's weights are worth."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_CHUNK = 32  # images at once
_JUDGED = {False: 8192, True: 128}  # rows of a loss, of plain rows and of images


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


ACTIVATIONS = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh, "sigmoid": _sigmoid}


def convolve(x, w, b, padding):
    """Return y [N, O, OH, OW] of x [N, C, H, W] and w [O, C, K, K] or, by channel, [C, 1, K, K]."""
    channels, o, k = x.shape[1], len(w), w.shape[-1]
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, (k, k), axis=(2, 3))  # [N, C, OH, OW, K, K]
    if w.shape[1] == channels:
        rows = windows.transpose(0, 2, 3, 1, 4, 5)
        y = rows.reshape(-1, channels * k * k) @ w.reshape(o, -1).T
        y = y.reshape(*rows.shape[:3], o).transpose(0, 3, 1, 2)
    else:
        y = np.einsum("nchwij,cij->nchw", windows, w[:, 0])
    return y + b[:, None, None]


def _pass(layer, h, weights):
    """Return what a layer makes of h, before its activation."""
    if layer.kind == "conv":
        return convolve(h, *weights, layer.padding)
    if layer.kind == "dense":
        w, b = weights
        return h.reshape(len(h), -1) @ w + b
    if layer.kind == "mean":
        return h.mean(axis=(2, 3))
    c, rows, columns = layer.outputs
    size = layer.kernel
    h = h[:, :, : rows * size, : columns * size]
    return h.reshape(len(h), c, rows, size, columns, size).max(axis=(3, 5))


def _logits(workload, weights, x):
    left = [(w.astype(np.float64), b.astype(np.float64)) for w, b in weights]
    h = np.asarray(x, np.float64)
    for layer in workload.network:
        own = left.pop(0) if layer.weight_shape else None
        h = _pass(layer, h, own)
        if own and left:
            h = ACTIVATIONS[workload.activation](h)
    return h


def forward(workload, weights, x):
    """Return the last layer's output [N, O], computed in float64 from [(weight, bias), ...]."""
    if workload.images:
        parts = (x[at : at + _CHUNK] for at in range(0, len(x), _CHUNK))
        z = np.concatenate([_logits(workload, weights, part) for part in parts])
    else:
        z = _logits(workload, weights, x)
    if workload.loss == "mse":
        return _sigmoid(z)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def loss(workload, weights, x, y):
    """Return the workload's loss over the first rows."""
    rows = _JUDGED[workload.images]
    x, y = x[:rows], y[:rows]
    out = forward(workload, weights, x)
    if workload.loss == "mse":
        return float(np.mean((out - y[:, None]) ** 2))
    chosen = out[np.arange(len(y)), y]
    return float(-np.mean(np.log(np.maximum(chosen, 1e-300))))


def accuracy(workload, weights, x, y):
    """Return the share of rows whose largest output is their label."""
    return float(np.mean(forward(workload, weights, x).argmax(axis=1) == y))
