"""Optimisers that step from the gradient of a minibatch. The arithmetic is in csrc/optim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybp import schedules
from pybp.checks import boolean, real
from pybp.errors import unknown
from pybp.optim.base import Optimizer

if TYPE_CHECKING:
    from typing import Unpack

    from pybp.optim.base import Options

Rate = float | schedules.Schedule
Kernel = tuple[str, dict[str, float | int]]


def _betas(given: object, what: str) -> tuple[float, float]:
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(f"{what} must be two numbers (beta1, beta2), got {given!r}")
    first, second = (real(b, what, 0, 1, open_high=True) for b in given)
    return first, second


class SGD(Optimizer):
    """Stochastic gradient descent, plain or with momentum:

        v <- momentum v + g
        w <- w - learning_rate v                    (g itself when momentum is 0)
        w <- w - learning_rate (g + momentum v)     (nesterov)

    Polyak 1964; Sutskever, Martens, Dahl and Hinton, ICML 2013.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.momentum = real(momentum, "SGD: momentum", 0, 1, open_high=True)
        self.nesterov = boolean(nesterov, "SGD: nesterov")
        if self.nesterov and not self.momentum:
            raise ValueError("SGD: nesterov needs a momentum > 0, for instance momentum=0.9")

    def kernel(self) -> Kernel:
        if not self.momentum:
            return "sgd", {}
        return "momentum", {"momentum": self.momentum, "nesterov": int(self.nesterov)}


