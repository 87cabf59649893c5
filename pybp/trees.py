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


def flatten(value: Any, what: str) -> tuple[Tree, list[Any]]:
    """The form and the leaves, as arrays, or as they are if they are symbolic; what is no number (a
    string, None, a bool) belongs to the form."""
    leaves: list[Any] = []
    return Tree(_walk(value, leaves, what)), leaves


def is_symbolic(value: Any) -> bool:
    """Whether a leaf is."""
    if isinstance(value, dict):
        return any(is_symbolic(item) for item in value.values())
    if isinstance(value, tuple | list):
        return any(is_symbolic(item) for item in value)
    return isinstance(value, Symbolic)


def _walk(value: Any, leaves: list[Any], what: str) -> Any:
    if isinstance(value, Symbolic):
        leaves.append(value)
        return LEAF
    if isinstance(value, tuple | list):
        named = hasattr(value, "_fields")
        kind: Any = type(value) if named else "tuple" if isinstance(value, tuple) else "list"
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
    items = [_build(part, leaves) for part in parts]
    if isinstance(kind, type):
        return kind(*items)  # a namedtuple
    return tuple(items) if kind == "tuple" else items
