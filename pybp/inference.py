"""What a model is asked: predictions, evaluations, gradients and activations.

All of it may run in many threads at once: plans are read only, and every call has a workspace of
its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from pybp import binding, data, layouts
from pybp._core import Predictor, Shortcut, Source, lanes
from pybp.blocks import STARTS, into_blocks
from pybp.errors import OUTSIDE, DivergenceError
from pybp.goals import all_names
from pybp.graph import Node, in_parts, topological
from pybp.lower import capacity_for, lower
from pybp.request import Lowered, Request

if TYPE_CHECKING:
    from pybp.model import Model
    from pybp.store import ParameterStore

CHUNK = 128  # rows of one pass, at most
LEAST_CHUNK = 16  # no block of any instruction set is larger
CHUNK_BYTES = 512 << 10  # of activations, which then stay in a core's own cache
SAMPLES = 16  # of a block of single units' values
SLICE_FLOPS = 2e9  # work of one native call: Ctrl-C is heard in between


def predict(model: Model, x: object) -> Any:
    """See `Model.predict`: the way for all rows, at whose end stands the shortcut for the next."""
    arrays = binding.inputs(model, x)
    limits = binding.limits(model)
    if data.kind(arrays[0]) == "sparse":
        binding.finite(model, arrays)
        limits = [0.0]
    return _split(model, _predict(model, arrays, limits))


def _packed(outputs: Sequence[Node]) -> Node:
    """One node of all outputs: a single one as it is, several as one long row."""
    if len(outputs) == 1:
        return outputs[0]
    return in_parts(outputs, lambda nodes: Node("concat", nodes, attrs={"axis": -1}))


def _split(model: Model, out: np.ndarray) -> Any:
    """What was packed, as the list of the outputs, (N, ...) each; a single one as it is."""
    if len(model._outputs) == 1:
        return out
    ends = np.cumsum([math.prod(node.shape) for node in model._outputs])[:-1]
    parts = np.split(out, ends, axis=1)
    return [
        np.ascontiguousarray(part).reshape(len(out), *node.shape)
        for part, node in zip(parts, model._outputs, strict=True)
    ]


def _room(model: Model, rows: int) -> np.ndarray:
    """An array for the packed outputs."""
    return np.empty((rows, *_packed(model._outputs).shape), model.dtype)


def _predict(model: Model, arrays: tuple[Any, ...], limits: Sequence[float]) -> np.ndarray:
    """Packed predictions of rows that have been checked, or else are to be within +-limits."""
    out = _room(model, len(arrays[0]))
    lowered = _plan_for(model, arrays, len(arrays[0]))
    if _map(lowered, arrays, out, limits=limits) is None:
        binding.finite(model, arrays)  # names the value
        return _predict(model, arrays, limits)  # it has been mended meanwhile
    if not np.isfinite(out).all():
        binding.finite(model, arrays)  # names the value, if one names no vector of an embedding
        finite = np.isfinite(out.reshape(len(out), -1)).all(axis=1)
        raise _overflow(model, arrays, int(finite.argmin()))
    known = model._shortcut is not None and not model._shortcut.retired
    simple = len(arrays) == len(model._outputs) == 1
    if simple and not known and data.kind(arrays[0]) == "dense":
        few, many = (_plan_for(model, arrays, rows).plan for rows in (1, CHUNK))
        model._shortcut = Shortcut(
            few, many, _least(), model._output.shape, *_reading(model, lowered)
        )
    return out


def _least() -> int:
    """Rows from which blocks of rows pay: half a block."""
    return lanes() // 2


def _chunk(model: Model) -> int:
    """Rows of one pass. Of images, whose activations are large and weights few, no more than stay
    in cache; unless there are so many other weights that reading them anew would take longer."""
    assert model._store is not None
    nodes = topological(model._outputs)
    if not any(node.op in STARTS for node in nodes):
        return CHUNK
    stored = [n.shape for n in nodes if n.batched and "elementwise" not in n.flags]
    others = [p.shape for n in nodes if n.op not in STARTS for p in n.parameters]
    row, weights = (sum(map(math.prod, shapes)) for shapes in (stored, others))
    if weights > LEAST_CHUNK * row:
        return CHUNK
    fit = max(LEAST_CHUNK, CHUNK_BYTES // (row * model._store.dtype.itemsize))
    return min(CHUNK, 1 << (fit.bit_length() - 1))


def _plan_for(model: Model, arrays: tuple[Any, ...], rows: int) -> Lowered:
    """The plan that predicts so many rows like these."""
    kind = data.kind(arrays[0])

    def request(blocked: bool) -> Request:
        output, chunk = _packed(data.for_rows(arrays[0], model._outputs)), _chunk(model)
        if blocked:
            (output,) = into_blocks([output], chunk)
        return Request(chunk, output=output, sources=len(arrays))

    many = model._plan(("predict", kind), lambda: request(True))
    if rows >= _least() or not many.blocked:
        return many
    return model._plan(("predict", kind, "few"), lambda: request(False))


def _reading(model: Model, lowered: Lowered) -> tuple[tuple[int, ...], int, float, int]:
    """Of a row: the order of its axes where it has several, its values, how large they may be, and
    the arithmetic that it takes."""
    (feed,), (limit,) = model.network.nodes(model.network.inputs), binding.limits(model)
    flops = sum(node.flops for node in lowered.order)
    return data.axes_of(feed), math.prod(feed.shape), limit, flops


def _map(
    lowered: Lowered,
    arrays: tuple[Any, ...],
    out: np.ndarray | None = None,
    results: int = 0,
    limits: Sequence[float] = (),
) -> np.ndarray | None:
    """Run an inference plan over all rows, in slices; the sums of its results, of which there are
    so many. None when inputs are not within +-limits (0 takes all)."""
    rows = len(arrays[0])
    flops = sum(node.flops for node in lowered.order) or 1
    chunk = lowered.plan.capacity
    step = max(1, int(SLICE_FLOPS / flops / chunk)) * chunk
    total = np.zeros(results)
    limits = limits or [0.0] * len(arrays)
    for begin in range(0, rows, step):
        end = min(rows, begin + step)
        sources = tuple(
            Source(array[begin:end], limit) for array, limit in zip(arrays, limits, strict=True)
        )
        sums = np.zeros_like(total) if results else None
        part = None if out is None else out[begin:end]
        if not lowered.plan.map(sources, end - begin, part, sums):
            return None
        if sums is not None:
            total += sums
    return total


def _overflow(model: Model, arrays: tuple[Any, ...], row: int) -> DivergenceError:
    """The error for a row whose prediction is not finite: where did it come from?"""
    for name, view in model.parameters.items():
        if not np.isfinite(view).all():
            return DivergenceError(
                f"parameter {name} holds non-finite values: load or train the model anew", name
            )
    outputs = activations(model, tuple(array[row : row + 1] for array in arrays))
    bad = [name for name, value in outputs.items() if not np.isfinite(value).all()]
    name = bad[0] if bad else model._output.layer
    if bad and np.isnan(outputs[name]).any() and has_functions(model, name):
        return DivergenceError(
            f"layer {name!r} gives NaN for row {row} of x: its values overflow, or {OUTSIDE}", name
        )
    return DivergenceError(
        f"layer {name!r} overflows for row {row} of x: its values lie outside what {model.dtype} "
        "holds; scale the inputs or compile with dtype='float64'",
        name,
    )


def has_functions(model: Model, layer: str) -> bool:
    """Whether a layer has functions of `bp.ops` in it, which may be asked outside their domain."""
    return any(n.op == "expression" and n.layer == layer for n in topological(model._outputs))


def predictor(model: Model, batch_size: int) -> Any:
    """See `Model.predictor`."""
    capacity = min(capacity_for(batch_size), _chunk(model))
    if len(model.network.inputs) > 1:
        return _Bound(model, batch_size)
    (output,) = into_blocks([_packed(model._outputs)], capacity)
    lowered = model._plan(("predict", capacity), lambda: Request(capacity, output=output))

    def slow(bound: Predictor, x: object) -> np.ndarray:
        """What the native way does not take: other types and layouts, and mistakes."""
        array = binding.inputs(model, x)[0] if data.is_sparse(x) else data.as_array(x, "x")
        if len(array.shape) == 1 and batch_size == 1:
            array = array.reshape(1, -1)
        _check_batch(array, batch_size)
        arrays = binding.inputs(model, x if data.is_sparse(x) else array)
        bound.out[...] = _answer(model, arrays)
        return bound.out

    reading = _reading(model, lowered)
    found = Predictor(lowered.plan, batch_size, _room(model, 1).shape[1:], *reading, slow)
    return found if len(model._outputs) == 1 else lambda x: _split(model, found(x))


def _answer(model: Model, arrays: tuple[Any, ...]) -> np.ndarray:
    """Packed predictions of bound rows."""
    sparse = data.kind(arrays[0]) == "sparse"
    if sparse:
        binding.finite(model, arrays)
    return _predict(model, arrays, [0.0] if sparse else binding.limits(model))


def _check_batch(array: Any, batch_size: int) -> None:
    if len(array) != batch_size:
        raise ValueError(
            f"this predictor takes batches of {batch_size} rows, x has {len(array)}: use "
            f"model.predict(x) or model.predictor(batch_size={len(array)})"
        )


class _Bound:
    """A predictor of several inputs."""

    def __init__(self, model: Model, batch_size: int) -> None:
        self._model, self._batch_size = model, batch_size

    def __call__(self, x: object) -> Any:
        """The prediction of a list of inputs, (batch_size, ...)."""
        arrays = binding.inputs(self._model, x)
        _check_batch(arrays[0], self._batch_size)
        return _split(self._model, _answer(self._model, arrays))


def evaluate(model: Model, *sources: Source) -> dict[str, float]:
    """See `Model.evaluate`."""
    results = model._results(sources)
    late = [
        (part, metric)
        for part in results.parts
        for metric in part.goal.metrics
        if not metric.native(part.output)
    ]

    def request() -> Request:
        chunk = _chunk(model)
        nodes = into_blocks([*results.nodes, _packed(results.outputs)], chunk)
        return Request(
            chunk,
            results=nodes[: len(results.nodes)],
            output=nodes[-1] if late else None,
            sources=results.sources,
            weights=results.weights,
            losses=results.losses,
        )

    kind = ("evaluate", results.widths, results.weighted, results.kind)
    lowered = model._plan(kind, request)
    arrays = tuple(source.array for source in sources)
    inputs = arrays[: len(model.network.inputs)]
    out = _room(model, len(arrays[0])) if late else None
    sums = _map(lowered, arrays, out, len(results.nodes))
    assert sums is not None  # the rows have been checked
    if not np.isfinite(sums).all():
        _predict(model, inputs, [0.0] * len(inputs))  # says which layer overflows, if one does
        place = int(np.isfinite(sums).argmin())
        op = results.nodes[place].layer
        what = f"the {op}" if place < len(results.losses) else f"metric op {op!r}"
        raise DivergenceError(f"{what} is not finite: targets and outputs lie too far apart", op)
    found = results.named(sums, len(arrays[0]))
    if out is None:
        return found
    weight = arrays[results.weights][:, 0] if results.weighted else np.ones(len(out))
    kept = weight > 0
    outputs = _split(model, out) if len(results.parts) > 1 else [out]
    for part, metric in late:
        place = results.parts.index(part)
        y, predicted = arrays[len(inputs) + place][kept], outputs[place][kept]
        value = metric.measure(part, y, predicted, weight[kept])
        found[f"{part.goal.prefix}{metric.name}"] = value
    return {name: found[name] for name in all_names(model._goals)}


def gradients(
    model: Model, sources: tuple[Source, ...], deltas: bool, inputs: bool
) -> dict[str, np.ndarray]:
    """See `Model.gradients`."""
    store = model._require("gradients")
    rows = len(sources[0].array)
    vector = store.new_vector()
    results = model._results(sources)
    steps = [model.network.steps[i] for i in model.network.inputs if inputs]
    if steps and results.kind != "dense":
        raise ValueError("gradients by the inputs fill the matrix: pass x.toarray()")
    # An array is read by its Input, or by a layer that scales it in its stead, or by both.
    sourced = [step.node.attrs["source"] for step in steps]
    read = [node for node in topological(results.outputs) if node.op == "feed"]
    feeds = [[node for node in read if node.attrs["source"] == source] for source in sourced]
    request = Request(
        rows,
        results=results.nodes,
        backward=True,
        keep=results.outputs if deltas or inputs else [],
        wrt=[*chain(*feeds)],
        merge=not steps,
        gradient=vector,
        sources=results.sources,
        weights=results.weights,
        losses=results.losses,
    )
    lowered = lower(request, store)
    layers = [node for node in lowered.order if node.op in ("dense", "sparse_dense", "neurons")]
    dense = layers if deltas else []
    signals = [lowered.gradients[id(node)] for node in dense]
    signals += [lowered.gradients[id(feed)] for feed in chain(*feeds)]
    values = lowered.plan.once(sources, rows, signals)
    found = {name: store.view(name, vector) for name in store.parameters}
    uses: Counter[str] = Counter()
    parts = iter(values[len(dense) :])
    for step, own in zip(steps, feeds, strict=True):
        total = sum(next(parts) * _slope(feed, store) for feed in own)
        found[step.label] = total.reshape(rows, *layouts.given_shape(step.node))
    for node, value in zip(dense, values, strict=False):
        use = uses[node.layer]
        uses[node.layer] += 1
        label = f"{node.layer}[{use}].delta" if use else f"{node.layer}.delta"
        found[label] = _by_rows(value) if node.op == "neurons" else value
    return found


def _slope(feed: Node, store: ParameterStore) -> Any:
    """What a change of the array is multiplied by where it is read."""
    if not feed.running:
        return store.dtype.type(feed.attrs["scale"])
    _, factor = feed.running
    return store.buffers[factor.name].reshape(feed.shape).astype(store.dtype)


def _by_rows(blocks: np.ndarray) -> np.ndarray:
    """Rows [N, U] of what lies in blocks of samples: see `csrc/ops/neurons.h`."""
    rows = np.empty_like(blocks)
    for begin in range(0, len(blocks), SAMPLES):
        part = blocks[begin : begin + SAMPLES]
        rows[begin : begin + SAMPLES] = part.reshape(part.shape[::-1]).T
    return rows


def activations(model: Model, arrays: tuple[Any, ...]) -> dict[str, np.ndarray]:
    """See `Model.activations`."""
    sources = binding.finite(model, arrays)
    dense = data.kind(arrays[0]) == "dense"
    steps = [s for s in model.network.steps if dense or s.inputs]
    nodes = {}
    for step in steps:
        nodes[step.label] = layouts.as_given(step.node)
        for what, inside in step.layer.inner(step.node).items():
            nodes[f"{step.label}.{what}"] = inside
    outputs = data.for_rows(arrays[0], list(nodes.values()))
    request = Request(len(arrays[0]), keep=outputs, sources=len(sources))
    lowered = lower(request, model._require("activations"))
    values = lowered.plan.once(sources, len(arrays[0]), [lowered.value(node) for node in outputs])
    return dict(zip(nodes, values, strict=True))
