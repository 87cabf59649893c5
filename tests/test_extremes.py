"""Activations and losses at both ends of the number line: accurate, no overflow, no early zero."""

import numpy as np
import pytest

import pybp as bp

Z = np.concatenate([-np.logspace(-12, 2.84, 400), [0.0], np.logspace(-12, 2.84, 400)])
FAR = np.array([-1e300, -1e5, -1000.0, -745.0, 745.0, 1000.0, 1e5, 1e300])


def through(activation, z, dtype="float64"):
    """f(z) of a single unit with weight 1."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1, activation=activation, use_bias=False)])
    model.compile(optimizer=bp.optim.SGD(0.1), loss="half_sse", dtype=dtype, seed=0)
    model.parameters["dense0.weight"][...] = 1.0
    return model.predict(z[:, None])[:, 0]


def exact_sigmoid(z):
    return np.exp(-np.logaddexp(0, -z))


@pytest.mark.parametrize("dtype, digits", [("float64", 2e-15), ("float32", 1e-6)])
@pytest.mark.parametrize("name, exact", [("tanh", np.tanh), ("sigmoid", exact_sigmoid)])
def test_relative_accuracy_from_the_smallest_to_the_largest(name, exact, dtype, digits):
    """Also where sigmoid is 1e-30 and where tanh(z) is z."""
    z = Z[np.abs(Z) < (700 if dtype == "float64" else 85)].astype(dtype)
    expected = exact(z.astype("float64"))
    # logaddexp itself is exact to one unit in the last place of |z|
    allowed = digits + np.abs(z) * np.finfo("float64").eps
    assert np.all(np.abs(through(name, z, dtype) - expected) <= allowed * np.abs(expected))


def test_the_values_of_the_activation_table():
    """To ten digits at z = 0.5 and z = -2, with their slopes."""
    for name, at_half, at_minus_2 in [
        ("sigmoid", (0.6224593312, 0.2350037122), (0.1192029220, 0.1049935854)),
        ("tanh", (0.4621171573, 0.7864477330), (-0.9640275801, 0.0706508249)),
    ]:
        for z, (value, slope) in ((0.5, at_half), (-2.0, at_minus_2)):
            model = bp.Sequential([bp.Input(1), bp.Dense(1, activation=name)])
            model.compile(optimizer=bp.optim.SGD(0.1), loss="half_sse", dtype="float64")
            model.parameters["dense0.weight"][...] = z
            assert model.predict([[1.0]]).item() == pytest.approx(value, abs=1e-10)
            gradient = model.gradients([[1.0]], [[value - 1]])["dense0.bias"].item()
            assert gradient == pytest.approx(slope, abs=1e-9)  # (a - t) f'(z) with a - t = 1


def test_far_out():
    assert np.array_equal(through("tanh", FAR), np.sign(FAR))
    assert np.all(np.abs(through("sigmoid", FAR) - (FAR > 0)) < 1e-300)
    assert np.array_equal(through("relu", FAR), np.maximum(FAR, 0))


def logits_model(loss, units, last):
    """Outputs are f(inputs): weight is the identity."""
    model = bp.Sequential([bp.Input(units), bp.Dense(units, activation=last, use_bias=False)])
    model.compile(optimizer=bp.optim.SGD(0.1), loss=loss, dtype="float64", seed=0)
    model.parameters["dense0.weight"][...] = np.eye(units)
    return model


@pytest.mark.parametrize("last", ["softmax", None])
@pytest.mark.parametrize("size", [1.0, 50.0, 1000.0, 1e10])
def test_cross_entropy_of_huge_logits(size, last):
    """-log p_1 of logits (s, 0, -s) is s + log(1 + e^-s + e^-2s); of class 2, 2s and the same."""
    model = logits_model("cross_entropy", 3, last)
    tail = np.log1p(np.exp(-size) + np.exp(-2 * size))
    for label, expected in enumerate([tail, size + tail, 2 * size + tail]):
        found = model.evaluate([[size, 0.0, -size]], [label])["loss"]
        assert found == pytest.approx(expected, rel=1e-14)
        gradient = model.gradients([[size, 0.0, -size]], [label])["dense0.weight"]
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("last", ["sigmoid", None])
@pytest.mark.parametrize("z", [-1e10, -1000.0, -40.0, -1.0, 0.0, 1.0, 40.0, 1000.0, 1e10])
def test_binary_cross_entropy_of_huge_logits(z, last):
    """log(1 + e^z) - t z, which is about e^-|z| on the right side and |z| on the wrong one."""
    model = logits_model("binary_cross_entropy", 1, last)
    for t in (0.0, 1.0, 0.25):
        found = model.evaluate([[z]], [[t]])["loss"]
        assert found == pytest.approx(max(z, 0) - t * z + np.log1p(np.exp(-abs(z))), rel=1e-14)
        slope = model.gradients([[z]], [[t]])["dense0.weight"].item()
        assert slope == pytest.approx((exact_sigmoid(z) - t) * z, rel=1e-12, abs=1e-290)


def test_softmax_of_huge_and_tiny_logits_sums_to_one():
    x = np.random.default_rng(0).normal(size=(200, 7)) * np.logspace(-8, 8, 200)[:, None]
    p = logits_model("cross_entropy", 7, "softmax").predict(x)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-14)
    assert np.all(p >= 0)
    shifted = x - x.max(axis=1, keepdims=True)
    expected = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p, expected, rtol=1e-13, atol=1e-300)
