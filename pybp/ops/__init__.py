"""NumPy-like functions on symbolic values: what custom layers, losses and functions are made of.

Operands are nodes of a graph (what `Layer.build` and a function under `bp.grad` are given),
parameters, numbers and NumPy arrays. The axis of the batch is invisible: axes are those of one row,
and values that are the same for all rows broadcast with those that are not.

    def loss(y_true, y_pred):
        return bp.ops.mean(bp.ops.log(bp.ops.cosh(y_pred - y_true)))

Nothing is computed when such a function is called. Its graph is lowered once to a plan, in which
chains of elementwise functions are one pass over tiles that stay in cache, and runs natively.
"""

from collections.abc import Callable
from typing import Any

from pybp.ops import convolution as _convolution
from pybp.ops import einsum as _einsum
from pybp.ops import elementwise as _elementwise
from pybp.ops import linear as _linear
from pybp.ops import reductions as _reductions
from pybp.ops import shaping as _shaping
from pybp.ops.symbols import apply, constant  # noqa: F401

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "constant": constant,
    **_elementwise.FUNCTIONS,
    **_shaping.FUNCTIONS,
    **_reductions.FUNCTIONS,
    **_linear.FUNCTIONS,
    **_einsum.FUNCTIONS,
    **_convolution.FUNCTIONS,
}
globals().update(FUNCTIONS)


def __getattr__(name: str) -> Callable[..., Any]:
    from pybp.errors import unknown

    raise AttributeError(str(unknown("function of bp.ops", name, FUNCTIONS)))
