"""Products of vectors and matrices, and what masks and one-hot rows are made of."""

from __future__ import annotations

import numpy as np

from pybp.checks import ANY, whole
from pybp.graph import Node
from pybp.ops.reductions import sum as total
from pybp.ops.shaping import diagonal, expand_dims, reshape, strides_of, swapaxes
from pybp.ops.symbols import Value, apply, as_node, distinct, shapes_of, spread


def matmul(a: Value, b: Value) -> Node:
    """Matrix product a @ b of rows, by NumPy's rules: vectors are rows on the left and columns on
    the right, and axes before the last two broadcast."""
    a, b = as_node(a, "matmul"), as_node(b, "matmul")
    if not a.shape or not b.shape:
        raise ValueError("bp.ops.matmul takes vectors and matrices: use * for a single number")
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise ValueError(
            f"bp.ops.matmul: shapes {shapes_of(a, b)} do not fit: {a.shape[-1]} != {inner} (the "
            "axis of the batch is left out)"
        )
    if b.ndim == 1:
        if a.ndim == 1:
            return total(apply("multiply", a, b, what="matmul"))
        return _column(a, b)
    if a.ndim == 1 and (not a.batched or b.batched or b.ndim > 2):
        found = matmul(expand_dims(a, 0), b)
        return reshape(found, (*found.shape[:-2], found.shape[-1]))
    return _product(a, b)


def _column(a: Node, b: Node) -> Node:
    found = matmul(a, expand_dims(b, -1))
    return reshape(found, found.shape[:-1])


def _product(a: Node, b: Node) -> Node:
    """Of matrices, or of a batch of vectors with one matrix."""
    single = [not node.batched and node.ndim == 2 for node in (a, b)]
    if not any(single) and a.ndim > 1:
        lead = _lead(a, b)
        batched = a.batched or b.batched
        a = spread(a, (*lead, *a.shape[-2:]), batched)
        b = spread(b, (*lead, *b.shape[-2:]), batched)
    plain_a, turned_a = _turned(a)
    plain_b, turned_b = _turned(b)
    if turned_a and turned_b:
        plain_a, turned_a = a, False
    attrs = {"transpose_a": int(turned_a), "transpose_b": int(turned_b)}
    return Node("matmul", distinct((plain_a, plain_b)), attrs=attrs, layer=a.layer)


def _lead(a: Node, b: Node) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(
            f"bp.ops.matmul: shapes {shapes_of(a, b)} do not broadcast before their last two axes "
            "(the axis of the batch is left out)"
        ) from None


def _turned(x: Node) -> tuple[Node, bool]:
    """A transposed matrix as the matrix itself, which products can read either way."""
    if x.op == "view" and x.call is None and x.ndim > 1 and not x.attrs["offset"]:
        source = x.inputs[0]
        if source.ndim == x.ndim:
            turned = (*source.shape[:-2], source.shape[-1], source.shape[-2])
            strides = strides_of(source.shape)
            if turned == x.shape and x.attrs["strides"] == (
                *strides[:-2],
                strides[-1],
                strides[-2],
            ):
                return source, True
    return x, False


def dot(a: Value, b: Value) -> Node:
    """Inner product of two vectors; matrices as `matmul`."""
    return matmul(a, b)


def outer(a: Value, b: Value) -> Node:
    """All products of two vectors' elements, [I, J]."""
    a, b = as_node(a, "outer"), as_node(b, "outer")
    return apply("multiply", expand_dims(a, -1), expand_dims(b, 0), what="outer")


def one_hot(labels: Value, classes: int) -> Node:
    """1 at the place that a class number names, 0 elsewhere, along a new last axis."""
    labels = expand_dims(as_node(labels, "one_hot"), -1)
    numbers = np.arange(whole(classes, "bp.ops.one_hot: classes"), dtype=np.float64)
    return apply("equal", labels, numbers, what="one_hot")


def tril(x: Value, k: int = 0) -> Node:
    """A matrix with zeros above its k-th diagonal."""
    x = _matrix(x, "tril")
    below = np.tri(x.shape[-2], x.shape[-1], whole(k, "bp.ops.tril: k", ANY))
    return apply("where", below, x, 0.0, what="tril")


def triu(x: Value, k: int = 0) -> Node:
    """A matrix with zeros below its k-th diagonal."""
    x = _matrix(x, "triu")
    below = np.tri(x.shape[-2], x.shape[-1], whole(k, "bp.ops.triu: k", ANY) - 1)
    return apply("where", below, 0.0, x, what="triu")


def _matrix(x: Value, what: str) -> Node:
    x = as_node(x, what)
    if x.ndim < 2:
        raise ValueError(
            f"bp.ops.{what} takes matrices, got shape {shapes_of(x)} (the axis of the batch is "
            "left out): bp.ops.expand_dims gives one more axis"
        )
    return x


def trace(x: Value, offset: int = 0) -> Node:
    """The sum of a matrix's diagonal."""
    return total(diagonal(x, offset), -1)


FUNCTIONS = {f.__name__: f for f in (matmul, dot, outer, one_hot, tril, triu, swapaxes, trace)}
