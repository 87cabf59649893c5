"""Layouts of images and sequences: the user's order of axes, and the one that layers compute in.

A user says which axis is which: "NCHW" or "NHWC" for images, "NCL" or "NLC" for sequences, N being
the rows, C the channels. `Node.layout` keeps that word all along the graph. Layers compute on
channels first, (C, H, W), with H = 1 for sequences; `Node.image` says that a node's rows lie like
that. `as_image` and `as_given` lead from the user's order to that one and back: by nothing at all,
where both are the same in memory, else by a `reshape` or a `permute`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pybp.errors import unknown
from pybp.graph import Node

# The order in which a row (C, H, W) is read to be in the user's.
ORDERS = {"NCHW": (0, 1, 2), "NHWC": (1, 2, 0), "NCL": (0, 2), "NLC": (2, 0)}


def check(layout: object, shape: tuple[int, ...], what: str) -> str:
    """The layout of rows of this shape; "" for none."""
    if layout is None or layout == "":
        return ""
    if not isinstance(layout, str) or layout.upper() not in ORDERS:
        raise unknown(f"layout for {what}", layout, ORDERS)
    layout = layout.upper()
    axes = layout[1:]
    if len(shape) != len(axes):
        raise ValueError(
            f"{what}: layout={layout!r} names the axes ({', '.join(axes)}) of one row, but the "
            f"shape {shape} has {len(shape)}: {_example(layout)}"
        )
    return layout


def _example(layout: str) -> str:
    shape = {"NCHW": (1, 28, 28), "NHWC": (28, 28, 1), "NCL": (1, 100), "NLC": (100, 1)}[layout]
    return f"write for instance bp.Input({shape}, layout={layout!r})"


def image_shape(shape: tuple[int, ...], layout: str) -> tuple[int, int, int]:
    """(C, H, W) of a row that has this shape in the user's order."""
    size = dict(zip(layout[1:].replace("L", "W"), shape, strict=True))
    return size["C"], size.get("H", 1), size["W"]


def fed(shape: tuple[int, ...], layout: str) -> tuple[tuple[int, ...], bool]:
    """The shape of the rows that an input gathers, and whether they lie as (C, H, W)."""
    if not layout or not same_memory(image_shape(shape, layout), layout):
        return shape, False
    return image_shape(shape, layout), True


def given_shape(node: Node) -> tuple[int, ...]:
    """The shape of a row as the user sees it."""
    if not node.image:
        return node.shape
    return tuple(node.shape[axis] for axis in ORDERS[node.layout or "NCHW"])


def long_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes that tell the order of axes: (28, 28) and (28, 28, 1) are one image."""
    return tuple(size for size in shape if size != 1)


def same_memory(shape: tuple[int, ...], layout: str) -> bool:
    """Whether rows (C, H, W) lie in memory as they do in the user's order."""
    return layout in ("NCHW", "NCL") or shape[0] == 1 or shape[1] * shape[2] == 1


def as_image(node: Node, layer: str, needs: str) -> Node:
    """The node with rows (C, H, W), for a layer that `needs` them; refused where nobody has said
    which axis is which."""
    if node.image:
        return node
    if not node.layout:
        raise ValueError(
            f"layer {layer!r}: {needs} needs to know rows' channels and places, and layer "
            f"{node.layer!r} gives rows of shape {node.shape}: {_remedy(node)}"
        )
    shape = image_shape(node.shape, node.layout)
    marks: dict[str, Any] = {"layer": node.layer, "layout": node.layout, "image": True}
    if not same_memory(shape, node.layout):
        axes = (2, 0, 1) if node.layout == "NHWC" else (1, 0)
        node = Node("permute", (node,), attrs={"axes": axes}, **marks)
    return _marked(node, shape, marks)


def _remedy(node: Node) -> str:
    if node.op == "feed" and len(node.shape) == 3:
        return f'say bp.Input({node.shape}, layout="NCHW"), or "NHWC" where channels come last'
    if node.op == "feed" and len(node.shape) == 2:
        h, w = node.shape
        return (
            f'say bp.Input((1, {h}, {w}), layout="NCHW") for images of one channel, or '
            f'bp.Input({node.shape}, layout="NLC") for sequences'
        )
    return (
        'give images by bp.Input((channels, height, width), layout="NCHW"), or make some of flat '
        'rows by bp.Reshape((channels, height, width), layout="NCHW")'
    )


def as_fed(node: Node) -> Node:
    """What an input feeds, for a layer that changes it, where the node is that in another shape."""
    last, steps = moved(node)
    return last if last.op == "feed" and all(s.op == "reshape" for s in steps) else node


def as_given(node: Node) -> Node:
    """The node with rows in the user's order of axes."""
    if not node.image:
        return node
    shape, layout = given_shape(node), node.layout or "NCHW"
    marks: dict[str, Any] = {"layer": node.layer, "layout": layout, "image": False}
    if layout == "NCHW":
        return node
    if not same_memory(node.shape, layout):
        node = Node("permute", (node,), attrs={"axes": (1, 2, 0)}, **marks)
    return _marked(node, shape, marks)


def _marked(node: Node, shape: tuple[int, ...], marks: dict[str, Any]) -> Node:
    """The same numbers with this shape and these marks."""
    if node.shape != shape:
        return Node("reshape", (node,), shape=shape, **marks)
    return node if node.image == marks["image"] else Node("identity", (node,), **marks)


