"""Penalties on parameters, of which layers take one for their weights and one for their biases.

    bp.Dense(64, activation="relu", weight_regularizer=bp.regularizers.L2(1e-4))

A penalty adds its gradient to the loss's at every step, and its value to what `LBFGS` and
`ConjugateGradient` minimise. The losses that `fit` and `evaluate` report are those of the data
alone.
"""

from __future__ import annotations

from pybp.checks import real
from pybp.described import Described, from_data


class Regularizer(Described):
    """Base of all penalties: l1 sum |w| + l2/2 sum w^2, the gradient of which is
    l1 sign w + l2 w."""

    def factors(self) -> tuple[float, float]:
        """(l1, l2)."""
        raise NotImplementedError


class L1(Regularizer):
    """l1 sum |w|: pulls every parameter to zero with the same force, so that some stay there."""

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = real(l1, "L1: l1", 0)

    def factors(self) -> tuple[float, float]:
        return self.l1, 0.0


class L2(Regularizer):
    """l2/2 sum w^2: the gradient is l2 w, so that l2 is what PyTorch's SGD calls weight_decay and
    what scikit-learn calls alpha / number of rows; Keras's l2 is half of it.

    >>> L2(0.1)
    L2(l2=0.1)
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = real(l2, "L2: l2", 0)

    def factors(self) -> tuple[float, float]:
        return 0.0, self.l2


class L1L2(Regularizer):
    """l1 sum |w| + l2/2 sum w^2 (elastic net; Zou and Hastie 2005)."""

    def __init__(self, l1: float = 0.01, l2: float = 0.01) -> None:
        self.l1 = real(l1, "L1L2: l1", 0)
        self.l2 = real(l2, "L1L2: l2", 0)

    def factors(self) -> tuple[float, float]:
        return self.l1, self.l2


KINDS: dict[str, type[Regularizer]] = {"l1": L1, "l2": L2, "l1l2": L1L2}


def get(given: object, what: str) -> Regularizer | None:
    """The penalty that an object or saved data stands for."""
    if given is None or isinstance(given, Regularizer):
        return given
    if isinstance(given, dict):
        return from_data(KINDS, given, "regularizer")
    raise TypeError(
        f"{what} must be a pybp.regularizers object such as bp.regularizers.L2(1e-4), got {given!r}"
    )
