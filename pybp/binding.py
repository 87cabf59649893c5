"""From what a user passes to what a plan binds: the arrays of all inputs and outputs, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pybp import data
from pybp._core import Source
from pybp.goals import by_name
from pybp.graph import topological
from pybp.layouts import given_shape

if TYPE_CHECKING:
    from pybp.model import Model

Sources = tuple[Source, ...]  # of the inputs, the targets and perhaps the weights


def parts_of(given: object, names: Sequence[str], what: str, kind: str) -> list[tuple[object, str]]:
    """What is given for each of these inputs or outputs, and what to call it in messages."""
    if len(names) == 1 and not (isinstance(given, Mapping) and [*given] == [*names]):
        return [(given, what)]
    if isinstance(given, Mapping):
        values = by_name(given, names, what, kind)
        return [(value, f"{what}[{name!r}]") for value, name in zip(values, names, strict=True)]
    if not isinstance(given, list | tuple) or len(given) != len(names):
        found = f"{len(given)}" if isinstance(given, list | tuple) else type(given).__name__
        raise ValueError(
            f"{what} must be a list of {len(names)} arrays, one for each {kind} "
            f"({', '.join(names)}), or a dict by those names; got {found}"
        )
    return [(value, f"{what}[{i}]") for i, value in enumerate(given)]


def inputs(model: Model, x: object, what: str = "x") -> tuple[Any, ...]:
    """The rows of `x`, for each input: an array (N, values per row), or `pybp.sparse.Rows`."""
    network = model.network
    nodes, names = network.nodes(network.inputs), network.names(network.inputs)
    found: list[Any] = []
    for node, (part, called) in zip(nodes, parts_of(x, names, what, "input"), strict=True):
        if data.is_sparse(part):
            from pybp import sparse  # few need it

            found.append(sparse.rows(model, part, called))
        else:
            found.append(data.as_rows(part, node, called))
        if len(found[-1]) != len(found[0]):
            raise ValueError(
                f"{names[len(found) - 1]!r} has {len(found[-1])} rows but {names[0]!r} has "
                f"{len(found[0])}: every row needs all inputs"
            )
    return tuple(found)


def limits(model: Model) -> list[float]:
    """How large values may be, for each input, so that they are finite once they are scaled."""
    nodes = model.network.nodes(model.network.inputs)
    return [data.largest(model.dtype, node.attrs["scale"]) for node in nodes]


def finite(model: Model, arrays: Sequence[Any], what: str = "x") -> Sources:
    """Inputs bound and checked to be finite, also once they are scaled."""
    names = [what] if len(arrays) == 1 else [f"{what}[{i}]" for i in range(len(arrays))]
    bounds = limits(model)
    feeds = model.network.nodes(model.network.inputs)
    sources = tuple(
        data.finite_source(array, name, limit, given_shape(feed))
        for array, name, limit, feed in zip(arrays, names, bounds, feeds, strict=True)
    )
    for node in topological(model._outputs):
        if node.op == "embedding":
            (feed,) = [n for n in topological([node]) if n.op == "feed"]
            which = next(i for i, own in enumerate(feeds) if own is feed)
            data.check_words(arrays[which], node, names[which])
    return sources


def pair(
    model: Model,
    x: object,
    y: object,
    sample_weight: object = None,
    names: tuple[str, str, str] = ("x", "y", "sample_weight"),
) -> Sources:
    """Inputs and targets, and weights where they are given: bound, checked, of one length."""
    arrays = inputs(model, x, names[0])
    data.not_empty(arrays[0], names[0])
    sources = [*finite(model, arrays, names[0])]
    outputs = model.network.names(model.network.outputs)
    for goal, (part, called) in zip(
        model._goals, parts_of(y, outputs, names[1], "output"), strict=True
    ):
        target = goal.loss.targets(part, goal.output, model.dtype, called)
        if len(arrays[0]) != len(target.array):
            raise ValueError(
                f"{names[0]} has {len(arrays[0])} rows but {called} has {len(target.array)}: "
                "every row needs its target"
            )
        sources.append(target)
    if sample_weight is not None:
        from pybp import weights

        sources.append(weights.of_rows(sample_weight, len(arrays[0]), model.dtype, names[2]))
    return tuple(sources)
