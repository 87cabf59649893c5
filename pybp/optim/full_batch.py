"""Optimisers for full batches: a direction from the curvature seen so far, and a line search along
it. They work in float64 on all parameters as one vector; loss and gradient are native calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

import numpy as np

from pybp.checks import real, whole
from pybp.errors import unknown
from pybp.optim.base import Optimizer
from pybp.optim.line_search import Point, search

P = TypeVar("P", bound=Point)


class FullBatch(Optimizer):
    """Base of the optimisers for full batches: ``fit(x, y, epochs=n, batch_size=len(x))`` makes n
    iterations.

    They minimise the loss over all rows plus the penalties of the layers, until the largest element
    of its gradient is at most `tolerance`, or no step makes it smaller in the model's precision:
    then training stops, with `history.ending` "stopped". The loss recorded for an epoch is the
    data's after the iteration, and its learning rate the length of the step along the direction.

    Refused are minibatches, layers that draw random numbers or mix rows (dropout, BatchNorm), whose
    loss is no function of the parameters, and max_norm and learning_rate_factor.
    """

    full_batch: ClassVar[bool] = True
    curvature: ClassVar[float]  # c2 of the line search

    def __init__(self, line_search_steps: int, tolerance: float) -> None:
        super().__init__(1.0)
        name = type(self).__name__
        self.line_search_steps = whole(line_search_steps, f"{name}: line_search_steps")
        self.tolerance = real(tolerance, f"{name}: tolerance", 0)

    def config(self) -> dict:
        found = super().config()
        del found["learning_rate"]
        return found

    def kernel(self) -> tuple[str, dict[str, float | int]]:
        return "sgd", {}  # of a plan that ends with the gradient

    @property
    def fusible(self) -> bool:
        return False

    def direction(self, state: Sequence[np.ndarray], g: np.ndarray) -> np.ndarray:
        """Where to search: downhill, from the gradient and what earlier steps have left in `state`,
        vectors in the model's precision, zeros at first."""
        raise NotImplementedError

    def first_length(self, fresh: bool, before: float | None, here: Point, d: np.ndarray) -> float:
        """The step to try first; `before` is the value at the step before's start."""
        raise NotImplementedError

    def remember(self, state: Sequence[np.ndarray], d: np.ndarray, old: Point, new: Point) -> None:
        """Take in a step."""
        raise NotImplementedError

    def step(
        self,
        objective: Callable[[np.ndarray], P],
        state: Sequence[np.ndarray],
        old: P,
        before: float | None,
    ) -> tuple[P, float]:
        """One iteration from `old`: where it leads and the length of the step along the direction;
        `old` itself where nothing lower is found."""
        for _ in range(2):
            d = self.direction(state, old.gradient)
            fresh = not any(vector.any() for vector in state)
            length = self.first_length(fresh, before, old, d)
            found = search(objective, old, d, length, self.curvature, self.line_search_steps)
            if found is not None:
                self.remember(state, d, old, found[0])
                return found
            if fresh:
                break
            for vector in state:  # what was remembered misleads: steepest descent
                vector[:] = 0
        return old, 0.0


