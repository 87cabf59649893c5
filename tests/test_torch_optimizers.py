"""PyTorch as an oracle of all optimisers: the same gradients must lead to the same parameters."""

import numpy as np
import pytest

import pybp as bp

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
torch.set_num_threads(1)

P, T = bp.optim, torch.optim
OPTIMISERS = {
    "adagrad": (P.Adagrad(0.05), lambda p: T.Adagrad(p, 0.05)),
    "adagrad, filled": (
        P.Adagrad(0.05, 0.1, 1e-5),
        lambda p: T.Adagrad(p, 0.05, initial_accumulator_value=0.1, eps=1e-5),
    ),
    "adadelta": (P.Adadelta(), lambda p: T.Adadelta(p)),
    "rmsprop": (P.RMSprop(), lambda p: T.RMSprop(p)),
    "rmsprop, all": (
        P.RMSprop(0.005, 0.9, 1e-4, momentum=0.7, centered=True),
        lambda p: T.RMSprop(p, 0.005, 0.9, 1e-4, momentum=0.7, centered=True),
    ),
    "adam": (P.Adam(), lambda p: T.Adam(p)),
    "amsgrad": (
        P.Adam(0.02, (0.8, 0.5), amsgrad=True),
        lambda p: T.Adam(p, 0.02, (0.8, 0.5), amsgrad=True),
    ),
    "adamw": (P.AdamW(0.01), lambda p: T.AdamW(decayed(p, 0.01), 0.01)),
    "adamw, much": (
        P.AdamW(0.01, weight_decay=0.5),
        lambda p: T.AdamW(decayed(p, 0.5), 0.01),
    ),
    "adamax": (P.Adamax(), lambda p: T.Adamax(p)),
    "nadam": (P.Nadam(), lambda p: T.NAdam(p)),
    "rprop": (P.Rprop(variant="irprop-"), lambda p: T.Rprop(p)),
    "momentum": (
        P.SGD(0.1, momentum=0.9),
        lambda p: T.SGD(p, 0.1, momentum=0.9),
    ),
}


def decayed(parameters, decay):
    """PyTorch decays biases too, unless they are a group of their own."""
    weights, biases = parameters[0::2], parameters[1::2]
    return [
        {"params": weights, "weight_decay": decay},
        {"params": biases, "weight_decay": 0.0},
    ]


def twins(optimizer, penalty=None):
    model = bp.Sequential(
        [
            bp.Input(7),
            bp.Dense(9, activation="tanh", weight_regularizer=penalty),
            bp.Dense(4, weight_regularizer=penalty),
        ]
    )
    model.compile(optimizer=optimizer, loss="mse", dtype="float64", seed=4)
    twin = torch.nn.Sequential(torch.nn.Linear(7, 9), torch.nn.Tanh(), torch.nn.Linear(9, 4))
    twin = twin.double()
    with torch.no_grad():
        for view, parameter in zip(model.parameters.values(), twin.parameters(), strict=True):
            parameter.copy_(torch.from_numpy(view.copy()))
    return model, twin


def train(model, twin, stepper, steps=60, between=lambda twin: None):
    rng = np.random.default_rng(8)
    for _ in range(steps):
        x, y = rng.normal(size=(16, 7)), rng.normal(size=(16, 4))
        stepper.zero_grad()
        loss = torch.nn.functional.mse_loss(twin(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()
        between(twin)
        stepper.step()
        assert model.train_on_batch(x, y)["loss"] == pytest.approx(loss.item(), rel=1e-9)


def assert_equal(model, twin, digits=1e-10):
    for view, parameter in zip(model.parameters.values(), twin.parameters(), strict=True):
        np.testing.assert_allclose(view, parameter.detach().numpy(), rtol=0, atol=digits)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_sixty_steps(name):
    model, twin = twins(OPTIMISERS[name][0])
    train(model, twin, OPTIMISERS[name][1](list(twin.parameters())))
    assert_equal(model, twin)


def test_l2_is_the_weight_decay_of_plain_descent():
    model, twin = twins(P.SGD(0.1), bp.regularizers.L2(0.05))
    train(model, twin, T.SGD(decayed(list(twin.parameters()), 0.05), 0.1))
    assert_equal(model, twin)


def test_clipped_by_value():
    model, twin = twins(P.SGD(0.1, clip_value=0.02))
    train(
        model,
        twin,
        T.SGD(twin.parameters(), 0.1),
        between=lambda t: torch.nn.utils.clip_grad_value_(t.parameters(), 0.02),
    )
    assert_equal(model, twin)


def test_clipped_by_global_norm():
    model, twin = twins(P.SGD(0.1, global_clip_norm=0.2))
    train(
        model,
        twin,
        T.SGD(twin.parameters(), 0.1),
        between=lambda t: torch.nn.utils.clip_grad_norm_(t.parameters(), 0.2),
    )
    assert_equal(model, twin)


def test_averages_are_those_of_torch():
    for average, multi in (
        (P.EMA(0.9, bias_correction=False), torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)),
        (P.SWA(1, unit="step"), torch.optim.swa_utils.get_swa_multi_avg_fn()),
    ):
        model, twin = twins(P.SGD(0.1, average=average))
        theirs = torch.optim.swa_utils.AveragedModel(twin, multi_avg_fn=multi)
        ema = isinstance(average, P.EMA)
        if ema:  # it takes the first parameters that it sees as they are; ours start before them
            theirs.update_parameters(twin)
        stepper = T.SGD(twin.parameters(), 0.1)
        rng = np.random.default_rng(8)
        for _ in range(10):
            x, y = rng.normal(size=(16, 7)), rng.normal(size=(16, 4))
            stepper.zero_grad()
            torch.nn.functional.mse_loss(twin(torch.from_numpy(x)), torch.from_numpy(y)).backward()
            stepper.step()
            theirs.update_parameters(twin)
            model.train_on_batch(x, y)
        model.use_averaged_parameters()
        assert_equal(model, theirs.module, 1e-8)  # its weights are of float32