class Adagrad(Optimizer):
    """Adagrad: every parameter's rate falls with the sum of its squared gradients:

        s <- s + g^2                                (s is initial_accumulator at first)
        w <- w - learning_rate g / (sqrt(s) + eps)

    Duchi, Hazan and Singer, JMLR 12, 2011.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        initial_accumulator: float = 0.0,
        eps: float = 1e-10,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.initial_accumulator = real(initial_accumulator, "Adagrad: initial_accumulator", 0)
        self.eps = real(eps, "Adagrad: eps", 0, open_low=True)

    def kernel(self) -> Kernel:
        return "adagrad", {"initial": self.initial_accumulator, "eps": self.eps}


class Adadelta(Optimizer):
    """Adadelta: steps in the parameters' own units, from running means of squares:

        s <- rho s + (1 - rho) g^2
        d = g sqrt(u + eps) / sqrt(s + eps)
        u <- rho u + (1 - rho) d^2
        w <- w - learning_rate d

    Zeiler, 2012 (arXiv 1212.5701).
    """

    def __init__(
        self,
        learning_rate: Rate = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = real(rho, "Adadelta: rho", 0, 1, open_high=True)
        self.eps = real(eps, "Adadelta: eps", 0, open_low=True)

    def kernel(self) -> Kernel:
        return "adadelta", {"rho": self.rho, "eps": self.eps}


class RMSprop(Optimizer):
    """RMSprop: gradients divided by a running root mean square, or, centered, by a running standard
    deviation:

        s <- alpha s + (1 - alpha) g^2              c <- alpha c + (1 - alpha) g
        d = g / (sqrt(s) + eps)                     d = g / (sqrt(s - c^2) + eps)     (centered)
        w <- w - learning_rate d
        b <- momentum b + d, w <- w - learning_rate b     (with momentum)

    Tieleman and Hinton 2012; centered: Graves 2013 (arXiv 1308.0850).
    """

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.alpha = real(alpha, "RMSprop: alpha", 0, 1, open_high=True)
        self.eps = real(eps, "RMSprop: eps", 0, open_low=True)
        self.momentum = real(momentum, "RMSprop: momentum", 0, 1, open_high=True)
        self.centered = boolean(centered, "RMSprop: centered")

    def kernel(self) -> Kernel:
        name = "rmsprop" + "_centered" * self.centered + "_momentum" * (self.momentum > 0)
        return name, {"alpha": self.alpha, "eps": self.eps, "momentum": self.momentum}


class Adam(Optimizer):
    """Adam: steps scaled by running means of the gradient and of its square, both corrected for
    their start at zero:

        m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
        w <- w - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    With `amsgrad`, the largest v so far stands in v's place (Reddi, Kale and Kumar, ICLR 2018).
    Kingma and Ba, ICLR 2015.
    """

    def __init__(
        self,
        learning_rate: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        amsgrad: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        name = type(self).__name__
        self.betas = _betas(betas, f"{name}: betas")
        self.eps = real(eps, f"{name}: eps", 0, open_low=True)
        self.amsgrad = boolean(amsgrad, f"{name}: amsgrad")

    def kernel(self) -> Kernel:
        attrs = {"beta1": self.betas[0], "beta2": self.betas[1], "eps": self.eps}
        return "amsgrad" if self.amsgrad else "adam", attrs


class AdamW(Adam):
    """Adam with decoupled weight decay: w <- (1 - learning_rate weight_decay) w before each of
    Adam's steps, of weights and not of biases. Loshchilov and Hutter, ICLR 2019.
    """

    def __init__(
        self,
        learning_rate: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        amsgrad: bool = False,
        **options: Unpack[Options],
    ) -> None:
        options.setdefault("weight_decay", 0.01)
        super().__init__(learning_rate, betas, eps, amsgrad, **options)

    def config(self) -> dict:
        return {**super().config(), "weight_decay": self.weight_decay}


class Adamax(Optimizer):
    """Adamax: Adam with the largest recent gradient in place of the root mean square:

        m <- beta1 m + (1 - beta1) g          u <- max(beta2 u, |g| + eps)
        w <- w - learning_rate / (1 - beta1^t) m / u

    Kingma and Ba, ICLR 2015, section 7.1.
    """

    def __init__(
        self,
        learning_rate: Rate = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.betas = _betas(betas, "Adamax: betas")
        self.eps = real(eps, "Adamax: eps", 0, open_low=True)

    def kernel(self) -> Kernel:
        return "adamax", {"beta1": self.betas[0], "beta2": self.betas[1], "eps": self.eps}


class Nadam(Optimizer):
    """Nadam: Adam with Nesterov's look-ahead and a momentum that warms up,
    mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2), P_t = mu_1 mu_2 ... mu_t:

        m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
        w <- w - learning_rate (g (1 - mu_t) / (1 - P_t) + m mu_(t+1) / (1 - P_(t+1)))
                               / (sqrt(v / (1 - beta2^t)) + eps)

    Dozat, ICLR workshop, 2016.
    """

    def __init__(
        self,
        learning_rate: Rate = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        momentum_decay: float = 4e-3,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.betas = _betas(betas, "Nadam: betas")
        self.eps = real(eps, "Nadam: eps", 0, open_low=True)
        self.momentum_decay = real(momentum_decay, "Nadam: momentum_decay", 0)

    def kernel(self) -> Kernel:
        attrs = {"beta1": self.betas[0], "beta2": self.betas[1], "eps": self.eps}
        return "nadam", attrs | {"momentum_decay": self.momentum_decay}


class Lion(Optimizer):
    """Lion: steps of one size, in the direction of an interpolated momentum's sign. Its learning
    rates are a third to a tenth of Adam's:

        w <- w - learning_rate sign(beta1 m + (1 - beta1) g)
        m <- beta2 m + (1 - beta2) g

    Chen et al., NeurIPS 2023 (arXiv 2302.06675).
    """

    def __init__(
        self,
        learning_rate: Rate = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.betas = _betas(betas, "Lion: betas")

    def kernel(self) -> Kernel:
        return "lion", {"beta1": self.betas[0], "beta2": self.betas[1]}


class Rprop(Optimizer):
    """Resilient backpropagation, for full batches (`fit(..., batch_size=len(x))`): every parameter
    has a step size of its own, `learning_rate` at first. It grows by etas[1] while the gradient
    keeps its sign, shrinks by etas[0] when the sign changes, and stays within `step_sizes`; of the
    gradient only the sign is used: w <- w - sign(g) step.

    Variants, for what happens when the sign has changed:
    "rprop-" steps on; "irprop-" leaves the parameter alone for one step, as PyTorch does; "irprop+"
    besides takes the last step back if the loss (of the data, without penalties) has risen.

    Riedmiller and Braun, ICNN 1993; Igel and Huesken, NC 2000.
    """

    VARIANTS = ("irprop+", "irprop-", "rprop-")

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        variant: str = "irprop+",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        if not isinstance(etas, tuple | list) or len(etas) != 2:
            raise ValueError(f"Rprop: etas must be two numbers (shrink, grow), got {etas!r}")
        if not isinstance(step_sizes, tuple | list) or len(step_sizes) != 2:
            raise ValueError(f"Rprop: step_sizes must be (least, most), got {step_sizes!r}")
        self.etas = (
            real(etas[0], "Rprop: etas[0]", 0, 1, open_low=True, open_high=True),
            real(etas[1], "Rprop: etas[1]", 1, open_low=True),
        )
        least = real(step_sizes[0], "Rprop: step_sizes[0]", 0, open_low=True)
        self.step_sizes = least, real(step_sizes[1], "Rprop: step_sizes[1]", least)
        if variant not in self.VARIANTS:
            raise unknown("variant of Rprop", variant, self.VARIANTS)
        self.variant = variant

    def kernel(self) -> Kernel:
        attrs: dict[str, float | int] = {"shrink": self.etas[0], "grow": self.etas[1]}
        attrs |= {"least": self.step_sizes[0], "most": self.step_sizes[1]}
        attrs["forget"] = int(self.variant != "rprop-")
        return "irprop_plus" if self.variant == "irprop+" else "rprop", attrs
