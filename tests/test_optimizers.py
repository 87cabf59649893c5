"""Optimisers: on f(w) = w^2/2 by hand, and against a few lines of NumPy on random networks."""

import numpy as np
import pytest
from reference import SGD, Adam

import pybp as bp


def bowl(optimizer, dtype="float64"):
    """One linear unit, x = 1, t = 0, half_sse: loss w^2/2, its gradient w; w is 1 at first."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1, use_bias=False)])
    model.compile(optimizer=optimizer, loss="half_sse", dtype=dtype, seed=0)
    model.parameters["dense0.weight"][...] = 1.0
    return model


def path(model, steps):
    w = []
    for _ in range(steps):
        model.train_on_batch([[1.0]], [[0.0]])
        w.append(model.parameters["dense0.weight"].item())
    return w


PATHS = {
    "descent": (bp.optim.SGD(0.1), [0.9, 0.81, 0.729, 0.6561, 0.59049], 1e-15),
    "momentum": (bp.optim.SGD(0.1, momentum=0.9), [0.9, 0.72, 0.486, 0.2268, -0.02916], 1e-15),
    "nesterov": (
        bp.optim.SGD(0.1, momentum=0.9, nesterov=True),
        [0.81, 0.5751, 0.327321, 0.09388791, -0.1045816839],
        1e-15,
    ),
    "adam": (
        bp.optim.Adam(0.1, betas=(0.9, 0.999), eps=1e-8),
        [0.900000001, 0.800412229712, 0.701586274504, 0.603939062682, 0.507963661927],
        1e-11,
    ),
}


@pytest.mark.parametrize("name", PATHS)
def test_path_down_the_bowl(name):
    optimizer, expected, digits = PATHS[name]
    assert path(bowl(optimizer), 5) == pytest.approx(expected, abs=digits, rel=0)


@pytest.mark.parametrize("name", PATHS)
def test_path_down_the_bowl_in_float32(name):
    optimizer, expected, _ = PATHS[name]
    assert path(bowl(optimizer, "float32"), 5) == pytest.approx(expected, abs=1e-6, rel=0)


def test_descent_converges_below_twice_the_inverse_curvature_and_not_above():
    """w -> (1 - rate) w: shrinks for rate < 2, grows beyond."""
    assert abs(path(bowl(bp.optim.SGD(1.9)), 50)[-1]) < 0.01
    assert abs(path(bowl(bp.optim.SGD(2.1)), 50)[-1]) > 100


def rates(schedule, steps):
    """The learning rates really used: w_(t+1) = (1 - rate_t) w_t."""
    model = bowl(bp.optim.SGD(schedule))
    w = np.array([1.0, *path(model, steps)])
    return 1 - w[1:] / w[:-1]


def test_constant_schedule():
    np.testing.assert_allclose(rates(bp.schedules.Constant(0.25), 6), 0.25, rtol=1e-13)


def test_cosine_schedule_falls_along_half_a_cosine_and_stays():
    t = np.minimum(np.arange(14), 10)
    expected = 0.02 + (0.5 - 0.02) * (1 + np.cos(np.pi * t / 10)) / 2
    found = rates(bp.schedules.Cosine(0.5, steps=10, final=0.02), 14)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_one_cycle_schedule_rises_to_its_peak_once_and_falls_below_its_start():
    found = rates(bp.schedules.OneCycle(0.5, steps=40), 40)
    top = found.argmax()
    assert found[top] == pytest.approx(0.5, rel=1e-12)
    assert 0 < top < 20
    assert np.all(np.diff(found[: top + 1]) > 0) and np.all(np.diff(found[top:]) < 0)
    assert 0 <= found[-1] < found[0] < 0.5


OPTIMISERS = {
    "sgd": (lambda r: (bp.optim.SGD(r), SGD(r))),
    "momentum": (lambda r: (bp.optim.SGD(r, momentum=0.7), SGD(r, 0.7))),
    "nesterov": (lambda r: (bp.optim.SGD(r, momentum=0.95, nesterov=True), SGD(r, 0.95, True))),
    "adam": (lambda r: (bp.optim.Adam(r), Adam(r))),
    "adam, other settings": (
        lambda r: (bp.optim.Adam(r, betas=(0.5, 0.9), eps=1e-3), Adam(r, (0.5, 0.9), 1e-3))
    ),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", OPTIMISERS)
def test_steps_are_those_of_a_numpy_loop_fed_with_the_same_gradients(name, seed):
    rng = np.random.default_rng(seed)
    inputs, *units = rng.integers(1, 40, size=2 + rng.integers(1, 3))
    ours, numpys = OPTIMISERS[name](float(rng.uniform(1e-3, 0.05)))
    model = bp.Sequential(
        [bp.Input(int(inputs))]
        + [bp.Dense(int(n), activation="tanh", use_bias=bool(rng.integers(2))) for n in units]
    )
    model.compile(optimizer=ours, loss="mse", dtype="float64", seed=seed)
    expected = {name: view.copy() for name, view in model.parameters.items()}
    for _ in range(25):
        x, y = rng.normal(size=(6, inputs)), rng.normal(size=(6, units[-1]))
        numpys.step(expected, model.gradients(x, y))
        model.train_on_batch(x, y)
    for parameter, view in model.parameters.items():
        np.testing.assert_allclose(view, expected[parameter], rtol=1e-11, atol=1e-13)


def test_one_optimiser_object_serves_two_models_independently():
    shared = bp.optim.Adam(0.1)
    first, second = bowl(shared), bowl(shared)
    assert path(first, 5) == path(second, 5)
