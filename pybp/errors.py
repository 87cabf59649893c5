"""The errors that are pybp's own, and what all messages share."""

from __future__ import annotations

from collections.abc import Iterable


class NotCompiledError(RuntimeError):
    """A model was used before `compile` gave it an optimiser, a loss and weights."""


class NotAdaptedError(RuntimeError):
    """A model was used before `adapt` told its scaler what the data are like."""


OUTSIDE = (
    "a function in it is asked outside its domain, such as log of a negative number or 0/0: keep "
    "it inside with bp.ops.where or bp.ops.maximum"
)


class DivergenceError(ArithmeticError):
    """A value went non-finite.

    Attributes
    ----------
    op : str
        Name of the layer's op, the loss or the parameter that went non-finite first.
    step : int
        The optimiser step, counted from 0 over the model's life; None outside training.
    epoch : int
        The epoch of this `fit`, counted from 0; None outside training.
    """

    def __init__(
        self, message: str, op: str, step: int | None = None, epoch: int | None = None
    ) -> None:
        super().__init__(message)
        self.op, self.step, self.epoch = op, step, epoch


class ModelFileError(ValueError):
    """A model file is damaged, or is no model file."""


class MissingCustomError(ModelFileError):
    """A model file names a class or a function that is not pybp's, and `bp.load` was not given."""


def nearest(name: object, known: Iterable[str]) -> list[str]:
    """The one that looks most like a name, if any does."""
    import difflib  # slow to import, and seldom needed

    lower = {one.lower(): one for one in known}
    # "acc" looks like "accuracy", but "data_format" not like "max_norm".
    near = difflib.get_close_matches(str(name).lower(), lower, n=1, cutoff=0.54)
    return [lower[one] for one in near]


def unknown(what: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not known, with the nearest one that is.

    >>> print(unknown("activation", "rleu", ["relu", "tanh"]))
    unknown activation 'rleu': did you mean 'relu'? Known: relu, tanh
    """
    known = sorted(known)
    hint = "".join(f"did you mean {near!r}? " for near in nearest(name, known))
    return ValueError(f"unknown {what} {name!r}: {hint}Known: {', '.join(known)}")
