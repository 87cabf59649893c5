"""The bound of rounding errors: of every function it holds, and it is no wild guess."""

import numpy as np
import pytest

import pybp as bp
from pybp import ops as o
from pybp.ops.elementwise import UNARY

RNG = np.random.default_rng(0)
POSITIVE = {"log", "sqrt", "rsqrt"}
FUNCTIONS = {name: getattr(o, name) for name in UNARY} | {
    "elu": lambda x: o.elu(x, 0.3),
    "leaky_relu": o.leaky_relu,
    "arctan2": lambda x: o.arctan2(x[0], x[1]),
    "hypot": lambda x: o.hypot(x[0], x[1]),
    "logaddexp": lambda x: o.logaddexp(x[0], x[1]),
    "log10": lambda x: o.log10(abs(x) + 0.2),
    "softmax": o.softmax,
    "log_softmax": o.log_softmax,
    "mean": o.mean,
    "std": o.std,
    "times a constant": lambda x: x * 0.1,
    "plus a constant": lambda x: x + 0.1,
    "a constant to the power": lambda x: o.power(1.3, x),
    "to the power of a constant": lambda x: abs(x) ** 1.7,
    "to the fifth power": lambda x: x**5,
    "times an array": lambda x: x * np.array([0.1, 0.3, 0.7]),
    "a product of vectors": lambda x: x @ np.array([0.1, 0.7, -0.3]),
    "clip": lambda x: o.clip(x, -0.1, 0.1),
}


def points(name):
    """Where a function is defined, near 0 and far from it; the same whatever else runs."""
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 3.0, 8.0):
        x = rng.normal(size=(40, 3)) * scale
        if name in {"arcsin", "arccos", "arctanh"}:
            x = np.clip(x, -0.99, 0.99)
        if name in POSITIVE | {"arccosh"}:
            x = abs(x) + (name == "arccosh")
        yield from np.maximum(x, -0.99 if name == "log1p" else -np.inf).astype(np.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_bound_holds_for_every_function(name):
    def f(x):
        value = FUNCTIONS[name](x)
        return value[0] if value.ndim else value

    value, bound = bp.value_and_grad(f), bp.rounding_error(f)
    for x in points(name):
        exact = value(x.astype(float))[0]
        limit = bound(x)
        # which the bound leaves out: gelu multiplies by x what has underflowed
        underflow = np.finfo(np.float32).tiny * max(1.0, abs(x).max())
        assert abs(value(x)[0] - exact) <= limit + underflow <= 1e-4 * max(1.0, abs(exact))


@pytest.mark.parametrize("f", [o.erf, o.gelu, o.silu, o.tanh, o.mish, o.sigmoid, o.gelu_tanh])
def test_the_bound_holds_where_many_values_are_added_up(f):
    x = RNG.normal(size=(50, 30)).astype(np.float32)
    for row in x:
        double = bp.value_and_grad(lambda x: o.sum(f(x)))(row.astype(float))[0]
        single = bp.value_and_grad(lambda x: o.sum(f(x)))(row)[0]
        assert abs(single - double) <= bp.rounding_error(lambda x: o.sum(f(x)))(row)


def test_what_rounds_nothing_adds_nothing():
    x = RNG.normal(size=6).astype(np.float32)
    assert bp.rounding_error(lambda x: o.max(o.flip(-abs(x))))(x) == 0
    assert bp.rounding_error(lambda x: o.sum(x * 0.5))(x) > 0


def test_the_bound_of_rounding_errors_holds_and_is_no_wild_guess():
    def f(x, w):
        h = o.tanh(w @ x)
        return o.sum(h**2) / o.mean(o.exp(x)) + o.norm(o.cumsum(x))

    for seed in range(5):
        rng = np.random.default_rng(seed)
        x, w = rng.normal(size=40).astype("f4"), rng.normal(size=(30, 40)).astype("f4")
        single = bp.value_and_grad(f)(x, w)[0]
        double = bp.value_and_grad(f)(x.astype(float), w.astype(float))[0]
        bound = bp.rounding_error(f)(x, w)
        assert abs(single - double) <= bound < 1e-3 * abs(double)
        assert bp.rounding_error(f)(x.astype(float), w.astype(float)) < 1e-8 * bound


@pytest.mark.parametrize(
    "f", [lambda x: o.prod(x), lambda x: o.sum(o.cumprod(x)), lambda x: o.sum(o.prod(x, axis=0))]
)
def test_the_bound_of_rounding_errors_of_products_holds(f):
    for seed in range(20):
        x = np.random.default_rng(seed).uniform(0.9, 1.1, (4, 30)).astype("f4")
        single = bp.value_and_grad(f)(x)[0]
        double = bp.value_and_grad(f)(x.astype(float))[0]
        assert abs(single - double) <= bp.rounding_error(f)(x) < 1e-4 * abs(double)


def test_rounding_of_a_cancelling_difference_by_hand():
    """(x + a) - a: rounding x + a is off by half a unit of 1000, and the difference is exact."""
    value = bp.rounding_error(lambda x: (x + 1000.0) - 1000.0)(np.float64(0.1))
    unit = np.finfo(float).eps / 2
    assert value == pytest.approx(unit * (1000.1 + 0.1), rel=1e-9)


def test_rounding_does_not_ask_where_the_numbers_are():
    bound = bp.rounding_error(lambda kind, x: x * 0.1 if kind == "tenth" else x)
    assert bound("tenth", 3.0) == bound("tenth", x=3.0) == bound(kind="tenth", x=3.0) > 0
