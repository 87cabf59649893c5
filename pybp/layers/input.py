"""The input layer."""

from __future__ import annotations

from typing import Any

from pybp import layouts
from pybp.checks import real, whole
from pybp.graph import Node
from pybp.layers.base import LARGEST, Layer
from pybp.operators import Symbolic


class Input(Layer, Symbolic):
    """Where rows of the user's array enter: y = scale x.

    The first layer of a `Sequential`, or what other layers are called on:
    ``x = bp.Input(784); y = bp.Dense(10)(x); bp.Model(x, y)``. Operators and `bp.ops` take it as
    they take the outputs of layers: ``y = bp.Dense(10)(2 * x - 1)``.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of one row. Arrays with the same number of values per row fit too, so that images
        (N, 28, 28) feed `Input(784)`.
    scale : float
        Applied when rows are gathered: `scale=1/255` brings uint8 images to [0, 1] while the array
        itself stays uint8. It is saved with the model.
    layout : "NCHW", "NHWC", "NCL" or "NLC", optional
        Says which axis is which, N being the rows: channels, height and width of images, channels
        and length of sequences. Layers for images and sequences need it; predictions, shapes and
        messages keep to it. Arrays of images without their one channel, (N, 28, 28), fit too.

    >>> import pybp as bp
    >>> bp.Input((28, 28, 1), layout="NHWC", scale=1 / 255).shape
    (28, 28, 1)
    """

    def __init__(
        self,
        shape: int | tuple[int, ...],
        scale: float = 1.0,
        name: str | None = None,
        layout: str | None = None,
    ) -> None:
        super().__init__(name)
        dims = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
        if not dims:
            raise ValueError("Input: shape must have at least one dimension, got ()")
        self.shape = tuple(whole(size, "Input: shape", most=LARGEST) for size in dims)
        self.scale = real(scale, "Input: scale", -1e30, 1e30)
        self._node: Node | None = None
        if abs(self.scale) < 1e-37:  # float32 has no smaller normal numbers
            raise ValueError(f"Input: a scale of {scale!r} would hide all inputs")
        self.layout = layouts.check(layout, self.shape, "Input")

    def __eq__(self, other: object) -> Any:
        """Among layers it is itself and no other one; as a value it is like all values."""
        return self is other if isinstance(other, Layer) else super().__eq__(other)

    def __ne__(self, other: object) -> Any:
        return self is not other if isinstance(other, Layer) else super().__ne__(other)

    __hash__ = Symbolic.__hash__

    def config(self) -> dict:
        """The arguments that make an equal layer, without a layout where there is none."""
        return {key: value for key, value in super().config().items() if value != ""}

    @property
    def node(self) -> Node:
        """The rows as a symbolic value, always the same one."""
        if self._node is None:
            from pybp.calls import Call

            self._node = layouts.as_given(self.build(None, self.name or self.default_name()))
            self._node.call = Call(self, ())
        return self._node

    def build(self, x: Node | None, name: str) -> Node:
        if x is not None:
            raise ValueError(f"layer {name!r}: Input must be the first layer of a model")
        attrs = {"source": 0, "scale": self.scale}
        shape, image = layouts.fed(self.shape, self.layout)
        return Node("feed", attrs=attrs, layer=name, shape=shape, layout=self.layout, image=image)
