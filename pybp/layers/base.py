"""What all layers share."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

from pybp.described import Described
from pybp.graph import Node
from pybp.layouts import given_shape, in_given_order
from pybp.operators import Symbolic

LARGEST = 2**31 - 1  # of one dimension: BLAS libraries count in 32 bits


class Layer(Described):
    """Base of all layers. A layer keeps its arguments and nothing else: `build` adds its nodes to a
    graph under the name that the model gives it, so one layer object may stand in many models.

    Calling a layer gives its output: `h = bp.Dense(64)(x)`. One that is called twice in a model has
    one set of parameters for both. `merges` says that it takes several inputs, and `build` a list
    of them.

    A layer of your own is a class with `build`, which makes its output of its input by operators
    and `bp.ops`. It is called once for a model; what it makes is compiled with the rest, with
    elementwise chains merged into one pass, and runs natively. A layer with parameters derives from
    `pybp.TrainedLayer`. To be saved, arguments are kept as attributes of the same names. `build`
    may call other layers, whose parameters then bear its layer's name: "block0.dense0.weight". It
    sees images and sequences in the order of axes that the user gave, and an output with as many
    axes is one in that order too.

    >>> import numpy as np, pybp as bp
    >>> class Swish(bp.Layer):
    ...     def __init__(self, beta=1.0, name=None):
    ...         super().__init__(name)
    ...         self.beta = beta
    ...
    ...     def build(self, x, name):
    ...         return x * bp.ops.sigmoid(self.beta * x)
    >>> model = bp.Sequential([bp.Input(2), bp.Dense(4), Swish(1.5), bp.Dense(1)])
    >>> model.compile()
    >>> model.predict(np.zeros((1, 2)))
    array([[0.]], dtype=float32)
    >>> class Residual(bp.Layer):
    ...     def build(self, x, name):
    ...         return x + bp.Dense(x.shape[-1], "relu")(x)
    >>> model = bp.Sequential([bp.Input(2), Residual(), Residual(), bp.Dense(1)])
    """

    merges: ClassVar[bool] = False

    def __init__(self, name: str | None = None) -> None:
        if name is not None and (not isinstance(name, str) or not name or set(".[]") & {*name}):
            raise ValueError(
                f"a layer's name is a non-empty string without dots and brackets, got {name!r}"
            )
        self.name = name

    def default_name(self) -> str:
        """What a model calls it, with a number, if it has no name."""
        return type(self).__name__.lower()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls) and not cls.__module__.startswith("pybp."):
            cls.build = _custom(cls.build)  # type: ignore[method-assign]

    def build(self, x: Node | None, name: str) -> Node:
        """The layer's output for the input node `x`."""
        raise NotImplementedError(f"{type(self).__name__} needs a method build(self, x, name)")

    def inner(self, output: Node) -> dict[str, Node]:
        """What `Model.activations` shows besides the output: nodes by what is put behind the name
        of the layer."""
        return {}

    def __call__(self, x: object) -> Node:
        """The layer's output for `x`: another layer's output, a `bp.Input`, or, for layers that
        merge, a list of them.

        Raises
        ------
        TypeError
            `x` is nothing of that kind.
        ValueError
            Its shape does not suit the layer.
        """
        from pybp import network

        return network.call(self, x)


class Building:
    """Something of a user's that is being built under a name, and the layers that it calls."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._called: dict[str, Layer] = {}

    def name_of(self, layer: Layer) -> str:
        """The name of a layer that is called, the same whenever it is."""
        for own, other in self._called.items():
            if other is layer:
                return f"{self.name}.{own}"
        numbered = (f"{layer.default_name()}{i}" for i in itertools.count())
        own = layer.name or next(name for name in numbered if name not in self._called)
        if own in self._called:
            raise ValueError(f"layer {self.name!r} calls two layers named {own!r}")
        self._called[own] = layer
        return f"{self.name}.{own}"


_building: ContextVar[Building | None] = ContextVar("building", default=None)


def building() -> Building | None:
    """What is being built, if something of a user's is."""
    return _building.get()


@contextmanager
def under(name: str) -> Iterator[None]:
    """Within it, layers that are called become parts of what bears this name."""
    before = _building.set(Building(name))
    try:
        yield
    finally:
        _building.reset(before)


def _custom(build: Callable[..., Any]) -> Callable[..., Node]:
    """A user's `build`: its errors name the layer, and so do its nodes."""

    @functools.wraps(build)
    def checked(self: Layer, x: Any, name: str) -> Node:
        nodes = [_entrance(node, name) for node in (x if isinstance(x, list) else [x])]
        try:
            with under(name):
                y = in_given_order(
                    lambda given: build(self, given if isinstance(x, list) else given[0], name),
                    nodes,
                )
        except (ValueError, TypeError, IndexError) as error:
            if str(error).startswith("layer "):
                raise
            raise type(error)(f"layer {name!r}: {error}") from error
        if not isinstance(y, Symbolic):
            raise TypeError(
                f"layer {name!r}: {type(self).__name__}.build must return a node, its output, got "
                f"{type(y).__name__}"
            )
        y = _with_layout(_for_rows(y), nodes, name)
        _take_over(self, name, y, nodes)
        return y

    return checked


def _for_rows(value: Symbolic) -> Node:
    """The value of a layer; one that is the same for all rows as rows of it."""
    from pybp.ops.symbols import as_node, spread

    node = as_node(value, "build")
    return spread(node, node.shape, True)


def _with_layout(y: Node, inputs: Sequence[Node], name: str) -> Node:
    """The value with the layout of the first input that has as many axes, where it went the way of
    functions that do not know of any, such as `reshape` there and back. What a layer gives that
    was called, such as `bp.Reshape`, stays as that has it."""
    if not y.layout and not y.layer.startswith(f"{name}."):
        same = (node.layout for node in inputs if node.layout and _axes(node) == y.ndim)
        y.layout = next(same, "")
        y.image = y.layout == "NCHW"
    return y


def _axes(node: Node) -> int:
    return len(given_shape(node))


def _entrance(node: Node, name: str) -> Node:
    """The node as `build` is given it. A view of a view is one of what the first one shows, which
    is none of this layer's business: it is given something that stands for the view."""
    return Node("identity", (node,), layer=name) if node.op == "view" else node


def made_of(y: Node, given: Sequence[Node], what: str, remedy: str) -> None:
    """Refuse a value of a user's function that uses the outputs of layers which it was not given:
    those are of no model yet, and would stay so."""
    stack, seen = [y], {id(node) for node in given}
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        if node.call is not None:
            raise ValueError(
                f"{what} uses the output of layer {node.layer!r}, which it was not given: {remedy}"
            )
        seen.add(id(node))
        stack.extend(node.inputs)


def _take_over(layer: Layer, name: str, y: Node, inputs: Sequence[Node]) -> None:
    """All nodes between the inputs and y become the layer's."""
    remedy = "set merges = True in the class, and call the layer on a list of all that it uses"
    made_of(y, inputs, f"layer {name!r}: build", remedy)
    stack, seen = [y], {id(node) for node in inputs}
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.layer != name and not node.layer.startswith(f"{name}."):
            node.layer = name
        parts = [p.name for p in node.parameters] + [r.name for r in node.running]
        for own in parts:
            if not own.startswith(f"{name}."):
                raise ValueError(
                    f"layer {name!r}: its parameter {own!r} needs a name that begins with "
                    'the layer\'s, such as f"{name}.weight": layers of one kind would share it'
                )
        for p in node.parameters:
            p.trainable = p.trainable and getattr(layer, "trainable", True)
        stack.extend(node.inputs)
