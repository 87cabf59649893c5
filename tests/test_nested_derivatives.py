"""Derivatives of derivatives: `bp.grad` and its kin within functions that are traced."""

import numpy as np
import pytest

import pybp as bp
from pybp import ops as o
from pybp.testing import check_grad

RNG = np.random.default_rng(0)


def test_derivatives_of_every_order():
    f = lambda x: x**4 + o.exp(0.5 * x)  # noqa: E731
    for order, power in enumerate([4 * 8, 12 * 4, 24 * 2, 24], 1):
        f = bp.grad(f)
        assert f(2.0) == pytest.approx(power + 0.5**order * np.e, rel=1e-12)


def energy(x):
    return o.sum(o.sin(x) * x[::-1] ** 2) + o.prod(o.tanh(x)) + o.logsumexp(x @ o.outer(x, x))


def test_the_hessian_is_symmetric_and_that_of_differences():
    x, h = RNG.normal(size=4), 1e-5
    found, slope = bp.jacobian(bp.grad(energy))(x), bp.grad(energy)
    np.testing.assert_allclose(found, found.T, rtol=1e-12, atol=1e-13)
    expected = [(slope(x + h * e) - slope(x - h * e)) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    v = RNG.normal(size=4)
    np.testing.assert_allclose(bp.hvp(energy)(x, v), found @ v, rtol=1e-10)
    along = bp.grad(lambda x: bp.jvp(energy)(x, v)[1])(x)
    np.testing.assert_allclose(along, found @ v, rtol=1e-10)


def test_what_a_function_takes_from_outside_is_another_variable():
    assert bp.grad(lambda x: bp.grad(lambda y: y * y * x)(x))(3.0) == 4 * 3.0
    assert bp.grad(lambda x: bp.grad(lambda y: y * y * x)(2.0))(3.0) == 2 * 2.0
    assert bp.grad(lambda x: bp.value_and_grad(lambda y: y**3)(x)[0])(3.0) == 27.0
    assert bp.grad(lambda x: x * bp.grad(lambda y: y**3)(2.0))(3.0) == 12.0  # a number


def test_the_arguments_keep_their_form():
    def f(p):
        slopes = bp.grad(lambda q: o.sum(q["a"] ** 2 * q["b"]))(p)
        return slopes["a"] @ slopes["b"]

    a, b = RNG.normal(size=3), RNG.normal(size=3)
    found = bp.grad(f)({"a": a, "b": b})  # of sum 2 a^3 b
    np.testing.assert_allclose(found["a"], 6 * a**2 * b, rtol=1e-12)
    np.testing.assert_allclose(found["b"], 2 * a**3, rtol=1e-12)


def test_a_penalty_on_the_jacobian_of_a_layer():
    """As contractive autoencoders have it: Rifai et al., ICML 2011."""

    def penalty(w, x):
        return o.sum(bp.jacobian(lambda x: o.tanh(w @ x))(x) ** 2)

    w, x = RNG.normal(size=(3, 4)), RNG.normal(size=4)
    slope = (1 - np.tanh(w @ x) ** 2)[:, None] * w
    assert bp.value_and_grad(penalty)(w, x)[0] == pytest.approx((slope**2).sum(), rel=1e-12)
    check_grad(penalty, w, x)


class Slope(bp.TrainedLayer):
    """y and dy/dx of a network of one input, for every row on its own."""

    def build(self, x, name):
        w, v = (self.weight(f"{name}.{part}", (8,), "normal") for part in "wv")
        value, slope = bp.value_and_grad(lambda x: o.sum(v * o.tanh(w * x[0])))(x)
        return o.concatenate([o.reshape(value, 1), slope])


def test_a_network_learns_a_differential_equation():
    """y' = cos x and y(0) = 0, with derivatives in the network's own output."""
    rng = np.random.default_rng(0)
    model = bp.Sequential([bp.Input(1), Slope(name="own")])
    model.compile(bp.optim.Adam(0.02), loss="mse", dtype="float64", seed=0)
    x = rng.uniform(-1.5, 1.5, (200, 1))
    assert bp.testing.gradcheck(model, x[:5], np.ones((5, 2)))
    y, h = model.predict(x), 1e-6
    ahead, behind = (model.predict(x + s * h)[:, 0] for s in (1, -1))
    np.testing.assert_allclose(y[:, 1], (ahead - behind) / (2 * h), atol=1e-8)
    model.fit(x, np.hstack([np.sin(x), np.cos(x)]), epochs=100, batch_size=50, verbose=0)
    assert np.abs(model.predict(x)[:, 0] - np.sin(x[:, 0])).max() < 0.02


class Jacobian(bp.Layer):
    """That of a function, for every row on its own."""

    def __init__(self, f, name=None):
        super().__init__(name)
        self.f = f

    def build(self, x, name):
        return bp.jacobian(self.f)(x)


@pytest.mark.parametrize(
    "f",
    [
        lambda q: o.concatenate([q, o.tanh(q), np.ones((2, 3, 3))], 1) ** 2,
        lambda q: o.stack([q[0], q[1] ** 2, np.ones((3, 3))]) ** 3,
        lambda q: o.pad(q, [(1, 0), (0, 0), (2, 1)], 3.0) ** 2,
        lambda q: (q @ q) ** 2,
        lambda q: q @ o.swapaxes(o.sin(q), 1, 2),
        lambda q: o.swapaxes(q, 1, 2) @ np.arange(9.0).reshape(3, 3),
        lambda q: (q[0] @ np.arange(9.0).reshape(3, 3)) ** 2 + q[1, 0] @ np.ones((3, 3)),
        lambda q: o.prod(q[0, 0]) + o.cumprod(q[0], 1) + o.max(q),
    ],
)
def test_derivatives_of_rows_are_those_of_arrays(f):
    x = RNG.normal(size=(4, 2, 3, 3))
    model = bp.Sequential([bp.Input((2, 3, 3)), Jacobian(f)])
    model.compile(dtype="float64")
    expected = [bp.jacobian(f)(row) for row in x]
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-12, atol=1e-12)


