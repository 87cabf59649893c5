"""PyTorch as an oracle: same weights, batches and optimiser, hence the same parameters."""

import numpy as np
import pytest

import pybp as bp

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
torch.set_num_threads(1)

MODULES = {
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "sigmoid": torch.nn.Sigmoid,
    None: torch.nn.Identity,
    "softmax": lambda: torch.nn.Softmax(dim=1),
}
OPTIMISERS = {
    "sgd": (bp.optim.SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
    "momentum": (
        bp.optim.SGD(0.05, momentum=0.9),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
    ),
    "nesterov": (
        bp.optim.SGD(0.05, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    ),
    "adam": (bp.optim.Adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
    "adam, other betas": (
        bp.optim.Adam(0.01, betas=(0.8, 0.95), eps=1e-6),
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.8, 0.95), eps=1e-6),
    ),
}
# loss -> (last activation in pybp, in torch, torch's loss)
LOSSES = {
    "half_sse": (
        None,
        None,
        lambda a, y: 0.5 * torch.nn.functional.mse_loss(a, y, reduction="sum"),
    ),
    "sse": ("tanh", "tanh", torch.nn.MSELoss(reduction="sum")),
    "mse": ("sigmoid", "sigmoid", torch.nn.MSELoss()),
    "cross_entropy": ("softmax", None, torch.nn.CrossEntropyLoss()),
    "binary_cross_entropy": ("sigmoid", None, torch.nn.BCEWithLogitsLoss()),
}
NETS = {
    "no hidden layer": (4, [], 3),
    "5-8-3": (5, ["tanh"], 3),
    "17-33-9-2": (17, ["relu", "sigmoid"], 2),
    "64-100-50-20-10": (64, ["relu", "tanh", None], 10),
}
UNITS = {0: [], 1: [8], 2: [33, 9], 3: [100, 50, 20]}


def twins(net, loss, optimiser, dtype="float64"):
    """The same network with the same weights in pybp and in torch."""
    inputs, hidden, outputs = NETS[net]
    ours, theirs, _ = LOSSES[loss]
    layers, modules, width = [bp.Input(inputs)], [], inputs
    units = [*UNITS[len(hidden)], outputs]
    for n, f, g in zip(units, [*hidden, ours], [*hidden, theirs], strict=True):
        layers.append(bp.Dense(n, activation=f))
        modules += [torch.nn.Linear(width, n, dtype=getattr(torch, dtype)), MODULES[g]()]
        width = n
    model = bp.Sequential(layers)
    model.compile(optimizer=OPTIMISERS[optimiser][0], loss=loss, dtype=dtype, seed=11)
    twin = torch.nn.Sequential(*modules)
    with torch.no_grad():
        for view, parameter in zip(ordered(model), twin.parameters(), strict=True):
            parameter.copy_(torch.from_numpy(view.copy()))
    return model, twin


def ordered(model):
    """weight, bias of every layer: torch's order."""
    count = len(model.layers) - 1
    names = [f"dense{i}.{what}" for i in range(count) for what in ("weight", "bias")]
    return [model.parameters[name] for name in names]


def batch(net, loss, rng, rows=16):
    inputs, _, outputs = NETS[net]
    x = rng.normal(size=(rows, inputs)) / np.sqrt(inputs)
    if loss == "cross_entropy":
        return x, rng.integers(0, outputs, size=rows)
    if loss == "binary_cross_entropy":
        return x, rng.integers(0, 2, size=(rows, outputs)).astype(float)
    return x, rng.uniform(size=(rows, outputs))


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("net", NETS)
def test_twenty_steps(net, loss, optimiser):
    rng = np.random.default_rng(0)
    # A sum over a large batch would make these rates unstable, and rounding errors grow.
    rows = 1 if loss in ("half_sse", "sse") else 16
    model, twin = twins(net, loss, optimiser)
    stepper = OPTIMISERS[optimiser][1](twin.parameters())
    value = LOSSES[loss][2]
    for _ in range(20):
        x, y = batch(net, loss, rng, rows)
        stepper.zero_grad()
        theirs = value(twin(torch.from_numpy(x)), torch.from_numpy(y))
        theirs.backward()
        stepper.step()
        ours = model.train_on_batch(x, y)["loss"]
        assert ours == pytest.approx(theirs.item(), rel=1e-10, abs=1e-12)
    for view, parameter in zip(ordered(model), twin.parameters(), strict=True):
        np.testing.assert_allclose(view, parameter.detach().numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("net", NETS)
def test_gradients(net, loss):
    model, twin = twins(net, loss, "sgd")
    x, y = batch(net, loss, np.random.default_rng(1))
    LOSSES[loss][2](twin(torch.from_numpy(x)), torch.from_numpy(y)).backward()
    found = model.gradients(x, y)
    names = [
        f"dense{i}.{what}" for i in range(len(model.layers) - 1) for what in ("weight", "bias")
    ]
    for name, parameter in zip(names, twin.parameters(), strict=True):
        np.testing.assert_allclose(found[name], parameter.grad.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("net", NETS)
def test_twenty_steps_in_float32(net):
    rng = np.random.default_rng(0)
    model, twin = twins(net, "cross_entropy", "sgd", "float32")
    stepper = OPTIMISERS["sgd"][1](twin.parameters())
    for _ in range(20):
        x, y = batch(net, "cross_entropy", rng)
        x = x.astype(np.float32)
        stepper.zero_grad()
        LOSSES["cross_entropy"][2](twin(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        stepper.step()
        model.train_on_batch(x, y)
    for view, parameter in zip(ordered(model), twin.parameters(), strict=True):
        np.testing.assert_allclose(view, parameter.detach().numpy(), rtol=0, atol=2e-6)


ACTIVATIONS = {
    "leaky_relu": torch.nn.LeakyReLU(),
    "elu": torch.nn.ELU(),
    "selu": torch.nn.SELU(),
    "gelu": torch.nn.GELU(),
    "gelu_tanh": torch.nn.GELU(approximate="tanh"),
    "silu": torch.nn.SiLU(),
    "mish": torch.nn.Mish(),
    "softplus": torch.nn.Softplus(threshold=1000),
    "softsign": torch.nn.Softsign(),
    "hard_sigmoid": torch.nn.Hardsigmoid(),
    "hard_tanh": torch.nn.Hardtanh(),
    "softmax": torch.nn.Softmax(dim=1),
    "log_softmax": torch.nn.LogSoftmax(dim=1),
    "prelu": torch.nn.PReLU(6, dtype=torch.float64),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_and_their_gradients(activation):
    rng = np.random.default_rng(2)
    x, y = 3 * rng.normal(size=(50, 4)), rng.normal(size=(50, 6))
    model = bp.Sequential([bp.Input(4), bp.Dense(6, activation=activation)])
    model.compile(optimizer="sgd", loss="sse", dtype="float64", seed=1)
    linear = torch.nn.Linear(4, 6, dtype=torch.float64)
    with torch.no_grad():
        for own, name in zip(linear.parameters(), ("weight", "bias"), strict=True):
            own.copy_(torch.from_numpy(model.parameters[f"dense0.{name}"]))
    twin = torch.nn.Sequential(linear, ACTIVATIONS[activation])
    out = twin(torch.from_numpy(x))
    np.testing.assert_allclose(model.predict(x), out.detach().numpy(), rtol=1e-12, atol=1e-14)
    twin.zero_grad()
    ((out - torch.from_numpy(y)) ** 2).sum().backward()
    found = model.gradients(x, y).values()
    rtol = 1e-7 if activation == "hard_sigmoid" else 1e-11  # PyTorch's 1/6 is a float32
    for gradient, own in zip(found, twin.parameters(), strict=True):
        np.testing.assert_allclose(gradient, own.grad.numpy(), rtol=rtol, atol=1e-10)
