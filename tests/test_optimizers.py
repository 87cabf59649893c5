"""Optimisers: on f(w) = w^2/2 by hand, and against a few lines of NumPy on random networks."""

import numpy as np
import pytest
import reference
from reference import SGD, Adam, Net, Stepper

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


RULES = {
    "adagrad": ("adagrad", lambda r: bp.optim.Adagrad(r)),
    "adagrad, filled": ("adagrad", lambda r: bp.optim.Adagrad(r, 0.2, 1e-3)),
    "adadelta": ("adadelta", lambda r: bp.optim.Adadelta(10 * r)),
    "rmsprop": ("rmsprop", lambda r: bp.optim.RMSprop(r)),
    "rmsprop, centered": ("rmsprop", lambda r: bp.optim.RMSprop(r, 0.9, 1e-3, centered=True)),
    "rmsprop, momentum": ("rmsprop", lambda r: bp.optim.RMSprop(r, momentum=0.8)),
    "rmsprop, both": (
        "rmsprop",
        lambda r: bp.optim.RMSprop(r, 0.9, 1e-3, momentum=0.5, centered=True),
    ),
    "amsgrad": ("adam", lambda r: bp.optim.Adam(r, (0.9, 0.5), amsgrad=True)),
    "adamw": ("adam", lambda r: bp.optim.AdamW(r, weight_decay=0.3)),
    "adamw, amsgrad": ("adam", lambda r: bp.optim.AdamW(r, (0.9, 0.6), amsgrad=True)),
    "adamax": ("adamax", lambda r: bp.optim.Adamax(r)),
    "nadam": ("nadam", lambda r: bp.optim.Nadam(r)),
    "nadam, quick": ("nadam", lambda r: bp.optim.Nadam(r, (0.6, 0.9), momentum_decay=0.2)),
    "lion": ("lion", lambda r: bp.optim.Lion(r)),
    "rprop-": ("rprop", lambda r: bp.optim.Rprop(r, variant="rprop-")),
    "irprop-": ("rprop", lambda r: bp.optim.Rprop(r, variant="irprop-")),
    "rmsprop, decay": ("rmsprop", lambda r: bp.optim.RMSprop(r, weight_decay=0.5)),
}
for name, (rule, make) in RULES.items():
    OPTIMISERS[name] = lambda r, rule=rule, make=make: (
        make(r),
        Stepper(getattr(reference, rule), make(r)),
    )


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


@pytest.mark.parametrize("seed", range(3))
def test_irprop_plus_takes_steps_back_when_the_loss_has_risen(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(20, 5)), rng.normal(size=(20, 2))
    ours = bp.optim.Rprop(0.4)
    model = bp.Sequential([bp.Input(5), bp.Dense(6, activation="tanh"), bp.Dense(2)])
    model.compile(optimizer=ours, loss="mse", dtype="float64", seed=seed)
    net = Net.like(model, ["tanh", None], "mse")
    stepper, losses = Stepper(reference.rprop, ours), []
    for _ in range(60):
        losses.append(net.value(x, y))
        worse = len(losses) > 1 and losses[-1] > losses[-2]
        stepper.step(net.parameters, net.backward(x, y)[0], worse=worse)
    history = model.fit(x, y, epochs=60, batch_size=20, verbose=0)
    assert np.any(np.diff(losses) > 0)  # or nothing was taken back
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-9)


def test_every_row_of_the_table_has_an_object_that_uses_it():
    from pybp import _core

    made = [OPTIMISERS[name](0.01)[0] for name in OPTIMISERS] + [bp.optim.Rprop()]
    assert {optimizer.kernel()[0] for optimizer in made} == set(_core.optimizers())


@pytest.mark.parametrize("kind", bp.optim.KINDS)
def test_an_optimiser_is_found_by_its_name_and_learns(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3))
    model = bp.Sequential([bp.Input(3), bp.Dense(8, activation="tanh"), bp.Dense(1)])
    model.compile(optimizer=kind, loss="mse", seed=1)
    losses = model.fit(x, x[:, 0] * x[:, 1], epochs=40, batch_size=64, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert repr(bp.optim.get(kind)).lower().startswith(kind + "(learning_rate=")


WRONG = {
    "Adadelta: rho": lambda: bp.optim.Adadelta(rho=1.0),
    "Adagrad: eps": lambda: bp.optim.Adagrad(eps=0),
    "RMSprop: alpha": lambda: bp.optim.RMSprop(alpha=-0.1),
    "Nadam: momentum_decay": lambda: bp.optim.Nadam(momentum_decay=-1),
    "Lion: betas": lambda: bp.optim.Lion(betas=(0.9, 1.0)),
    "Rprop: step_sizes": lambda: bp.optim.Rprop(step_sizes=(1.0, 0.5)),
    "Rprop: etas": lambda: bp.optim.Rprop(etas=(0.5, 0.9)),
    "did you mean 'irprop-'": lambda: bp.optim.Rprop(variant="iprop-"),
    "AdamW: weight_decay": lambda: bp.optim.AdamW(weight_decay=-1.0),
    "SGD: clip_value": lambda: bp.optim.SGD(clip_value=0.0),
    "SGD: clip_norm": lambda: bp.optim.SGD(clip_norm=-1),
    "SGD: global_clip_norm": lambda: bp.optim.SGD(global_clip_norm=0),
    "SGD: accumulate": lambda: bp.optim.SGD(accumulate=0),
    "SGD: average must be": lambda: bp.optim.SGD(average="ema"),
    "EMA: decay": lambda: bp.optim.EMA(1.0),
    "SWA: every": lambda: bp.optim.SWA(1, every=0),
    "unit of SWA": lambda: bp.optim.SWA(1, unit="batch"),
}


@pytest.mark.parametrize("message", WRONG)
def test_arguments_out_of_range_are_named(message):
    with pytest.raises((ValueError, TypeError)) as error:
        WRONG[message]()
    assert message in str(error.value)
