"""Callbacks: what happens while a model trains.

``model.fit(x, y, epochs=100, callbacks=[...])`` takes the objects of this module, objects of your
own classes, and plain functions of (epoch, logs), which are called after each epoch::

    model.fit(x, y, epochs=5, callbacks=[lambda epoch, logs: print(epoch, logs["loss"])])

A callback ends the training by setting ``model.stop_training = True``, and sets the learning rate
with ``model.learning_rate = ...``; both are heard between two steps. It may predict, evaluate, save
the model and write to its parameters. An exception in a callback ends the training and comes out of
`fit`; the model then stands after the last step that was done, and can be trained on.

Only what somebody watches costs time: without callbacks for epochs, `fit` runs many epochs per
native call, without callbacks for batches, whole epochs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from pybp.checks import real
from pybp.cursor import Snapshot
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
    names : list[str]
        What `logs` will hold: "loss", the metrics, and with validation data "val_loss" and so on.

    `epoch` counts from 0 over the model's life, so that a training in parts counts on. One object
    may serve one training at a time.
    """

    model: Model
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


class TimeLimit(Callback):
    """Ends the training after so many seconds on the clock: within about 0.1 s, or one step where
    that lasts longer, in the middle of an epoch too. What remains of it is done by the next `fit`.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = real(seconds, "TimeLimit: seconds", 0, open_low=True)

    def on_train_begin(self) -> None:
        self._end = time.perf_counter() + self.seconds

    def on_pause(self) -> None:
        if time.perf_counter() >= self._end:
            self.model.stop_training = True


class TerminateOnNaN(Callback):
    """Ends a training that diverges quietly, with the model as it was before that epoch:
    parameters, optimiser state and place in training. The history holds what was recorded.

    Without it, `fit` raises DivergenceError, and the parameters are those before the step that
    failed. It keeps a copy of the model.
    """

    def on_train_begin(self) -> None:
        self._before = Snapshot(self.model)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._before.retake(self.model)

    def on_divergence(self, error: DivergenceError) -> bool:
        self._before.put_back(self.model)
        return True


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
        """`on_train_begin` before and `on_train_end` after, for all that have begun."""
        for each in self._callbacks:
            each.model, each.names = model, names
        with ExitStack() as stack:
            for each in self._callbacks:
                each.on_train_begin()
                stack.callback(each.on_train_end, history)
            yield

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
