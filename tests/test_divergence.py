"""A diverging training says which op failed at which step; two trainings at once are refused."""

import math
import threading

import numpy as np
import pytest
from refusal import CLASSES, X, says, state

import pybp as bp
from pybp.errors import DivergenceError


def bowl(rate, dtype="float64"):
    """f(w) = w^2/2: step k multiplies w by (1 - rate)."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1, use_bias=False)])
    model.compile(optimizer=bp.optim.SGD(rate), loss="half_sse", dtype=dtype, seed=0)
    model.parameters["dense0.weight"][...] = 1.0
    return model


def first_bad_step(rate, dtype):
    """First step, counted from 0, at which w (in dtype) or the loss w^2/2 (in double) overflows."""
    largest, loss_limit = float(np.finfo(dtype).max), float(np.finfo("float64").max)
    w, step = 1.0, 0
    while abs(w) <= largest and abs(w) <= math.sqrt(2) * math.sqrt(loss_limit):
        w, step = w * (1 - rate), step + 1
    return step


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rate", [1e6, 1e9])
def test_divergence_names_op_step_and_epoch(rate, dtype):
    model = bowl(rate, dtype)
    with pytest.raises(DivergenceError) as caught:
        model.fit(np.ones((4, 1)), np.zeros((4, 1)), epochs=1000, batch_size=1, verbose=0)
    error = caught.value
    assert error.step == first_bad_step(rate, dtype)
    assert error.epoch == error.step // 4
    assert isinstance(error, ArithmeticError) and error.op
    says(caught, error.op, f"step {error.step}", "learning rate")


def test_training_batch_by_batch_diverges_likewise():
    model = bowl(1e9)
    with pytest.raises(DivergenceError) as caught:
        for _ in range(100):
            model.train_on_batch([[1.0]], [[0.0]])
    assert caught.value.step > 1 and caught.value.op


def test_an_overflow_in_a_hidden_layer_is_blamed_on_that_layer():
    model = bp.Sequential([bp.Input(4), bp.Dense(5), bp.Dense(5), bp.Dense(1)])
    model.compile(optimizer=bp.optim.SGD(0.1), loss="mse", dtype="float64", seed=0)
    model.parameters["dense0.weight"][...] = 1.0
    model.parameters["dense1.weight"][...] = 1e308
    with pytest.raises(DivergenceError) as caught:
        model.fit(np.ones((4, 4)), np.zeros(4), verbose=0)
    says(caught, "dense1")
    assert "dense0" not in str(caught.value) and "dense2" not in str(caught.value)
    assert caught.value.step == 0


class Function(bp.Layer):
    """f of its input."""

    def __init__(self, f, name=None):
        super().__init__(name)
        self.f = f

    def build(self, x, name):
        return self.f(x)


def test_a_function_outside_its_domain_is_told_from_an_overflow():
    model = bp.Sequential([bp.Input(4), Function(bp.ops.log, name="own"), bp.Dense(1)])
    model.compile(loss="mse", seed=0)
    for call in (
        lambda: model.predict(-np.ones((3, 4))),
        lambda: model.fit(-np.ones((3, 4)), np.ones(3), verbose=0),
    ):
        with pytest.raises(DivergenceError, match=r"'own'.*outside its domain.*bp.ops.where"):
            call()
    model = bp.Sequential([bp.Input(4), Function(bp.ops.exp, name="own"), bp.Dense(1)])
    model.compile(loss="mse", seed=0)
    with pytest.raises(DivergenceError, match="'own' overflows for row 2"):
        model.predict(np.repeat([[0.0], [1.0], [1000.0]], 4, axis=1))


def test_a_derivative_that_is_not_finite_is_looked_for():
    model = bp.Sequential([bp.Input(4), bp.Dense(3), Function(lambda h: bp.ops.sqrt(h - h))])
    model.compile(loss="mse", seed=0)
    with pytest.raises(DivergenceError, match=r"dense0.weight.*derivative"):
        model.fit(np.ones((3, 4)), np.ones((3, 3)), verbose=0)


@pytest.mark.parametrize("layout, shape", [("NCHW", (3, 8, 9)), ("NHWC", (8, 9, 3))])
@pytest.mark.parametrize("layer", ["first", "second", "last"])
def test_the_blame_is_right_where_outputs_share_memory(layout, shape, layer):
    layers = [
        bp.Input(shape, layout=layout),
        bp.Augment(shift=1.0),
        bp.Conv2D(4, 3, activation="relu", name="first"),
        bp.Conv2D(4, 3, name="second"),
        bp.Flatten(),
        bp.Dense(2, name="last"),
    ]
    model = bp.Sequential(layers)
    model.compile(bp.optim.SGD(0.1), loss="mse", seed=0)
    model.parameters[f"{layer}.weight"][...] = 3e38
    x = np.random.default_rng(0).random((40, *shape))
    with pytest.raises(DivergenceError, match=f"layer '{layer}' overflowed"):
        model.fit(x, np.zeros((40, 2)), epochs=1, batch_size=20, verbose=0)


def test_parameters_that_overflow_in_the_very_last_step_are_reported():
    """In float32 the loss is still finite at w = 1e30, the step from there is not."""
    for train in (
        lambda model: model.fit([[1.0]], [[0.0]], epochs=1, verbose=0),
        lambda model: model.train_on_batch([[1.0]], [[0.0]]),
    ):
        model = bowl(1e20, "float32")
        model.parameters["dense0.weight"][...] = 1e30
        with pytest.raises(DivergenceError) as caught:
            train(model)
        says(caught, "dense0.weight", "step 0")


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", None])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_parameter_that_is_no_number_is_named(activation, value):
    """Even where a saturated or dead unit would hide it."""
    model = bp.Sequential([bp.Input(4), bp.Dense(3, activation=activation), bp.Dense(3)])
    model.compile(optimizer=bp.optim.SGD(0.1), loss="cross_entropy", seed=0)
    model.parameters["dense0.weight"][1, 2] = value
    with pytest.raises(DivergenceError) as caught:
        model.fit(X, CLASSES, verbose=0)
    says(caught, "dense0.weight")


def test_a_model_that_diverged_can_be_set_right_and_trained_again():
    model = bowl(1e9)
    with pytest.raises(DivergenceError):
        model.fit([[1.0]], [[0.0]], epochs=100, verbose=0)
    model.compile(optimizer=bp.optim.SGD(0.1), loss="half_sse", dtype="float64", seed=0)
    model.parameters["dense0.weight"][...] = 1.0
    model.fit([[1.0]], [[0.0]], epochs=2, verbose=0)
    assert model.parameters["dense0.weight"].item() == pytest.approx(0.81, rel=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_training_that_only_comes_close_is_let_alone(dtype):
    """Saturated units and logits in the thousands are no divergence."""
    model = bp.Sequential([bp.Input(4, scale=1e4), bp.Dense(8, activation="tanh"), bp.Dense(3)])
    model.compile(optimizer=bp.optim.SGD(10.0), loss="cross_entropy", dtype=dtype, seed=0)
    history = model.fit(X, CLASSES, epochs=20, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


# -- a second training on one model ----------------------------------------------------------------


@pytest.mark.parametrize("second", ["fit", "train_on_batch", "compile"])
def test_a_training_is_exclusive(second):
    """The second call raises; the first ends as if it had been alone."""

    def build():
        model = bp.Sequential([bp.Input(4), bp.Dense(32, activation="tanh"), bp.Dense(3)])
        model.compile(optimizer=bp.optim.Adam(0.01), loss="cross_entropy", seed=0)
        return model

    model, twin = build(), build()
    x, y = np.tile(X, (50, 1)), np.tile(CLASSES, 50)
    epochs, before = 400, state(model)
    fit = threading.Thread(target=lambda: model.fit(x, y, epochs=epochs, verbose=0))
    fit.start()
    while state(model) == before:
        assert fit.is_alive()
    with pytest.raises(RuntimeError) as caught:
        {
            "fit": lambda: model.fit(x, y, epochs=1, verbose=0),
            "train_on_batch": lambda: model.train_on_batch(x, y),
            "compile": lambda: model.compile(optimizer=bp.optim.SGD(1.0), loss="mse", seed=1),
        }[second]()
    assert fit.is_alive(), "the first training ended before the second call was refused"
    says(caught, second, "train")
    fit.join()
    twin.fit(x, y, epochs=epochs, verbose=0)
    assert state(model) == state(twin)
