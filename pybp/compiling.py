"""What `Model.compile` does: the goals are checked, and the parameters get their memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pybp import cursor, optim, parameters
from pybp.checks import whole
from pybp.errors import unknown
from pybp.goals import Goal, settled
from pybp.graph import no_dead_ends, topological
from pybp.store import ParameterStore

if TYPE_CHECKING:
    from pybp.model import Model

DTYPES: dict[str, np.dtype] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}


def compile_model(
    model: Model,
    optimizer: str | optim.Optimizer,
    loss: Any,
    metrics: Any,
    dtype: object,
    seed: object,
    loss_weights: Any,
) -> None:
    """See `Model.compile`."""
    chosen = optim.get(optimizer)
    names = model.network.names(model.network.outputs)
    goals = settled(model._outputs, names, loss, loss_weights, metrics)
    no_dead_ends(model._outputs, lambda node: any(p.trainable for p in node.parameters))
    name = np.dtype(dtype).name if isinstance(dtype, type | np.dtype) else str(dtype)
    if name not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    seed = whole(seed, "seed", 0, 2**64 - 1)
    with model._exclusive("compile"):
        _set_up(model, chosen, goals, DTYPES[name], seed)


def _set_up(
    model: Model, optimizer: optim.Optimizer, goals: tuple[Goal, ...], dtype: np.dtype, seed: int
) -> None:
    store = model._store
    if store is None or store.dtype != dtype:
        store = _new_store(model, dtype, seed)
    for lowered in model._plans.values():
        lowered.plan.retired = store is not model._store
    model._plans, model._sums = {}, {}
    store.state = tuple(store.new_vector() for _ in range(optimizer.state_vectors()))
    store.average = store.new_vector() if optimizer.average else None
    model._store, model._optimizer, model._goals = store, optimizer, goals
    model._seed = seed
    model.progress = cursor.Cursor()


def _new_store(model: Model, dtype: np.dtype, seed: int) -> ParameterStore:
    """Room for the parameters, drawn, or with the values that they had in another precision."""
    nodes = topological(model._outputs)
    store = ParameterStore(
        (p for node in nodes for p in node.parameters),
        dtype,
        (r for node in nodes for r in node.running),
    )
    if model._store is None:
        store.draw(seed)
        parameters.inherit(model, store)
    else:
        for name in store.parameters:
            store.view(name)[...] = model._store.view(name)
        store.running[:] = model._store.running
    return store


def initialize(model: Model, seed: object) -> None:
    """See `Model.initialize`."""
    store = model._require("initialize")
    seed = whole(seed, "seed", 0, 2**64 - 1)
    with model._exclusive("initialize"):
        store.draw(seed)
        store.reset_running()
        for vector in store.vectors().values():
            vector[:] = 0
        model._seed = seed
        model.progress = cursor.Cursor()
