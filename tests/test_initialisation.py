"""How parameters start: signals keep their size, and a start that cannot learn is warned about."""

import warnings

import numpy as np
import pytest
from refusal import CLASSES, X

import pybp as bp

ROWS = np.random.default_rng(0).normal(size=(2000, 300))


def pre_activations(init, units=500, depth=1, activation=None):
    """What goes into the units of the last of `depth` layers, for standard normal inputs."""
    layers = [bp.Dense(units, activation=activation, weight_init=init) for _ in range(depth - 1)]
    model = bp.Sequential([bp.Input(300), *layers, bp.Dense(units, weight_init=init)])
    model.compile(loss="mse", seed=1)
    return model.predict(ROWS)


# The sum over 300 inputs of variance 1 has 300 times the variance of a weight.
THEORY = {
    "glorot": (bp.init.Glorot(), 300 * 2 / (300 + 500)),
    "glorot normal": (bp.init.Glorot("normal"), 300 * 2 / (300 + 500)),
    "he": (bp.init.He(), 2.0),
    "he normal": (bp.init.He("normal"), 2.0),
    "lecun": (bp.init.LeCun(), 1.0),
    "uniform": (bp.init.Uniform(-0.05, 0.05), 300 * 0.1**2 / 12),
    "normal": (bp.init.Normal(1.0), 300.0),
}


@pytest.mark.parametrize("kind", THEORY)
def test_the_variance_of_pre_activations_is_that_of_theory(kind):
    init, variance = THEORY[kind]
    assert pre_activations(init).var() == pytest.approx(variance, rel=0.1)


def test_he_keeps_signals_through_ten_layers_of_relu_and_too_small_weights_do_not():
    assert pre_activations("he", depth=10, activation="relu").var() == pytest.approx(2.0, rel=0.5)
    assert pre_activations(bp.init.Normal(0.01), depth=10, activation="relu").var() < 1e-10


def test_biases_are_zero_or_the_constant_that_was_asked_for():
    model = bp.Sequential([bp.Input(4), bp.Dense(5, bias_init=0.1), bp.Dense(3)])
    model.compile(loss="mse")
    assert (model.parameters["dense0.bias"] == np.float32(0.1)).all()
    assert not model.parameters["dense1.bias"].any()


# -- symmetry --------------------------------------------------------------------------------------


def network(hidden=0.0, units=5, last="glorot", activation="tanh"):
    model = bp.Sequential(
        [
            bp.Input(4),
            bp.Dense(units, activation=activation, weight_init=hidden, name="middle"),
            bp.Dense(3, weight_init=last),
        ]
    )
    model.compile(loss="cross_entropy")
    return model


def fit(model):
    model.fit(X, CLASSES, epochs=3, verbose=0)


@pytest.mark.parametrize("activation", ["tanh", "relu", None])
def test_hidden_weights_that_are_all_zero_are_warned_about(activation):
    with pytest.warns(UserWarning, match=r"'middle'.*zero.*weight_init='glorot'") as caught:
        fit(network(activation=activation))
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UserWarning, match="'middle'"):
        model = network("glorot")
        model.parameters["middle.weight"][...] = 0
        fit(model)


def test_what_is_warned_about_does_happen():
    """Both layers zero: nothing but the last bias ever learns."""
    model = network(last=0.0)
    with pytest.warns(UserWarning, match="'middle'"):
        fit(model)
    trained = {name for name, view in model.parameters.items() if view.any()}
    assert trained == {"dense0.bias"} or trained == {"dense1.bias"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: network("glorot"),
        lambda: network("glorot", last=0.0),
        lambda: network(units=1),
        lambda: network(0.1),
    ],
    ids=["drawn", "zero last layer", "a single unit", "constant"],
)
def test_no_warning_where_units_can_differ(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(make())


def test_one_layer_may_start_at_zero():
    model = bp.Sequential([bp.Input(4), bp.Dense(3, weight_init=0.0)])
    model.compile(loss="cross_entropy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model)


def test_a_training_that_goes_on_is_not_warned_about_again():
    model = network()
    with pytest.warns(UserWarning, match="'middle'"):
        fit(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1"])
def test_seeds_that_are_none(seed):
    """The same ones in both places, before anything is drawn."""
    model = bp.Sequential([bp.Input(4), bp.Dense(3)])
    with pytest.raises((ValueError, TypeError), match="seed"):
        model.compile(loss="mse", seed=seed)
    model.compile(loss="mse", seed=2**64 - 1)
    before = model.predict(X)
    with pytest.raises((ValueError, TypeError), match="seed"):
        model.initialize(seed)
    np.testing.assert_array_equal(model.predict(X), before)
    model.initialize(3)
    assert not np.array_equal(model.predict(X), before)
    model.initialize(2**64 - 1)
    np.testing.assert_array_equal(model.predict(X), before)
