"""The layers that disturb their input in training, looked at through plans of their own."""

import numpy as np
import pytest
from op_reference import Case
from test_ops import Use

import pybp as bp
from pybp import _core

ROWS, COLUMNS = 60, 500
SATURATED = -1.7580993408473766  # selu at minus infinity
OPS = {"gaussian_noise": "stddev", "gaussian_dropout": "rate", "alpha_dropout": "rate"}
LAYERS = {
    "gaussian_noise": bp.GaussianNoise,
    "gaussian_dropout": bp.GaussianDropout,
    "alpha_dropout": bp.AlphaDropout,
    "dropout": bp.Dropout,
}


def drawn(op, amount, x, cotangent=None, dtype=np.float64):
    """(output, gradient by the input) of a training step."""
    use = Use(op, Case([(x.shape[1],)], attrs={OPS[op]: amount}, rows=len(x)), dtype)
    use.inputs[0] = x
    y, dx, _ = use.run(cotangent=cotangent, training=True)
    return y, dx


@pytest.fixture(params=_core.isa_list())
def isa(request, monkeypatch):
    monkeypatch.setenv("PYBP_CPU", request.param)


def noise(op, amount, dtype=np.float64):
    """The normal numbers behind the output for ones."""
    y, _ = drawn(op, amount, np.ones((ROWS, COLUMNS)), dtype=dtype)
    deviation = amount if op == "gaussian_noise" else np.sqrt(amount / (1 - amount))
    return (y - 1) / deviation


@pytest.mark.parametrize("amount", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("op", ["gaussian_noise", "gaussian_dropout"])
def test_noise_is_normal(op, amount, isa):
    """Moments up to the fourth, and the share within one and two deviations, within 5 sigma."""
    z = noise(op, amount)
    n = z.size
    for power, (moment, spread) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], start=1):
        assert abs((z**power).mean() - moment) < 5 * np.sqrt(spread / n)
    for within, share in [(1, 0.6826894921), (2, 0.9544997361), (3, 0.9973002039)]:
        sigma = np.sqrt(share * (1 - share) / n)
        assert abs((np.abs(z) < within).mean() - share) < 5 * sigma


def test_noise_is_independent_between_elements():
    z = noise("gaussian_noise", 1.0)
    for shift in (1, 16, 31, 32, 33, 64):
        a, b = z.ravel()[:-shift], z.ravel()[shift:]
        assert abs((a * b).mean()) < 5 / np.sqrt(a.size)


def test_every_instruction_set_and_precision_draws_the_same(monkeypatch):
    for op in ("gaussian_noise", "gaussian_dropout"):
        found = []
        for name in _core.isa_list():
            monkeypatch.setenv("PYBP_CPU", name)
            found += [noise(op, 0.5), noise(op, 0.5, np.float32)]
        for other in found[1:]:
            np.testing.assert_allclose(other, found[0], rtol=0, atol=3e-6)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_and_variance(rate, isa):
    x = np.random.default_rng(0).normal(size=(ROWS, COLUMNS))
    y, _ = drawn("alpha_dropout", rate, x)
    q = 1 - rate
    a = (q + SATURATED**2 * q * rate) ** -0.5
    b = -a * rate * SATURATED
    kept = np.isclose(y, a * x + b, rtol=1e-9)
    np.testing.assert_allclose(y[~kept], a * SATURATED + b, rtol=1e-12)
    assert abs(kept.mean() - q) < 5 * np.sqrt(q * rate / y.size) + 1e-12
    assert abs(y.mean()) < 0.03
    assert abs(y.var() - 1) < 0.05


@pytest.mark.parametrize("op", OPS)
def test_backward_uses_what_forward_drew(op, isa):
    """y = m x + c: a gradient of m, from the step that made y. The scalar is half the squared
    distance to y_inference - 3, so dy is y - (x - 3)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 70))
    y, dx = drawn(op, 0.4, x, cotangent=np.full(x.shape, 3.0))
    ahead, _ = drawn(op, 0.4, x + 1)
    factor = ahead - y  # m
    np.testing.assert_allclose(dx[0], factor * (y - (x - 3)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", LAYERS)
def test_only_training_is_disturbed(kind):
    x, y = np.random.default_rng(0).normal(size=(20, 5)), np.zeros((20, 2))
    layers = [bp.Input(5), bp.Dense(7, activation="tanh"), LAYERS[kind](0.5), bp.Dense(2)]
    model, plain = bp.Sequential(layers), bp.Sequential([*layers[:2], layers[3]])
    for m in (model, plain):
        m.compile(loss="mse", dtype="float64", seed=3)
    plain.parameters["dense1.weight"][...] = model.parameters["dense1.weight"]
    assert np.array_equal(model.predict(x), plain.predict(x))
    assert model.evaluate(x, y) == plain.evaluate(x, y)
    a, b = model.gradients(x, y), plain.gradients(x, y)
    assert all(np.array_equal(a[name], b[name]) for name in b)
    assert model.predict(x[:0]).shape == (0, 2)
    assert model.train_on_batch(x, y) != plain.train_on_batch(x, y)


@pytest.mark.parametrize("kind", LAYERS)
def test_nothing_at_zero(kind):
    x, y = np.random.default_rng(0).normal(size=(20, 5)), np.zeros((20, 2))
    found = []
    for extra in ([LAYERS[kind](0)], []):
        model = bp.Sequential([bp.Input(5), bp.Dense(7), *extra, bp.Dense(2)])
        model.compile(loss="mse", dtype="float64", seed=3)
        model.fit(x, y, epochs=2, batch_size=8, verbose=0)
        found.append(model.predict(x))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", LAYERS)
def test_resume_and_threads_to_the_same_bits(kind, dtype, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(230, 60)), rng.normal(size=(230, 2))

    def net():
        model = bp.Sequential(
            [bp.Input(60), bp.Dense(90), LAYERS[kind](0.3), bp.Activation("tanh"), bp.Dense(2)]
        )
        model.compile(loss="mse", dtype=dtype, seed=5)
        return model

    straight = net()
    straight.fit(x, y, epochs=4, batch_size=100, verbose=0)
    for threads in (1, 3):
        bp.set_num_threads(threads)
        first = net()
        first.fit(x, y, epochs=2, batch_size=100, verbose=0)
        first.save(tmp_path / "half.pybp")
        second = bp.load(tmp_path / "half.pybp")
        assert repr(second) == repr(first)
        second.fit(x, y, epochs=2, batch_size=100, verbose=0)
        for name, view in straight.tensors().items():
            assert np.array_equal(second.tensors()[name], view)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bp.GaussianNoise(-1), "GaussianNoise: stddev"),
        (lambda: bp.GaussianDropout(1.0), "GaussianDropout: rate"),
        (lambda: bp.AlphaDropout("half"), "AlphaDropout: rate"),
        (lambda: bp.Dropout(1.5), "Dropout: rate"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
