"""Other shapes, other orders of axes, parts of values, and several values side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pybp._core import MAX_DIMS
from pybp.checks import ANY, whole
from pybp.fuse import decode
from pybp.graph import Node
from pybp.operators import Symbolic
from pybp.ops.symbols import Value, apply, as_node, constant, distinct, shapes_of, spread

MOST_INPUTS = 6  # of one concat
CONDITIONS = {"less", "less_equal", "equal", "not_equal"}  # steps


def axis_of(axis: int, ndim: int, what: str) -> int:
    """An axis counted from the first of a row."""
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise TypeError(f"bp.ops.{what}: an axis is a whole number, got {axis!r}")
    if not -ndim <= axis < ndim:
        raise ValueError(
            f"bp.ops.{what}: axis {axis} is out of range for rows with {ndim} axes (the axis of "
            "the batch is left out)"
        )
    return int(axis) % ndim


def axes_of(axis: Any, ndim: int, what: str) -> tuple[int, ...]:
    """One axis, several, or for None all, in order."""
    if axis is None:
        return tuple(range(ndim))
    many = axis if isinstance(axis, tuple | list) else (axis,)
    found = tuple(sorted(axis_of(a, ndim, what) for a in many))
    if len(set(found)) < len(found):
        raise ValueError(f"bp.ops.{what}: axis {axis} names an axis twice")
    return found


def _sizes(shape: int | Sequence[int], what: str, least: int = 1) -> list[int]:
    """One size, or several."""
    many = shape if isinstance(shape, tuple | list | np.ndarray) else (shape,)
    return [whole(n, f"bp.ops.{what}: a size", least) for n in many]


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Elements from one place to the next along every axis."""
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


def _source(x: Node) -> tuple[Node, tuple[int, ...], int]:
    """What a node shows: itself, or what it is a view of; and by which strides and offset."""
    if x.op == "view" and x.call is None:  # else it is a layer's output, which keeps its inside
        return x.inputs[0], x.attrs["strides"], x.attrs["offset"]
    return x, strides_of(x.shape), 0


def view(x: Node, dims: Sequence[int], strides: Sequence[int], offset: int = 0) -> Node:
    """Elements of each row, picked by strides."""
    if len(dims) > MAX_DIMS:
        raise ValueError(f"bp.ops: rows have at most {MAX_DIMS} axes, got shape {tuple(dims)}")
    if tuple(dims) == x.shape and tuple(strides) == strides_of(x.shape) and not offset:
        return x
    attrs = {"dims": tuple(dims), "strides": tuple(strides), "offset": offset}
    return Node("view", (x,), attrs=attrs, layer=x.layer)


def reshape(x: Value, shape: int | Sequence[int]) -> Node:
    """The same numbers in the same order as rows of another shape, of which one size may be -1."""
    x = as_node(x, "reshape")
    dims = _sizes(shape, "reshape", least=-1)
    size = math.prod(x.shape)
    if dims.count(-1) == 1:
        known = -math.prod(dims)
        dims[dims.index(-1)] = size // known if known > 0 else 0
    if math.prod(dims) != size or any(n < 1 for n in dims):
        raise ValueError(f"bp.ops.reshape: rows of shape {shapes_of(x)} do not fit shape {shape}")
    return view(x, dims, strides_of(dims))


def ravel(x: Value) -> Node:
    """All numbers of a row along one axis."""
    return reshape(x, -1)


def transpose(x: Value, axes: Sequence[int] | None = None) -> Node:
    """The axes of a row in another order, by default in reverse."""
    x = as_node(x, "transpose")
    order = list(range(x.ndim))[::-1] if axes is None else list(axes)
    order = [axis_of(a, x.ndim, "transpose") for a in order]
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"bp.ops.transpose: axes {axes} are no order of {x.ndim} axes")
    source, strides, offset = _source(x)
    return view(source, [x.shape[a] for a in order], [strides[a] for a in order], offset)


def swapaxes(x: Value, a: int, b: int) -> Node:
    """Two axes of a row in each other's place."""
    x = as_node(x, "swapaxes")
    order = list(range(x.ndim))
    a, b = axis_of(a, x.ndim, "swapaxes"), axis_of(b, x.ndim, "swapaxes")
    order[a], order[b] = b, a
    return transpose(x, order)


