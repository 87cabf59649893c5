"""Activations: as layers of their own, and as what other layers are told to apply."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pybp import init
from pybp.checks import boolean, real
from pybp.described import from_data
from pybp.described import name_of as name_of_thing
from pybp.errors import unknown
from pybp.graph import ACTIVATIONS, Node, topological
from pybp.layers.base import Layer, made_of, under
from pybp.layers.trained import TrainedLayer
from pybp.layouts import given_shape, in_given_order, over_channels, with_channels

if TYPE_CHECKING:
    from typing import Unpack

    from pybp.layers.trained import Training

Function = Callable[[Node], Node]  # of a user's
DEFAULTS = {"leaky_relu": {"negative_slope": 0.01}, "elu": {"alpha": 1.0}}
NORMALISED = {"softmax", "log_softmax"}  # one behind the other would flatten it
# Functions that pass on about half of the variance, and keep their mean squares by He's rule.
RECTIFIERS = {"relu", "leaky_relu", "prelu", "elu", "gelu", "gelu_tanh", "silu", "mish"}


class Activation(Layer):
    """y = f(x) for an activation f by name.

    Parameters
    ----------
    activation : str or function
        A function of a symbolic value, written with operators and `bp.ops`: called once, and
        compiled. A saved model names it: `bp.load(path, custom=[function])`. Or a name:
        "elu", "gelu", "gelu_tanh", "hard_sigmoid", "hard_tanh", "identity" (or "linear"),
        "leaky_relu", "log_softmax", "mish", "prelu", "relu", "selu", "sigmoid", "silu", "softmax",
        "softplus", "softsign", "step" or "tanh". docs/activations.md has their equations.
    **arguments
        negative_slope of "leaky_relu" (0.01) and alpha of "elu" (1.0), both >= 0.

    softmax and log_softmax are over the last axis of rows, and over the channels at each place of
    images, in every layout. Other layers take an object of this class for their `activation`, to
    give such arguments. "step" has no derivative: `Model.compile` refuses to train anything before
    it.

    >>> import numpy as np, pybp as bp
    >>> x = np.linspace(-2, 2, 100)[:, None]
    >>> hidden = bp.Dense(16, activation=bp.Activation("elu", alpha=0.5))
    >>> model = bp.Sequential([bp.Input(1), hidden, bp.Dense(1), bp.Activation("softplus")])
    >>> model.compile(optimizer=bp.optim.Adam(0.05), loss="mse", seed=0)
    >>> history = model.fit(x, np.abs(x), epochs=200, verbose=0)
    >>> model.evaluate(x, np.abs(x))["loss"] < 0.01
    True
    """

    def __init__(
        self, activation: str | Function | None, name: str | None = None, **arguments: float
    ) -> None:
        super().__init__(name)
        self.activation = _op_of(activation, "Activation") or "identity"
        name = self.activation if isinstance(self.activation, str) else ""
        self._defaults = DEFAULTS.get(name, {})
        for key in arguments:
            if key not in self._defaults:
                takes = ", ".join(self._defaults) or "no arguments"
                raise TypeError(f"Activation({activation!r}) takes {takes}, got {key!r}")
        for key, default in self._defaults.items():
            value = real(arguments.get(key, default), f"Activation({activation!r}): {key}", 0)
            setattr(self, key, value)

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        if not isinstance(self.activation, str):
            return _applied(self.activation, x, name)
        if self.activation == "prelu":
            return PReLU().build(x, name)
        if self.activation in NORMALISED:
            return _normalised(self.activation, with_channels(x, name), name)
        attrs = {key: getattr(self, key) for key in self._defaults}
        return Node(self.activation, (x,), attrs=attrs, layer=name)


class PReLU(TrainedLayer):
    """y = x where x > 0, slope x elsewhere, with slopes that are trained.

    He, Zhang, Ren and Sun, ICCV 2015. As the `activation` of another layer its parameter bears that
    layer's name.

    Parameters
    ----------
    shared : bool
        One slope for all features instead of one for each, or for each channel of images: `slope`
        has shape [1] or [C].
    slope_init : initialiser, its name, or a constant
    **training
        weight_regularizer, learning_rate_factor, trainable: see `pybp.layers.TrainedLayer`.

    >>> import numpy as np, pybp as bp
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> model = bp.Sequential([bp.Input(1), bp.PReLU()])
    >>> model.compile(optimizer=bp.optim.SGD(0.5), loss="mse", dtype="float64", seed=0)
    >>> history = model.fit(x, np.where(x > 0, x, -0.5 * x), epochs=50, verbose=0)
    >>> round(model.parameters["prelu0.slope"].item(), 6)
    -0.5
    """

    def __init__(
        self,
        shared: bool = False,
        slope_init: object = 0.25,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(name, **training)
        self.shared = boolean(shared, "PReLU: shared")
        self.slope_init = init.get(slope_init, "PReLU: slope_init")

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        x = with_channels(x, name)
        by_channel = x.image and not self.shared
        shape = (1,) if self.shared else x.shape[:1] if by_channel else x.shape[-1:]
        slope = self.weight(f"{name}.slope", shape, self.slope_init)
        return Node("channel_prelu" if by_channel else "prelu", (x,), (slope,), layer=name)


def _normalised(op: str, x: Node, name: str) -> Node:
    """Softmax and its kin: over the channels of images and sequences, else over the last axis."""
    last = x.inputs[0] if x.image and x.op == "permute" else x
    if last.op in NORMALISED:
        raise ValueError(
            f"layer {name!r}: {op} of a {last.op} (layer {last.layer!r}); remove one of the two"
        )
    return over_channels(op, x, name) if x.image else Node(op, (x,), layer=name)


def _applied(function: Function, x: Node, name: str) -> Node:
    """A user's function of a layer's output."""
    what = name_of_thing(function)
    with under(name):
        y = in_given_order(lambda given: function(given[0]), [x])
    if not isinstance(y, Node):
        raise TypeError(
            f"layer {name!r}: activation {what!r} must give a symbolic value made of its argument, "
            f"got {type(y).__name__}"
        )
    remedy = "it is a function of one value; a layer with merges = True takes several"
    made_of(y, [x], f"layer {name!r}: activation {what!r}", remedy)
    if (given_shape(y), y.batched) != (given_shape(x), x.batched):
        raise ValueError(
            f"layer {name!r}: activation {what!r} makes rows of shape {given_shape(y)} of rows of "
            f"shape {given_shape(x)}: it must keep the shape"
        )
    for node in topological([y]):
        node.layer = node.layer or name
    return y


KINDS: dict[str, type[Activation | PReLU]] = {"activation": Activation, "prelu": PReLU}


def _op_of(given: object, what: str) -> str | Function | None:
    """The op of an activation's name; None for no activation ("linear" is another name for it); a
    function as it is."""
    if given is None or given == "linear":
        return None
    if callable(given) and not isinstance(given, type):
        return given
    if not isinstance(given, str):
        raise TypeError(f"{what}: activation must be a name, a function or None, got {given!r}")
    if given not in ACTIVATIONS:
        raise unknown(f"activation for {what}", given, ACTIVATIONS | {"linear"})
    return str(given)  # a name that NumPy has drawn is a np.str_


def activation_of(given: object, what: str) -> str | Function | Activation | PReLU | None:
    """What a layer was told to apply: a name, an object, saved data, or nothing."""
    if isinstance(given, dict):
        given = from_data(KINDS, given, f"activation for {what}")
    if isinstance(given, Activation | PReLU):
        return given
    if isinstance(given, Layer):
        raise TypeError(f"{what}: activation must be a name or a function, got the layer {given!r}")
    return _op_of(given, what)


def name_of(activation: str | Function | Activation | PReLU | None) -> str:
    """The activation's name, "" for none."""
    if isinstance(activation, PReLU):
        return "prelu"
    found = activation.activation if isinstance(activation, Activation) else activation
    return name_of_thing(found) if callable(found) else found or ""


def weight_init_for(activation: str | Function | Activation | PReLU | None) -> str:
    """The initialiser that keeps signals at their size through layers with this activation."""
    name = name_of(activation)
    return "he" if name in RECTIFIERS else "lecun" if name == "selu" else "glorot"


def activate(
    x: Node, activation: str | Function | Activation | PReLU | None, name: str, host: TrainedLayer
) -> Node:
    """`x` through an activation, as a part of the host, the layer of that name."""
    if activation is None:
        return x
    if activation == "prelu":
        activation = PReLU(learning_rate_factor=host.learning_rate_factor, trainable=host.trainable)
    if not isinstance(activation, Activation | PReLU):
        activation = Activation(activation)
    return activation.build(x, name)
