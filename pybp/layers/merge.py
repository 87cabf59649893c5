"""Layers of several inputs, and the functions that call them: `bp.add([a, b])` is
`bp.layers.Add()([a, b])`."""

from __future__ import annotations

from collections.abc import Sequence

from pybp._core import MAX_INPUTS
from pybp.graph import Node, in_parts
from pybp.layers.base import Layer
from pybp.layouts import ORDERS, alike, given_shape
from pybp.operators import Symbolic

__all__ = [
    "Add",
    "Average",
    "Concat",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
    "add",
    "average",
    "concat",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]


class Merge(Layer):
    """Base of the layers that join inputs: a list of at least two, of one shape."""

    merges = True

    def build(self, x: Sequence[Node], name: str) -> Node:  # type: ignore[override]
        kind = type(self).__name__
        if len(x) < 2:
            raise ValueError(f"layer {name!r}: {kind} takes a list of at least two inputs")
        x = alike(x, name)
        self._check(x, name)
        return self._join(x, name)

    def _check(self, x: Sequence[Node], name: str) -> None:
        for node in x[1:]:
            if node.shape != x[0].shape:
                raise ValueError(
                    f"layer {name!r}: {type(self).__name__} takes inputs of one shape, but "
                    f"{x[0].layer!r} gives rows of shape {given_shape(x[0])} and {node.layer!r} of "
                    f"shape {given_shape(node)}: give both layers as many outputs, or put them "
                    "side by side by bp.concat"
                )

    def _join(self, x: Sequence[Node], name: str) -> Node:
        raise NotImplementedError


def _sum(x: Sequence[Node], name: str, rest: float = 1.0) -> Node:
    """x_0 + rest (x_1 + x_2 + ...)."""
    attrs = {"scale": 1.0, "rest": rest}
    return in_parts(x, lambda nodes: Node("add", nodes, attrs=dict(attrs), layer=name))


class Add(Merge):
    """y = x_0 + x_1 + ..., element by element. An activation behind it, as in the residual block
    relu(x + f(x)), is computed in the same pass. He, Zhang, Ren and Sun, CVPR 2016.

    >>> import numpy as np, pybp as bp
    >>> x = bp.Input(4)
    >>> h = bp.Dense(4, activation="tanh")(x)
    >>> y = bp.Dense(1)(bp.add([x, h]))
    >>> model = bp.Model(x, y)
    >>> model.compile(optimizer=bp.optim.Adam(0.05), loss="mse", seed=0)
    >>> data = np.random.default_rng(0).normal(size=(64, 4))
    >>> history = model.fit(data, data.sum(axis=1), epochs=60, verbose=0)
    >>> model.evaluate(data, data.sum(axis=1))["loss"] < 0.05
    True
    """

    def _join(self, x: Sequence[Node], name: str) -> Node:
        return _sum(x, name)


class Subtract(Merge):
    """y = x_0 - x_1 (and less all further inputs)."""

    def _join(self, x: Sequence[Node], name: str) -> Node:
        return _sum(x, name, -1.0)


class Average(Merge):
    """y = (x_0 + x_1 + ...) / inputs."""

    def _join(self, x: Sequence[Node], name: str) -> Node:
        left = list(x)
        if len(left) > MAX_INPUTS:
            left = [_sum(left[: 1 - MAX_INPUTS], name), *left[1 - MAX_INPUTS :]]
        attrs = {"scale": 1 / len(x), "rest": 1.0}
        return Node("add", tuple(left), attrs=attrs, layer=name)


class Multiply(Merge):
    """y = x_0 x_1 ..., element by element: a gate."""

    def _join(self, x: Sequence[Node], name: str) -> Node:
        return in_parts(x, lambda nodes: Node("multiply", nodes, layer=name))


class Maximum(Merge):
    """y = max(x_0, x_1, ...), element by element; the gradient goes to the first of the largest."""

    _least = 0

    def _join(self, x: Sequence[Node], name: str) -> Node:
        attrs = {"least": self._least}
        return in_parts(x, lambda nodes: Node("extreme", nodes, attrs=dict(attrs), layer=name))


