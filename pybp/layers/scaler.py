"""Scalers: layers behind the input that know the data's columns, so that a saved model contains its
preprocessing."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from pybp import binding, data
from pybp.checks import real
from pybp.errors import NotAdaptedError
from pybp.graph import Node, Running
from pybp.layers.base import Layer
from pybp.layouts import as_fed

if TYPE_CHECKING:
    from pybp.model import Model

BLOCK_VALUES = 1 << 22  # values that are looked at together: 32 MB of doubles


class Scaler(Layer):
    """Base of the scalers: y = (x - offset) * factor, one offset and factor for each column.

    A scaler stands directly behind `Input` and is computed when rows are gathered, in doubles: it
    costs no pass over the data, and large offsets cost no digits. `adapt` looks at the rows that it
    is given and at no others, so give it the training rows alone; in cross-validation, each fold's.
    The statistics belong to the layer: two models that contain the same scaler object share them.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self._own: dict[str, np.ndarray] = {}
        self._bound: dict[str, list[weakref.ref[np.ndarray]]] = {"offset": [], "factor": []}

    def __getstate__(self) -> dict:
        """Pickled and copied without its models."""
        own = {part: np.array(value) for part, value in self._latest().items()}
        return vars(self) | {"_own": own, "_bound": {"offset": [], "factor": []}}

    def build(self, x: Node | None, name: str) -> Node:
        kind = type(self).__name__
        x = None if x is None else as_fed(x)
        if x is None or x.op != "feed" or x.running:
            raise ValueError(
                f"layer {name!r}: {kind} scales the model's inputs, so it stands directly behind "
                "bp.Input; use bp.BatchNorm or bp.LayerNorm elsewhere"
            )
        if x.attrs["scale"] != 1.0:
            raise ValueError(
                f"layer {name!r}: {kind} makes the input's scale of {x.attrs['scale']!r} "
                f"pointless: leave out `scale` of layer {x.layer!r}"
            )
        size = (int(np.prod(x.shape)),)
        for part in self._own.values():
            _check_columns(len(part), size[0], name)
        running = tuple(
            Running(f"{name}.{part}", size, 0.0, self._binder(part), part == "factor")
            for part in ("offset", "factor")
        )
        return Node(
            "feed",
            attrs=dict(x.attrs),
            layer=name,
            shape=x.shape,
            running=running,
            layout=x.layout,
            image=x.image,
        )

    def _binder(self, part: str) -> Callable[[np.ndarray], None]:
        def bind(view: np.ndarray) -> None:
            if part in self._own:
                view[...] = self._own[part]
            self._bound[part].append(weakref.ref(view))

        return bind

    def _views(self, part: str) -> list[np.ndarray]:
        """Where models keep this part, the latest last."""
        found = [(ref, ref()) for ref in self._bound[part]]
        self._bound[part] = [ref for ref, view in found if view is not None]
        return [view for _, view in found if view is not None]

    def _latest(self) -> dict[str, np.ndarray]:
        """Both parts as the latest model has them (it may have been loaded), else the layer's own;
        empty when there is nothing yet."""
        views = {part: self._views(part) for part in ("offset", "factor")}
        if views["factor"] and views["factor"][-1].any():
            return {part: found[-1] for part, found in views.items()}
        return self._own

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        found = self._latest()
        if not found:
            raise NotAdaptedError(
                f"this {type(self).__name__} does not know the data yet: call adapt(x) with the "
                "rows that the model is trained on"
            )
        return found["offset"], found["factor"]

    @property
    def adapted(self) -> bool:
        """Whether `adapt` has been called, or the model was loaded."""
        return bool(self._latest())

    def adapt(self, x: object) -> Scaler:
        """Take the statistics of the rows of `x`, (N, ...); returns the layer itself.

        Any real or integer dtype, read in blocks, so that a memory-mapped array is never copied
        whole. To be called before the model is used, before or after `compile`; a later call
        replaces the statistics in all models that contain the layer.

        Raises
        ------
        ValueError
            `x` is empty, holds NaN or infinite values, or has another number of columns.
        """
        array = data.not_empty(data.as_array(x, "x"), "x")
        array = array.reshape(len(array), -1)
        for view in self._views("factor"):
            _check_columns(array.shape[1], len(view), type(self).__name__)
        data.finite_source(array, "x")
        with np.errstate(over="ignore"):
            offset, factor = self._statistics(array)
        usable = np.isfinite(offset) & np.isfinite(factor) & (factor != 0)
        if not usable.all():
            raise ValueError(
                f"column {int(usable.argmin())} of x spans more, or less, than float64 can scale"
            )
        self._own = {"offset": offset, "factor": factor}
        for part, value in self._own.items():
            for view in self._views(part):
                view[...] = value
        return self

    def _statistics(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Offset and factor of each column."""
        raise NotImplementedError

    def transform(self, x: object) -> np.ndarray:
        """(x - offset) * factor in float64, (N, ...): what the layer does inside a model; of use
        for targets, which no layer scales."""
        offset, factor = self._parts()
        array = np.asarray(x, np.float64)
        return ((array.reshape(len(array), -1) - offset) * factor).reshape(array.shape)

    def inverse(self, y: object) -> np.ndarray:
        """The values before scaling: y / factor + offset in float64, (N, ...)."""
        offset, factor = self._parts()
        array = np.asarray(y, np.float64)
        return (array.reshape(len(array), -1) / factor + offset).reshape(array.shape)


class MinMaxScaler(Scaler):
    """Scales each column of the input to [low, high]: the smallest value that `adapt` saw becomes
    low and the largest high; new rows may lie outside. A constant column becomes low.

    The same numbers as scikit-learn's scaler of this name. That one suits too, outside of the
    model, as `model.fit(scaler.fit_transform(x), y)` and `model.predict(scaler.transform(x))`; then
    whoever loads the model needs the scaler as well.

    Parameters
    ----------
    feature_range : (low, high)

    >>> import numpy as np, pybp as bp
    >>> x, y = np.array([[10.0, 5.0], [20.0, 5.0], [40.0, 5.0]]), [0.0, 1.0, 3.0]
    >>> model = bp.Sequential([bp.Input(2), bp.MinMaxScaler(), bp.Dense(1)])
    >>> model.compile(optimizer=bp.optim.SGD(0.5), loss="mse", seed=0)
    >>> model.adapt(x)
    >>> history = model.fit(x, y, epochs=200, batch_size=3, verbose=0)
    >>> bool(abs(model.predict([[30.0, 5.0]]).item() - 2.0) < 0.01)
    True
    >>> model.layers[1].inverse([[0.5, 0.0]])
    array([[25.,  5.]])
    """

    def __init__(
        self, feature_range: tuple[float, float] = (0.0, 1.0), name: str | None = None
    ) -> None:
        super().__init__(name)
        if not isinstance(feature_range, tuple | list) or len(feature_range) != 2:
            raise ValueError(
                f"MinMaxScaler: feature_range must be a pair (low, high), got {feature_range!r}"
            )
        low, high = (real(value, "MinMaxScaler: feature_range") for value in feature_range)
        if not low < high:
            raise ValueError(
                f"MinMaxScaler: feature_range must rise, from low to high, got {feature_range!r}"
            )
        self.feature_range = (low, high)

    def _statistics(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = self.feature_range
        least = np.full(array.shape[1], np.inf)
        most = -least
        for block in _blocks(array):
            np.minimum(least, block.min(axis=0), out=least)
            np.maximum(most, block.max(axis=0), out=most)
        span = most - least
        factor = (high - low) / np.where(span == 0, 1.0, span)
        return least - low / factor, factor


class StandardScaler(Scaler):
    """Scales each column of the input to mean 0 and standard deviation 1 over the rows that `adapt`
    saw; a constant column becomes 0.

    Deviations are those of all rows (divided by N), and columns that vary by less than the rounding
    of their mean count as constant: the same numbers as scikit-learn's scaler of this name.

    >>> import numpy as np, pybp as bp
    >>> x = np.random.default_rng(0).normal(1e6, 10.0, (100, 3))
    >>> y = (x - 1e6) @ [0.1, 0.2, 0.3]
    >>> scaler = bp.StandardScaler().adapt(x)
    >>> model = bp.Sequential([bp.Input(3), scaler, bp.Dense(1)])
    >>> model.compile(optimizer=bp.optim.SGD(0.1), loss="mse", seed=0)
    >>> history = model.fit(x, y, epochs=20, batch_size=10, verbose=0)
    >>> model.evaluate(x, y)["loss"] < 1e-3
    True
    """

    def _statistics(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = len(array)
        mean = sum(block.sum(axis=0) for block in _blocks(array)) / rows
        squares = sum(((block - mean) ** 2).sum(axis=0) for block in _blocks(array))
        variance, eps = squares / rows, np.finfo(np.float64).eps
        rounding = rows * eps * variance + (rows * mean * eps) ** 2
        constant = (variance <= rounding) & np.isfinite(variance)
        return mean, 1 / np.sqrt(np.where(constant, 1.0, variance))


def adapt(model: Model, x: object) -> None:
    """See `Model.adapt`."""
    scalers = [step for step in model.network.steps if isinstance(step.layer, Scaler)]
    if not scalers:
        raise ValueError(
            "adapt: the model has no layer that looks at the data beforehand; put "
            "bp.MinMaxScaler() or bp.StandardScaler() behind its Input"
        )
    arrays = binding.inputs(model, x)
    with model._exclusive("adapt"):
        for step in scalers:
            assert isinstance(step.layer, Scaler)
            step.layer.adapt(arrays[step.node.attrs["source"]])


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in order, as doubles."""
    step = max(1, BLOCK_VALUES // max(array.shape[1], 1))
    for begin in range(0, len(array), step):
        yield array[begin : begin + step].astype(np.float64)


def _check_columns(found: int, wanted: int, where: str) -> None:
    if found != wanted:
        raise ValueError(
            f"{where}: the rows given to adapt have {found} values, the model's inputs {wanted}"
        )
