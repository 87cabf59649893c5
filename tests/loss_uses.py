"""A use of every loss: the object, the last layer, and targets for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from loss_reference import softmax

import pybp as bp

ROWS, INPUTS = 24, 5


@dataclass
class LossUse:
    loss: Any
    units: int
    activation: str | None
    y: np.ndarray

    def model(self, metrics=(), dtype="float64", optimizer=None, seed=3):
        model = bp.Sequential(
            [
                bp.Input(INPUTS),
                bp.Dense(7, activation="tanh"),
                bp.Dense(self.units, activation=self.activation),
            ]
        )
        optimizer = optimizer or bp.optim.SGD(0.05, momentum=0.5)
        model.compile(optimizer, self.loss, metrics=metrics, dtype=dtype, seed=seed)
        return model


def _targets():
    rng = np.random.default_rng(8)
    values = rng.normal(size=(ROWS, 3))
    return {
        "values": values,
        "value": values[:, 0],
        "counts": rng.poisson(2.0, (ROWS, 3)),
        "labels": rng.integers(0, 3, ROWS),
        "masses": softmax(values),
        "bits": rng.integers(0, 2, ROWS),
        "many bits": rng.integers(0, 2, (ROWS, 3)),
        "signs": 2 * rng.integers(0, 2, ROWS) - 1,
    }


X = np.random.default_rng(7).normal(size=(ROWS, INPUTS))
Y = _targets()

USES = {
    "half_sse": LossUse("half_sse", 3, None, Y["values"]),
    "sse": LossUse("sse", 3, "tanh", Y["values"]),
    "mse": LossUse("mse", 3, "sigmoid", Y["values"]),
    "mae": LossUse("mae", 3, None, Y["values"]),
    "huber": LossUse("huber", 3, None, Y["values"]),
    "huber, narrow": LossUse(bp.losses.Huber(delta=0.3), 1, "tanh", Y["value"]),
    "log_cosh": LossUse("log_cosh", 3, None, Y["values"]),
    "quantile": LossUse(bp.losses.Quantile(q=0.8), 3, None, Y["values"]),
    "poisson": LossUse("poisson", 3, None, Y["counts"]),
    "poisson of rates": LossUse(bp.losses.Poisson(log_input=False), 3, "softplus", Y["counts"]),
    "cosine_similarity": LossUse("cosine_similarity", 3, None, Y["values"]),
    "cross_entropy": LossUse("cross_entropy", 3, "softmax", Y["labels"]),
    "cross_entropy of masses": LossUse("cross_entropy", 3, None, Y["masses"]),
    "cross_entropy, smooth": LossUse(
        bp.losses.CrossEntropy(label_smoothing=0.1), 3, "softmax", Y["labels"]
    ),
    "smooth of masses": LossUse(bp.losses.CrossEntropy(label_smoothing=0.2), 3, None, Y["masses"]),
    "binary_cross_entropy": LossUse("binary_cross_entropy", 1, "sigmoid", Y["bits"]),
    "binary_cross_entropy, smooth": LossUse(
        bp.losses.BinaryCrossEntropy(label_smoothing=0.1), 3, None, Y["many bits"]
    ),
    "kl_divergence": LossUse("kl_divergence", 3, "softmax", Y["masses"]),
    "focal": LossUse("focal", 3, "softmax", Y["labels"]),
    "focal of masses": LossUse(bp.losses.Focal(gamma=0.5), 3, None, Y["masses"]),
    "focal, one unit": LossUse(bp.losses.Focal(gamma=1.5, alpha=0.25), 1, None, Y["bits"]),
    "focal, sigmoid": LossUse(bp.losses.Focal(gamma=2.0), 3, "sigmoid", Y["many bits"]),
    "hinge": LossUse("hinge", 1, "tanh", Y["signs"]),
    "hinge of bits": LossUse("hinge", 3, None, Y["many bits"]),
    "hinge of classes": LossUse("hinge", 3, None, Y["labels"]),
    "squared_hinge": LossUse("squared_hinge", 1, None, Y["bits"]),
    "squared_hinge of classes": LossUse("squared_hinge", 3, None, Y["labels"]),
}
