"""What all callbacks share, and how a training calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from pybp.errors import DivergenceError, unknown
from pybp.history import History

if TYPE_CHECKING:
    from pybp.model import Model

Logs = Mapping[str, float]


class Callback:
    """Base of all callbacks: override what you want to hear.

    Attributes
    ----------
    model : Model
        The one that trains; set before `on_train_begin`.
    history : History
        What has been recorded so far.
    names : list[str]
        What `logs` will hold: "loss", the metrics, and with validation data "val_loss" and so on.

    `epoch` counts from 0 over the model's life, so that a training in parts counts on. One object
    may serve one training at a time.
    """

    model: Model
    history: History
    names: list[str]

    def on_train_begin(self) -> None:
        """Before the first step."""

    def on_train_end(self, history: History) -> None:
        """After the last step, whatever ended the training: `history.ending` says what."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Before an epoch, or the rest of one that an earlier `fit` has begun."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After an epoch and its validation."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """After each step, with the means over the epoch so far: costs a native call per step."""

    def on_pause(self) -> None:
        """Between two steps, about every 0.1 s."""

    def on_divergence(self, error: DivergenceError) -> bool:
        """The training diverged. True ends it quietly, instead of with the error."""
        return False


class LambdaCallback(Callback):
    """Functions as a callback: each is called as the method of its name.

    >>> LambdaCallback(on_pause=lambda: None, on_epoch_end=lambda epoch, logs: print(epoch))
    LambdaCallback(on_epoch_end, on_pause)
    """

    def __init__(self, **functions: Callable[..., Any]) -> None:
        for name, function in functions.items():
            if name not in _HOOKS:
                raise unknown("callback function", name, _HOOKS)
            if not callable(function):
                raise TypeError(f"LambdaCallback: {name} must be a function, got {function!r}")
            setattr(self, name, function)

    def __repr__(self) -> str:
        return f"LambdaCallback({', '.join(hook for hook in _HOOKS if hook in vars(self))})"


_HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


class Watchers:
    """The callbacks of one training: which of them listens to what."""

    def __init__(self, given: object) -> None:
        if not isinstance(given, tuple | list):
            raise TypeError(f"callbacks must be a list, callbacks=[...], got {given!r}")
        self._callbacks = [_callback(each) for each in given]
        self._listeners: dict[str, list[Callable[..., Any]]] = {
            hook: [getattr(each, hook) for each in self._callbacks if _overrides(each, hook)]
            for hook in _HOOKS
        }
        heard = self._listeners
        self.batches = bool(heard["on_batch_end"])
        self.epochs = bool(heard["on_epoch_begin"] or heard["on_epoch_end"])
        self.epoch_begin = self._caller("on_epoch_begin")
        self.epoch_end = self._caller("on_epoch_end")
        self.batch_end = self._caller("on_batch_end")
        self.pause = self._caller("on_pause")

    def _caller(self, hook: str) -> Callable[..., None]:
        listeners = self._listeners[hook]

        def call(*arguments: Any) -> None:
            for listener in listeners:
                listener(*arguments)

        return call

    @contextmanager
    def watching(self, model: Model, history: History, names: list[str]) -> Iterator[None]:
        """`on_train_begin` before and `on_train_end` after, for all that have begun; both in the
        order of the list."""
        begun: list[Callback] = []
        try:
            for each in self._callbacks:
                each.model, each.history, each.names = model, history, names
                each.on_train_begin()
                begun.append(each)
            yield
        finally:
            with ExitStack() as stack:  # an error in one keeps no other from its end
                for each in reversed(begun):
                    stack.callback(each.on_train_end, history)

    def diverged(self, error: DivergenceError) -> bool:
        """Does a callback take the error?"""
        answers = [listener(error) for listener in self._listeners["on_divergence"]]
        return any(answers)  # all have heard of it


def _callback(given: object) -> Callback:
    if isinstance(given, Callback):
        return given
    if isinstance(given, type):
        raise TypeError(f"callbacks: {given.__name__} is a class: make one, {given.__name__}(...)")
    if callable(given):
        return LambdaCallback(on_epoch_end=given)
    raise TypeError(
        f"callbacks must be pybp.callbacks objects or functions of (epoch, logs), got {given!r}"
    )


def _overrides(callback: Callback, hook: str) -> bool:
    return hook in vars(callback) or getattr(type(callback), hook) is not getattr(Callback, hook)
