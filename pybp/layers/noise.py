"""Layers that disturb their input in training and are the identity otherwise."""

from __future__ import annotations

from pybp.checks import real
from pybp.graph import Node
from pybp.layers.base import Layer
from pybp.layers.image import enter


class Dropout(Layer):
    """In training, zeroes each value with probability `rate` and scales the rest by 1 / (1 - rate);
    the identity otherwise. Srivastava et al., JMLR 15, 2014.
    """

    def __init__(self, rate: float, name: str | None = None) -> None:
        super().__init__(name)
        self.rate = real(rate, f"{type(self).__name__}: rate", 0, 1, open_high=True)

    _op = "dropout"

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        return Node(self._op, (x,), attrs={"rate": self.rate}, layer=name)


class SpatialDropout2D(Dropout):
    """`Dropout` of whole channels: in training each channel of each image is zeroed with
    probability `rate`, and scaled by 1 / (1 - rate) otherwise; the identity afterwards.

    Neighbouring places of an image say much the same, so that dropping them one by one drops
    little. Tompson, Goroshin, Jain, LeCun and Bregler, CVPR 2015.
    """

    _axes = 2

    def build(self, x: Node | None, name: str) -> Node:
        x = enter(x, name, type(self).__name__, self._axes)
        return Node("spatial_dropout", (x,), attrs={"rate": self.rate}, layer=name)


class SpatialDropout1D(SpatialDropout2D):
    """`SpatialDropout2D` of sequences."""

    _axes = 1


class AlphaDropout(Dropout):
    """Dropout for layers behind selu: in training y = a x + b with probability 1 - `rate`, else
    a s + b, with s = -1.7581, selu's value at minus infinity, and a and b such that mean 0 and
    variance 1 are kept; the identity otherwise. Klambauer et al., NIPS 2017.
    """

    _op = "alpha_dropout"


class GaussianDropout(Dropout):
    """In training y = x (1 + sqrt(rate / (1 - rate)) z) with standard normal z, whose mean and
    variance are those of `Dropout`; the identity otherwise. Srivastava et al., JMLR 15, 2014.
    """

    _op = "gaussian_dropout"


class GaussianNoise(Layer):
    """In training y = x + stddev z with standard normal z, of each value its own; the identity
    otherwise. Behind `Input` it makes a net robust against noisy inputs. Bishop, Neural
    Computation 7, 1995.

    >>> import numpy as np, pybp as bp
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> model = bp.Sequential([bp.Input(1), bp.GaussianNoise(0.05), bp.Dense(1)])
    >>> model.compile(optimizer=bp.optim.SGD(0.1), loss="mse", seed=0)
    >>> history = model.fit(x, 2 * x, epochs=50, batch_size=8, verbose=0)
    >>> abs(model.parameters["dense0.weight"].item() - 2) < 0.1
    True
    """

    def __init__(self, stddev: float, name: str | None = None) -> None:
        super().__init__(name)
        self.stddev = real(stddev, "GaussianNoise: stddev", 0)

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        return Node("gaussian_noise", (x,), attrs={"stddev": self.stddev}, layer=name)
