"""Callbacks that end a training or change its learning rate."""

from __future__ import annotations

import time

from pybp.callbacks.base import Callback, Logs
from pybp.callbacks.monitor import Monitor
from pybp.checks import boolean, real, whole
from pybp.cursor import Snapshot
from pybp.errors import DivergenceError
from pybp.history import History


class EarlyStopping(Monitor):
    """Ends the training when a value stops improving, and goes back to the best model.

    Prechelt, "Early stopping - but when?", 1998.

    Parameters
    ----------
    monitor : str
        One of the logs: "val_loss", "loss", "val_accuracy" and so on.
    patience : int
        The number of epochs in a row without improvement after which it ends.
    min_delta : float
        What is better by no more than this is no improvement.
    mode : "auto", "min" or "max"
        Which values are better. "auto" asks the metric: more accuracy, precision, recall, F1, AUC
        and R2 is better, less loss and error. Of metrics that are functions it must be said.
    restore_best : bool
        At the end, be it early or not, the model becomes what it was after the best epoch:
        parameters, optimiser state and place in training, so that it goes on from there. After
        Ctrl-C and errors it stays as it is.
    target : float, optional
        Ends as soon as the value is this good, or better.

    Attributes
    ----------
    best, best_epoch, stopped_epoch : the best value, its epoch, and the epoch after which it ended
    (-1 if it did not), counted as in `Callback`.

    >>> import pybp as bp
    >>> x = [[0.0], [1.0]]
    >>> model = bp.Sequential([bp.Input(1), bp.Dense(1, weight_init=0.0)])
    >>> model.compile(optimizer=bp.optim.SGD(0.5), loss="mse")
    >>> stop = EarlyStopping("loss", patience=3, target=1e-3)
    >>> history = model.fit(x, x, epochs=1000, callbacks=[stop], verbose=0)
    >>> history.ending, history.history["loss"][-2] > 1e-3 >= stop.best
    ('stopped', True)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
        target: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = whole(patience, "EarlyStopping: patience")
        self.restore_best = boolean(restore_best, "EarlyStopping: restore_best")
        self.target = None if target is None else real(target, "EarlyStopping: target")
        self.stopped_epoch = -1

    def on_train_begin(self) -> None:
        super().on_train_begin()
        self.stopped_epoch = -1
        self._waited = 0
        self._kept: Snapshot | None = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.improved(epoch, logs):
            self._waited = 0
            self._keep()
        else:
            self._waited += 1
        if self._waited >= self.patience or self._reached(logs[self.monitor]):
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _reached(self, value: float) -> bool:
        if self.target is None:
            return False
        return value >= self.target if self.rising else value <= self.target

    def _keep(self) -> None:
        if not self.restore_best:
            return
        if self._kept is None:
            self._kept = Snapshot(self.model)
        else:
            self._kept.retake(self.model)

    def on_train_end(self, history: History) -> None:
        if self._kept is not None and history.ending in ("finished", "stopped", "diverged"):
            self._kept.put_back(self.model)
        self._kept = None


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` whenever a value has stopped improving.

    What the schedule says is multiplied from then on, and the factor is saved with the model, so
    that a training that goes on keeps it.

    Parameters
    ----------
    monitor, min_delta, mode : as of `EarlyStopping`
    factor : float
        Between 0 and 1.
    patience : int
        The number of epochs in a row without improvement after which the rate is reduced.
    cooldown : int
        Epochs after a reduction that do not count.
    min_rate : float
        The learning rate is not reduced below this.

    >>> import pybp as bp
    >>> model = bp.Sequential([bp.Input(1), bp.Dense(1)])
    >>> model.compile(optimizer=bp.optim.SGD(0.1), loss="mse")
    >>> plateau = ReduceLROnPlateau("loss", factor=0.5, patience=2, min_delta=1.0)
    >>> model.fit([[0.0]], [[0.0]], epochs=6, callbacks=[plateau], verbose=0).learning_rate
    [0.1, 0.1, 0.1, 0.05, 0.05, 0.025]
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 5,
        min_delta: float = 1e-4,
        mode: str = "auto",
        cooldown: int = 0,
        min_rate: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        kind = "ReduceLROnPlateau"
        self.factor = real(factor, f"{kind}: factor", 0, 1, open_low=True, open_high=True)
        self.patience = whole(patience, f"{kind}: patience")
        self.cooldown = whole(cooldown, f"{kind}: cooldown", 0)
        self.min_rate = real(min_rate, f"{kind}: min_rate", 0)

    def on_train_begin(self) -> None:
        super().on_train_begin()
        self._waited = self._cooling = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.improved(epoch, logs):
            self._waited = 0
        elif not self._cooling:
            self._waited += 1
        self._cooling = max(self._cooling - 1, 0)
        if self._waited < self.patience:
            return
        self._waited, self._cooling = 0, self.cooldown
        rate = self.model.learning_rate
        if rate > self.min_rate:
            self.model.learning_rate = max(rate * self.factor, self.min_rate)


class TimeLimit(Callback):
    """Ends the training after so many seconds on the clock: within about 0.1 s, or one step where
    that lasts longer, in the middle of an epoch too. What remains of it is done by the next `fit`.

    >>> import pybp as bp
    >>> model = bp.Sequential([bp.Input(1), bp.Dense(1)])
    >>> model.compile(loss="mse")
    >>> model.fit([[1.0]], [[2.0]], epochs=10**9, callbacks=[TimeLimit(0.2)], verbose=0).ending
    'stopped'
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
