"""Memory for the activations of a plan: tensors that never live together may share it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    over: Tensor | None = None  # whose place it takes, and keeps alive


def place(tensors: Sequence[Tensor], capacity: int, item: int) -> int:
    """Offsets in the arena of activations, for batches of `capacity` rows and reals of `item`
    bytes: largest first, each at the lowest place that is free for as long as it lives. Returns the
    arena's size in bytes."""
    for t in tensors:
        if t.over:
            t.over.last = max(t.over.last, t.last)
    acts = [t for t in tensors if t.arena == "act" and t.over is None]
    size = {t.index: _bytes_of(t, capacity, item) for t in acts}
    # Of what is placed, by offset; long computations have thousands of tensors that live at once.
    first, last, begin, end = np.zeros((4, len(acts)), np.int64)
    for count, t in enumerate(sorted(acts, key=lambda t: -size[t.index])):
        rivals = (first[:count] <= t.last) & (last[:count] >= t.first)
        taken = np.maximum.accumulate(np.append(0, end[:count][rivals]))
        gaps = np.append(begin[:count][rivals], np.iinfo(np.int64).max) - taken
        t.offset = int(taken[(gaps >= size[t.index]).argmax()])
        at = int(np.searchsorted(begin[:count], t.offset))
        for column, value in (
            (first, t.first),
            (last, t.last),
            (begin, t.offset),
            (end, t.offset + size[t.index]),
        ):
            column[at + 1 : count + 1] = column[at:count]
            column[at] = value
    for t in tensors:
        if t.over:
            t.offset = t.over.offset
    return int(end.max(initial=0))


def _bytes_of(t: Tensor, capacity: int, item: int) -> int:
    size = math.prod(t.shape) * (capacity if t.batched else 1) * (8 if t.double else item)
    return -(-size // ALIGN) * ALIGN
