"""The judge: float64 NumPy forward passes that say what a peer's weights are worth."""

import numpy as np


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


ACTIVATIONS = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh, "sigmoid": _sigmoid}


def forward(workload, weights, x):
    """Return the last layer's output [N, O], computed in float64 from [(W [I, O], b), ...]."""
    h = np.asarray(x, np.float64)
    for w, b in weights[:-1]:
        h = ACTIVATIONS[workload.activation](h @ w.astype(np.float64) + b)
    w, b = weights[-1]
    z = h @ w.astype(np.float64) + b
    if workload.loss == "mse":
        return _sigmoid(z)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def loss(workload, weights, x, y, rows=8192):
    """Return the workload's loss over the first `rows` rows."""
    x, y = x[:rows], y[:rows]
    out = forward(workload, weights, x)
    if workload.loss == "mse":
        return float(np.mean((out - y[:, None]) ** 2))
    chosen = out[np.arange(len(y)), y]
    return float(-np.mean(np.log(np.maximum(chosen, 1e-300))))


def accuracy(workload, weights, x, y):
    """Return the share of rows whose largest output is their label."""
    return float(np.mean(forward(workload, weights, x).argmax(axis=1) == y))