class OfParts(bp.TrainedLayer):
    """The sum of the sine of what is made of x, and its slope."""

    def __init__(self, make, name=None):
        super().__init__(name)
        self.make = make

    def build(self, x, name):
        w = self.weight(f"{name}.w", (2, 3, 2, 2), "normal")
        made = self.make(w)
        value, slope = bp.value_and_grad(lambda x: o.sum(o.sin(made(x))))(x)
        return o.concatenate([o.reshape(value, 1), o.ravel(slope)])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "make",
    [
        lambda w: lambda x: o.conv2d(o.tanh(x), w, stride=(2, 1), padding=1),
        lambda w: lambda x: o.conv2d(x, 2 * w) ** 2,
        lambda w: bp.Conv2D(2, 3, padding="same", activation="tanh"),
        lambda w: lambda x: bp.Dense(3, "tanh")(o.ravel(x)),
        lambda w: lambda x: bp.add([x, o.tanh(x), x**2]),
        lambda w: lambda x: bp.subtract([x, o.tanh(x)]),
        lambda w: lambda x: bp.multiply([x, o.tanh(x), x]),
        lambda w: lambda x: bp.concat([x, o.tanh(x), x]),
        lambda w: lambda x: bp.Flatten()(x) ** 2,
    ],
)
def test_derivatives_within_a_layer_of_what_others_make(make, layout):
    shape = (3, 4, 4) if layout == "NCHW" else (4, 4, 3)
    model = bp.Sequential([bp.Input(shape, layout=layout), OfParts(make)])
    model.compile(loss="mse", dtype="float64", seed=0)
    x, h = RNG.normal(size=(2, *shape)), 1e-5
    y = model.predict(x)
    for k, e in enumerate(np.eye(x[0].size).reshape(-1, *shape)):
        ahead, behind = (model.predict(x + s * h * e)[:, 0] for s in (1, -1))
        np.testing.assert_allclose(y[:, 1 + k], (ahead - behind) / (2 * h), atol=1e-7)
    assert bp.testing.gradcheck(model, x, 2 * y)


def test_derivatives_of_a_convolution_by_its_weights_within_a_layer():
    """Of any order, and along directions of every row's own."""
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(2, 3, 2, 2)), rng.normal(size=(2, 3, 4, 4))
    convolved = lambda x, w: o.sum(o.conv2d(x, w, padding=1) ** 3)  # noqa: E731
    twice = lambda x, w: bp.grad(lambda w: o.sum(bp.grad(convolved, 1)(x, w) ** 2))(w)  # noqa: E731
    along = lambda x, w: bp.jvp(lambda w: convolved(x, w))(w, w * x[0, 0, 0])[1]  # noqa: E731

    class Of(bp.Layer):
        def build(self, x, name):
            w = o.constant(weight)
            return o.concatenate([o.ravel(twice(x, w)), o.reshape(along(x, w), 1)])

    model = bp.Sequential([bp.Input((3, 4, 4)), Of()])
    model.compile(dtype="float64")
    for row, found in zip(x, model.predict(x), strict=True):
        slope = lambda w, x=row: o.sum(bp.grad(convolved, 1)(x, w) ** 2)  # noqa: E731
        np.testing.assert_allclose(found[:-1], bp.grad(slope)(weight).ravel(), rtol=1e-9)
        expected = bp.jvp(lambda w, x=row: convolved(x, w))(weight, weight * row[0, 0, 0])[1]
        np.testing.assert_allclose(found[-1], expected, rtol=1e-9)


def test_a_layer_without_a_rule_is_named():
    with pytest.raises(
        NotImplementedError, match=r"layer 'own.dropout0': dropout.*bp.ops.*outside"
    ):
        bp.Sequential([bp.Input((4, 4, 3)), OfParts(lambda w: bp.Dropout(0.5), name="own")])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: bp.grad(lambda y: y * 2)(x), "bp.jacobian"),
        (lambda x: o.sum(bp.grad(lambda y: o.sum(y**2))(o.tile(x, 500))), "1500.*bp.hvp"),
        (lambda x: bp.hvp(energy)(x, x), r"bp.hvp.*bp.jvp"),
        (lambda x: bp.jvp(energy)(x, x[:2]), r"\(3,\).*\(2,\)"),
        (lambda x: (o.sum(x), o.sum(x)), "tuple.*bp.ops.stack"),
    ],
)
def test_mistakes_are_named(call, said):
    with pytest.raises((TypeError, ValueError), match=said):
        bp.grad(call)(np.ones(3))
