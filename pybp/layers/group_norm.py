"""Normalisation of images and sequences, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybp import init
from pybp.checks import boolean, real, whole
from pybp.graph import Node
from pybp.layers.image import enter
from pybp.layers.trained import TrainedLayer
from pybp.layouts import given_shape

if TYPE_CHECKING:
    from typing import Unpack

    from pybp.layers.trained import Training


class GroupNorm(TrainedLayer):
    """Normalises groups of an image's channels over their places:
    y = gamma (x - mean) / sqrt(variance + eps) + beta.

    Mean and (biased) variance are those of the row's own values in the group, in training and
    afterwards: no row depends on another, and batches of one are fine. With one group the layer is
    a `LayerNorm` over the whole image. Wu and He, ECCV 2018.

    Parameters
    ----------
    groups : int
        The number of channels must be a multiple of it.
    eps : float > 0
    affine : bool
        Whether there are gamma and beta, one for each channel; ones and zeros at first.
    """

    def __init__(
        self,
        groups: int = 32,
        eps: float = 1e-5,
        affine: bool = True,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(name, **training)
        self.groups = whole(groups, "GroupNorm: groups")
        self.eps = real(eps, "GroupNorm: eps", 0, open_low=True)
        self.affine = boolean(affine, "GroupNorm: affine")

    def build(self, x: Node | None, name: str) -> Node:
        x = enter(x, name, "GroupNorm", 0)
        if x.shape[0] % self.groups:
            raise ValueError(
                f"layer {name!r}: the {x.shape[0]} channels of layer {x.layer!r} (rows "
                f"{given_shape(x)}, {x.layout}) do not divide into groups={self.groups}: "
                "give a number that divides them"
            )
        return self._normalised(x, self.groups, name)

    def _normalised(self, x: Node, groups: int, name: str) -> Node:
        parameters = (
            self.weight(f"{name}.gamma", x.shape[:1], init.Constant(1.0)),
            self.bias(f"{name}.beta", x.shape[:1], init.Constant(0.0)),
        )
        attrs = {"groups": groups, "eps": self.eps}
        return Node("group_norm", (x,), parameters if self.affine else (), attrs, name)


class InstanceNorm(GroupNorm):
    """Normalises each channel of each image over its places: `GroupNorm` with a channel a group.

    Ulyanov, Vedaldi and Lempitsky, 2016.

    Parameters
    ----------
    eps : float > 0
    affine : bool
        Whether there are gamma and beta, one for each channel; ones and zeros at first.
    """

    def __init__(
        self,
        eps: float = 1e-5,
        affine: bool = True,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(1, eps, affine, name, **training)
        del self.groups

    def build(self, x: Node | None, name: str) -> Node:
        x = enter(x, name, "InstanceNorm", 0)
        return self._normalised(x, x.shape[0], name)
