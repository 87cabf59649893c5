"""Tiny nets train in lanes: the same training as that of the general kernels, to rounding."""

from __future__ import annotations

import numpy as np
import pytest

import pybp as bp
from pybp import _core, lanes

NETS = {
    "xor": (2, [(2, "sigmoid"), (1, "sigmoid")]),
    "iris": (4, [(10, "tanh"), (3, "softmax")]),
    "deep": (7, [(5, "relu"), (32, "tanh"), (1, None), (9, "sigmoid"), (4, "softmax")]),
}


def made(name, optimizer, dtype="float64", metrics=(), use_bias=True):
    inputs, layers = NETS[name]
    net = bp.Sequential(
        [bp.Input(inputs, scale=0.5)]
        + [bp.Dense(n, activation=f, use_bias=use_bias) for n, f in layers]
    )
    loss = "mse" if layers[-1][1] == "sigmoid" else "cross_entropy"
    net.compile(optimizer, loss, metrics, dtype, seed=3)
    return net


def rows(name, n, dtype=np.float64):
    rng = np.random.default_rng(n)
    inputs, layers = NETS[name]
    x = (rng.normal(size=(n, inputs)) * 20).astype(dtype)
    y = rng.random((n, layers[-1][0])) if name == "xor" else rng.integers(0, layers[-1][0], n)
    return x, y


def plan_of(net):
    (found,) = [plan for key, plan in net._plans.items() if key[0] == "train"]
    return found.describe()


def in_rows(monkeypatch):
    monkeypatch.setattr(lanes, "MOST_UNITS", 0)


@pytest.fixture(params=_core.isa_list())
def isa(request, monkeypatch):
    monkeypatch.setenv("PYBP_CPU", request.param)


@pytest.mark.parametrize("optimizer", [bp.optim.SGD(0.1), bp.optim.Adam(0.01)])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, 16, 20, 64])
@pytest.mark.parametrize("name", NETS)
def test_training_in_lanes_is_training(name, batch_size, use_bias, optimizer, isa, monkeypatch):
    """Full and partial batches, several vectors of samples, every instruction set."""
    x, y = rows(name, 47)
    found = []
    for general in (False, True):
        if general:
            in_rows(monkeypatch)
        metrics = [] if name == "xor" else ["accuracy"]
        net = made(name, optimizer, metrics=metrics, use_bias=use_bias)
        history = net.fit(x, y, epochs=3, batch_size=batch_size, verbose=0)
        assert ("lanes_dense" in plan_of(net)) != general
        found.append((history.history, dict(net.parameters)))
    (lanes_history, lanes_parameters), (history, parameters) = found
    for key in history:
        np.testing.assert_allclose(lanes_history[key], history[key], rtol=1e-10, atol=1e-12)
    for key in parameters:
        np.testing.assert_allclose(lanes_parameters[key], parameters[key], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_every_kind_of_array_is_gathered(dtype, monkeypatch):
    x, y = rows("iris", 50)
    x = np.abs(x).astype(dtype)[:, ::-1]
    found = []
    for general in (False, True):
        if general:
            in_rows(monkeypatch)
        net = made("iris", bp.optim.SGD(0.1))
        found.append(net.fit(x, y, epochs=2, batch_size=16, verbose=0).history["loss"])
    np.testing.assert_allclose(*found, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads_gives_the_same_bits(dtype):
    x, y = rows("deep", 100)
    found = []
    for threads in (1, 2, 4):
        bp.set_num_threads(threads)
        net = made("deep", bp.optim.Adam(0.01), dtype)
        net.fit(x, y, epochs=3, batch_size=24, verbose=0)
        found.append(b"".join(v.tobytes() for v in net.parameters.values()))
    assert found[0] == found[1] == found[2]


def test_what_is_larger_or_has_other_layers_trains_in_rows():
    for layers in (
        [bp.Dense(33), bp.Dense(2)],
        [bp.Dense(4), bp.Dropout(0.5), bp.Dense(2)],
        [bp.Dense(4, activation="softmax"), bp.Dense(2)],
    ):
        net = bp.Sequential([bp.Input(3), *layers])
        net.compile("sgd", "mse")
        net.fit(np.zeros((8, 3)), np.zeros((8, 2)), verbose=0)
        assert "lanes" not in plan_of(net)
    net = bp.Sequential([bp.Input(3), bp.StandardScaler(), bp.Dense(2)])
    net.layers[1].adapt(np.arange(24.0).reshape(8, 3))
    net.compile("sgd", "mse")
    net.fit(np.zeros((8, 3)), np.zeros((8, 2)), verbose=0)
    assert "lanes" not in plan_of(net)
    net = made("iris", "sgd")
    net.fit(*rows("iris", 65), batch_size=65, verbose=0)
    assert "lanes" not in plan_of(net)


def test_divergence_names_the_layer():
    x, y = rows("deep", 30)
    net = made("deep", "sgd", "float32")
    net.parameters["dense3.bias"][...] = 9.0
    net.parameters["dense4.weight"][...] = 1e38
    with pytest.raises(bp.errors.DivergenceError, match="dense4") as caught:
        net.fit(x, y, verbose=0)
    assert caught.value.op == "dense4"


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("masses", [False, True])
@pytest.mark.parametrize("batch_size", [3, 16, 20])
def test_cross_entropy_in_lanes(batch_size, masses, smoothing, isa, monkeypatch):
    """Class numbers and probabilities, with and without label smoothing."""
    x, y = rows("iris", 47)
    if masses:
        y = np.random.default_rng(2).dirichlet(np.ones(3), 47)
    found = []
    for general in (False, True):
        if general:
            in_rows(monkeypatch)
        net = made("iris", bp.optim.SGD(0.1))
        loss = bp.losses.CrossEntropy(label_smoothing=smoothing)
        net.compile(bp.optim.SGD(0.1), loss, dtype="float64")
        net.fit(x, y, epochs=3, batch_size=batch_size, verbose=0)
        assert ("lanes_softmax_cross_entropy" in plan_of(net)) != general
        found.append(net.parameters["dense0.weight"].copy())
    np.testing.assert_allclose(*found, rtol=1e-8, atol=1e-11)


def test_weighted_rows(monkeypatch):
    x, y = rows("iris", 47)
    weights = np.random.default_rng(2).integers(0, 3, 47)
    found = []
    for general in (False, True):
        if general:
            in_rows(monkeypatch)
        net = made("iris", bp.optim.SGD(0.1), metrics=["accuracy"])
        net.fit(x, y, epochs=3, batch_size=16, sample_weight=weights, verbose=0)
        assert ("lanes_dense" in plan_of(net)) != general
        found.append(net.parameters["dense0.weight"].copy())
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-12)


def test_unfused_updates_see_the_same_gradients(monkeypatch):
    """Clipping needs the whole gradient: it goes through the gradient vector."""
    x, y = rows("iris", 40)
    found = []
    for general in (False, True):
        if general:
            in_rows(monkeypatch)
        net = made("iris", bp.optim.SGD(0.1, global_clip_norm=0.05))
        net.fit(x, y, epochs=3, batch_size=16, verbose=0)
        assert ("lanes_dense" in plan_of(net)) != general
        found.append(net.parameters["dense0.weight"].copy())
    np.testing.assert_allclose(*found, rtol=1e-9)