def moveaxis(x: Value, source: int, destination: int) -> Node:
    """One axis of a row put at another place among the rest."""
    x = as_node(x, "moveaxis")
    order = list(range(x.ndim))
    axis = order.pop(axis_of(source, x.ndim, "moveaxis"))
    order.insert(axis_of(destination, x.ndim, "moveaxis"), axis)
    return transpose(x, order)


def expand_dims(x: Value, axis: int) -> Node:
    """One more axis, of length 1."""
    x = as_node(x, "expand_dims")
    at = axis_of(axis, x.ndim + 1, "expand_dims")
    return reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def squeeze(x: Value, axis: int | Sequence[int] | None = None) -> Node:
    """Axes of length 1 left out: the given ones, by default all."""
    x = as_node(x, "squeeze")
    if axis is None:
        axis = tuple(a for a, n in enumerate(x.shape) if n == 1)
    out = axes_of(axis, x.ndim, "squeeze")
    if any(x.shape[a] != 1 for a in out):
        raise ValueError(f"bp.ops.squeeze: axis {axis} of shape {shapes_of(x)} is longer than 1")
    return reshape(x, [n for a, n in enumerate(x.shape) if a not in out])


def broadcast_to(x: Value, shape: int | Sequence[int]) -> Node:
    """Rows repeated to a shape, by NumPy's rules."""
    x, shape = as_node(x, "broadcast_to"), tuple(_sizes(shape, "broadcast_to"))
    try:
        fits = np.broadcast_shapes(x.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"bp.ops.broadcast_to: shape {shapes_of(x)} does not broadcast to {shape}")
    return spread(x, shape, x.batched)


def repeat(x: Value, repeats: int, axis: int) -> Node:
    """Every slice along an axis so many times in a row."""
    x, n = as_node(x, "repeat"), whole(repeats, "bp.ops.repeat: repeats")
    at = axis_of(axis, x.ndim, "repeat")
    before, behind = x.shape[:at], x.shape[at + 1 :]
    # Four axes, be there ever so many in the result.
    apart = reshape(x, (math.prod(before), x.shape[at], 1, math.prod(behind)))
    wide = broadcast_to(apart, (*apart.shape[:2], n, apart.shape[3]))
    return reshape(wide, (*before, x.shape[at] * n, *behind))


def tile(x: Value, reps: int | Sequence[int]) -> Node:
    """Rows side by side, so many times along each of the last axes."""
    x = as_node(x, "tile")
    times = _sizes(reps, "tile")
    times = [1] * (x.ndim - len(times)) + times
    x = reshape(x, (1,) * (len(times) - x.ndim) + x.shape)
    for axis, n in enumerate(times):
        if n > 1:  # what stands behind the axes before is one slice
            before, size, behind = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
            wide = repeat(reshape(x, (math.prod(before), -1)), n, 0)
            x = reshape(wide, (*before, n * size, *behind))
    return x


def flip(x: Value, axis: int | Sequence[int] | None = None) -> Node:
    """The numbers along axes, by default all, in reverse."""
    x = as_node(x, "flip")
    back = axes_of(axis, x.ndim, "flip")
    return index(x, tuple(slice(None, None, -1 if a in back else 1) for a in range(x.ndim)))


