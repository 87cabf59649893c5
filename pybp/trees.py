"""Arguments that are tuples, lists and dicts of arrays, as lists of their leaves and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pybp.operators import Symbolic


@dataclass(frozen=True)
class Tree:
    """The form of some arguments: `key` tells forms apart."""

    key: Any

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """The arguments with these leaves."""
        return _build(self.key, iter(leaves))


LEAF = "leaf"


def flatten(value: Any, what: str) -> tuple[Tree, list[np.ndarray]]:
    """The form and the leaves, as arrays; what is no number (a string, None, a bool) belongs to the
    form."""
    leaves: list[np.ndarray] = []
    return Tree(_walk(value, leaves, what)), leaves


def _walk(value: Any, leaves: list[np.ndarray], what: str) -> Any:
    if isinstance(value, Symbolic):
        raise TypeError(
            f"{what} within a function that is being traced: second derivatives are bp.hvp and "
            "bp.jacobian(...) of a gradient written with bp.ops"
        )
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return (kind, *(_walk(item, leaves, what) for item in value))
    if isinstance(value, dict):
        return ("dict", *((key, _walk(item, leaves, what)) for key, item in value.items()))
    if value is None or isinstance(value, str | bool):
        return ("static", value)
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what}: arguments are numbers and arrays of numbers, got {value!r}")
    if array.size == 0:
        raise ValueError(f"{what}: an argument of shape {array.shape} has no numbers")
    leaves.append(array)
    return LEAF


def _build(key: Any, leaves: Iterator[Any]) -> Any:
    if key == LEAF:
        return next(leaves)
    kind, *parts = key
    if kind == "static":
        return parts[0]
    if kind == "dict":
        return {name: _build(part, leaves) for name, part in parts}
    items = (_build(part, leaves) for part in parts)
    return tuple(items) if kind == "tuple" else list(items)
