"""Sums of products by the names of axes."""

from __future__ import annotations

import math

from pybp.graph import Node
from pybp.ops.linear import matmul
from pybp.ops.reductions import sum as total
from pybp.ops.shaping import diagonal, reshape, transpose
from pybp.ops.symbols import Value, as_node, shapes_of


def einsum(subscripts: str, *operands: Value) -> Node:
    """Einstein's sums of products: `"ij,jk->ik"` names the axes of every operand and of the result,
    sums run over those that the result has not. Without `->`, it has those that are named once, in
    alphabetical order. Operands are taken two at a time from the left, as matrix products."""
    nodes = [as_node(operand, "einsum") for operand in operands]
    terms, kept = _terms(subscripts, nodes)
    parts = [_once(*part) for part in zip(terms, nodes, strict=True)]
    names, node = parts[0]
    for k, (others, other) in enumerate(parts[1:], 2):
        needed = {*kept, *(name for later, _ in parts[k:] for name in later)}
        names, node = _contracted(names, node, others, other, needed)
    names, node = _summed(names, node, set(kept))
    return transpose(node, [names.index(name) for name in kept])


def _terms(subscripts: str, nodes: list[Node]) -> tuple[list[str], str]:
    """The names of the operands' axes and of the result's."""
    left, arrow, kept = str(subscripts).replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:
        kept = "".join(sorted(name for name in {*left} - {","} if left.count(name) == 1))
    said = f"bp.ops.einsum: {subscripts!r}"
    if not all(term.isalpha() or not term for term in (*terms, kept)):
        raise ValueError(f"{said} names axes by letters, such as 'ij,jk->ik', and has no '...'")
    if len(terms) != len(nodes):
        raise ValueError(f"{said} is of {len(terms)} operands, got {len(nodes)}")
    sizes: dict[str, int] = {}
    for term, node in zip(terms, nodes, strict=True):
        if len(term) != node.ndim:
            raise ValueError(
                f"{said} has {len(term)} axes in {term!r}, and its operand {shapes_of(node)}"
            )
        for name, n in zip(term, node.shape, strict=True):
            if sizes.setdefault(name, n) != n:
                raise ValueError(
                    f"{said}: axis {name!r} is both {sizes[name]} and {n} long in operands of "
                    f"shapes {shapes_of(*nodes)}"
                )
    if not {*kept} <= sizes.keys() or len({*kept}) < len(kept):
        raise ValueError(f"{said}: the result has every axis once, and each is an operand's")
    return terms, kept


def _once(names: str, node: Node) -> tuple[str, Node]:
    """An operand without names that come again: of those, its diagonal."""
    for name in dict.fromkeys(names):
        while names.count(name) > 1:
            a, b = names.index(name), names.rindex(name)
            node = diagonal(node, 0, a, b)
            names = names[:a] + names[a + 1 : b] + names[b + 1 :] + name
    return names, node


def _summed(names: str, node: Node, needed: set[str]) -> tuple[str, Node]:
    """Without the axes that are not needed."""
    axes = [a for a, name in enumerate(names) if name not in needed]
    left = "".join(name for name in names if name in needed)
    return left, total(node, axes) if axes else node


def _contracted(a: str, x: Node, b: str, y: Node, needed: set[str]) -> tuple[str, Node]:
    """Two operands as one: matrices [common, rows, sums] times matrices [common, sums, columns]."""
    a, x = _summed(a, x, needed | {*b})
    b, y = _summed(b, y, needed | {*a})
    common = [name for name in a if name in b and name in needed]
    sums = [name for name in a if name in b and name not in needed]
    rows, columns = [n for n in a if n not in b], [n for n in b if n not in a]
    size = dict(zip(a + b, x.shape + y.shape, strict=True))

    def matrix(names: str, node: Node, order: list[list[str]]) -> Node:
        turned = transpose(node, [names.index(name) for part in order for name in part])
        lengths = [math.prod(size[name] for name in part) for part in order]
        return reshape(turned, lengths if common else lengths[1:])

    found = matmul(matrix(a, x, [common, rows, sums]), matrix(b, y, [common, sums, columns]))
    left = [*common, *rows, *columns]
    return "".join(left), reshape(found, [size[name] for name in left])


FUNCTIONS = {"einsum": einsum}
