"""Activations as layers: values and slopes, arguments, initialisers, files; PReLU and Maxout."""

from __future__ import annotations

import re

import numpy as np
import pytest
from op_reference import REFERENCE

import pybp as bp
from pybp.graph import ACTIVATIONS
from pybp.testing import gradcheck

SMOOTH_OR_KINKED = sorted(ACTIVATIONS - {"step", "softmax", "log_softmax", "prelu"})


def unit(activation, loss="sse"):
    """One neuron whose weighted input is its input."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1, activation=activation, weight_init=1.0)])
    model.compile(optimizer="sgd", loss=loss, dtype="float64")
    return model


def value_and_slope(activation, z):
    model = unit(activation)
    x = np.array([[z]])
    y = model.predict(x)
    # The loss (y - t)^2 has the derivative 1 by y where t = y - 1/2, and the bias that of z.
    return y.item(), model.gradients(x, y - 0.5)["dense0.bias"].item()


@pytest.mark.parametrize(
    ("activation", "z", "value", "slope"),
    [
        ("sigmoid", 0.5, 0.6224593312, 0.2350037122),
        ("tanh", 0.5, 0.4621171573, 0.7864477330),
        ("softplus", 0.5, 0.9740769842, 0.6224593312),
        ("gelu", 0.5, 0.3457312306, 0.8674951247),
        ("sigmoid", -2.0, 0.1192029220, 0.1049935854),
        ("tanh", -2.0, -0.9640275801, 0.0706508249),
        ("elu", -2.0, -0.8646647168, 0.1353352832),
        ("softplus", -2.0, 0.1269280110, 0.1192029220),
        ("gelu", -2.0, -0.0455002639, -0.0852318011),
        ("relu", 0.5, 0.5, 1.0),
        ("relu", -2.0, 0.0, 0.0),
        ("leaky_relu", -2.0, -0.02, 0.01),
        ("identity", -2.0, -2.0, 1.0),
    ],
)
def test_published_values_and_slopes_to_nine_places(activation, z, value, slope):
    found = value_and_slope(activation, z)
    np.testing.assert_allclose(found, (value, slope), rtol=0, atol=1e-9)


@pytest.mark.parametrize("activation", SMOOTH_OR_KINKED)
def test_far_arguments_neither_overflow_nor_become_nan(activation):
    """sigmoid(1000) is 1 and sigmoid(-1000) 0, and so on: the limits, and slopes that are 0, 1 or
    another number."""
    for z in (-1000.0, 1000.0):
        value, slope = value_and_slope(activation, z)
        below, above = value_and_slope(activation, z * 0.99), value_and_slope(activation, z * 1.01)
        assert np.isfinite([value, slope]).all()
        if activation != "softsign":  # the only one that still bends there
            assert slope == pytest.approx(above[1], abs=1e-12)
            np.testing.assert_allclose(above[0] - below[0], slope * 0.02 * z, rtol=1e-9, atol=1e-12)


def test_sigmoid_of_a_thousand():
    assert value_and_slope("sigmoid", 1000.0) == (1.0, 0.0)
    assert value_and_slope("sigmoid", -1000.0) == (0.0, 0.0)
    assert value_and_slope("softplus", 1000.0) == (1000.0, 1.0)
    assert value_and_slope("mish", -1000.0) == (0.0, 0.0)


@pytest.mark.parametrize("activation", [*SMOOTH_OR_KINKED, "prelu"])
def test_gradients_through_two_layers_are_differences(activation):
    rng = np.random.default_rng(3)
    model = bp.Sequential(
        [
            bp.Input(5),
            bp.Dense(7, activation=activation),
            bp.Dense(6, activation=activation),
            bp.Dense(2),
        ]
    )
    model.compile(loss="mse", dtype="float64", seed=1)
    assert gradcheck(model, rng.normal(size=(6, 5)), rng.normal(size=(6, 2))).error < 1e-7


@pytest.mark.parametrize("activation", [*SMOOTH_OR_KINKED, "prelu"])
@pytest.mark.parametrize("units", [8, 40])  # in lanes, and not
def test_every_activation_learns(activation, units):
    x = np.random.default_rng(0).normal(size=(128, 3))
    y = np.tanh(x @ np.array([[1.0], [-1.0], [0.5]]))
    hidden = bp.Dense(units, activation=activation)
    model = bp.Sequential([bp.Input(3), hidden, bp.Dense(1)])
    model.compile(optimizer=bp.optim.Adam(0.01), loss="mse", seed=0)
    before = model.evaluate(x, y)["loss"]
    model.fit(x, y, epochs=40, batch_size=16, verbose=0)
    line = {"identity": 0.3}  # all that a linear function can do
    assert model.evaluate(x, y)["loss"] < line.get(activation, 0.1) * before


# -- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "argument"), [("leaky_relu", "negative_slope"), ("elu", "alpha")]
)
@pytest.mark.parametrize("value", [0.0, 0.3, 2.0])
def test_arguments_reach_the_function_alone_and_fused(activation, argument, value):
    x = np.random.default_rng(0).normal(size=(40, 4))
    given = bp.Activation(activation, **{argument: value})
    fused = bp.Sequential([bp.Input(4), bp.Dense(3, activation=given)])
    alone = bp.Sequential([bp.Input(4), bp.Dense(3, weight_init="he"), given])
    for model in (fused, alone):
        model.compile(loss="mse", dtype="float64")
    w, b = (fused.parameters[f"dense0.{name}"] for name in ("weight", "bias"))
    expected = REFERENCE[activation](x @ w.T + b, **{argument: value})
    np.testing.assert_allclose(fused.predict(x), expected, rtol=1e-13)
    np.testing.assert_allclose(alone.predict(x), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.Activation("elu", slope=1.0), ["'elu'", "alpha", "slope"]),
        (lambda: bp.Activation("relu", alpha=1.0), ["'relu'", "no arguments", "alpha"]),
        (lambda: bp.Activation("elu", alpha=-1.0), ["alpha", ">= 0", "-1.0"]),
        (lambda: bp.Activation("elu", alpha="1"), ["alpha", "number", "'1'"]),
        (lambda: bp.Activation("exp"), ["'exp'", "elu"]),
        (lambda: bp.Activation("leakyrelu"), ["'leaky_relu'"]),
        (lambda: bp.Dense(3, activation=bp.Dense(3)), ["Dense", "name"]),
        (lambda: bp.Maxout(3, pieces=1), ["Maxout: pieces", "at least 2"]),
        (lambda: bp.PReLU(shared=1), ["PReLU: shared", "True or False"]),
        (lambda: bp.PReLU(max_norm=1.0), ["PReLU", "max_norm"]),
    ],
)
def test_wrong_arguments_are_named(make, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("first", ["softmax", "log_softmax"])
@pytest.mark.parametrize("second", ["softmax", "log_softmax"])
def test_one_softmax_behind_another_is_refused(first, second):
    with pytest.raises(ValueError, match=f"{second} of a {first}"):
        bp.Sequential([bp.Input(3), bp.Dense(3, activation=first), bp.Activation(second)])


# -- initialisers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "initialiser"),
    [(name, "He") for name in ("relu", "leaky_relu", "prelu", "elu", "gelu", "silu", "mish")]
    + [("selu", "LeCun"), ("tanh", "Glorot"), ("softsign", "Glorot"), (None, "Glorot")],
)
def test_weights_start_as_suits_the_activation(activation, initialiser):
    assert type(bp.Dense(3, activation=activation).weight_init).__name__ == initialiser


def test_selu_keeps_mean_and_variance_through_twenty_layers():
    """Its fixed point, Klambauer et al. 2017: mean 0 and variance 1 stay."""
    x = np.random.default_rng(0).normal(size=(500, 256))
    layers = [bp.Dense(256, activation="selu") for _ in range(20)]
    model = bp.Sequential([bp.Input(256), *layers])
    model.compile(loss="mse")
    y = model.predict(x)
    assert abs(y.mean()) < 0.1
    assert 0.7 < y.var() < 1.3


def test_maxout_of_two_pieces_keeps_the_mean_square():
    x = np.random.default_rng(0).normal(size=(500, 256))
    model = bp.Sequential([bp.Input(256), *(bp.Maxout(256) for _ in range(5))])
    model.compile(loss="mse")
    assert 0.7 < (model.predict(x) ** 2).mean() < 1.4


# -- PReLU --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shared", "shape"), [(False, (4,)), (True, (1,))])
def test_prelu_slopes_and_their_gradient(shared, shape):
    rng = np.random.default_rng(1)
    x, v = rng.normal(size=(50, 4)), rng.normal(size=(50, 4))
    model = bp.Sequential([bp.Input(4), bp.PReLU(shared=shared)])
    model.compile(optimizer="sgd", loss="sse", dtype="float64")
    slope = model.parameters["prelu0.slope"]
    assert slope.shape == shape
    assert (slope == 0.25).all()
    y = model.predict(x)
    np.testing.assert_array_equal(y, np.where(x > 0, x, 0.25 * x))
    per_element = np.where(x > 0, 0, v * x)
    expected = per_element.sum().reshape(1) if shared else per_element.sum(axis=0)
    found = model.gradients(x, y - v / 2)["prelu0.slope"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_prelu_as_the_activation_of_a_layer():
    model = bp.Sequential(
        [
            bp.Input(3),
            bp.Dense(5, activation="prelu"),
            bp.Dense(4, activation=bp.PReLU(shared=True, slope_init=0.1)),
            bp.Dense(2, activation="prelu", trainable=False),
        ]
    )
    model.compile(loss="mse", seed=0)
    shapes = {name: view.shape for name, view in model.parameters.items() if "slope" in name}
    assert shapes == {"dense0.slope": (5,), "dense1.slope": (1,), "dense2.slope": (2,)}
    before = {name: view.copy() for name, view in model.parameters.items()}
    x = np.random.default_rng(0).normal(size=(20, 3))
    model.train_on_batch(x, x[:, :2])
    for name, view in model.parameters.items():
        assert np.array_equal(view, before[name]) == name.startswith("dense2"), name


# -- Maxout -------------------------------------------------------------------------------------


def test_maxout_is_the_largest_piece_and_its_gradient_goes_to_the_first():
    model = bp.Sequential([bp.Input(2), bp.Maxout(3, pieces=4)])
    model.compile(optimizer="sgd", loss="sse", dtype="float64", seed=2)
    w, b = (model.parameters[f"maxout0.{name}"] for name in ("weight", "bias"))
    assert w.shape == (12, 2)
    w[2] = w[1] = w[0]  # three pieces that are equal everywhere
    b[:4] = [1, 1, 1, -9]
    x = np.random.default_rng(0).normal(size=(30, 2))
    y = model.predict(x)
    np.testing.assert_allclose(y, (x @ w.T + b).reshape(30, 3, 4).max(axis=2), rtol=1e-14)
    gradient = model.gradients(x, y - 0.5)["maxout0.bias"]
    assert gradient[0] == pytest.approx(30)
    assert (gradient[1:4] == 0).all()
    assert gradient.reshape(3, 4).sum(axis=1) == pytest.approx(30)


# -- log_softmax --------------------------------------------------------------------------------


def test_log_softmax_trains_as_softmax_and_predicts_its_logarithm():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 6)), rng.integers(0, 4, 100)
    models = []
    for last in ("softmax", "log_softmax"):
        model = bp.Sequential([bp.Input(6), bp.Dense(9, "tanh"), bp.Dense(4, activation=last)])
        model.compile(loss="cross_entropy", metrics=["accuracy"], dtype="float64", seed=3)
        model.fit(x, y, epochs=3, verbose=0)
        models.append(model)
    p, logs = (model.predict(x) for model in models)
    np.testing.assert_allclose(np.exp(logs), p, rtol=1e-12)
    assert models[0].evaluate(x, y) == models[1].evaluate(x, y)
    for a, b in zip(models[0].parameters.values(), models[1].parameters.values(), strict=True):
        assert np.array_equal(a, b)


def test_log_softmax_of_far_logits_is_finite():
    model = bp.Sequential([bp.Input(2), bp.Dense(2, "log_softmax", weight_init=1.0)])
    model.compile(loss="cross_entropy", dtype="float32")
    model.parameters["dense0.weight"][...] = [[1000, 0], [-1000, 0]]
    np.testing.assert_array_equal(model.predict([[1.0, 0.0]]), [[0.0, -2000.0]])


# -- step ---------------------------------------------------------------------------------------


def xor_of_thresholds(**first):
    return bp.Sequential(
        [bp.Input(2), bp.Dense(2, "step", **first), bp.Dense(1, "step", name="out", **first)]
    )


def test_training_through_a_step_is_refused_at_compile():
    with pytest.raises(ValueError, match="no derivative") as caught:
        xor_of_thresholds().compile(loss="mse")
    for word in ("'dense0'", "step", "sigmoid", "trainable=False"):
        assert word in str(caught.value)


def test_a_frozen_net_of_steps_predicts():
    """McCulloch and Pitts's neurons: XOR is OR without AND."""
    model = xor_of_thresholds(trainable=False)
    model.compile(loss="mse")
    p = model.parameters
    p["dense0.weight"][...] = 1
    p["dense0.bias"][...] = [-0.5, -1.5]
    p["out.weight"][...] = [[1, -1]]
    p["out.bias"][...] = -0.5
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert model.predict(x).ravel().tolist() == [0, 1, 1, 0]
    assert model.evaluate(x, np.array([0, 1, 1, 0]))["loss"] == 0


