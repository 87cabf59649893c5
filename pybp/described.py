"""Objects that are their arguments: how they print, and how they go into a model file and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Self, TypeVar

from pybp.errors import MissingCustomError, unknown

T = TypeVar("T", bound="Described")
# Arguments of other libraries, and where the same is said here.
_SAID_ELSEWHERE = {"data_format": '; say the order of axes in bp.Input(..., layout="NHWC")'}
_CO_VARKEYWORDS = 8  # as `inspect`, slow to import, has it


class Described:
    """Base of layers, initialisers, schedules and optimisers."""

    hands_on: ClassVar[bool] = False  # whether what follows ** is for the bases' __init__

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuses unknown arguments of our own classes under their names, where Python names the
        base that was handed one at last."""
        if kwargs and cls.__module__.startswith("pybp."):
            known = _arguments(cls)
            for name in kwargs.keys() - known if known else ():
                mistake = unknown(f"argument of {cls.__name__}", name, known)
                raise TypeError(f"{mistake}{_SAID_ELSEWHERE.get(name, '')}")
        return super().__new__(cls)

    def config(self) -> dict[str, Any]:
        """The arguments that make an equal object again."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}

    def stored(self) -> dict[str, Any]:
        """The same, for a model file: raises where a file could not say it all."""
        return self.config()

    def __repr__(self) -> str:
        args = ", ".join(f"{key}={value!r}" for key, value in self.config().items())
        return f"{type(self).__name__}({args})"


def _arguments(cls: type[Described]) -> set[str]:
    """Those of its __init__ and of the bases that this hands others on to, of which one in the
    middle may have been handed its own by place. None if it takes any."""
    names: set[str] = set()
    inits = [vars(one)["__init__"] for one in cls.__mro__[:-1] if "__init__" in vars(one)]
    for i, init in enumerate(inits):
        code = init.__code__
        last = not code.co_flags & _CO_VARKEYWORDS
        begin = 1 if i == 0 or last else code.co_argcount
        names.update(code.co_varnames[begin : code.co_argcount + code.co_kwonlyargcount])
        if last:
            return names
        if not cls.hands_on:
            break
    return set()


def to_data(thing: Described) -> dict[str, Any]:
    """The object as plain data: {"kind": its class, argument: value, ...}. Ours are in lower case,
    so that a user's class may have the name of one of them."""
    stored = thing.stored()
    kind = type(thing)
    own = kind.__module__.startswith("pybp.")
    if not own:
        _check(kind, stored)
    plain = {key: _plain(value) for key, value in stored.items()}
    return {"kind": kind.__name__.lower() if own else kind.__name__, **plain}


def _check(kind: type[Described], stored: dict[str, Any]) -> None:
    """Refuse a user's object of which a file would not make an equal one."""
    import inspect

    try:
        inspect.signature(kind.__init__).bind(None, **stored)
    except TypeError as error:
        raise TypeError(
            f"{kind.__name__} cannot be saved, for its attributes {', '.join(stored)} do not make "
            f"another one: {error}; keep each argument as an attribute of its name, or return the "
            "arguments from a method config(self)"
        ) from None
    for name, value in stored.items():
        if not isinstance(value, Described) and not callable(value) and not _is_plain(value):
            raise TypeError(
                f"{kind.__name__} cannot be saved: a model file does not hold its argument "
                f"{name}={value!r}: give numbers, texts, None, or lists of them (of an array, "
                "array.tolist()), dicts whose keys are texts, functions, or objects of pybp"
            )


def _is_plain(value: object) -> bool:
    """Whether JSON holds the value as it is, tuples as lists."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def _plain(value: object) -> object:
    if isinstance(value, Described):
        return to_data(value)
    if callable(value):
        name, seen = name_of(value), _saved.get()
        if seen is not None and seen.setdefault(name, value) is not value:
            raise ValueError(
                f"two functions are called {name!r}, and a model file tells functions apart by "
                "their names: define each with `def` under a name of its own"
            )
        return {"kind": FUNCTION, "name": name}
    return value


FUNCTION = "function"
# Functions that go into one file, by name; None outside of `in_one_file`.
_saved: ContextVar[dict[str, Any] | None] = ContextVar("saved", default=None)
# What a user has given to `bp.load`, by name; None outside of it.
_custom: ContextVar[dict[str, Any] | None] = ContextVar("custom", default=None)


def name_of(thing: Any) -> str:
    """What a model file calls a class or a function."""
    return getattr(thing, "__name__", type(thing).__name__)


@contextmanager
def in_one_file() -> Iterator[None]:
    """Within it, `to_data` refuses different functions of one name."""
    before = _saved.set({})
    try:
        yield
    finally:
        _saved.reset(before)


@contextmanager
def known(custom: Mapping[str, Any] | Iterable[Any]) -> Iterator[None]:
    """Within it, `from_data` knows these classes and functions too."""
    if isinstance(custom, Mapping):
        found = dict(custom)
    else:
        found = {name_of(thing): thing for thing in custom}
    for name, thing in found.items():
        if not callable(thing):
            raise TypeError(f"custom: {name!r} must be a class or a function, got {thing!r}")
    before = _custom.set(found)
    try:
        yield
    finally:
        _custom.reset(before)


def _named(name: object, what: str) -> Callable[..., Any]:
    """A class or function that the user has given."""
    given = _custom.get() or {}
    for own, thing in given.items():
        if name == own:
            return thing
    raise MissingCustomError(
        f"it has a {what} {name!r}, which is no part of pybp: pass it as "
        f"bp.load(path, custom=[{name}]), or by its name as custom={{{name!r}: ...}}"
    )


def from_data(kinds: dict[str, type[T]], data: dict[str, Any], what: str) -> T:
    """The object that `to_data` described, one of `kinds`."""
    args = {key: _restored(value) for key, value in data.items()}
    kind = args.pop("kind", None)
    if kind not in kinds:
        if _custom.get() is None:
            raise unknown(what, kind, kinds)
        return _named(kind, what)(**args)
    return kinds[kind](**args)


def _restored(value: object) -> object:
    """A function, of its name."""
    if isinstance(value, dict) and value.get("kind") == FUNCTION:
        return _named(value.get("name"), FUNCTION)
    return value
