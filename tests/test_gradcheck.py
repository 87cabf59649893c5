"""gradcheck agrees with central differences on every loss, and flags a wrong derivative."""

import re

import numpy as np
import pytest
from reference import Net

import pybp as bp
from pybp.testing import gradcheck

LOSSES = {
    "half_sse": "sigmoid",
    "sse": "tanh",
    "mse": None,
    "cross_entropy": "softmax",
    "binary_cross_entropy": "sigmoid",
}


@pytest.fixture
def digits(mnist_train):
    """Five rows of MNIST, one-hot."""
    x, y = mnist_train
    return x[:5], np.eye(10)[y[:5]]


def model_784_10_10(loss, hidden="sigmoid", seed=1):
    model = bp.Sequential(
        [
            bp.Input(784, scale=1 / 255),
            bp.Dense(10, activation=hidden),
            bp.Dense(10, activation=LOSSES[loss]),
        ]
    )
    model.compile(optimizer=bp.optim.SGD(0.1), loss=loss, dtype="float64", seed=seed)
    return model


@pytest.mark.parametrize("loss", LOSSES)
def test_relative_error_on_mnist_is_below_1e_7(loss, digits):
    assert gradcheck(model_784_10_10(loss), *digits).error < 1e-7


@pytest.mark.parametrize("hidden", ["tanh", "relu", None])
def test_relative_error_of_every_hidden_activation_is_below_1e_7(hidden, digits):
    assert gradcheck(model_784_10_10("cross_entropy", hidden), *digits).error < 1e-7


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_on_mnist_are_numpys(loss, digits):
    """An oracle that shares nothing with the code under test, differences included."""
    model = model_784_10_10(loss)
    expected, _ = Net.like(model, ["sigmoid", LOSSES[loss]], loss, 1 / 255).backward(*digits)
    found = model.gradients(*digits)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ["dense0.weight", "dense0.bias", "dense1.weight", "dense1.bias"])
def test_one_wrong_entry_is_found_and_its_parameter_named(name, digits, monkeypatch):
    model = model_784_10_10("cross_entropy")
    right = model.gradients

    def wrong(*args, **kwargs):
        found = {key: np.array(value) for key, value in right(*args, **kwargs).items()}
        largest = np.abs(found[name]).argmax()
        found[name].flat[largest] *= 1.01
        return found

    monkeypatch.setattr(model, "gradients", wrong)
    with pytest.raises(AssertionError, match=re.escape(name)):
        gradcheck(model, *digits)


def test_the_relu_whose_slope_is_its_input_is_found(digits, monkeypatch):
    """A published visualiser returns x instead of 1 for x > 0: forward right, training wrong."""
    model = model_784_10_10("half_sse", hidden="relu")
    right = model.gradients

    def wrong(x, y, **kwargs):
        found = {key: np.array(value) for key, value in right(x, y, **kwargs).items()}
        net = Net.like(model, ["relu", "sigmoid"], "half_sse", 1 / 255)
        (_, a), _ = net.forward(x)
        _, (delta, _) = net.backward(x, y)
        found["dense0.weight"] = (delta * a).T @ (x.reshape(5, -1) / 255)
        return found

    monkeypatch.setattr(model, "gradients", wrong)
    with pytest.raises(AssertionError, match=r"dense0\.weight"):
        gradcheck(model, *digits)


def test_parameters_are_as_before(digits):
    model = model_784_10_10("mse")
    before = {name: view.copy() for name, view in model.parameters.items()}
    gradcheck(model, *digits)
    for name, view in model.parameters.items():
        assert np.array_equal(view, before[name])
