"""What a model is besides its layers and arrays, as plain data and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pybp import cursor, metrics, optim, parameters
from pybp.described import to_data

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
    """See `Model.restore`."""
    optimizer = optim.get(state["optimizer"])
    parameters.check_tensors(model, tensors, state["dtype"], optimizer)
    at = cursor.Cursor(**state["cursor"])
    if at.averaged and not optimizer.average:
        raise ValueError("cursor: the optimizer keeps no average")
    measures = [metrics.restore(one) for one in state["metrics"]]
    model.compile(
        optimizer,
        state["losses"],
        measures,
        state["dtype"],
        state["seed"],
        state["loss_weights"],
    )
    parameters.set_frozen(model, state["frozen"])
    model.progress = at
    for name, view in model.tensors().items():
        view[...] = tensors[name]
