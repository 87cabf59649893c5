"""A single op as a layer: what a model makes of nodes that were written down without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pybp.errors import unknown
from pybp.graph import OPS, Node
from pybp.layers.base import Layer
from pybp.layouts import in_given_order

_OUTSIDE = {"per_row", "source"}  # flags of ops that are no part of a network


class Operation(Layer):
    """y = op(x, ...) for one op of the machine by name, with its attributes; `layout` and `shape`
    are those of y, where they do not follow from x."""

    merges = True

    def __init__(
        self,
        op: str,
        name: str | None = None,
        layout: str | None = None,
        shape: Sequence[int] | None = None,
        **attrs: object,
    ) -> None:
        super().__init__(name)
        self.layout, self.shape = layout, None if shape is None else tuple(shape)
        known = {name: row for name, row in OPS.items() if not row["flags"] & _OUTSIDE}
        if op not in known:
            raise unknown("op", op, known)
        if set(attrs) != set(OPS[op]["attrs"]):
            raise ValueError(f"op {op!r} has attributes {sorted(OPS[op]['attrs'])}")
        self.op = op
        self._attrs = {
            key: tuple(value) if isinstance(value, list) else value for key, value in attrs.items()
        }

    def config(self) -> dict[str, object]:
        own = {key: value for key, value in super().config().items() if value is not None}
        return {**own, **self._attrs}

    def default_name(self) -> str:
        return self.op

    def build(self, x: Sequence[Node] | None, name: str) -> Node:  # type: ignore[override]
        marks: dict[str, Any] = {"layer": name, "layout": self.layout, "shape": self.shape or ()}
        return in_given_order(
            lambda given: Node(self.op, tuple(given), attrs=dict(self._attrs), **marks), x or ()
        )
