"""Models: what a user trains, asks and saves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from pybp import _core, cursor, data, layouts, losses, optim, parameters, summary
from pybp.checks import whole
from pybp.described import to_data
from pybp.errors import NotCompiledError, unknown
from pybp.graph import Node, no_dead_ends, topological
from pybp.history import History
from pybp.layers import Layer
from pybp.results import Results
from pybp.schedules import Schedule
from pybp.store import ParameterStore

# The compiler, a fifth of the time of `import pybp`, is imported in use.
if TYPE_CHECKING:
    from pybp.lower import Lowered, Request
    from pybp.metrics import Metric

DTYPES: dict[str, np.dtype] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}


class Model:
    """A network: a graph of layers, its parameters, and, once compiled, how it trains.

    Prediction (`predict`, `evaluate`, `gradients`, `activations`) may run in any number of threads
    at once: they share the parameters and nothing else. Training (`fit`, `train_on_batch`) is
    exclusive: a second one on the same model at the same time raises RuntimeError. Predictions made
    while the model trains see parameters from the midst of a step. `docs/threads.md` has the whole
    contract, of forks too.
    """

    def __init__(self, named: list[tuple[str, Layer, Node]]) -> None:
        self._named = named
        self._output = layouts.as_given(named[-1][2])
        self._input = named[0][2]
        self.layers: list[Layer] = [layer for _, layer, _ in named]
        self.metadata: dict[str, str] = {}
        self._store: ParameterStore | None = None
        self._optimizer: optim.Optimizer | None = None
        self._loss: losses.Loss | None = None
        self._metrics: tuple[Metric, ...] = ()
        self._seed = 0
        self._plans: dict[tuple, Lowered] = {}
        self._shortcut: _core.Shortcut | None = None
        self._sums: dict[tuple[int, bool, str], Results] = {}
        self._training = threading.Lock()
        self._trainer = 0  # the thread that holds the lock
        self.stop_training = False
        self.progress = cursor.Cursor()

    # -- compile ----------------------------------------------------------------------------------

    @property
    def compiled(self) -> bool:
        """Whether `compile` has been called (or the model was loaded)."""
        return self._store is not None

    @property
    def dtype(self) -> np.dtype:
        """Precision of the parameters and of all arithmetic."""
        return self._require("dtype").dtype

    def _require(self, what: str) -> ParameterStore:
        if self._store is None:
            raise NotCompiledError(
                f"{what} needs a compiled model: call model.compile(optimizer=..., loss=...) first"
            )
        return self._store

    def compile(
        self,
        optimizer: str | optim.Optimizer = "adam",
        loss: str | losses.Loss = "mse",
        metrics: Sequence[str | Metric | Callable[..., float]] = (),
        dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        """Say how the model trains, and draw its parameters.

        A model that was compiled before keeps its parameters and starts with a fresh optimiser, so
        that a trained model can be tuned further with other settings; `initialize` draws them
        anew. Another `dtype` moves them to new arrays: views taken before stay with the old.

        Parameters
        ----------
        optimizer : a `pybp.optim` object, or its name in lower case: "sgd", "adam", ...
        loss : a `pybp.losses` object, or the name of one, such as "mse" or "cross_entropy"
        metrics : `pybp.metrics` objects, their names, such as "accuracy", and functions of
            (y_true, y_pred)
        dtype : "float32" or "float64"
        seed : of the initial parameters, the order of rows and dropout
        """
        chosen = optim.get(optimizer)
        goal = losses.get(loss)
        goal.scores(self._output)  # does the last layer suit the loss?
        no_dead_ends(self._output, lambda node: any(p.trainable for p in node.parameters))
        measures: tuple[Metric, ...] = ()
        if not isinstance(metrics, tuple | list) or metrics:
            from pybp.metrics import get_all  # which many models do without

            measures = get_all(metrics)
        name = np.dtype(dtype).name if isinstance(dtype, type | np.dtype) else str(dtype)
        if name not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
        seed = whole(seed, "seed", 0, 2**64 - 1)
        if not any(node.parameters for node in topological([self._output])):
            raise ValueError("the model has no parameters to train: add a layer such as bp.Dense")
        with self._exclusive("compile"):
            self._setup(chosen, goal, measures, DTYPES[name], seed)

    def _setup(
        self,
        optimizer: optim.Optimizer,
        loss: losses.Loss,
        measures: tuple[Metric, ...],
        dtype: np.dtype,
        seed: int,
    ) -> None:
        store = self._store
        if store is None or store.dtype != dtype:
            store = self._new_store(dtype, seed)
        for lowered in self._plans.values():
            lowered.plan.retired = store is not self._store
        self._plans, self._sums = {}, {}
        store.state = tuple(store.new_vector() for _ in range(optimizer.state_vectors()))
        store.average = store.new_vector() if optimizer.average else None
        self._store, self._optimizer, self._loss = store, optimizer, loss
        self._metrics, self._seed = measures, seed
        self.progress = cursor.Cursor()

    def _new_store(self, dtype: np.dtype, seed: int) -> ParameterStore:
        """Room for the parameters, drawn, or with the values that they had in another precision."""
        nodes = topological([self._output])
        store = ParameterStore(
            (p for node in nodes for p in node.parameters),
            dtype,
            (r for node in nodes for r in node.running),
        )
        if self._store is None:
            store.draw(seed)
        else:
            for name in store.parameters:
                store.view(name)[...] = self._store.view(name)
            store.running[:] = self._store.running
        return store

    def initialize(self, seed: int = 0) -> None:
        """Draw all parameters anew and forget the training so far; scalers keep what they know."""
        store = self._require("initialize")
        seed = whole(seed, "seed", 0)
        with self._exclusive("initialize"):
            store.draw(seed)
            store.reset_running()
            for vector in store.vectors().values():
                vector[:] = 0
            self._seed = seed
            self.progress = cursor.Cursor()

    def adapt(self, x: object) -> None:
        """Let the model's scaler take the statistics of the rows of `x`: give it the rows that the
        model is trained on, and no others."""
        from pybp.layers import scaler  # most models have none

        scaler.adapt(self, x)

    @contextmanager
    def _exclusive(self, what: str, in_callback: bool = False) -> Iterator[None]:
        if in_callback and self._trainer == threading.get_ident():
            yield  # between two steps, called by the training itself
            return
        if not self._training.acquire(blocking=False):
            raise RuntimeError(
                f"{what}: this model is being trained by another call; wait for it to end, or "
                "train a second model"
            )
        self._trainer = threading.get_ident()
        try:
            yield
        finally:
            self._trainer = 0
            self._training.release()

    # -- plans ------------------------------------------------------------------------------------

    def _plan(self, key: tuple, make: Callable[[], Request]) -> Lowered:
        """The plan for a use of the model, lowered at the first one."""
        if key not in self._plans:
            assert self._store is not None
            from pybp.lower import lower

            self._plans[key] = lower(make(), self._store)
        return self._plans[key]

    def _results(self, sources: tuple[_core.Source, ...]) -> Results:
        """The loss and the metrics of such targets, with or without weights."""
        assert self._loss is not None
        rows, width, weighted = sources[0].array, sources[1].array.shape[1], len(sources) > 2
        key = width, weighted, data.kind(rows)
        if key not in self._sums:
            results = Results(self._loss, self._metrics, self._output, width, weighted)
            self._sums[key] = results.reading(rows)
        return self._sums[key]

    def _inputs(self, x: object, what: str = "x") -> Any:
        """The rows of `x`: an array (N, values per row), or `pybp.sparse.Rows`."""
        if data.is_sparse(x):
            from pybp import sparse  # few need it

            return sparse.rows(self, x, what)
        return data.as_rows(x, self._input, what)

    def _source(self, array: Any, what: str = "x") -> _core.Source:
        """Inputs bound and checked to be finite, also once they are scaled."""
        limit = data.largest(self.dtype, self._input.attrs["scale"])
        return data.check_words(data.finite_source(array, what, limit), self._output, what)

    def _pair(
        self,
        x: object,
        y: object,
        sample_weight: object = None,
        names: tuple[str, str, str] = ("x", "y", "sample_weight"),
    ) -> tuple[_core.Source, ...]:
        """Inputs and targets, and weights where they are given: bound, checked, of one length."""
        assert self._loss is not None
        array = data.not_empty(self._inputs(x, names[0]), names[0])
        inputs = self._source(array, names[0])
        targets = self._loss.targets(y, self._output, self.dtype, names[1])
        if len(array) != len(targets.array):
            raise ValueError(
                f"{names[0]} has {len(array)} rows but {names[1]} has {len(targets.array)}: "
                "every row needs its target"
            )
        if sample_weight is None:
            return inputs, targets
        from pybp import weights

        return inputs, targets, weights.of_rows(sample_weight, len(array), self.dtype, names[2])

    @property
    def _inference(self) -> Any:
        from pybp import inference

        return inference

    # -- train ------------------------------------------------------------------------------------

    def fit(
        self,
        x: object,
        y: object,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: tuple[object, ...] | None = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        sample_weight: object = None,
        class_weight: object = None,
        callbacks: Sequence[object] = (),
        verbose: int = 1,
    ) -> History:
        """Train for `epochs` passes over the data.

        Parameters
        ----------
        x : array (N, ...), or sparse matrix (N, inputs)
            Any real or integer dtype and any strides; bound, not copied. SciPy's CSR matrices are
            read as they are where a `Dense` layer stands directly behind `Input`, in all methods
            that take `x`: work grows with the entries. Other formats are converted by `tocsr()`.
        y : array
            As the loss takes it: class numbers (N,), one-hot (N, C), or values (N, outputs).
        epochs, batch_size : int
            The last batch of an epoch may be smaller.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Evaluated after each epoch into "val_loss" and so on.
        validation_split : float
            Instead of validation data: this fraction of the rows, the last ones as they are given,
            whatever `shuffle` says. Rows that are sorted by class must be mixed before.
        shuffle : bool
            Visit the rows in a new order each epoch, a function of seed and epoch.
        sample_weight : array (N,), optional
            How often each row counts, in the loss and in the metrics: 0 is a row left out, 2 one
            given twice. The mean over a batch or an epoch is over its weights.
        class_weight : {label: weight} or "balanced", optional
            Weights by the class of the row, 1 where none is given, times `sample_weight`;
            "balanced" gives every class the same total. They do not weigh validation data.
        callbacks : list
            `pybp.callbacks` objects, or functions of (epoch, logs), called after each epoch.
        verbose : 0 or 1
            1 shows progress on long work where a terminal or a notebook can show it.

        Training ends early, between two steps, once `model.stop_training` is set to True, by a
        callback or by another thread. Calling `fit` again goes on from there: optimiser state,
        schedule and random numbers follow the steps and epochs of the model's whole life.

        Ctrl-C stops at the end of a step; the model then stands there, and a `fit` on as many rows
        with the same batch size goes on in the middle of the epoch, to the same bits.

        Raises
        ------
        DivergenceError
            The loss went non-finite; the error names the op and the step.
        """
        given = x, y, sample_weight, class_weight
        held_out = validation_data, validation_split
        from pybp import training

        return training.fit(self, given, held_out, epochs, batch_size, shuffle, callbacks, verbose)

    def train_on_batch(
        self, x: object, y: object, sample_weight: object = None, class_weight: object = None
    ) -> dict[str, float]:
        """One optimiser step on all rows of `x`; the loss and metrics before it. Weights as for
        `fit`."""
        from pybp import training

        return training.train_on_batch(self, (x, y, sample_weight, class_weight))

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step, as the schedule and what was set make it.

        Setting a number scales the rest of the schedule so that it goes on from there; a schedule
        object is one that begins with the next step. Both keep the optimiser's state, so that
        ``model.learning_rate = bp.schedules.Cosine(0.1, steps=1000)`` before another `fit` is a
        warm restart, and both are saved with the model.
        """
        self._require("learning_rate")
        return cursor.learning_rate(self)

    @learning_rate.setter
    def learning_rate(self, value: float | Schedule) -> None:
        self._require("learning_rate")
        cursor.set_learning_rate(self, value)

    def freeze(self, *names: str) -> None:
        """Keep the parameters of layers, by name, as they are: no gradients, no updates, and
        nothing is computed backward where nothing trains below.

        The optimiser's state stays for `unfreeze`. Both are saved with the model, and may be called
        between two `fit`s or by a callback at the end of an epoch.
        """
        parameters.freeze(self, names, trainable=False)

    def unfreeze(self, *names: str) -> None:
        """Let the parameters of layers, by name, train again."""
        parameters.freeze(self, names, trainable=True)

    def use_averaged_parameters(self, use: bool = True) -> None:
        """Put the parameters' average, of an optimiser with `average=...`, in their place; with
        False, take it out again. Both are kept and saved.

            model.compile(optimizer=bp.optim.Adam(average=bp.optim.EMA(0.999)), ...)
            model.fit(x, y, epochs=10)
            model.use_averaged_parameters()         # evaluate, predict, save
            model.use_averaged_parameters(False)    # train on

        Training is refused in between. BatchNorm's running statistics belong to the parameters of
        the training and are not averaged.
        """
        parameters.use_average(self, use)

    # -- ask --------------------------------------------------------------------------------------

    def predict(self, x: object) -> np.ndarray:
        """Output of the last layer for each row of `x`, (N, outputs); (0, outputs) for no rows.

        Raises
        ------
        DivergenceError
            An output is not finite; the error names the layer that overflowed.
        """
        if self._shortcut is not None and (out := self._shortcut(x)) is not None:
            return out
        self._require("predict")
        return self._inference.predict(self, x)

    def predictor(self, batch_size: int = 1) -> _core.Predictor:
        """A callable bound to this model: x (batch_size, ...) -> (batch_size, outputs).

        The quickest way to predict small batches, with one buffer for all its answers: copy what
        you keep. It reads the model's parameters as they are at each call. Use one per thread.
        """
        self._require("predictor")
        return self._inference.predictor(self, whole(batch_size, "batch_size"))

    def evaluate(self, x: object, y: object, sample_weight: object = None) -> dict[str, float]:
        """Loss and metrics over a data set: {"loss": ..., "accuracy": ...}, weighed as in `fit`."""
        self._require("evaluate")
        return self._inference.evaluate(self, *self._pair(x, y, sample_weight))

    def gradients(
        self, x: object, y: object, sample_weight: object = None, deltas: bool = False
    ) -> dict[str, np.ndarray]:
        """Gradients of the loss that `evaluate` reports by every parameter: backward, without any
        optimiser or dropout, batch normalisation using its running statistics.

        With `deltas`, also the error signals "layer.delta" = dLoss/dz, (N, units), of every dense
        layer, z being what goes into its activation.
        """
        self._require("gradients")
        return self._inference.gradients(self, self._pair(x, y, sample_weight), deltas)

    def activations(self, x: object) -> dict[str, np.ndarray]:
        """Every layer's output by the layer's name, (N, ...), dropout being the identity."""
        self._require("activations")
        return self._inference.activations(self, data.not_empty(self._inputs(x), "x"))

    # -- look -------------------------------------------------------------------------------------

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """Every parameter by name, as a view: reading sees training, writing changes the model."""
        store = self._require("parameters")
        return {name: store.view(name) for name in store.parameters}

    @property
    def buffers(self) -> Mapping[str, np.ndarray]:
        """What layers keep without training it, by name, as float64 views: the moving averages of
        `BatchNorm`, the statistics of scalers. Saved with the model and restored like parameters;
        no optimiser changes them."""
        return dict(self._require("buffers").buffers)

    def summary(self) -> str:
        """Print, and return, a table of the layers: role (input, hidden, output), kind, output
        shape, parameters, FLOPs per row."""
        text = summary.table(self._named)
        print(text)
        return text

    def __repr__(self) -> str:
        inside = ", ".join(repr(layer) for layer in self.layers)
        return f"{type(self).__name__}([{inside}])"

    # -- keep -------------------------------------------------------------------------------------

    def save(self, path: str | PathLike) -> None:
        """Write layers, parameters, optimiser state and the place in training to a safetensors
        file, from which `pybp.load` makes an equal model."""
        from pybp import io  # JSON and paths take longer to import than all the rest

        self._require("save")
        with self._exclusive("save", in_callback=True):
            io.save(self, path)

    def tensors(self) -> dict[str, np.ndarray]:
        """All arrays that make up the model: parameters, running state, the optimiser's state as
        "name@state0" and the averaged parameters as "name@average"."""
        store = self._require("tensors")
        found = {name: store.view(name) for name in store.parameters} | store.buffers
        for suffix, vector in store.vectors().items():
            found |= {name + suffix: store.view(name, vector) for name in store.parameters}
        return found

    def state(self) -> dict[str, Any]:
        """All the rest that makes up the model, as plain data."""
        from pybp import metrics

        store = self._require("state")
        assert self._optimizer is not None and self._loss is not None
        return {
            "optimizer": to_data(self._optimizer),
            "loss": to_data(self._loss),
            "metrics": metrics.state(self._metrics),
            "dtype": store.dtype.name,
            "seed": self._seed,
            "frozen": parameters.frozen(self),
            "cursor": self.progress.state(),
        }

    def restore(self, state: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        """Become what `state` and `tensors` describe; checked before anything changes."""
        from pybp import metrics

        optimizer = optim.get(state["optimizer"])
        parameters.check_tensors(self, tensors, state["dtype"], optimizer)
        at = cursor.Cursor(**state["cursor"])
        if at.averaged and not optimizer.average:
            raise ValueError("cursor: the optimizer keeps no average")
        self.compile(
            optimizer,
            state["loss"],
            metrics.restore(state["metrics"]),
            state["dtype"],
            state["seed"],
        )
        parameters.set_frozen(self, state["frozen"])
        self.progress = at
        for name, view in self.tensors().items():
            view[...] = tensors[name]
