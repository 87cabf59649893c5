"""Losses: what `model.compile(loss=...)` takes, by name or as an object with its arguments::

    model.compile(loss="mae")
    model.compile(loss=bp.losses.Huber(delta=0.5))
    model.compile(loss=lambda y_true, y_pred: bp.ops.abs(y_pred - y_true) ** 1.5)  # see Custom

A batch's loss is the mean over its rows (`HalfSSE` and `SSE`: the sum); with sample weights w_n,
sum_n w_n loss_n / sum_n w_n (the sums: sum_n w_n loss_n). So weight 0 is a row left out, and weight
2 a row given twice.

Losses of scores are computed from logits: one whose model ends in softmax (or sigmoid) is attached
to that activation's input, so both forms of the model train identically.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pybp.described import from_data
from pybp.errors import unknown
from pybp.losses.base import Loss

if TYPE_CHECKING:
    from pybp.losses.classification import (
        BinaryCrossEntropy,
        CrossEntropy,
        Focal,
        Hinge,
        KLDivergence,
        SquaredHinge,
    )
    from pybp.losses.custom import Custom
    from pybp.losses.regression import (
        MAE,
        MSE,
        SSE,
        CosineSimilarity,
        HalfSSE,
        Huber,
        LogCosh,
        Poisson,
        Quantile,
    )

# Name -> class and module, imported when first used.
_PLACES = {
    "half_sse": ("HalfSSE", "regression"),
    "sse": ("SSE", "regression"),
    "mse": ("MSE", "regression"),
    "mae": ("MAE", "regression"),
    "huber": ("Huber", "regression"),
    "log_cosh": ("LogCosh", "regression"),
    "quantile": ("Quantile", "regression"),
    "poisson": ("Poisson", "regression"),
    "cosine_similarity": ("CosineSimilarity", "regression"),
    "cross_entropy": ("CrossEntropy", "classification"),
    "binary_cross_entropy": ("BinaryCrossEntropy", "classification"),
    "hinge": ("Hinge", "classification"),
    "squared_hinge": ("SquaredHinge", "classification"),
    "kl_divergence": ("KLDivergence", "classification"),
    "focal": ("Focal", "classification"),
}
_MODULES = {**dict(_PLACES.values()), "Custom": "custom"}

__all__ = [
    "MAE",
    "MSE",
    "SSE",
    "BinaryCrossEntropy",
    "CosineSimilarity",
    "CrossEntropy",
    "Custom",
    "Focal",
    "HalfSSE",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "Poisson",
    "Quantile",
    "SquaredHinge",
    "get",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'pybp.losses' has no attribute {name!r}")
    return getattr(import_module(f"pybp.losses.{_MODULES[name]}"), name)


def get(given: object) -> Loss:
    """The loss of a name, of a description, or as it is."""
    if isinstance(given, Loss):
        return given
    if callable(given) and not isinstance(given, type):
        return __getattr__("Custom")(given)  # type: ignore[operator]
    if isinstance(given, dict):
        kinds = {kind.lower(): __getattr__(kind) for kind in _MODULES}
        return from_data(kinds, given, "loss")  # type: ignore[arg-type]
    if not isinstance(given, str):
        raise TypeError(
            "loss must be the name of a loss, an object such as bp.losses.Huber(delta=1.0) or a "
            f"function of (y_true, y_pred), got {given!r}"
        )
    if given not in _PLACES:
        raise unknown("loss", given, _PLACES)
    return __getattr__(_PLACES[given][0])()  # type: ignore[operator]
