"""The parameters of a model: one vector, in which every parameter has its place.

Optimiser state, gradients and files have the same layout, so that each is one loop over one array.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from pybp.graph import Parameter

ALIGN = 64  # bytes: every tensor starts on a cache line


def aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    """A zero vector that starts on a cache line."""
    raw = np.zeros(size * dtype.itemsize + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + size * dtype.itemsize].view(dtype)


class ParameterStore:
    """Places of the parameters, their values and the optimiser's state."""

    def __init__(self, parameters: Iterable[Parameter], dtype: np.dtype) -> None:
        self.dtype = np.dtype(dtype)
        self.bits = 8 * self.dtype.itemsize
        self.parameters = {p.name: p for p in parameters}
        step = ALIGN // self.dtype.itemsize
        self._begin: dict[str, int] = {}
        size = 0
        for p in self.parameters.values():
            self._begin[p.name] = size
            size += -(-math.prod(p.shape) // step) * step
        try:
            self.vector = aligned_zeros(size, self.dtype)
        except (MemoryError, ValueError):
            largest = max(self.parameters.values(), key=lambda p: math.prod(p.shape))
            raise MemoryError(
                f"the parameters need {size * self.dtype.itemsize / 2**40:.3g} TiB, most of it for "
                f"{largest.name} {largest.shape}: use smaller layers"
            ) from None
        self.state: tuple[np.ndarray, ...] = ()

    def span(self, name: str) -> tuple[int, int]:
        """[begin, end) of a parameter in the vector, in elements."""
        begin = self._begin[name]
        return begin, begin + math.prod(self.parameters[name].shape)

    def place(self, name: str) -> tuple[int, tuple[int, ...]]:
        """Byte offset and shape of a parameter."""
        return self._begin[name] * self.dtype.itemsize, self.parameters[name].shape

    def view(self, name: str, vector: np.ndarray | None = None) -> np.ndarray:
        """A parameter's part of the vector, or of one laid out alike, in its own shape."""
        begin, end = self.span(name)
        vector = self.vector if vector is None else vector
        return vector[begin:end].reshape(self.parameters[name].shape)

    def new_vector(self) -> np.ndarray:
        """A zero vector with this layout."""
        return aligned_zeros(self.vector.size, self.dtype)

    def draw(self, seed: int) -> None:
        """Initial values, each parameter from a generator of its own."""
        for i, (name, p) in enumerate(self.parameters.items()):
            rng = np.random.default_rng([seed, i])
            values = p.init(rng, p.shape)
            if not np.abs(values).max(initial=0.0) <= np.finfo(self.dtype).max:
                raise ValueError(
                    f"{p.init!r} gives values for {name} beyond what {self.dtype} holds"
                )
            self.view(name)[...] = values
