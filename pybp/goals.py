"""What a model is to reach at each of its outputs: a loss with its weight, and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pybp import losses
from pybp.checks import real
from pybp.errors import unknown
from pybp.graph import Node

if TYPE_CHECKING:
    from pybp.losses import Loss
    from pybp.metrics import Metric


@dataclass(frozen=True)
class Goal:
    """Of one output; `prefix` goes before the names of its loss and metrics in histories, where a
    model has several."""

    output: Node
    loss: Loss
    weight: float = 1.0
    metrics: tuple[Metric, ...] = ()
    prefix: str = ""


def settled(
    outputs: Sequence[Node], names: Sequence[str], loss: object, weights: object, metrics: object
) -> tuple[Goal, ...]:
    """The goals of outputs by what `Model.compile` was told: checked."""
    chosen = [losses.get(each) for each in _spread(loss, names, "loss")]
    factors = _weights(weights, names)
    measures = _metrics(metrics, names)
    for own, output in zip(chosen, outputs, strict=True):
        own.scores(output)  # does the last layer suit the loss?
    if len({own.mean for own in chosen}) > 1:
        mean, total = (next(o for o in chosen if o.mean is kind) for kind in (True, False))
        raise ValueError(
            f"loss {mean.name!r} is a mean over rows and loss {total.name!r} a sum: their total "
            "would depend on the batch size; use losses of one kind, such as 'mse' for 'sse'"
        )
    prefixes = [f"{name}_" for name in names] if len(names) > 1 else [""]
    goals = tuple(
        Goal(*parts) for parts in zip(outputs, chosen, factors, measures, prefixes, strict=True)
    )
    logs = set(all_names(goals))
    for log in sorted(logs):
        if f"val_{log}" in logs:
            raise ValueError(
                f"an output is named so that its log 'val_{log}' would also be that of {log!r} on "
                "validation data: give the output's layer another name"
            )
    return goals


def _spread(given: object, names: Sequence[str], what: str) -> list[object]:
    """One thing for each output: itself for all, a list, or a dict by the outputs' names."""
    if isinstance(given, Mapping) and "kind" not in given:
        return by_name(given, names, what, "output")
    if isinstance(given, list | tuple):
        if len(given) != len(names):
            raise ValueError(
                f"{what} must have one entry for each of the outputs {', '.join(names)}, got "
                f"{len(given)}"
            )
        return list(given)
    return [given] * len(names)


def by_name(
    given: Mapping, names: Sequence[str], what: str, kind: str, default: object = None
) -> list[object]:
    """The values of a dict by inputs' or outputs' names, in order."""
    for name in given:
        if name not in names:
            raise unknown(f"{kind} in {what}", name, names)
    missing = [name for name in names if name not in given]
    if missing and default is None:
        raise ValueError(f"{what} has nothing for {kind} {missing[0]!r}: it names {list(given)}")
    return [given.get(name, default) for name in names]


def _weights(given: object, names: Sequence[str]) -> list[float]:
    if given is None:
        return [1.0] * len(names)
    if isinstance(given, Mapping):
        given = by_name(given, names, "loss_weights", "output", 1.0)
    if isinstance(given, np.ndarray) and given.ndim == 1:
        given = given.tolist()
    if not isinstance(given, list | tuple):
        raise TypeError(
            f"loss_weights must be a list of numbers, or a dict by outputs' names, got {given!r}"
        )
    values = _spread(given, names, "loss_weights")
    found = [real(value, f"loss_weights[{i}]", 0) for i, value in enumerate(values)]
    if not any(found):
        raise ValueError("loss_weights are all 0: nothing would be trained")
    return found


def _metrics(given: object, names: Sequence[str]) -> list[tuple[Metric, ...]]:
    if isinstance(given, tuple | list) and not given:
        return [()] * len(names)
    from pybp.metrics import get_all  # which many models do without

    if len(names) == 1 and not isinstance(given, Mapping):
        single = isinstance(given, list | tuple) and len(given) == 1
        nested = single and isinstance(given[0], list | tuple)  # type: ignore[index]
        return [get_all(given[0] if nested else given)]  # type: ignore[index]
    if isinstance(given, Mapping):
        parts = by_name(given, names, "metrics", "output", ())
    else:
        parts = _spread(given, names, "metrics")
        if not isinstance(given, list | tuple) or not all(
            isinstance(part, list | tuple) for part in parts
        ):
            raise TypeError(
                f"metrics must be a list with one list for each of the outputs {', '.join(names)}, "
                f"or a dict by their names, got {given!r}"
            )
    return [get_all(part) for part in parts]


def log_names(goals: Sequence[Goal], known: Callable[[Goal, Metric], bool]) -> list[str]:
    """Of the total loss, the single losses where there are several, and the metrics so known."""
    single = [f"{goal.prefix}loss" for goal in goals] if len(goals) > 1 else []
    metrics = [f"{goal.prefix}{m.name}" for goal in goals for m in goal.metrics if known(goal, m)]
    return ["loss", *single, *metrics]


def all_names(goals: Sequence[Goal]) -> list[str]:
    """Of all that an evaluation tells."""
    return log_names(goals, lambda goal, metric: True)


def directions(goals: Iterable[Goal]) -> dict[str, bool | None]:
    """Whether more is better, of every metric by its name in histories."""
    return {f"{goal.prefix}{m.name}": m.rising for goal in goals for m in goal.metrics}