class Minimum(Maximum):
    """y = min(x_0, x_1, ...), element by element; the gradient goes to the first of the least."""

    _least = 1


class Concat(Merge):
    """Its inputs side by side along one axis of a row; they have the same size along all others.
    Without an axis it is the channels of images, and the last one of other rows. Axes of images are
    those of their layout: axis 0 is the channels in "NCHW".
    """

    def __init__(self, axis: int | None = None, name: str | None = None) -> None:
        super().__init__(name)
        if isinstance(axis, bool) or not isinstance(axis, int | None):
            raise TypeError(f"Concat: axis must be a whole number or None, got {axis!r}")
        self.axis = axis

    def _check(self, x: Sequence[Node], name: str) -> None:
        first, axis = x[0], self._axis(x[0], name)
        rest = [(*node.shape[:axis], *node.shape[axis + 1 :]) for node in x]
        for node, others in zip(x, rest, strict=True):
            if len(node.shape) != len(first.shape) or others != rest[0]:
                along = "its default axis" if self.axis is None else f"axis {self.axis}"
                raise ValueError(
                    f"layer {name!r}: Concat along {along} takes inputs that differ in "
                    f"that axis alone, but {first.layer!r} gives rows of shape "
                    f"{given_shape(first)} and {node.layer!r} of shape {given_shape(node)}: give "
                    "all other axes one size, for instance by padding, or choose another axis"
                )

    def _axis(self, node: Node, name: str) -> int:
        """The axis of the node's rows, of images that which the user's layout means."""
        shape, axis = given_shape(node), self.axis
        if axis is None:
            axis = node.layout.index("C") - 1 if node.layout else -1
        if not -len(shape) <= axis < len(shape):
            raise ValueError(
                f"layer {name!r}: rows of {node.layer!r} have shape {shape} and no axis {axis}: "
                "axes are those of one row, without the batch"
            )
        axis %= len(shape)
        return ORDERS[node.layout or ""][axis] if node.image else axis

    def _join(self, x: Sequence[Node], name: str) -> Node:
        attrs = {"axis": self._axis(x[0], name)}
        return in_parts(x, lambda nodes: Node("concat", nodes, attrs=dict(attrs), layer=name))


def add(inputs: Sequence[object], *, name: str | None = None) -> Node:
    """The sum of nodes of one shape."""
    return Add(name)(inputs)


def subtract(inputs: Sequence[object], *, name: str | None = None) -> Node:
    """The first node less the others."""
    return Subtract(name)(inputs)


def multiply(inputs: Sequence[object], *, name: str | None = None) -> Node:
    """The product of nodes of one shape, element by element."""
    return Multiply(name)(inputs)


def average(inputs: Sequence[object], *, name: str | None = None) -> Node:
    """The mean of nodes of one shape."""
    return Average(name)(inputs)


def maximum(inputs: Sequence[object], *, name: str | None = None) -> Node:
    """The largest of nodes of one shape, element by element."""
    return Maximum(name)(inputs)


def minimum(inputs: Sequence[object], *, name: str | None = None) -> Node:
    """The least of nodes of one shape, element by element."""
    return Minimum(name)(inputs)


def concat(inputs: Sequence[object], axis: int | None = None, *, name: str | None = None) -> Node:
    """Nodes side by side along one axis of a row: without one, the channels of images and the last
    axis of other rows.

    >>> import pybp as bp
    >>> image = bp.Input((3, 8, 8), layout="NCHW")
    >>> bp.concat([image, bp.Conv2D(5, 3, padding="same")(image)]).shape
    (8, 8, 8)
    """
    if isinstance(axis, Symbolic):
        raise TypeError("bp.concat takes a list of inputs: bp.concat([a, b])")
    return Concat(axis, name)(inputs)
