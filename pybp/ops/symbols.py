"""What all functions of `pybp.ops` share: what they take, how shapes meet, and nodes of steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pybp.fuse import Step, encode
from pybp.graph import Node, Parameter
from pybp.operators import Symbolic

Value = Any  # a node, a parameter, a number or an array


def as_node(value: Value, what: str) -> Node:
    """A symbolic value as it is, a number or an array as a constant."""
    if isinstance(value, Node):
        return value
    if isinstance(value, Parameter):
        return Node("parameter", parameters=(value,))
    if isinstance(value, Symbolic):
        return value.node  # of an Input
    return constant(value, what)


def as_array(value: Value, what: str) -> np.ndarray:
    """A constant operand as float64."""
    if isinstance(value, bool):
        raise TypeError(
            f"bp.ops.{what}: got {value}, a plain bool: compare two symbolic values by "
            "bp.ops.equal or bp.ops.not_equal, since `==` only knows a value itself"
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise TypeError(f"bp.ops.{what}: cannot read {value!r} as an array: {error}") from None
    if array.dtype.kind not in "fiub":
        caller = what if what.startswith("bp.") else f"bp.ops.{what}"
        raise TypeError(
            f"{caller} takes nodes, numbers and arrays of numbers, got {type(value).__name__}"
            + (": stack nodes by bp.ops.stack" if array.dtype.kind == "O" else "")
        )
    return array.astype(np.float64)


def constant(value: Value, what: str = "constant") -> Node:
    """An array of fixed numbers as a node; its axes are those of a row."""
    array = np.ascontiguousarray(as_array(value, what))
    if array.size == 0:
        raise ValueError(f"bp.ops.{what}: an array of shape {np.shape(value)} has no numbers")
    words = tuple(array.reshape(-1).view(np.int32).tolist())
    return Node("constant", attrs={"values": words, "dims": np.shape(value)})


def number(value: Value, what: str) -> float | None:
    """The number that an operand is, or None when it is none."""
    if isinstance(value, Symbolic):
        return None
    array = as_array(value, what)
    return float(array) if array.ndim == 0 else None


def common_shape(nodes: list[Node], what: str) -> tuple[tuple[int, ...], bool]:
    """The shape that rows of these nodes broadcast to, and whether there is one per row."""
    try:
        shape = np.broadcast_shapes(*(node.shape for node in nodes))
    except ValueError:
        raise ValueError(
            f"bp.ops.{what}: shapes {shapes_of(*nodes)} do not broadcast (the axis of the batch "
            "is left out)"
        ) from None
    return shape, any(node.batched for node in nodes)


def shapes_of(*nodes: Node) -> str:
    """The nodes' shapes, and the layers that they are outputs of, in words."""
    from pybp.network import labels

    return " and ".join(
        f"{node.shape} of layer {name!r}" if name and node.op != "constant" else str(node.shape)
        for node, name in zip(nodes, labels(nodes), strict=True)
    )


def spread(node: Node, shape: tuple[int, ...], batched: bool) -> Node:
    """The node broadcast to rows of a shape."""
    if (node.shape, node.batched) == (shape, batched):
        return node
    return Node("broadcast", (node,), attrs={"dims": shape, "batched": int(batched)})


def distinct(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes as inputs of one op, which writes the gradient of each: one that comes again comes
    as a copy."""
    found: list[Node] = []
    for node in nodes:
        again = any(node is other for other in found)
        found.append(Node("identity", (node,)) if again else node)
    return tuple(found)


def apply(step: str, *operands: Value, what: str = "") -> Node:
    """A step of expressions applied to operands, which are broadcast."""
    what = what or step
    numbers = [number(operand, what) for operand in operands]
    if all(value is not None for value in numbers):
        operands, numbers = (constant(operands[0], what), *operands[1:]), [None, *numbers[1:]]
    given = [
        None if value is not None else as_node(operand, what)
        for operand, value in zip(operands, numbers, strict=True)
    ]
    present = [node for node in given if node is not None]
    shape, batched = common_shape(present, what)
    wide = {id(node): spread(node, shape, batched) for node in present}
    inputs = list({id(node): node for node in wide.values()}.values())
    steps: list[Step] = []
    at = []
    for node, value in zip(given, numbers, strict=True):
        if node is not None:
            at.append(next(i for i, x in enumerate(inputs) if x is wide[id(node)]))
        else:
            at.append(len(inputs) + len(steps))
            steps.append(("constant", (float(value),)))  # type: ignore[arg-type]
    program = encode([*steps, (step, tuple(at))])
    return Node("expression", tuple(inputs), attrs={"program": program})
