"""Functions of `bp.ops` at kinks, zeros and infinities, their mistakes, and how they are merged."""

import itertools

import numpy as np
import pytest
from test_ops_functions import run

import pybp as bp
from pybp import ops as o
from pybp.graph import Node, Parameter
from pybp.init import Constant
from pybp.lower import lower
from pybp.request import Request
from pybp.store import ParameterStore
from pybp.testing import check_grad


def test_equal_operands_of_extremes_share_the_gradient():
    x = np.array([1.0, 1.0, 0.0])
    assert bp.grad(lambda x: o.max(x))(x).tolist() == [0.5, 0.5, 0.0]
    assert bp.grad(o.maximum, (0, 1))(2.0, 2.0) == (0.5, 0.5)
    assert bp.grad(o.minimum, (0, 1))(2.0, 2.0) == (0.5, 0.5)


def test_products_with_zeros_have_their_derivatives():
    x = np.array([2.0, 0.0, 3.0])
    assert bp.grad(lambda x: o.prod(x))(x).tolist() == [0.0, 6.0, 0.0]
    check_grad(lambda x: o.sum(o.cumprod(x)), x)
    assert bp.hvp(lambda x: o.prod(x))(x, np.eye(3)[1]).tolist() == [3.0, 0.0, 2.0]


def test_nan_stays_nan():
    for f in (o.maximum, o.minimum, o.add, lambda x, y: o.max(o.stack([x, y]))):
        for pair in ((np.nan, 1.0), (1.0, np.nan)):
            assert np.isnan(run(f, pair))


def test_powers_at_the_edges():
    x = np.array([-2.0, 0.0, 2.0])
    assert bp.grad(lambda x: o.sum(x**2.0))(x).tolist() == [-4.0, 0.0, 4.0]
    assert bp.grad(lambda x: o.sum(x**0))(x).tolist() == [0.0, 0.0, 0.0]
    assert bp.grad(o.power, 1)(0.0, 2.0) == 0.0
    assert bp.grad(lambda x: o.sum(x**5.0))(x).tolist() == [80.0, 0.0, 80.0]
    assert bp.hvp(lambda x: o.sum(x**0))(x, np.ones(3)).tolist() == [0.0, 0.0, 0.0]
    assert bp.hvp(lambda x: o.sum(x**5.0))(x, np.ones(3)).tolist() == [-160.0, 0.0, 160.0]
    assert bp.jvp(lambda p: o.sum(0.0**p))(np.array([2.0, 1.0]), np.ones(2))[1] == 0.0


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_quotients_by_zero_have_the_derivatives_of_ieee(zero):
    slope = np.copysign(np.inf, zero)
    assert bp.grad(lambda x: x / zero)(1.0) == slope
    assert bp.jvp(lambda x: x / zero)(1.0, 1.0) == (slope, slope)
    assert bp.jvp(lambda x: x / zero)(-1.0, -1.0) == (-slope, -slope)
    assert bp.hvp(lambda x: (x / zero) ** 2)(1.0, 1.0) == np.inf
    assert bp.grad(bp.grad(lambda x: x / zero))(1.0) == 0.0


def test_what_does_not_change_has_slope_zero_be_it_infinite():
    f = lambda x: o.floor(x / 2) * o.constant(np.inf)  # noqa: E731
    assert bp.jvp(f)(3.0, 1.0) == (np.inf, 0.0)
    assert bp.hvp(f)(3.0, 1.0) == bp.grad(bp.grad(f))(3.0) == 0.0
    assert bp.grad(lambda x: bp.jvp(f)(x, 1.0)[1])(3.0) == 0.0


def test_logsumexp_of_infinite_values():
    inf = np.inf
    for values, expected in (([-inf, 1.0], 1.0), ([-inf, -inf], -inf), ([inf, 0.0], inf)):
        assert run(o.logsumexp, [np.array(values)]) == expected
    assert bp.grad(o.logsumexp)(np.array([-inf, 1.0])).tolist() == [0.0, 1.0]


def test_logaddexp_of_all_kinds_of_numbers():
    inf = np.inf
    pairs = [(3.0, 4.0), (1e300, 1e300), (0.0, -40.0), (-40.0, 0.0), (1.0, -1e20), (-inf, 3.0)]
    pairs += [(-inf, -inf), (inf, inf), (inf, 1.0), (0.0, 0.0)]
    for x, y in pairs:
        assert run(o.logaddexp, (x, y)) == pytest.approx(np.logaddexp(x, y), rel=1e-15)
    assert bp.grad(o.logaddexp, (0, 1))(2.0, 2.0) == (0.5, 0.5)
    assert bp.grad(o.logaddexp, (0, 1))(-inf, 2.0) == (0.0, 1.0)
    curved = bp.jacobian(bp.grad(lambda v: o.logaddexp(v[0], v[1])))(np.ones(2))
    np.testing.assert_allclose(curved, [[0.25, -0.25], [-0.25, 0.25]])


