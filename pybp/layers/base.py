"""What all layers share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

from pybp.described import Described
from pybp.graph import Node
from pybp.layouts import in_given_order

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
    `pybp.TrainedLayer`. To be saved, arguments are kept as attributes of the same names.

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
    """

    merges: ClassVar[bool] = False

    def __init__(self, name: str | None = None) -> None:
        if name is not None and (not isinstance(name, str) or not name or "." in name):
            raise ValueError(f"a layer's name is a non-empty string without dots, got {name!r}")
        self.name = name

    def kind(self) -> str:
        """What a model calls it, with a number, if it has no name."""
        return type(self).__name__.lower()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls) and not cls.__module__.startswith("pybp."):
            cls.build = _custom(cls.build)  # type: ignore[method-assign]

    def build(self, x: Node | None, name: str) -> Node:
        """The layer's output for the input node `x`."""
        raise NotImplementedError

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


def _custom(build: Callable[..., Any]) -> Callable[..., Node]:
    """A user's `build`: its errors name the layer, and so do its nodes."""

    @functools.wraps(build)
    def checked(self: Layer, x: Any, name: str) -> Node:
        nodes = x if isinstance(x, list) else [x]
        try:
            y = in_given_order(
                lambda given: build(self, given if isinstance(x, list) else given[0], name), nodes
            )
        except (ValueError, TypeError, IndexError) as error:
            if str(error).startswith("layer "):
                raise
            raise type(error)(f"layer {name!r}: {error}") from error
        if not isinstance(y, Node):
            raise TypeError(
                f"layer {name!r}: {type(self).__name__}.build must return a node, its output, got "
                f"{type(y).__name__}"
            )
        stack, seen = [y], {id(node) for node in nodes}
        while stack:
            node = stack.pop()
            if id(node) not in seen:
                seen.add(id(node))
                node.layer = node.layer if node.layer.split(".")[0] == name else name
                stack.extend(node.inputs)
        return y

    return checked
