"""What a model is besides its layers: as plain data and back, and as pickles and copies hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pybp import cursor, metrics, optim, parameters
from pybp.described import to_data
from pybp.errors import NotCompiledError

if TYPE_CHECKING:
    from pybp.model import Model


def state(model: Model) -> dict[str, Any]:
    """See `Model.state`."""
    store = model._require("state")
    assert model._optimizer is not None
    return {
        "optimizer": to_data(model._optimizer),
        "losses": [to_data(goal.loss) for goal in model._goals],
        "loss_weights": [goal.weight for goal in model._goals],
        "metrics": [metrics.state(goal.metrics) for goal in model._goals],
        "dtype": store.dtype.name,
        "seed": model._seed,
        "frozen": parameters.frozen(model),
        "cursor": model.progress.state(),
    }


def restore(model: Model, state: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Make the model what `state` and `tensors` describe; checked before anything changes."""
    optimizer = optim.get(state["optimizer"])
    parameters.check_tensors(model, tensors, state["dtype"], optimizer)
    at = cursor.Cursor(**state["cursor"])
    if at.averaged and not optimizer.average:
        raise ValueError("cursor: the optimizer keeps no average")
    measures = [metrics.restore(one) for one in state["metrics"]]
    how = state["losses"], measures, state["dtype"], state["seed"], state["loss_weights"]
    model.compile(optimizer, *how)
    _place(model, state["frozen"], at, tensors)


def kept(model: Model) -> dict[str, Any]:
    """What a pickle or a copy of the model holds: layers, losses and the like as the objects that
    they are, so that those of users need no name, and all that trains as values."""
    network = model.network
    held: dict[str, Any] = {
        "layers": model.layers,
        "ends": (network.calls, network.inputs, network.outputs),
        "metadata": dict(model.metadata),
        "frozen": parameters.frozen(model),
    }
    if model._store is None:
        if parameters.inherits(model):
            raise NotCompiledError(
                "pickle and copy: this model takes layers from compiled models, whose values it "
                "has once it is compiled itself: call model.compile(optimizer=..., loss=...) first"
            )
        return held
    goals = model._goals
    held["compiled"] = (
        model._optimizer,
        [goal.loss for goal in goals],
        [list(goal.metrics) for goal in goals],
        model._store.dtype.name,
        model._seed,
        [goal.weight for goal in goals],
    )
    held["cursor"] = model.progress.state()
    held["tensors"] = {name: view.copy() for name, view in model.tensors().items()}
    return held


def revive(model: Model, held: dict[str, Any]) -> None:
    """Make the model what `kept` told."""
    from pybp.network import restored

    model._begin(restored(held["layers"], *held["ends"]))
    model.metadata.update(held["metadata"])
    if "compiled" not in held:
        parameters.set_frozen(model, held["frozen"])
        return
    model.compile(*held["compiled"])
    _place(model, held["frozen"], cursor.Cursor(**held["cursor"]), held["tensors"])


def _place(
    model: Model, frozen: list[str], at: cursor.Cursor, tensors: dict[str, np.ndarray]
) -> None:
    """Where a compiled model stands in its training."""
    parameters.set_frozen(model, frozen)
    model.progress = at
    for name, view in model.tensors().items():
        view[...] = tensors[name]
