"""What a model is asked: predictions, evaluations, gradients and activations.

All of it may run in many threads at once: plans are read only, and every call has a workspace of
its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pybp import data, layouts
from pybp._core import Predictor, Shortcut, Source, lanes
from pybp.blocks import into_blocks
from pybp.errors import DivergenceError
from pybp.lower import Lowered, Request, capacity_for, lower

if TYPE_CHECKING:
    from pybp.graph import Node
    from pybp.model import Model

CHUNK = 128  # rows of one pass: its activations stay in cache
SLICE_FLOPS = 2e9  # work of one native call: Ctrl-C is heard in between


def predict(model: Model, x: object) -> np.ndarray:
    """See `Model.predict`: the way for all rows, at whose end stands the shortcut for the next."""
    array = model._inputs(x)
    if data.kind(array) == "sparse":
        model._source(array)
        return _predict(model, array)
    return _predict(model, array, data.largest(model.dtype, model._input.attrs["scale"]))


def _predict(model: Model, array: Any, limit: float = 0.0) -> np.ndarray:
    """Predictions of rows that have been checked, or else are to be within +-limit."""
    out = np.empty((len(array), *model._output.shape), model.dtype)
    lowered = _plan_for(model, array, len(array))
    if _map(lowered, (array,), out, limit=limit) is None:
        model._source(array)  # names the value
        return _predict(model, array)  # it has been mended meanwhile
    if not np.isfinite(out).all():
        model._source(array)  # names the value, if one names no vector of an embedding
        finite = np.isfinite(out.reshape(len(out), -1)).all(axis=1)
        raise _overflow(model, array, int(finite.argmin()))
    known = model._shortcut is not None and not model._shortcut.retired
    if not known and data.kind(array) == "dense":
        few, many = (_plan_for(model, array, rows).plan for rows in (1, CHUNK))
        model._shortcut = Shortcut(
            few, many, _least(), model._output.shape, *_reading(model, lowered)
        )
    return out


def _least() -> int:
    """Rows from which blocks of rows pay: half a block."""
    return lanes() // 2


def _plan_for(model: Model, array: Any, rows: int) -> Lowered:
    """The plan that predicts so many rows like these."""

    def output() -> list[Node]:
        return data.for_rows(array, [model._output])

    kind = data.kind(array)
    many = model._plan(
        ("predict", kind), lambda: Request(CHUNK, output=into_blocks(output(), CHUNK)[0])
    )
    if rows >= _least() or not many.blocked:
        return many
    return model._plan(("predict", kind, "few"), lambda: Request(CHUNK, output=output()[0]))


def _reading(model: Model, lowered: Lowered) -> tuple[int, float, int]:
    """Of a row: its values, how large they may be, and the arithmetic that it takes."""
    feed = model._input
    limit = data.largest(model.dtype, feed.attrs["scale"])
    return math.prod(feed.shape), limit, sum(node.flops for node in lowered.order)


def _map(
    lowered: Lowered,
    arrays: tuple[Any, ...],
    out: np.ndarray | None = None,
    results: int = 0,
    limit: float = 0.0,
) -> np.ndarray | None:
    """Run an inference plan over all rows, in slices; the sums of its results, of which there are
    so many. None when inputs are not within +-limit (0 takes all)."""
    rows = len(arrays[0])
    flops = sum(node.flops for node in lowered.order) or 1
    step = max(1, int(SLICE_FLOPS / flops / CHUNK)) * CHUNK
    total = np.zeros(results)
    for begin in range(0, rows, step):
        end = min(rows, begin + step)
        sources = tuple(Source(array[begin:end], limit) for array in arrays)
        sums = np.zeros_like(total) if results else None
        part = None if out is None else out[begin:end]
        if not lowered.plan.map(sources, end - begin, part, sums):
            return None
        if sums is not None:
            total += sums
    return total


def _overflow(model: Model, array: Any, row: int) -> DivergenceError:
    """The error for a row whose prediction is not finite: where did it come from?"""
    for name, view in model.parameters.items():
        if not np.isfinite(view).all():
            return DivergenceError(
                f"parameter {name} holds non-finite values: load or train the model anew", name
            )
    outputs = activations(model, array[row : row + 1])
    bad = [name for name, value in outputs.items() if not np.isfinite(value).all()]
    name = bad[0] if bad else model._output.layer
    return DivergenceError(
        f"layer {name!r} overflows for row {row} of x: its values lie outside what {model.dtype} "
        "holds; scale the inputs or compile with dtype='float64'",
        name,
    )


def predictor(model: Model, batch_size: int) -> Predictor:
    """See `Model.predictor`."""
    capacity = capacity_for(batch_size)
    (output,) = into_blocks([model._output], capacity)
    lowered = model._plan(("predict", capacity), lambda: Request(capacity, output=output))

    def slow(bound: Predictor, x: object) -> np.ndarray:
        """What the native way does not take: other types and layouts, and mistakes."""
        array = model._inputs(x) if data.is_sparse(x) else data.as_array(x, "x")
        if len(array.shape) == 1 and batch_size == 1:
            array = array.reshape(1, -1)
        if len(array) != batch_size:
            raise ValueError(
                f"this predictor takes batches of {batch_size} rows, x has {len(array)}: use "
                f"model.predict(x) or model.predictor(batch_size={len(array)})"
            )
        bound.out[...] = predict(model, x if data.is_sparse(x) else array)
        return bound.out

    reading = _reading(model, lowered)
    return Predictor(lowered.plan, batch_size, model._output.shape, *reading, slow)


def evaluate(model: Model, *sources: Source) -> dict[str, float]:
    """See `Model.evaluate`."""
    results = model._results(sources)
    late = [metric for metric in model._metrics if not metric.native(model._output)]
    nodes = into_blocks([*results.nodes, results.output], CHUNK)
    lowered = model._plan(
        ("evaluate", results.width, results.weighted, results.kind),
        lambda: Request(
            CHUNK,
            results=nodes[: len(results.nodes)],
            output=nodes[-1] if late else None,
            sources=results.sources,
            weights=results.weights,
        ),
    )
    arrays = tuple(source.array for source in sources)
    rows = len(arrays[0])
    out = np.empty((rows, *model._output.shape), model.dtype) if late else None
    sums = _map(lowered, arrays, out, len(results.nodes))
    assert sums is not None  # the rows have been checked
    if not np.isfinite(sums).all():
        _predict(model, arrays[0])  # says which layer overflows, if one does
        op = results.nodes[int(np.isfinite(sums).argmin())].layer
        what = "the loss" if op == "loss" else f"metric op {op!r}"
        raise DivergenceError(f"{what} is not finite: targets and outputs lie too far apart", op)
    found = results.named(sums, rows)
    if out is None:
        return found
    weight = arrays[2][:, 0] if results.weighted else np.ones(rows)
    kept = weight > 0
    y, out, weight = arrays[1][kept], out[kept], weight[kept]
    found |= {metric.name: metric.measure(results, y, out, weight) for metric in late}
    return {name: found[name] for name in ["loss", *(m.name for m in model._metrics)]}


def gradients(model: Model, sources: tuple[Source, ...], deltas: bool) -> dict[str, np.ndarray]:
    """See `Model.gradients`."""
    store = model._require("gradients")
    rows = len(sources[0].array)
    vector = store.new_vector()
    results = model._results(sources)
    request = Request(
        rows,
        results=results.nodes,
        backward=True,
        keep=[results.output] if deltas else [],
        gradient=vector,
        sources=results.sources,
        weights=results.weights,
    )
    lowered = lower(request, store)
    layers = [node for node in lowered.order if node.op in ("dense", "sparse_dense")]
    dense = layers if deltas else []
    signals = [lowered.gradients[id(node)] for node in dense]
    values = lowered.plan.once(sources, rows, signals)
    found = {name: store.view(name, vector) for name in store.parameters}
    found |= {f"{node.layer}.delta": value for node, value in zip(dense, values, strict=True)}
    return found


def activations(model: Model, array: Any) -> dict[str, np.ndarray]:
    """See `Model.activations`."""
    source = model._source(array)
    named = model._named if isinstance(array, np.ndarray) else model._named[1:]
    outputs = data.for_rows(array, [layouts.as_given(node) for _, _, node in named])
    lowered = lower(Request(len(array), keep=outputs), model._require("activations"))
    values = lowered.plan.once((source,), len(array), [lowered.value(node) for node in outputs])
    return {name: value for (name, _, _), value in zip(named, values, strict=True)}
