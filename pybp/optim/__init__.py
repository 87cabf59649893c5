"""Optimisers: what a training step does with the gradients.

An optimiser object is a description; its state lives in the model that was compiled with it, so one
object may serve many models. The arithmetic is in csrc/optim, one file each; `LBFGS` and
`ConjugateGradient`, which look at all rows at once, are in `full_batch.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pybp.described import from_data
from pybp.errors import unknown
from pybp.optim.averaging import EMA, SWA, Average
from pybp.optim.base import Optimizer
from pybp.optim.first_order import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    Nadam,
    RMSprop,
    Rprop,
)

if TYPE_CHECKING:
    from pybp.optim.full_batch import LBFGS, ConjugateGradient

__all__ = [
    "EMA",
    "LBFGS",
    "SGD",
    "SWA",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Average",
    "ConjugateGradient",
    "Lion",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "Rprop",
    "get",
]

KINDS: dict[str, type[Optimizer]] = {
    kind.__name__.lower(): kind
    for kind in (SGD, Adagrad, Adadelta, RMSprop, Adam, AdamW, Adamax, Nadam, Lion, Rprop)
}
_FULL_BATCH = {"lbfgs": "LBFGS", "conjugategradient": "ConjugateGradient"}


def __getattr__(name: str) -> Any:
    if name not in _FULL_BATCH.values():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pybp.optim import full_batch

    return getattr(full_batch, name)


def _kind(name: object) -> type[Optimizer]:
    if name in _FULL_BATCH:
        return __getattr__(_FULL_BATCH[name])
    if name not in KINDS:
        raise unknown("optimizer", name, KINDS.keys() | _FULL_BATCH.keys())
    return KINDS[name]


def get(given: object) -> Optimizer:
    """The optimiser that an object, a name or saved data stands for."""
    if isinstance(given, Optimizer):
        return given
    if isinstance(given, dict):
        kind = given.get("kind")
        return from_data({kind: _kind(kind)}, given, "optimizer")  # type: ignore[dict-item]
    if isinstance(given, str):
        return _kind(given.lower())()
    if isinstance(given, type) and issubclass(given, Optimizer):
        raise TypeError(f"optimizer is the class {given.__name__}: make one, {given.__name__}()")
    raise TypeError(f"optimizer must be a pybp.optim object or a name, got {given!r}")