def diagonal(x: Value, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Node:
    """Elements x[..., i, ..., i + offset, ...] of two axes, along a new last one."""
    x = as_node(x, "diagonal")
    a, b = axis_of(axis1, x.ndim, "diagonal"), axis_of(axis2, x.ndim, "diagonal")
    if a == b:
        raise ValueError(f"bp.ops.diagonal: axes {axis1} and {axis2} are the same one")
    offset = whole(offset, "bp.ops.diagonal: offset", ANY)
    begin = (max(0, -offset), max(0, offset))
    count = min(x.shape[a] - begin[0], x.shape[b] - begin[1])
    if count < 1:
        raise ValueError(f"bp.ops.diagonal: shape {x.shape} has no diagonal {offset}")
    source, strides, first = _source(x)
    rest = [i for i in range(x.ndim) if i not in (a, b)]
    return view(
        source,
        [*(x.shape[i] for i in rest), count],
        [*(strides[i] for i in rest), strides[a] + strides[b]],
        first + begin[0] * strides[a] + begin[1] * strides[b],
    )


def index(x: Value, key: Any) -> Node:
    """x[key]: whole numbers, slices with steps of either sign, `...`, None, masks that are arrays
    of bool, and arrays or lists of whole numbers or symbolic values, which take slices by their
    numbers: several together, and with whole numbers as NumPy has it."""
    x = as_node(x, "index")
    keys = list(key) if isinstance(key, tuple) else [key]
    try:
        return _indexed(x, _keys(x, keys), _are_apart(keys))
    except IndexError as error:
        raise IndexError(f"{error}, in an index of rows {shapes_of(x)}") from None


def _are_apart(keys: list[Any]) -> bool:
    """Whether numbers and arrays have other keys between them: what arrays make of the axes comes
    first then, since no place among the others is theirs."""
    names = (not (k is None or k is Ellipsis or isinstance(k, slice)) for k in keys)
    return [name for name, _ in itertools.groupby(names)].count(True) > 1


def _indexed(x: Node, keys: list[Any], apart: bool) -> Node:
    """The part that keys, one for every axis and each None, stand for."""
    source, strides, offset = _source(x)
    dims: list[int] = []
    steps: list[int] = []
    taken: list[tuple[int, Any]] = []  # axes of the result so far, and what is taken along them
    axis = 0
    for k in keys:
        if k is None:
            dims.append(1)
            steps.append(0)
            continue
        n, stride = x.shape[axis], strides[axis]
        axis += 1
        if isinstance(k, slice):
            first, stop, by = k.indices(n)
            count = len(range(first, stop, by))
            if not count:
                raise IndexError(f"{k} of an axis of length {n} leaves nothing")
            offset += first * stride
            dims.append(count)
            steps.append(by * stride)
        elif isinstance(k, int | np.integer) and not isinstance(k, bool):
            if not -n <= k < n:
                raise IndexError(f"index {k} is out of range for an axis of length {n}")
            offset += int(k) % n * stride
        elif _is_condition(k):
            raise IndexError(
                "a symbolic condition selects nothing, for how much would be left is not known: "
                "write bp.ops.where(condition, x, 0)"
            )
        else:
            taken.append((len(dims), k))
            dims.append(n)
            steps.append(stride)
    if apart:
        axes = [a for a, _ in taken]
        order = [*axes, *(a for a in range(len(dims)) if a not in axes)]
        dims, steps = [dims[a] for a in order], [steps[a] for a in order]
        taken = [(a, k) for a, (_, k) in enumerate(taken)]
    part = view(source, dims, steps, offset)
    if len(taken) < 2:
        return take(part, taken[0][1], taken[0][0]) if taken else part
    first, behind = taken[0][0], taken[-1][0] + 1
    lengths = dims[first:behind]
    places = _places([k for _, k in taken], lengths, strides_of(lengths))
    return take(reshape(part, (*dims[:first], -1, *dims[behind:])), places, first)


def _keys(x: Node, keys: list[Any]) -> list[Any]:
    """One key for every axis, beside those that are None: a mask as the numbers that it selects."""
    masks = {i: np.asarray(k) for i, k in enumerate(keys) if isinstance(k, list | np.ndarray)}
    masks = {i: mask for i, mask in masks.items() if mask.dtype == bool}
    counts = [masks[i].ndim if i in masks else 1 for i in range(len(keys))]
    used = sum(n for n, k in zip(counts, keys, strict=True) if k is not None and k is not Ellipsis)
    if used > x.ndim:
        raise IndexError(f"{used} axes are too many")
    if sum(k is Ellipsis for k in keys) > 1:
        raise IndexError("an index has at most one ellipsis ('...')")
    found: list[Any] = []
    axis = 0
    for i, k in enumerate([*keys, *([] if any(k is Ellipsis for k in keys) else [Ellipsis])]):
        if k is Ellipsis:
            found += [slice(None)] * (x.ndim - used)
            axis += x.ndim - used
        elif i in masks:
            shape = x.shape[axis : axis + masks[i].ndim]
            if masks[i].shape != shape or not masks[i].any():
                raise IndexError(
                    f"a mask of shape {masks[i].shape} for axes of shape {shape}"
                    if masks[i].shape != shape
                    else "a mask that is False everywhere leaves nothing"
                )
            found += masks[i].nonzero()
            axis += masks[i].ndim
        else:
            found.append(k)
            axis += k is not None
    return found


def _places(indices: Sequence[Any], lengths: Sequence[int], strides: Sequence[int]) -> Any:
    """The numbers of places along several axes as numbers along all of them; -1, which is no
    place, where a symbolic one is not there."""
    if not any(isinstance(k, Symbolic) for k in indices):
        return sum(
            whole_numbers(k, n) * s for k, n, s in zip(indices, lengths, strides, strict=True)
        )
    number: Any = 0.0
    inside: Any = 1.0
    for k, n, stride in zip(indices, lengths, strides, strict=True):
        k = k if isinstance(k, Symbolic) else constant(whole_numbers(k, n), "index")
        number = apply("add", number, apply("multiply", k, float(stride)))
        inside = apply("multiply", inside, apply("multiply", k >= 0.0, k < float(n)))
    return apply("where", inside, number, -1.0)


def _is_condition(value: Any) -> bool:
    """Whether a symbolic value is what a comparison says."""
    if not isinstance(value, Node) or value.op != "expression":
        return False
    return decode(value.attrs["program"])[-1][0] in CONDITIONS


def whole_numbers(indices: Any, n: int) -> np.ndarray:
    """Numbers of places along an axis of length n, from -n on, as those from 0 on."""
    array = np.asarray(indices)
    if array.dtype.kind not in "iu":
        raise IndexError(
            f"indices are whole numbers, got {array.dtype}: parts that depend on a condition are "
            "written bp.ops.where(condition, x, 0)"
        )
    if array.size and not (-n <= array.min() and array.max() < n):
        raise IndexError(f"an index is out of range for an axis of length {n}")
    return np.where(array < 0, array + n, array)


def take(x: Value, indices: Value, axis: int = 0) -> Node:
    """Slices of x along an axis, by their numbers: an array, or a symbolic value of whole numbers.

    Numbers that no slice has give NaN when they are symbolic, and an error here when they are not.
    """
    x = as_node(x, "take")
    at = axis_of(axis, x.ndim, "take")
    if _is_condition(indices):
        raise IndexError(
            "bp.ops.take reads at whole numbers, and a condition is none: write "
            "bp.ops.where(condition, x, 0)"
        )
    if isinstance(indices, Symbolic):
        indices = as_node(indices, "take")
    else:
        indices = constant(whole_numbers(indices, x.shape[at]), "take")
    first = transpose(x, [at, *(a for a in range(x.ndim) if a != at)])
    found = Node("take", (first, indices), layer=x.layer)
    lead, rest = indices.ndim, x.ndim - 1
    order = [*range(lead, lead + at), *range(lead), *range(lead + at, lead + rest)]
    return transpose(found, order)


def take_along_axis(x: Value, indices: Value, axis: int = -1) -> Node:
    """The element of every line along an axis that `indices` names there: whole numbers of as many
    axes as `x` has, an array or a symbolic value, which are broadcast beside the axis.

    Numbers that the axis has not give NaN when they are symbolic, and an error when they are not.
    """
    x = as_node(x, "take_along_axis")
    at = axis_of(axis, x.ndim, "take_along_axis")
    n = x.shape[at]
    if not isinstance(indices, Symbolic):
        indices = constant(whole_numbers(indices, n), "take_along_axis")
    indices = as_node(indices, "take_along_axis")
    if indices.ndim != x.ndim:
        raise ValueError(
            f"bp.ops.take_along_axis: rows of shape {x.shape} are indexed by as many axes, got "
            f"{indices.shape}"
        )
    lead = [k for k in range(x.ndim) if k != at]
    wide = [x.shape[k] for k in lead]
    lines = transpose(x, [*lead, at])
    chosen = transpose(indices, [*lead, at])
    chosen = broadcast_to(chosen, (*wide, indices.shape[at]))
    line = np.arange(math.prod(wide)).reshape(*wide, 1)
    found = take(ravel(lines), _places([line, chosen], [line.size, n], [n, 1]))
    return transpose(found, [*range(at), x.ndim - 1, *range(at, x.ndim - 1)])


def concatenate(values: Iterable[Value], axis: int = 0) -> Node:
    """Values side by side along one of their axes."""
    nodes = [as_node(value, "concatenate") for value in values]
    if not nodes:
        raise ValueError("bp.ops.concatenate: nothing to put side by side")
    batched = any(node.batched for node in nodes)
    at = axis_of(axis, nodes[0].ndim, "concatenate")
    first = nodes[0]
    beside = first.shape[:at] + first.shape[at + 1 :]
    for node in nodes:
        if node.ndim != first.ndim or node.shape[:at] + node.shape[at + 1 :] != beside:
            raise ValueError(
                f"bp.ops.concatenate: shapes {shapes_of(first, node)} differ beside axis {axis} "
                "(the axis of the batch is left out)"
            )
    nodes = [spread(node, node.shape, batched) for node in nodes]
    while len(nodes) > 1:
        parts = [nodes[i : i + MOST_INPUTS] for i in range(0, len(nodes), MOST_INPUTS)]
        nodes = [
            part[0] if len(part) == 1 else Node("concat", distinct(part), attrs={"axis": at})
            for part in parts
        ]
    return nodes[0]


def stack(values: Iterable[Value], axis: int = 0) -> Node:
    """Values of one shape along a new axis."""
    nodes = [as_node(value, "stack") for value in values]
    for node in nodes:
        if node.shape != nodes[0].shape:
            raise ValueError(
                f"bp.ops.stack: shapes {shapes_of(nodes[0], node)} differ (the axis of the batch "
                "is left out)"
            )
    return concatenate([expand_dims(node, axis) for node in nodes], axis)


def split(x: Value, sections: int | Sequence[int], axis: int = 0) -> list[Node]:
    """Equal parts along an axis, or those that end before the given places."""
    x = as_node(x, "split")
    at = axis_of(axis, x.ndim, "split")
    n = x.shape[at]
    if isinstance(sections, tuple | list | np.ndarray):
        places = [whole(k, "bp.ops.split: a place", ANY) for k in sections]
    else:
        count = whole(sections, "bp.ops.split: sections")
        if n % count:
            raise ValueError(f"bp.ops.split: {n} are not {count} equal parts")
        places = [n // count * i for i in range(1, count)]
    ends = [0, *places, n]
    before = (slice(None),) * at
    return [index(x, (*before, slice(a, b))) for a, b in itertools.pairwise(ends)]


def roll(x: Value, shift: int, axis: int = 0) -> Node:
    """The numbers along an axis moved on, those beyond the end to the beginning."""
    x = as_node(x, "roll")
    at = axis_of(axis, x.ndim, "roll")
    cut = -whole(shift, "bp.ops.roll: shift", ANY) % x.shape[at]
    if cut == 0:
        return x
    head, tail = split(x, [cut], at)
    return concatenate([tail, head], at)


def diff(x: Value, n: int = 1, axis: int = -1) -> Node:
    """What every number along an axis is more than the one before it; n times over."""
    x = as_node(x, "diff")
    at, n = axis_of(axis, x.ndim, "diff"), whole(n, "bp.ops.diff: n")
    if n >= x.shape[at]:
        raise ValueError(
            f"bp.ops.diff: {n} times over leaves nothing of axis {axis} of shape {shapes_of(x)}: n "
            f"is at most {x.shape[at] - 1}"
        )
    before = (slice(None),) * at
    for _ in range(n):
        x = index(x, (*before, slice(1, None))) - index(x, (*before, slice(None, -1)))
    return x


FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        *(reshape, transpose, swapaxes, expand_dims, squeeze, broadcast_to, flip, index, take),
        *(concatenate, stack, split, roll, moveaxis, repeat, tile, diff, ravel, diagonal),
        take_along_axis,
    )
}
