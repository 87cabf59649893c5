"""What is asked of the compiler, and what it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pybp._core import Plan
from pybp.graph import Node
from pybp.place import Tensor
from pybp.updates import NO_RULES, Rules


@dataclass
class Request:
    """What a plan is for.

    `results` are the nodes whose rows are summed, the losses first, as many as there are weights of
    them in `losses`; `output` the node that inference
    returns; `keep` keeps every tensor to the end, for looking at them; `wrt` are nodes without
    parameters whose gradients are wanted all the same; `fuse_update` hands weight gradients to the
    optimiser tile by tile instead of through the gradient vector; `accumulate` adds gradients to
    that vector, which the run zeroes at each step; without `update` a step ends there; `weights` is
    the source that holds the rows' weights; `still` names parameters whose gradients nobody wants;
    without `merge` every elementwise function is an instruction of its own.
    """

    capacity: int
    output: Node | None = None
    results: Sequence[Node] = ()
    training: bool = False
    backward: bool = False
    keep: Sequence[Node] = ()
    wrt: Sequence[Node] = ()
    optimizer: tuple[str, dict] | None = None
    state: tuple[np.ndarray, ...] = ()
    gradient: np.ndarray | None = None
    rules: Rules = NO_RULES
    average: np.ndarray | None = None
    fuse_update: bool = True
    accumulate: bool = False
    update: bool = True
    sources: int = 1
    weights: int = -1
    losses: tuple[float, ...] = (1.0,)
    still: frozenset[str] = frozenset()
    merge: bool = True


@dataclass
class Lowered:
    """A plan with what is needed to talk about it: tensors by node, names by instruction."""

    plan: Plan
    order: list[Node]
    values: dict[int, int]  # id(node) -> tensor
    gradients: dict[int, int]  # id(node) -> tensor of dLoss/dnode
    instructions: list[dict]
    tensors: list[Tensor]
    parameter_names: dict[int, str]  # by tensor
    act_bytes: int
    gradient: np.ndarray | None = None  # the gradient vector

    def value(self, node: Node) -> int:
        """Index of the tensor that holds the node's output."""
        return self.values[id(node)]

    @property
    def blocked(self) -> bool:
        """Whether some of it is computed on blocks of rows."""
        return any(t.blocked for t in self.tensors)

    def describe(self) -> str:
        """The instructions, one a line: phase, op, operands and where they lie."""
        lines = []
        for i, k in enumerate(self.instructions):
            if "range" in k:
                begin, end = k["range"]
                lines.append(f"{i:3} {k['phase']:14} parameters {begin}..{end}")
                continue
            fused = f" + {k['activation'][0]}" if k["activation"] else ""
            scaled = " + batch_norm" if k["affine"] >= 0 else ""
            fused = fused + scaled if k["affine_last"] else scaled + fused
            fused += " + update" if k["fused_update"] else " + the next" if k["joined"] else ""
            operands = " ".join(self._place(t) for t in k["in"])
            lines.append(
                f"{i:3} {k['phase']:14} {self.order[k['node']].layer:12} {k['op']}{fused}: "
                f"{operands} -> {self._place(k['out'])}"
            )
        return "\n".join([*lines, f"activations: {self.act_bytes} bytes"])

    def _place(self, index: int) -> str:
        t = self.tensors[index]
        rows = ("blocks",) if t.blocked else ("N",) if t.batched else ()
        shape = ",".join(map(str, (*rows, *t.shape)))
        return f"{t.arena}+{t.offset}[{shape}]"
