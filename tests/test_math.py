"""The elementary functions of csrc/ops/math.h and erf.h over their whole range, in every
instruction set: no further from the exact result than the bounds that those files state.

float32 is compared with doubles, at two million bit patterns that cover every exponent, and float64
with mpmath. Each function is reached through the op that is that function, or that it is all of on
one side of 0 (elu is expm1 there, and softplus ends in log1p).
"""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from pybp import _core
from pybp.graph import Node, Parameter
from pybp.init import Constant
from pybp.lower import lower
from pybp.request import Request
from pybp.store import ParameterStore

mpmath.mp.prec = 120

DOUBLE = {
    "exp": np.exp,
    "log": np.log,
    "sigmoid": lambda x: np.where(x < 0, np.exp(x), 1) / (1 + np.exp(-np.abs(x))),
    "tanh": np.tanh,
    "erf": np.vectorize(math.erf, otypes=[float]),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "gelu": np.vectorize(lambda x: x * math.erfc(-x / math.sqrt(2)) / 2, otypes=[float]),
}


def exp(x):
    """With numbers that a double can hold the logarithm of."""
    return mpmath.exp(min(max(x, -10000), 10000))


EXACT = {
    "exp": exp,
    "log": mpmath.log,
    "sigmoid": lambda x: 1 / (1 + exp(-x)),
    "tanh": lambda x: 1 - 2 / (1 + exp(2 * x)) if abs(x) > 1 else mpmath.tanh(x),
    "erf": mpmath.erf,
    "elu": lambda x: x if x > 0 else mpmath.expm1(x) if x > -1 else exp(x) - 1,
    "softplus": lambda x: mpmath.log1p(exp(x)) if x < 50 else x + exp(-x),
    "gelu": lambda x: x if x > 50 else x * mpmath.erfc(-max(x, -100) / mpmath.sqrt(2)) / 2,
}
BOUND = {
    "exp": 1.25,
    "log": 1,
    "sigmoid": 3,
    "tanh": 3,
    "erf": 3,
    "elu": 1.25,
    "softplus": 2,
    "gelu": 8,
}
# (-infinity, infinity) ->
LIMITS = {
    "exp": (0, math.inf),
    "log": (math.nan, math.inf),
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
    "erf": (-1, 1),
    "elu": (-1, math.inf),
    "softplus": (0, math.inf),
    "gelu": (0, math.inf),
}
SMALLEST = {"gelu": 100}  # its factor exp(-x^2 / 2) is 0 before the product is
ATTRS = {"elu": {"alpha": 1.0}}


@pytest.fixture(params=_core.isa_list(), autouse=True)
def isa(request, monkeypatch):
    monkeypatch.setenv("PYBP_CPU", request.param)
    return request.param


def through(op, x):
    """x through a plan of the op alone."""
    feed = Node("feed", attrs={"source": 0, "scale": 1.0}, shape=(1,))
    node = Node(op, (feed,), attrs=ATTRS.get(op, {}))
    store = ParameterStore([Parameter("unused", (1,), Constant())], x.dtype)
    lowered = lower(Request(len(x), keep=[node]), store)
    bound = (_core.Source(x.reshape(-1, 1)),)
    return lowered.plan.once(bound, len(x), [lowered.value(node)])[0].ravel()


def normal(x):
    return x[np.isfinite(x) & (np.abs(x) >= np.finfo(x.dtype).tiny)]


def every_exponent(op, dtype):
    """Normal numbers of either sign; positive ones for the logarithm."""
    if dtype == np.float32:
        first, last = np.array([2.0**-14, 128], np.float32).view(np.uint32).tolist()
        bits = [np.arange(0, 2**32, 4099), np.arange(first, last, 499)]
        x = np.concatenate([b.astype(np.uint32).view(np.float32) for b in bits])
        x = np.concatenate([x, -x])
    else:
        rng = np.random.default_rng(3)
        bits = rng.integers(0, 2**64, 2000, dtype=np.uint64)
        near = [rng.uniform(-s, s, 600) for s in (0.01, 1.5, 8, 40, 750)]
        x = np.concatenate([bits.view(np.float64), *near, 1 + rng.uniform(-0.1, 0.1, 200)])
    return normal(np.abs(x) if op == "log" else x)


def exact_results(op, x):
    if x.dtype == np.float32:
        with np.errstate(all="ignore"):
            return DOUBLE[op](x.astype(np.float64))
    return [EXACT[op](mpmath.mpf(float(v))) for v in x]


def worst(op, y, exact, dtype):
    """The largest error in units in the last place of the exact result, where that is normal; where
    it is beyond the largest number it must be infinite, and 0 will do below the smallest."""
    info = np.finfo(dtype)
    if dtype == np.float32:
        size = np.abs(exact)
        with np.errstate(all="ignore"):
            unit = np.exp2(np.floor(np.log2(size)) - info.nmant)
            units = np.abs(y.astype(np.float64) - exact) / unit
    else:
        size = np.array([math.inf if abs(e) > info.max else float(abs(e)) for e in exact])
        units = np.array(
            [
                float(abs(mpmath.mpf(float(a)) - e) / mpmath.mpf(2) ** (mpmath.mag(e) - 53))
                if math.isfinite(a) and e != 0
                else math.inf
                for a, e in zip(y, exact, strict=True)
            ]
        )
    too_large = size > info.max
    assert np.all(np.isinf(y[too_large]))
    small = size < SMALLEST.get(op, 1.00001) * info.tiny
    assert np.all(np.abs(y[small]) <= SMALLEST.get(op, 1.00001) * info.tiny)
    return units[~too_large & ~small].max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", DOUBLE)
def test_error_is_within_the_stated_bound(op, dtype):
    x = every_exponent(op, dtype)
    found = worst(op, through(op, x), exact_results(op, x), dtype)
    assert found <= BOUND[op]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", DOUBLE)
def test_infinities_give_the_limits_and_nan_stays(op, dtype):
    y = through(op, np.array([-np.inf, np.inf, np.nan], dtype))
    np.testing.assert_array_equal(y, [*LIMITS[op], np.nan])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_reaches_both_ends(dtype):
    """The largest argument whose exp is finite, the smallest whose exp is normal, and their
    neighbours beyond."""
    info = np.finfo(dtype)
    top, bottom = (np.array(math.log(float(v)), dtype) for v in (info.max, info.tiny))
    above = [top + k * np.spacing(top) for k in (-1, 2)]
    below = [bottom * dtype(1 - 1e-7), bottom * dtype(1 + 1e-6)]
    finite, infinite, tiny, zero = through("exp", np.array([*above, *below], dtype))
    assert np.isfinite(finite)
    assert infinite == np.inf
    assert info.tiny <= tiny < info.tiny * 1.001
    assert zero == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_logarithm_of_nothing_and_of_less(dtype):
    x = np.array([0.0, -0.0, np.finfo(dtype).tiny / 4, -1.0, -np.finfo(dtype).tiny], dtype)
    np.testing.assert_array_equal(through("log", x), [-np.inf, -np.inf, -np.inf, np.nan, np.nan])


@pytest.mark.parametrize("op", ["tanh", "erf", "elu"])
def test_small_arguments_keep_their_last_bits(op):
    """An odd function's result near 0 is its slope there times the argument."""
    x = np.logspace(-300, -20, 200)
    slope = 2 / math.sqrt(math.pi) if op == "erf" else 1
    np.testing.assert_allclose(through(op, -x), -slope * x, rtol=4e-16)
