"""Memory for the activations of a plan: tensors that never live together may share it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pybp.store import ALIGN


@dataclass(eq=False)
class Tensor:
    """One tensor of a plan; `first` and `last` are the instructions between which it lives."""

    index: int
    arena: str
    shape: tuple[int, ...]
    batched: bool = True
    blocked: bool = False
    double: bool = False
    offset: int = 0
    first: int = -1
    last: int = -1
    group: int = 0  # of a parameter


def place(tensors: Sequence[Tensor], capacity: int, item: int) -> int:
    """Offsets in the arena of activations, for batches of `capacity` rows and reals of `item`
    bytes: largest first, each at the lowest place that is free for as long as it lives. Returns the
    arena's size in bytes."""
    acts = [t for t in tensors if t.arena == "act"]
    size = {t.index: _bytes_of(t, capacity, item) for t in acts}
    placed: list[Tensor] = []
    for t in sorted(acts, key=lambda t: -size[t.index]):
        rivals = [o for o in placed if o.first <= t.last and t.first <= o.last]
        t.offset = 0
        for other in sorted(rivals, key=lambda o: o.offset):
            if t.offset + size[t.index] <= other.offset:
                break
            t.offset = max(t.offset, other.offset + size[other.index])
        placed.append(t)
    return max((t.offset + size[t.index] for t in acts), default=0)


def _bytes_of(t: Tensor, capacity: int, item: int) -> int:
    size = math.prod(t.shape) * (capacity if t.batched else 1) * (8 if t.double else item)
    return -(-size // ALIGN) * ALIGN
