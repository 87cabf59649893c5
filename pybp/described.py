"""Objects that are their arguments: how they print, and how they go into a model file and back."""

from __future__ import annotations

from typing import Any, TypeVar

from pybp.errors import unknown

T = TypeVar("T", bound="Described")


class Described:
    """Base of layers, initialisers, schedules and optimisers."""

    def config(self) -> dict[str, Any]:
        """The arguments that make an equal object again."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}

    def stored(self) -> dict[str, Any]:
        """The same, for a model file: raises where a file could not say it all."""
        return self.config()

    def __repr__(self) -> str:
        args = ", ".join(f"{key}={value!r}" for key, value in self.config().items())
        return f"{type(self).__name__}({args})"


def to_data(thing: Described) -> dict[str, Any]:
    """The object as plain data: {"kind": its class in lower case, argument: value, ...}."""
    plain = {
        key: to_data(value) if isinstance(value, Described) else value
        for key, value in thing.stored().items()
    }
    return {"kind": type(thing).__name__.lower(), **plain}


def from_data(kinds: dict[str, type[T]], data: dict[str, Any], what: str) -> T:
    """The object that `to_data` described, one of `kinds`."""
    args = dict(data)
    kind = args.pop("kind", None)
    if kind not in kinds:
        raise unknown(what, kind, kinds)
    return kinds[kind](**args)