def with_axis(node: Node) -> Node:
    """The node; one whose rows are single numbers as rows of one number."""
    return node if node.shape else Node("reshape", (node,), layer=node.layer, shape=(1,))


def in_given_order(function: Callable[[list[Node]], Any], nodes: Sequence[Node]) -> Any:
    """A user's function of nodes, who sees rows in the order of axes that he has given. Where all
    that it does is elementwise, the same is done to the images as they lie."""
    given = [as_given(node) for node in nodes]
    value = function(given)
    lie = {id(seen): node for seen, node in zip(given, nodes, strict=True) if seen is not node}
    found = _as_they_lie(value, lie) if lie and isinstance(value, Node) else None
    return value if found is None else found


def _as_they_lie(value: Node, lie: dict[int, Node]) -> Node | None:
    """An elementwise function of nodes of one shape on the nodes that these are views of."""
    found = dict(lie)
    stack = [(value, False)]
    while stack:
        node, ready = stack.pop()
        if id(node) in found:
            continue
        if node.parameters or (node.op != "expression" and "elementwise" not in node.flags):
            return None
        if not ready:
            stack += [(node, True), *((parent, False) for parent in node.inputs)]
            continue
        inputs = tuple(found[id(parent)] for parent in node.inputs)
        if any(x.shape != inputs[0].shape or not x.batched for x in inputs):
            return None
        found[id(node)] = Node(node.op, inputs, attrs=node.attrs, layer=node.layer)
    return found[id(value)]


def channels(node: Node) -> int:
    """Of images and sequences; of other rows the size of the last axis."""
    return by_place(node).shape[-1] if node.layout else node.shape[-1]


def by_place(node: Node) -> Node:
    """The node with its channels, or what stands along other rows' last axis, last."""
    node = as_given(node)
    axes = list(range(node.ndim))
    if node.layout and node.layout[1] == "C":
        axes = [*axes[1:], 0]
    if axes == sorted(axes):
        return node
    return Node("permute", (node,), attrs={"axes": tuple(axes)}, layer=node.layer, layout="")


def moved(node: Node) -> tuple[Node, list[Node]]:
    """The node whose values this one moves, and how: one permutation or reshaping after another."""
    steps: list[Node] = []
    while node.op in ("permute", "reshape"):
        steps.insert(0, node)
        node = node.inputs[0]
    return node, steps


def move(node: Node, steps: Sequence[Node]) -> Node:
    """The same for another node."""
    for step in steps:
        marks: dict[str, Any] = {"layer": step.layer, "layout": step.layout, "image": step.image}
        shape = step.shape if step.op == "reshape" else ()
        node = Node(step.op, (node,), attrs=step.attrs, shape=shape, **marks)
    return node


def order_of(node: Node, steps: Sequence[Node]) -> np.ndarray:
    """Where in a row of the node every value lies, in the order in which the steps leave them."""
    order = np.arange(math.prod(node.shape)).reshape(node.shape)
    for step in steps:
        permuted = step.op == "permute"
        order = order.transpose(step.attrs["axes"]) if permuted else order.reshape(step.shape)
    return order.reshape(-1)


def with_channels(node: Node, layer: str) -> Node:
    """The node for a layer that works on channels: as an image, unless they are its last axis."""
    return as_image(node, layer, "a function of channels") if node.layout == "NCL" else node


def over_channels(op: str, node: Node, layer: str) -> Node:
    """An op along the last axis applied to the channels at each place of images."""
    marks: dict[str, Any] = {"layer": layer, "layout": node.layout}
    last = Node("permute", (node,), attrs={"axes": (1, 2, 0)}, **marks)
    return Node(
        "permute", (Node(op, (last,), **marks),), attrs={"axes": (2, 0, 1)}, **marks, image=True
    )


def for_units(node: Node, layer: str, kind: str) -> Node:
    """The node for a layer with units, which take the last axis: refused where that is a place
    of images or of sequences, for nobody means it."""
    if not node.layout or node.layout == "NLC":
        return with_axis(as_given(node))
    twin = "Conv1D" if node.layout in ("NCL", "NLC") else "Conv2D"
    raise ValueError(
        f"layer {layer!r}: {kind} takes flat rows, and layer {node.layer!r} gives rows "
        f"{given_shape(node)} in layout {node.layout!r}: put bp.Flatten() or a global pooling "
        f"between, or use bp.{twin}(units, 1) for units at every place"
    )


def alike(nodes: Sequence[Node], name: str) -> list[Node]:
    """Nodes that a layer combines, all as images where one of them is."""
    image = next((node for node in nodes if node.image), None)
    if image is None:
        return list(nodes)
    for node in nodes:
        if not node.image and not node.layout:
            raise ValueError(
                f"layer {name!r}: {image.layer!r} gives rows of shape {given_shape(image)}, "
                f"{image.layout}, but {node.layer!r} of shape {node.shape} and no layout: flatten "
                "the former by bp.Flatten(), or say what the latter are, for instance by "
                f"bp.Reshape({given_shape(image)}, layout={image.layout!r})"
            )
    return [as_image(node, name, "what is combined with an image") for node in nodes]