def test_hypot_of_all_kinds_of_numbers():
    for x, y in [(3.0, -4.0), (1e300, 1e300), (1e-300, 0.0), (0.0, 0.0), (np.inf, 1.0)]:
        assert run(o.hypot, (x, y)) == pytest.approx(np.hypot(x, y), rel=1e-15)
    curved = bp.jacobian(bp.grad(lambda v: o.hypot(v[0], v[1])))(np.array([3.0, 4.0]))
    np.testing.assert_allclose(curved, [[0.128, -0.096], [-0.096, 0.072]])
    with pytest.raises(ValueError, match=r"hypot: shapes \(2,\) and \(3,\) of layer .input0"):
        o.hypot(np.zeros(2), bp.Input(3))


@pytest.mark.parametrize("f", [o.norm, o.std, lambda x: o.sum(o.hypot(x[0], x[1]))])
def test_lengths_of_nothing_have_no_slope(f):
    """Of two rows that are equal the distance's gradient must not be NaN."""
    x = np.zeros((2, 3))
    value, slope = bp.value_and_grad(f)(x)
    assert value == 0 and (slope == 0).all()
    assert (bp.jacobian(bp.grad(f))(x) == 0).all()
    assert np.isnan(bp.value_and_grad(f)(x * np.nan)[0])


@pytest.mark.parametrize(("f", "own"), [(o.tril, np.tril), (o.triu, np.triu)])
def test_what_lies_beyond_a_diagonal_is_zero_whatever_it_was(f, own):
    x = np.array([[np.inf, np.nan, -1.0], [np.nan, 2.0, -np.inf], [-3.0, -np.inf, np.nan]])
    for k in (-1, 0, 1):
        found = run(lambda x, k=k: f(x, k), [x])
        np.testing.assert_array_equal(found, own(x, k))
        assert not np.signbit(found[found == 0]).any()
        slope = bp.grad(lambda x, k=k: o.sum(o.where(own(np.ones((3, 3)), k), f(x, k) * x, 0.0)))
        np.testing.assert_array_equal(slope(x), own(2 * x, k))
        along = bp.jvp(lambda x, k=k: f(x, k))(np.ones((3, 3)), x)[1]
        np.testing.assert_array_equal(along, own(x, k))


def test_derivatives_of_running_products_that_overflow():
    x, ones = np.array([1.0, 1e200, 1e200, 2.0]), np.ones(4)
    first = lambda x: bp.jvp(o.cumprod)(x, ones)[1][:3]  # noqa: E731
    assert bp.jvp(first)(x, ones)[0].tolist() == [1.0, 1e200, np.inf]
    assert bp.jvp(first)(x, ones)[1].tolist() == [0.0, 2.0, 4e200]


def test_chains_are_merged_into_one_instruction():
    x = Node("feed", attrs={"source": 0, "scale": 1.0}, shape=(10,))
    y = o.exp(-(x**2)) * o.sin(3 * x) + o.tanh(x) / (1 + x**2)
    store = ParameterStore([Parameter("unused", (1,), Constant())], np.float64)
    names = [k["op"] for k in lower(Request(4, keep=[y]), store).instructions]
    assert names == ["feed", "expression"]


@pytest.mark.parametrize(
    ("said", "shapes", "words"),
    [
        ("ij,jk->ik", [(3, 4), (5, 2)], "'j' is both 4 and 5"),
        ("ij,jk->ik", [(3, 4)], "of 2 operands, got 1"),
        ("ijk->i", [(3, 4)], r"3 axes in 'ijk', and its operand \(3, 4\)"),
        ("...i->i", [(3, 4)], "letters"),
        ("ij->ik", [(3, 4)], "every axis once"),
        ("ij->ii", [(3, 3)], "every axis once"),
    ],
)
def test_mistakes_in_einsum_are_named(said, shapes, words):
    with pytest.raises(ValueError, match=words):
        o.einsum(said, *(np.ones(shape) for shape in shapes))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: x[[True, False]], IndexError, r"mask of shape \(2,\) for axes of shape \(3,\)"),
        (lambda x: x[:, [False] * 4], IndexError, "False everywhere"),
        (lambda x: x[[0, 1], [0, 4]], IndexError, "length 4"),
        (lambda x: x[0, 0, 0], IndexError, r"3 axes are too many.*\(3, 4\)"),
        (lambda x: x[..., ...], IndexError, "one ellipsis"),
        (lambda x: o.reshape(x, (1,) * 5 + (3, 4)), ValueError, "at most 6 axes"),
        (lambda x: o.diagonal(x, 4), ValueError, r"\(3, 4\) has no diagonal 4"),
        (lambda x: o.diagonal(x, 0, 1, -1), ValueError, "the same one"),
        (lambda x: o.take_along_axis(x, [[4]], 1), IndexError, "length 4"),
        (lambda x: o.take_along_axis(x, [[0.5]], 1), IndexError, "whole numbers"),
        (lambda x: o.take_along_axis(x, [0], 1), ValueError, r"\(3, 4\).*\(1,\)"),
    ],
)
def test_mistakes_in_places_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call(o.constant(np.ones((3, 4))))