class LBFGS(FullBatch):
    """Limited-memory BFGS: the inverse Hessian, applied to the gradient by two loops over the last
    `memory` steps s and changes of the gradient y, with a line search for the strong Wolfe
    conditions. Nocedal, Math. Comp. 35, 1980; Nocedal and Wright, 2006, algorithm 7.4.

    >>> import numpy as np, pybp as bp
    >>> x = np.linspace(-1, 1, 40)[:, None]
    >>> model = bp.Sequential([bp.Input(1), bp.Dense(6, activation="tanh"), bp.Dense(1)])
    >>> model.compile(optimizer=bp.optim.LBFGS(), loss="mse", dtype="float64")
    >>> history = model.fit(x, np.sin(3 * x), epochs=100, batch_size=40, verbose=0)
    >>> history.history["loss"][-1] < 1e-4
    True
    """

    curvature = 0.9

    def __init__(
        self, memory: int = 10, line_search_steps: int = 25, tolerance: float = 1e-7
    ) -> None:
        super().__init__(line_search_steps, tolerance)
        self.memory = whole(memory, "LBFGS: memory", 1, 1000)

    def state_vectors(self) -> int:
        return 2 * self.memory

    def _pairs(self, state: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """(s, y) of the steps remembered, the latest first."""
        pairs = zip(state[: self.memory], state[self.memory :], strict=True)
        return [(s.astype(np.float64), y.astype(np.float64)) for s, y in pairs if s.any()]

    def direction(self, state: Sequence[np.ndarray], g: np.ndarray) -> np.ndarray:
        pairs = self._pairs(state)
        q, alphas = g.copy(), []
        for s, y in pairs:
            alphas.append(s @ q / (s @ y))
            q -= alphas[-1] * y
        if pairs:
            s, y = pairs[0]
            q *= s @ y / (y @ y)
        for (s, y), alpha in zip(reversed(pairs), reversed(alphas), strict=True):
            q += (alpha - y @ q / (s @ y)) * s
        return -q if q @ g > 0 else -g

    def first_length(self, fresh: bool, before: float | None, here: Point, d: np.ndarray) -> float:
        return min(1.0, 1.0 / float(np.abs(here.gradient).sum())) if fresh else 1.0

    def remember(self, state: Sequence[np.ndarray], d: np.ndarray, old: Point, new: Point) -> None:
        latest, s = state[0], new.w - old.w
        y = new.gradient - old.gradient
        s, y = s.astype(latest.dtype), y.astype(latest.dtype)
        with np.errstate(over="ignore", under="ignore"):
            bend = float(s.astype(np.float64) @ y.astype(np.float64))
        if not bend > 1e-10 * float(y.astype(np.float64) @ y.astype(np.float64)):
            return  # the curvature is not positive, or lost in rounding
        for newest, vectors in ((s, state[: self.memory]), (y, state[self.memory :])):
            for k in range(self.memory - 1, 0, -1):
                vectors[k][:] = vectors[k - 1]
            vectors[0][:] = newest


class ConjugateGradient(FullBatch):
    """Nonlinear conjugate gradients, d = -g + beta d_before, with y the change of the gradient and
    a line search for the strong Wolfe conditions:

        "polak-ribiere+"   beta = max(0, g'y / g_before'g_before)
        "hager-zhang"      beta = (y - 2 d_before y'y / d_before'y)'g / d_before'y, bounded below

    Polak and Ribiere 1969; Nocedal and Wright, 2006, section 5.2; Hager and Zhang, SIAM J. Optim.
    16, 2005.
    """

    VARIANTS = ("polak-ribiere+", "hager-zhang")
    curvature = 0.2

    def __init__(
        self,
        variant: str = "polak-ribiere+",
        line_search_steps: int = 25,
        tolerance: float = 1e-7,
    ) -> None:
        super().__init__(line_search_steps, tolerance)
        if variant not in self.VARIANTS:
            raise unknown("variant of ConjugateGradient", variant, self.VARIANTS)
        self.variant = variant

    def state_vectors(self) -> int:
        return 2

    def _beta(self, g: np.ndarray, d: np.ndarray, past: np.ndarray) -> float:
        y = g - past
        if self.variant == "polak-ribiere+":
            return max(0.0, float(g @ y / (past @ past)))
        bend = d @ y
        if bend <= 0:
            return 0.0
        bound = -1 / (np.linalg.norm(d) * min(0.01, float(np.linalg.norm(past))))
        return max(float((y - 2 * d * (y @ y) / bend) @ g / bend), float(bound))

    def direction(self, state: Sequence[np.ndarray], g: np.ndarray) -> np.ndarray:
        d, past = (vector.astype(np.float64) for vector in state)
        if not past.any():
            return -g
        found = -g + self._beta(g, d, past) * d
        return found if found @ g < 0 else -g

    def first_length(self, fresh: bool, before: float | None, here: Point, d: np.ndarray) -> float:
        if not fresh and before is not None and before > here.value:  # as if it fell as much again
            return min(1.0, 1.01 * 2 * (here.value - before) / float(here.gradient @ d))
        return min(1.0, 1.0 / float(np.abs(here.gradient).sum()))

    def remember(self, state: Sequence[np.ndarray], d: np.ndarray, old: Point, new: Point) -> None:
        state[0][:] = d
        state[1][:] = old.gradient
