"""Types of the border; `_core.pyx` has the docs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

MAX_RESULTS: int
MAX_SOURCES: int
MAX_INPUTS: int
MAX_DIMS: int

def ops() -> dict[str, dict[str, Any]]: ...
def steps() -> dict[str, int]: ...
def lanes() -> int: ...
def optimizers() -> dict[str, dict[str, Any]]: ...
def infer(
    op: str,
    attrs: dict[str, Any],
    inputs: list[tuple[Shape, bool, bool]],
    out: tuple[Shape, bool, bool] = ...,
) -> tuple[Shape, bool, bool, int, int, int] | None: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def isa() -> str: ...
def isa_list() -> list[str]: ...
def blas_name() -> str: ...
def allocations() -> int: ...
def permutation(seed: int, epoch: int, n: int) -> npt.NDArray[np.int64]: ...

class Source:
    array: Any
    def __init__(self, array: object, limit: float = ...) -> None: ...
    def check_finite(self, limit: float = ...) -> tuple[int, int] | None: ...
    def check_sparse(self, limit: float = ...) -> tuple[str, int, int] | None: ...
    def check_labels(self, classes: int) -> int | None: ...

class Plan:
    dtype: np.dtype[Any]
    capacity: int
    retired: bool
    def __init__(
        self,
        bits: int,
        capacity: int,
        tensors: list[tuple[str, Shape, bool, bool, int, bool, int]],
        instrs: list[dict[str, Any]],
        nforward: int,
        act_bytes: int,
        param: Array,
        grad: Array | None = ...,
        state: tuple[Array, ...] = ...,
        optimizer: tuple[str, dict[str, Any]] | None = ...,
        results: tuple[int, ...] = ...,
        output: int = ...,
        source_tensor: int = ...,
        sources: int = ...,
        running: Array | None = ...,
        groups: list[tuple[float, float, float, float, float, float]] | None = ...,
        bounds: tuple[float, float] = ...,
        accumulates: bool = ...,
        average: Array | None = ...,
        weights: int = ...,
        losses: tuple[float, ...] = ...,
    ) -> None: ...
    def once(
        self,
        sources: tuple[Source, ...],
        n: int,
        tensors: list[int],
        training: bool = ...,
        seed: int = ...,
        step: int = ...,
    ) -> list[Array]: ...
    def map(
        self,
        sources: tuple[Source, ...],
        rows: int,
        out: Array | None = ...,
        sums: Array | None = ...,
    ) -> bool: ...
    def train(self, run: Run, seconds: float) -> bool: ...

class Run:
    sources: tuple[Source, ...]
    results: Array
    rates: Array
    first_row: int
    epoch: int
    row: int
    step: int
    sums: list[float]
    last_loss: float
    averaged: int
    culprit: tuple[str, int] | None
    def __init__(
        self,
        sources: tuple[Source, ...],
        rows: int,
        batch: int,
        epochs: int,
        shuffle: bool,
        seed: int,
        rates: Array,
        nresults: int,
        epoch_origin: int = ...,
        step: int = ...,
        row: int = ...,
        sums: tuple[float, ...] = ...,
        piece: int = ...,
        last_loss: float = ...,
        average: Array | None = ...,
    ) -> None: ...

class Shortcut:
    retired: bool
    def __init__(
        self,
        few: Plan,
        many: Plan,
        least: int,
        shape: Shape,
        row: Shape,
        size: int,
        limit: float,
        flops: int,
    ) -> None: ...
    def __call__(self, x: object) -> Array | None: ...

class Predictor:
    out: Array
    def __init__(
        self,
        plan: Plan,
        batch: int,
        shape: Shape,
        row: Shape,
        size: int,
        limit: float,
        flops: int,
        slow: Callable[[Predictor, object], Array],
    ) -> None: ...
    def __call__(self, x: object) -> Array: ...
