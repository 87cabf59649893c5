"""Models: what a user trains, asks and saves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from pybp import _core, cursor, data, layouts, optim, parameters
from pybp.checks import whole
from pybp.errors import NotCompiledError
from pybp.graph import Node
from pybp.history import History
from pybp.layers import Layer
from pybp.schedules import Schedule
from pybp.store import ParameterStore

# What is not needed to define a model, such as the compiler, is imported in use.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pybp.goals import Goal
    from pybp.network import Network
    from pybp.request import Lowered, Request
    from pybp.results import Results


class Model:
    """A network: a graph of layers, its parameters, and, once compiled, how it trains.

    Layers are called on inputs and on each other's outputs; the model is all between `inputs` and
    `outputs`, each one or a list. A layer that is called twice has one set of parameters. Two
    models of the same layers share none: `part` makes a model of a part of a trained one, and
    calling it, `model(x)`, takes it into a larger one.

    >>> import numpy as np, pybp as bp
    >>> x = bp.Input(4)
    >>> h = bp.Dense(8, activation="tanh")(x)
    >>> y = bp.Dense(1)(bp.concat([h, x]))
    >>> model = bp.Model(x, y)
    >>> model.compile(optimizer=bp.optim.Adam(0.05), loss="mse", seed=0)
    >>> rows = np.random.default_rng(0).normal(size=(64, 4))
    >>> history = model.fit(rows, rows.prod(axis=1) + rows[:, 0], epochs=5, verbose=0)
    >>> model.predict(rows).shape
    (64, 1)

    Several inputs are passed as a list of arrays, or as a dict by the names of their layers, in all
    methods that take `x`; so are the targets of several outputs, and `predict` answers with a list.

    Prediction (`predict`, `evaluate`, `gradients`, `activations`) may run in any number of threads
    at once: they share the parameters and nothing else. Training (`fit`, `train_on_batch`) is
    exclusive: a second one on the same model at the same time raises RuntimeError. Predictions made
    while the model trains see parameters from the midst of a step. `docs/threads.md` has the whole
    contract, of forks too.
    """

    def __init__(self, inputs: object, outputs: object) -> None:
        from pybp.network import traced

        self._begin(traced(inputs, outputs))

    def _begin(self, network: Network) -> None:
        self.network = network
        self.layers: list[Layer] = network.layers
        self.metadata: dict[str, str] = {}
        ends = [layouts.as_given(node) for node in network.nodes(network.outputs)]
        self._outputs = [layouts.with_axis(node) for node in ends]
        parameters.inherit_frozen(self)
        self._store: ParameterStore | None = None
        self._optimizer: optim.Optimizer | None = None
        self._goals: tuple[Goal, ...] = ()
        self._seed = 0
        self._plans: dict[tuple, Lowered] = {}
        self._shortcut: _core.Shortcut | None = None
        self._sums: dict[tuple, Results] = {}
        self._training = threading.Lock()
        self._trainer = 0  # the thread that holds the lock
        self.stop_training = False
        self.progress = cursor.Cursor()

    def __call__(self, x: object) -> Node | list[Node]:
        """The model as a layer: its output, or the list of them, for other inputs than its own.

        Its layers become layers of the model that is made of the result, under names settled there
        (a name that is taken gets a number: "code_1"), and share nothing with this one. Those that
        are frozen here are frozen there. Where this model is compiled, they start from the values
        that its parameters have when the other is compiled for the first time.

            features = bp.Model(image, code)    # trained
            model = bp.Model(a, bp.Dense(3)(features(a)))
            model.freeze(features)

        Raises
        ------
        ValueError
            The number of inputs, a shape or a scale differs.
        """
        from pybp.network import apply

        return apply(self, x)

    def part(self, *layers: str) -> Model:
        """A model of what leads to the outputs of these layers, given by name: ``part("code")``. It
        has this one's values and what is frozen, and shares nothing, as where a model is called."""
        from pybp.network import part

        return Model(*part(self, layers))

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
        loss: Any = "mse",
        metrics: Any = (),
        dtype: str = "float32",
        seed: int = 0,
        loss_weights: Sequence[float] | Mapping[str, float] | None = None,
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
        loss_weights : of several outputs, whose total loss is sum_k weight_k loss_k; by default 1

        A model of several outputs takes one loss for all or a list of them, a list of lists of
        metrics, and a list of weights; or dicts by the names of the layers that are the outputs. In
        histories they are "<output>_loss" and "<output>_<metric>", beside the total "loss".
        """
        from pybp import compiling

        compiling.compile_model(self, optimizer, loss, metrics, dtype, seed, loss_weights)

    def initialize(self, seed: int = 0) -> None:
        """Draw all parameters anew and forget the training so far; scalers keep what they know."""
        from pybp import compiling

        compiling.initialize(self, seed)

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

    @property
    def _output(self) -> Node:
        """The first output."""
        return self._outputs[0]

    # -- plans ------------------------------------------------------------------------------------

    def _plan(self, key: tuple, make: Callable[[], Request]) -> Lowered:
        """The plan for a use of the model, lowered at the first one."""
        if key not in self._plans:
            assert self._store is not None
            from pybp.lower import lower

            self._plans[key] = lower(make(), self._store)
        return self._plans[key]

    def _results(self, sources: tuple[_core.Source, ...]) -> Results:
        """The losses and the metrics of such targets, with or without weights."""
        inputs = len(self.network.inputs)
        last = inputs + len(self._goals)
        widths = tuple(source.array.shape[1] for source in sources[inputs:last])
        weighted, rows = len(sources) > last, sources[0].array
        key = widths, weighted, data.kind(rows)
        if key not in self._sums:
            from pybp.results import Results

            self._sums[key] = Results(self._goals, inputs, widths, weighted).reading(rows)
        return self._sums[key]

    def _pair(
        self,
        x: object,
        y: object,
        sample_weight: object = None,
        names: tuple[str, str, str] = ("x", "y", "sample_weight"),
    ) -> tuple[_core.Source, ...]:
        """Inputs and targets, and weights where they are given: bound, checked, of one length."""
        from pybp import binding

        return binding.pair(self, x, y, sample_weight, names)

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
            The last batch of an epoch may be smaller. A large batch of images is one step, but goes
            through the network in pieces whose gradients add up.
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

    def freeze(self, *layers: str | Layer | Model) -> None:
        """Keep the parameters of layers as they are: no gradients, no updates, and nothing is
        computed backward where nothing trains below. Layers are given by name, as objects, or as
        the model that was called as a layer.

        The optimiser's state stays for `unfreeze`. Both are saved with the model, and may be called
        between two `fit`s or by a callback at the end of an epoch.
        """
        parameters.freeze(self, layers, trainable=False)

    def unfreeze(self, *layers: str | Layer | Model) -> None:
        """Let the parameters of layers train again."""
        parameters.freeze(self, layers, trainable=True)

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

    def predict(self, x: object) -> Any:
        """Output of the last layer for each row of `x`, (N, outputs); (0, outputs) for no rows. A
        list of them where the model has several outputs.

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
        self,
        x: object,
        y: object,
        sample_weight: object = None,
        deltas: bool = False,
        inputs: bool = False,
    ) -> dict[str, np.ndarray]:
        """Gradients of the loss that `evaluate` reports by every parameter: backward, without any
        optimiser or dropout, batch normalisation using its running statistics.

        With `deltas`, also the error signals "layer.delta" = dLoss/dz, (N, units), of every dense
        layer and of every unit of a `NeuronGraph`, z being what goes into an activation. With
        `inputs`, also the gradient by every input, of the shape of x, under the input's name: where
        the loss would change, a saliency map.

        >>> import numpy as np, pybp as bp
        >>> model = bp.Sequential([bp.Input(2), bp.Dense(1, weight_init=3.0)])
        >>> model.compile(loss="mse", dtype="float64")
        >>> model.gradients([[1.0, 2.0]], [8.0], inputs=True)["input0"]
        array([[6., 6.]])
        """
        self._require("gradients")
        return self._inference.gradients(self, self._pair(x, y, sample_weight), deltas, inputs)

    def activations(self, x: object) -> dict[str, np.ndarray]:
        """Outputs by layer, (N, ...), without dropout; "layer.units" of a `NeuronGraph`."""
        self._require("activations")
        from pybp import binding

        arrays = binding.inputs(self, x)
        data.not_empty(arrays[0], "x")
        return self._inference.activations(self, arrays)

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
        from pybp import summary

        text = summary.table(self.network)
        print(text)
        return text

    def plot(self, path: str | PathLike | None = None) -> Figure:
        """The graph of layers as a picture: names, kinds, output shapes and arrows; saved to
        `path`, as PNG, SVG or PDF, when one is given. Needs matplotlib
        (`pip install "pybp[plot]"`)."""
        from pybp import diagram

        return diagram.draw(self.network, path)

    def __repr__(self) -> str:
        inside = ", ".join(repr(layer) for layer in self.layers)
        if type(self).__name__ == "Sequential" and self.network.is_chain:
            return f"Sequential([{inside}])"
        ends = (self.network.names(which) for which in (self.network.inputs, self.network.outputs))
        return "Model({} -> {}: {})".format(*(", ".join(names) for names in ends), inside)

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
        from pybp import state

        return state.state(self)

    def __getstate__(self) -> dict[str, Any]:
        from pybp import state

        with self._exclusive("pickle and copy", in_callback=True):
            return state.kept(self)

    def __setstate__(self, kept: dict[str, Any]) -> None:
        from pybp import state

        state.revive(self, kept)
