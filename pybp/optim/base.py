"""What all optimisers share: a learning rate, and what happens to gradients before the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pybp import _core, schedules
from pybp.checks import real, whole
from pybp.described import Described
from pybp.optim.averaging import Average
from pybp.optim.averaging import get as get_average
from pybp.updates import Rules

if TYPE_CHECKING:
    from typing import TypedDict

    class Options(TypedDict, total=False):
        """The keyword arguments that every optimiser takes: see `Optimizer`."""

        weight_decay: float
        clip_value: float | None
        clip_norm: float | None
        global_clip_norm: float | None
        accumulate: int
        average: Average | dict | None


class Optimizer(Described):
    """Base of all optimisers: a learning rate (a number or a schedule), a kernel, and options that
    every optimiser takes as keywords.

    Parameters
    ----------
    learning_rate : float or schedule
    weight_decay : float
        Decoupled from the gradient: w <- (1 - learning_rate weight_decay) w before each step. Of
        weights only; biases and the scales and shifts of normalisation do not decay. Loshchilov and
        Hutter, ICLR 2019.
    clip_value : float, optional
        Every element of the gradient is brought into [-clip_value, clip_value].
    clip_norm : float, optional
        The gradient g of every parameter array is multiplied by
        min(1, clip_norm / (|g| + 1e-6)), as PyTorch does, |g| being its Euclidean norm.
    global_clip_norm : float, optional
        The same of all gradients together: they keep their direction.
    accumulate : int
        A step takes in so many batches of `fit`'s `batch_size`, one after the other: it is the step
        of one batch of all their rows, in the memory of one of them. At the end of an epoch a step
        may have fewer rows. Layers that look at whole batches, such as BatchNorm, see the small
        ones; of dropout every one gets its own mask.
    average : `EMA` or `SWA`, optional
        An average of the parameters is kept beside them: see `Model.use_averaged_parameters`.

    Penalties of layers (`pybp.regularizers`) are added to the gradient first; then values are
    clipped, then norms, then the global norm.
    """

    hands_on = True
    full_batch: ClassVar[bool] = False
    _defaults: ClassVar[dict] = {
        "weight_decay": 0.0,
        "clip_value": None,
        "clip_norm": None,
        "global_clip_norm": None,
        "accumulate": 1,
        "average": None,
    }

    def __init__(
        self,
        learning_rate: float | schedules.Schedule = 0.01,
        *,
        weight_decay: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        accumulate: int = 1,
        average: Average | dict | None = None,
    ) -> None:
        name = type(self).__name__
        self.learning_rate = schedules.get(learning_rate)
        self.weight_decay = real(weight_decay, f"{name}: weight_decay", 0)
        self.clip_value = _bound(clip_value, f"{name}: clip_value")
        self.clip_norm = _bound(clip_norm, f"{name}: clip_norm")
        self.global_clip_norm = _bound(global_clip_norm, f"{name}: global_clip_norm")
        self.accumulate = whole(accumulate, f"{name}: accumulate")
        self.average = get_average(average, f"{name}: average")

    def config(self) -> dict:
        """The arguments that make an equal object again, without options that are not used."""
        found = super().config()
        for option, default in self._defaults.items():
            if found[option] == default:
                del found[option]
        return found

    def kernel(self) -> tuple[str, dict[str, float | int]]:
        """Name and attributes of the row of the optimiser table that does the work."""
        raise NotImplementedError

    def state_vectors(self) -> int:
        """How many vectors as long as the parameters it keeps in a model."""
        return _core.optimizers()[self.kernel()[0]]["states"]

    def rules(self) -> Rules:
        """What the compiler has to know of the options."""
        return Rules(
            self.weight_decay,
            self.clip_value or 0.0,
            self.clip_norm or 0.0,
            self.global_clip_norm or 0.0,
        )

    @property
    def fusible(self) -> bool:
        """Whether gradients may be used up piece by piece, before all are known."""
        return self.accumulate == 1 and not self.rules().measures


def _bound(given: float | None, what: str) -> float | None:
    return None if given is None else real(given, what, 0, open_low=True)
