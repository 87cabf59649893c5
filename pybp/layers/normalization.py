"""Normalisation layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybp import init
from pybp.checks import boolean, real
from pybp.graph import Node, Running
from pybp.layers.trained import TrainedLayer
from pybp.layouts import as_given, as_image

if TYPE_CHECKING:
    from typing import Unpack

    from pybp.layers.trained import Training


class BatchNorm(TrainedLayer):
    """Normalises each column over the batch: y = gamma (x - mean) / sqrt(variance + eps) + beta.

    A column is a value of flat rows; a channel of images and sequences, in every layout; the last
    axis of rows without a layout. Training takes mean and variance from the batch at hand, N rows
    and, of a channel, all its places; everything else, `predict`, `evaluate`, `gradients`, takes
    the running ones, so that a row's answer does not depend on its neighbours. After each step
    running <- (1 - momentum) running + momentum batch, with the unbiased variance of the batch.
    Ioffe and Szegedy, ICML 2015.

    Behind a `Dense` layer, before or after its activation, it costs next to nothing at inference:
    it is a scale and a shift of that layer's columns, in the same pass; behind `Input` likewise.

    Parameters
    ----------
    momentum : float in [0, 1]
        Weight of the newest batch in the running statistics, PyTorch's convention (Keras's
        `momentum` is one minus this).
    eps : float > 0
    affine : bool
        Whether there are gamma and beta, [C] each; ones and zeros at first.

    Frozen, by `trainable=False` or `model.freeze`, it uses its running statistics in training too
    and leaves them as they are. With an optimiser that accumulates gradients, the statistics are
    those of each piece of the batch, and the running ones follow the last piece of a step; averaged
    parameters (EMA, SWA) go with the running statistics of the training.

    The running statistics are `model.buffers["batchnorm0.mean"]` and `"batchnorm0.variance"`, [C]
    float64, zeros and ones at first. A row of sample weight 0 counts in the batch's statistics like
    any other: it takes part in the layer, though not in the loss. Every batch needs two values of
    each column: a batch of one, or a last batch of one, is refused in training, but for images and
    sequences of more than one place.

    >>> import numpy as np, pybp as bp
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(100.0, 20.0, (200, 3))
    >>> y = x @ [0.1, -0.2, 0.3]
    >>> model = bp.Sequential([bp.Input(3), bp.BatchNorm(), bp.Dense(1)])
    >>> model.compile(optimizer=bp.optim.Adam(0.5), loss="mse", seed=0)
    >>> history = model.fit(x, y, epochs=60, batch_size=50, verbose=0)
    >>> bool(model.evaluate(x, y)["loss"] < 0.05 * y.var())
    True
    >>> bool(np.allclose(model.buffers["batchnorm0.mean"], x.mean(axis=0), atol=1))
    True
    """

    def __init__(
        self,
        momentum: float = 0.1,
        eps: float = 1e-5,
        affine: bool = True,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(name, **training)
        self.momentum = real(momentum, "BatchNorm: momentum", 0, 1)
        self.eps = real(eps, "BatchNorm: eps", 0, open_low=True)
        self.affine = boolean(affine, "BatchNorm: affine")

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        if x.layout and x.layout != "NLC":
            x = as_image(x, name, "BatchNorm")
        shape = x.shape[:1] if x.image else x.shape[-1:]
        parameters = (
            self.weight(f"{name}.gamma", shape, init.Constant(1.0)),
            self.bias(f"{name}.beta", shape, init.Constant(0.0)),
        )
        return Node(
            "channel_batch_norm" if x.image else "batch_norm",
            (x,),
            parameters if self.affine else (),
            {"momentum": self.momentum, "eps": self.eps, "frozen": 0},
            name,
            running=(
                Running(f"{name}.mean", shape, 0.0),
                Running(f"{name}.variance", shape, 1.0),
            ),
        )


class LayerNorm(TrainedLayer):
    """Normalises each row over its last axis: y = gamma (x - mean) / sqrt(variance + eps) + beta.

    The last axis is the user's: channels in layout "NHWC", the width in "NCHW". Mean and (biased)
    variance are those of the row's own C values, in training and afterwards: no row depends on
    another, and batches of one are fine. `GroupNorm(1)` is over all of an image. Ba, Kiros and
    Hinton, 2016.

    Parameters
    ----------
    eps : float > 0
    affine : bool
        Whether there are gamma and beta, [C] each; ones and zeros at first.
    """

    def __init__(
        self,
        eps: float = 1e-5,
        affine: bool = True,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(name, **training)
        self.eps = real(eps, "LayerNorm: eps", 0, open_low=True)
        self.affine = boolean(affine, "LayerNorm: affine")

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        x = as_given(x)
        parameters = (
            self.weight(f"{name}.gamma", x.shape[-1:], init.Constant(1.0)),
            self.bias(f"{name}.beta", x.shape[-1:], init.Constant(0.0)),
        )
        return Node("layer_norm", (x,), parameters if self.affine else (), {"eps": self.eps}, name)


class RMSNorm(TrainedLayer):
    """Scales each row by its root mean square: y = gamma x / sqrt(mean x^2 + eps).

    `LayerNorm` without its mean: over the last axis too, and of the row alone. Zhang and
    Sennrich, NeurIPS 2019.

    Parameters
    ----------
    eps : float > 0
    affine : bool
        Whether there is gamma, [C], ones at first.
    """

    def __init__(
        self,
        eps: float = 1e-6,
        affine: bool = True,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(name, **training)
        self.eps = real(eps, "RMSNorm: eps", 0, open_low=True)
        self.affine = boolean(affine, "RMSNorm: affine")

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        x = as_given(x)
        gamma = self.weight(f"{name}.gamma", x.shape[-1:], init.Constant(1.0))
        return Node("rms_norm", (x,), (gamma,) if self.affine else (), {"eps": self.eps}, name)
