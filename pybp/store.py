"""The parameters of a model: one vector, in which every parameter has its place.

Optimiser state and gradients have the same layout, so that each is one loop over one array. What a
model keeps without training it, its running state, is a vector of doubles beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from pybp.graph import Parameter, Running

ALIGN = 64  # bytes: every tensor starts on a cache line


def aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    """A zero vector that starts on a cache line."""
    raw = np.zeros(size * dtype.itemsize + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + size * dtype.itemsize].view(dtype)


def _places(parts: Iterable[Parameter | Running], itemsize: int) -> tuple[dict[str, int], int]:
    """Where each part begins in a vector of them all, and how long that is, in elements."""
    step, size = ALIGN // itemsize, 0
    begin = {}
    for part in parts:
        begin[part.name] = size
        size += -(-math.prod(part.shape) // step) * step
    return begin, size


class ParameterStore:
    """Places of the parameters, their values and the optimiser's state; and the running state."""

    def __init__(
        self, parameters: Iterable[Parameter], dtype: np.dtype, running: Iterable[Running] = ()
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.bits = 8 * self.dtype.itemsize
        self.parameters = {p.name: p for p in parameters}
        self._running = {r.name: r for r in running}
        self._begin, size = _places(self.parameters.values(), self.dtype.itemsize)
        begin, running_size = _places(self._running.values(), 8)
        self._begin |= begin
        try:
            self.vector = aligned_zeros(size, self.dtype)
        except (MemoryError, ValueError):
            largest = max(self.parameters.values(), key=lambda p: math.prod(p.shape))
            raise MemoryError(
                f"the parameters need {size * self.dtype.itemsize / 2**40:.3g} TiB, most of it for "
                f"{largest.name} {largest.shape}: use smaller layers"
            ) from None
        self.state: tuple[np.ndarray, ...] = ()
        self.average: np.ndarray | None = None
        self.running = aligned_zeros(running_size, np.dtype(np.float64))
        #: The running state by name, as views.
        self.buffers = {
            name: self.running[begin[name] : begin[name] + math.prod(r.shape)].reshape(r.shape)
            for name, r in self._running.items()
        }
        self.reset_running()
        for name, r in self._running.items():
            if r.bind is not None:
                r.bind(self.buffers[name])

    def reset_running(self) -> None:
        """What training changes of the running state, as it starts; what layers set, they keep."""
        for name, r in self._running.items():
            if r.bind is None:
                self.buffers[name][...] = r.start

    def running_place(self, name: str) -> tuple[int, tuple[int, ...]]:
        """Byte offset and shape of a part of the running state."""
        return self._begin[name] * 8, self._running[name].shape

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

    def vectors(self) -> dict[str, np.ndarray]:
        """The vectors beside that of the parameters, by what is put behind a parameter's name."""
        found = {f"@state{k}": vector for k, vector in enumerate(self.state)}
        return found if self.average is None else {**found, "@average": self.average}

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
