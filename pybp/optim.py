"""Optimisers: what a training step does with the gradients.

An optimiser object is a description; its state lives in the model that was compiled with it, so one
object may serve many models. The arithmetic is in csrc/optim, one file each.
"""

from __future__ import annotations

from pybp import schedules
from pybp.checks import boolean, real
from pybp.described import Described, from_data
from pybp.errors import unknown


class Optimizer(Described):
    """Base of all optimisers: a learning rate (a number or a schedule) and a kernel."""

    def __init__(self, learning_rate: float | schedules.Schedule = 0.01) -> None:
        self.learning_rate = schedules.get(learning_rate)

    def kernel(self) -> tuple[str, dict[str, float | int]]:
        """Name and attributes of the row of the optimiser table that does the work."""
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent, plain or with momentum:

        v <- momentum v + g
        w <- w - learning_rate v                    (g itself when momentum is 0)
        w <- w - learning_rate (g + momentum v)     (nesterov)

    Polyak 1964; Sutskever, Martens, Dahl and Hinton, ICML 2013.
    """

    def __init__(
        self,
        learning_rate: float | schedules.Schedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(learning_rate)
        self.momentum = real(momentum, "SGD: momentum", 0, 1, open_high=True)
        self.nesterov = boolean(nesterov, "SGD: nesterov")
        if self.nesterov and not self.momentum:
            raise ValueError("SGD: nesterov needs a momentum > 0, for instance momentum=0.9")

    def kernel(self) -> tuple[str, dict[str, float | int]]:
        if not self.momentum:
            return "sgd", {}
        return "momentum", {"momentum": self.momentum, "nesterov": int(self.nesterov)}


class Adam(Optimizer):
    """Adam: steps scaled by running means of the gradient and of its square, both corrected for
    their start at zero:

        m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
        w <- w - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Kingma and Ba, ICLR 2015.
    """

    def __init__(
        self,
        learning_rate: float | schedules.Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(learning_rate)
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ValueError(f"Adam: betas must be two numbers (beta1, beta2), got {betas!r}")
        self.betas = tuple(real(b, "Adam: betas", 0, 1, open_high=True) for b in betas)
        self.eps = real(eps, "Adam: eps", 0, open_low=True)

    def kernel(self) -> tuple[str, dict[str, float | int]]:
        return "adam", {"beta1": self.betas[0], "beta2": self.betas[1], "eps": self.eps}


KINDS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam}


def get(given: object) -> Optimizer:
    """The optimiser that an object, a name or saved data stands for."""
    if isinstance(given, Optimizer):
        return given
    if isinstance(given, dict):
        return from_data(KINDS, given, "optimizer")
    if isinstance(given, str):
        if given.lower() not in KINDS:
            raise unknown("optimizer", given, KINDS)
        return KINDS[given.lower()]()
    if isinstance(given, type) and issubclass(given, Optimizer):
        raise TypeError(f"optimizer is the class {given.__name__}: make one, {given.__name__}()")
    raise TypeError(f"optimizer must be a pybp.optim object or a name, got {given!r}")
