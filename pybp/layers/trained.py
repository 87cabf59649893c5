"""What layers with parameters may be told about their training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pybp.checks import boolean, real
from pybp.graph import Parameter
from pybp.init import Initializer
from pybp.init import get as initializer
from pybp.layers.base import Layer

if TYPE_CHECKING:
    from typing import TypedDict

    from pybp.regularizers import Regularizer

    class Training(TypedDict, total=False):
        """The keyword arguments that every layer with parameters takes: see `TrainedLayer`."""

        weight_regularizer: Regularizer | dict | None
        bias_regularizer: Regularizer | dict | None
        max_norm: float | None
        learning_rate_factor: float
        trainable: bool


class TrainedLayer(Layer):
    """Base of layers with parameters, which all take the keywords below. One of your own declares
    them in `build`, by `weight` and `bias`, under names that begin with the layer's:

    >>> import numpy as np, pybp as bp
    >>> class Affine(bp.TrainedLayer):
    ...     def __init__(self, units, name=None, **training):
    ...         super().__init__(name, **training)
    ...         self.units = units
    ...
    ...     def build(self, x, name):
    ...         w = self.weight(f"{name}.weight", (self.units, x.shape[-1]), "glorot")
    ...         b = self.bias(f"{name}.bias", (self.units,))
    ...         return bp.ops.tanh(x @ w.T + b)
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> model = bp.Sequential([bp.Input(1), Affine(16), bp.Dense(1)])
    >>> model.compile(optimizer=bp.optim.Adam(0.02), loss="mse", seed=0)
    >>> history = model.fit(x, x**2, epochs=100, verbose=0)
    >>> model.evaluate(x, x**2)["loss"] < 0.01
    True

    weight_regularizer, bias_regularizer : `pybp.regularizers` object, optional
        A penalty on the weights (the scale, of a normalisation) and on the biases (the shift).
    max_norm : float, optional
        After every update the incoming weights of a unit, a row of the weight matrix, are scaled
        back to this Euclidean norm if it is larger. Srebro and Shraibman, COLT 2005; Srivastava et
        al., JMLR 15, 2014. Only of layers with a weight matrix.
    learning_rate_factor : float
        Multiplies the optimiser's learning rate for this layer's parameters.
    trainable : bool
        False freezes the layer: its parameters get no gradients and no updates, and nothing is
        computed backward below which nothing trains. See `Model.freeze`.
    """

    hands_on = True
    has_rows: ClassVar[bool] = False  # a weight matrix, of which max_norm speaks
    _defaults: ClassVar[dict] = {
        "weight_regularizer": None,
        "bias_regularizer": None,
        "max_norm": None,
        "learning_rate_factor": 1.0,
        "trainable": True,
    }

    def __init__(
        self,
        name: str | None = None,
        *,
        weight_regularizer: Regularizer | dict | None = None,
        bias_regularizer: Regularizer | dict | None = None,
        max_norm: float | None = None,
        learning_rate_factor: float = 1.0,
        trainable: bool = True,
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        self.weight_regularizer = _regularizer(weight_regularizer, f"{kind}: weight_regularizer")
        self.bias_regularizer = _regularizer(bias_regularizer, f"{kind}: bias_regularizer")
        if max_norm is not None:
            max_norm = real(max_norm, f"{kind}: max_norm", 0, open_low=True)
            if not self.has_rows:
                raise ValueError(f"{kind} has no weight matrix whose rows max_norm could limit")
        self.max_norm = max_norm
        self.learning_rate_factor = real(
            learning_rate_factor, f"{kind}: learning_rate_factor", 0, 1e6, open_low=True
        )
        self.trainable = boolean(trainable, f"{kind}: trainable")

    def config(self) -> dict:
        """The arguments that make an equal layer again, without those at their defaults."""
        found = super().config()
        for option, default in self._defaults.items():
            if found[option] == default:
                del found[option]
        return found

    def weight(
        self, name: str, shape: tuple[int, ...], init: Initializer | str | float = "glorot"
    ) -> Parameter:
        """A parameter that is trained as the layer's weights; `init` draws it, by itself, its name,
        or as a constant."""
        return self._parameter(name, shape, init, self.weight_regularizer, self.max_norm)

    def bias(
        self, name: str, shape: tuple[int, ...], init: Initializer | str | float = 0.0
    ) -> Parameter:
        """A parameter that is trained as the layer's biases."""
        return self._parameter(name, shape, init, self.bias_regularizer, None)

    def _parameter(
        self,
        name: str,
        shape: tuple[int, ...],
        init: Initializer | str | float,
        penalty: Regularizer | None,
        max_norm: float | None,
    ) -> Parameter:
        l1, l2 = penalty.factors() if penalty else (0.0, 0.0)
        factor = self.learning_rate_factor
        init = initializer(init, f"{name}: init")
        return Parameter(name, shape, init, self.trainable, factor, l1, l2, max_norm or 0.0)


def _regularizer(given: object, what: str) -> Regularizer | None:
    if given is None:
        return None
    from pybp import regularizers  # most models have none

    return regularizers.get(given, what)
