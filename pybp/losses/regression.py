"""Losses that compare values. C is the number of outputs; e_c = y_c - t_c."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pybp._core import Source
from pybp.checks import boolean, real
from pybp.graph import Node
from pybp.losses.base import Loss, one_by_one, refuse_rows


class Values(Loss):
    """Base of the losses whose targets are one value for each output, (N, C), or (N,) for one."""

    op = ""

    def kernel(self, output: Node, width: int) -> tuple[str, dict[str, Any]]:
        return self.op, {}

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        return one_by_one(self.name, y, output, dtype, what)


class MSE(Values):
    """1/C sum_c e_c^2 per row, and the mean over rows."""

    name = "mse"
    factor: float | None = None

    def kernel(self, output: Node, width: int) -> tuple[str, dict[str, Any]]:
        factor = self.factor or 1 / math.prod(output.shape)
        return "squared_error", {"factor": factor, "mean": int(self.mean)}


class SSE(MSE):
    """sum_c e_c^2 per row, and the sum over rows."""

    name = "sse"
    mean = False
    factor = 1.0


class HalfSSE(SSE):
    """1/2 sum_c e_c^2 per row, and the sum over rows."""

    name = "half_sse"
    factor = 0.5


class MAE(Values):
    """1/C sum_c |e_c| per row, and the mean over rows; the slope at 0 is 0.

    >>> import pybp as bp
    >>> model = bp.Sequential([bp.Input(1), bp.Dense(1)])
    >>> model.compile(bp.optim.SGD(0.02), loss="mae", dtype="float64")
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> y = 3 * x
    >>> y[0] = 1000  # the line through most points does not care for one
    >>> _ = model.fit(x, y, epochs=400, batch_size=5)
    >>> abs(model.predict([[1.0]])[0, 0] - 3) < 0.1
    np.True_
    """

    name = "mae"
    op = "absolute_error"


class Huber(Values):
    """1/C sum_c h(e_c) per row, mean over rows: h(e) = e^2/2 for |e| <= delta, and
    delta (|e| - delta/2) beyond: quadratic near the target, and outliers pull no harder than delta.

    Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.
    """

    name = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = real(delta, "Huber: delta", 0, open_low=True)

    def kernel(self, output: Node, width: int) -> tuple[str, dict[str, Any]]:
        return "huber", {"delta": self.delta}


class LogCosh(Values):
    """1/C sum_c log cosh e_c per row, mean over rows: e^2/2 for small errors, |e| - log 2 for large
    ones, and smooth in between."""

    name = "log_cosh"
    op = "log_cosh"


class Quantile(Values):
    """1/C sum_c max(q d_c, (q - 1) d_c) per row, d = t - y, mean over rows: least where y is the
    q-quantile of the targets, the median at q = 0.5.

    Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978.
    """

    name = "quantile"

    def __init__(self, q: float = 0.5) -> None:
        self.q = real(q, "Quantile: q", 0, 1, open_low=True, open_high=True)

    def kernel(self, output: Node, width: int) -> tuple[str, dict[str, Any]]:
        return "quantile", {"q": self.q}


class Poisson(Values):
    """Negative log-likelihood of counts t, without the part that only depends on t; mean over
    outputs and rows.

    By default the outputs are logarithms of rates: exp(y) - t y, after a last layer without
    activation, and np.exp(model.predict(x)) are the rates. With `log_input=False` they are rates:
    y - t log(y + eps), after a last layer whose outputs are positive, such as softplus; a rate
    below -eps is a DivergenceError.
    """

    name = "poisson"

    def __init__(self, log_input: bool = True, eps: float = 1e-8) -> None:
        self.log_input = boolean(log_input, "Poisson: log_input")
        self.eps = real(eps, "Poisson: eps", 0, open_low=True)

    def kernel(self, output: Node, width: int) -> tuple[str, dict[str, Any]]:
        return "poisson", {"log_input": int(self.log_input), "eps": self.eps}

    def scores(self, output: Node) -> Node:
        if self.log_input and output.op not in ("dense", "identity"):
            raise ValueError(
                f"loss 'poisson' takes a last layer without activation, for logarithms of rates, "
                f"layer {output.layer!r} ends in {output.op}: use "
                "loss=bp.losses.Poisson(log_input=False) where outputs are rates"
            )
        return output

    def targets(self, y: object, output: Node, dtype: np.dtype, what: str = "y") -> Source:
        source = super().targets(y, output, dtype, what)
        refuse_rows(source.array < 0, source.array, what, "counts are >= 0")
        return source


class CosineSimilarity(Values):
    """1 - y.t / (|y| |t|) per row, mean over rows: 0 where prediction and target point the same
    way, 2 where they point opposite ways. Norms below 1e-8 count as 1e-8."""

    name = "cosine_similarity"
    op = "cosine_similarity"

    def scores(self, output: Node) -> Node:
        if output.shape[-1] == 1:
            raise ValueError(
                f"loss 'cosine_similarity' needs at least two outputs, layer {output.layer!r} has "
                "one, which has no direction: use loss='mse'"
            )
        return output
