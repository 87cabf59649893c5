"""The fully connected layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybp import init, layouts
from pybp.checks import boolean, whole
from pybp.graph import Node
from pybp.layers.activation import activate, activation_of, weight_init_for
from pybp.layers.base import LARGEST
from pybp.layers.trained import TrainedLayer

if TYPE_CHECKING:
    from typing import Unpack

    from pybp.layers.activation import Activation, Function, PReLU
    from pybp.layers.trained import Training


class Dense(TrainedLayer):
    """A fully connected layer: y = f(x weight' + bias).

    Parameters
    ----------
    units : int
        Number of outputs O. `weight` has shape [O, I], `bias` [O].
    activation : str, function, `Activation` or `PReLU`, optional
        f, by name, written with `bp.ops`, or with its arguments; linear when left out.
    use_bias : bool
    weight_init, bias_init : initialiser, its name, or a constant
        By default He for relu and its kin (leaky_relu, prelu, elu, gelu, silu, mish), LeCun for
        selu, Glorot otherwise; zeros for the bias.
    **training
        weight_regularizer, bias_regularizer, max_norm, learning_rate_factor, trainable: see
        `pybp.layers.TrainedLayer`.
    """

    has_rows = True

    def __init__(
        self,
        units: int,
        activation: str | Function | Activation | PReLU | None = None,
        use_bias: bool = True,
        weight_init: object = None,
        bias_init: object = 0.0,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(name, **training)
        self.units = whole(units, "Dense: units", most=LARGEST)
        self.activation = activation_of(activation, "Dense")
        self.use_bias = boolean(use_bias, "Dense: use_bias")
        if weight_init is None:
            weight_init = weight_init_for(self.activation)
        self.weight_init = init.get(weight_init, "Dense: weight_init")
        self.bias_init = init.get(bias_init, "Dense: bias_init")

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        x = layouts.for_units(x, name, "Dense")
        shape = (self.units, x.shape[-1])
        parameters = [self.weight(f"{name}.weight", shape, self.weight_init)]
        if self.use_bias:
            parameters.append(self.bias(f"{name}.bias", (self.units,), self.bias_init))
        linear = Node("dense", (x,), tuple(parameters), layer=name)
        return activate(linear, self.activation, name, self)