def test_what_lies_behind_a_frozen_step_trains_and_what_lies_before_does_not():
    x = np.random.default_rng(0).normal(size=(64, 4))
    model = bp.Sequential([bp.Input(4), bp.Dense(30, "step", trainable=False), bp.Dense(1)])
    model.compile(optimizer=bp.optim.Adam(0.01), loss="mse", seed=0)
    first = model.parameters["dense0.weight"].copy()
    before = model.evaluate(x, x[:, :1])["loss"]
    model.fit(x, x[:, :1], epochs=20, verbose=0)
    assert model.evaluate(x, x[:, :1])["loss"] < 0.5 * before
    assert np.array_equal(model.parameters["dense0.weight"], first)
    model.unfreeze("dense0")
    with pytest.raises(ValueError, match=re.escape("layer 'dense0': step has no derivative")):
        model.fit(x, x[:, :1], verbose=0)
    with pytest.raises(ValueError, match="no derivative"):
        model.gradients(x, x[:, :1])


# -- files --------------------------------------------------------------------------------------


def test_every_activation_comes_back_from_its_file(tmp_path):
    x = np.random.default_rng(0).normal(size=(32, 4))
    layers = [bp.Dense(4, activation=name) for name in SMOOTH_OR_KINKED]
    layers += [
        bp.Dense(4, activation=bp.Activation("elu", alpha=0.7)),
        bp.Dense(4, activation=bp.PReLU(shared=True)),
        bp.Activation("leaky_relu", negative_slope=0.2),
        bp.PReLU(slope_init=0.3),
        bp.Maxout(4, pieces=3),
        bp.Dense(4, activation="log_softmax"),
    ]
    model = bp.Sequential([bp.Input(4), *layers])
    model.compile(loss="cross_entropy", seed=1)
    y = np.arange(32) % 4
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "m.safetensors")
    other = bp.load(tmp_path / "m.safetensors")
    assert repr(other.layers) == repr(model.layers)
    assert np.array_equal(other.predict(x), model.predict(x))
    for m in (model, other):
        m.fit(x, y, epochs=1, verbose=0)
    assert np.array_equal(other.predict(x), model.predict(x))


def test_summary_names_activations_with_arguments():
    model = bp.Sequential([bp.Input(2), bp.Dense(3, bp.Activation("elu", alpha=0.5)), bp.PReLU()])
    assert "Dense elu" in model.summary()


def test_a_name_may_be_drawn_by_numpy():
    drawn = np.random.default_rng(0).choice(["relu", "relu"])
    layers = [bp.Dense(2, activation=drawn), bp.Activation(drawn)]
    assert [type(layer.activation) for layer in layers] == [str, str]
    assert bp.Sequential([bp.Input(3), *layers]).layers