KEYS = [0, np.array(-1), slice(None), slice(None, 0, -1), None, ..., [0, 2], np.array([[1], [0]])]
KEYS += [np.array([True, False, True]), np.arange(9).reshape(3, 3) % 5 == 2]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_mixture_of_keys_is_numpys(count):
    x = np.arange(27.0).reshape(3, 3, 3)
    for key in itertools.product(KEYS, repeat=count):
        try:
            expected = x[key]
        except IndexError:
            with pytest.raises(IndexError):
                o.index(x, key)
            continue
        found = run(lambda x, key=key: x[key] + 0.0, [x])
        np.testing.assert_array_equal(found, expected, str(key), strict=True)


def test_arrays_that_stand_apart_have_derivatives():
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    check_grad(lambda x: o.sum(x[[0, 1, 1], :, [0, 3, 3]] ** 2 @ np.arange(3.0)), x)


SIZED = {
    "reshape": lambda x, n: o.reshape(x, (n, 12)),
    "broadcast_to": lambda x, n: o.broadcast_to(x, (n, 2, 3, 4)),
    "repeat": lambda x, n: o.repeat(x, n, 0),
    "tile": o.tile,
    "tile by axes": lambda x, n: o.tile(x, (1, n, 1)),
    "diff": o.diff,
    "roll": o.roll,
    "split": lambda x, n: o.split(x, n)[0],
    "split at places": lambda x, n: o.split(x, [n], 1)[0],
    "diagonal": lambda x, n: o.diagonal(x, n, 1, 2),
    "trace": lambda x, n: o.trace(x[0], n),
    "tril": o.tril,
    "triu": o.triu,
    "pad": o.pad,
    "pad by axes": lambda x, n: o.pad(x, [(n, 0), (0, 0), (0, n)]),
    "one_hot": o.one_hot,
    "sum": o.sum,
    "transpose": lambda x, n: o.transpose(x, (n, 0, 1)),
    "moveaxis": lambda x, n: o.moveaxis(x, 0, n),
    "expand_dims": o.expand_dims,
    "take": lambda x, n: o.take(x, [0, 1], n),
    "concatenate": lambda x, n: o.concatenate([x, x], n),
    "cumsum": o.cumsum,
    **{
        f"{name} of conv2d": lambda x, n, name=name: o.conv2d(x, np.ones((2, 2, 2, 1)), **{name: n})
        for name in ("stride", "padding", "dilation")
    },
    "groups of conv2d": lambda x, n: o.conv2d(x, np.ones((2, 1, 2, 1)), groups=n),
    "stride of conv1d": lambda x, n: o.conv1d(x[0], np.ones((2, 3, 2)), stride=n),
}


@pytest.mark.parametrize("name", SIZED)
def test_sizes_are_whole_numbers_pythons_or_numpys(name):
    x, f = np.arange(24.0).reshape(2, 3, 4), SIZED[name]
    found = run(lambda x: f(x, 2) + 0.0, [x])
    np.testing.assert_array_equal(run(lambda x: f(x, np.int32(2)) + 0.0, [x]), found, strict=True)
    for wrong in (2.0, 2.5, np.float64(2.0), "2"):
        with pytest.raises((TypeError, ValueError), match=r"bp.ops.*whole number"):
            f(o.constant(x), wrong)


def test_a_margin_may_be_one_for_all_axes():
    x = np.arange(6.0).reshape(2, 3)
    for widths in (1, (1, 2), [(1, 2)], [[1], [2]], np.array([[1, 0], [0, 2]])):
        np.testing.assert_array_equal(run(lambda x, w=widths: o.pad(x, w), [x]), np.pad(x, widths))


def test_places_that_are_not_there_are_nan():
    x = np.arange(6.0).reshape(2, 3)
    found = run(o.take_along_axis, [x, np.array([[2.0, 3.0], [-1.0, 0.0]])])
    np.testing.assert_array_equal(found, [[2.0, np.nan], [np.nan, 3.0]])
