"""PyTorch as an oracle of the normalisations: training, running statistics and inference."""

import numpy as np
import pytest

import pybp as bp

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
torch.set_num_threads(1)

WIDTH = 21
BOTH = {
    "batch": (bp.BatchNorm, lambda: torch.nn.BatchNorm1d(WIDTH)),
    "batch, other settings": (
        lambda: bp.BatchNorm(momentum=0.3, eps=1e-2),
        lambda: torch.nn.BatchNorm1d(WIDTH, momentum=0.3, eps=1e-2),
    ),
    "batch without parameters": (
        lambda: bp.BatchNorm(affine=False),
        lambda: torch.nn.BatchNorm1d(WIDTH, affine=False),
    ),
    "layer": (bp.LayerNorm, lambda: torch.nn.LayerNorm(WIDTH)),
    "layer without parameters": (
        lambda: bp.LayerNorm(eps=1e-3, affine=False),
        lambda: torch.nn.LayerNorm(WIDTH, eps=1e-3, elementwise_affine=False),
    ),
    "rms": (bp.RMSNorm, lambda: torch.nn.RMSNorm(WIDTH, eps=1e-6)),
}


def twins(kind, dtype="float64"):
    """Dense, norm, relu, norm, Dense with the same weights."""
    ours, theirs = BOTH[kind]
    model = bp.Sequential(
        [bp.Input(7), bp.Dense(WIDTH), ours(), bp.Activation("relu"), ours(), bp.Dense(3)]
    )
    model.compile(optimizer=bp.optim.SGD(0.05), loss="mse", dtype=dtype, seed=3)
    twin = torch.nn.Sequential(
        torch.nn.Linear(7, WIDTH),
        theirs(),
        torch.nn.ReLU(),
        theirs(),
        torch.nn.Linear(WIDTH, 3),
    ).to(getattr(torch, dtype))
    rng = np.random.default_rng(0)
    parameters = list(twin.parameters())
    assert len(parameters) == len(model.parameters)
    for view, parameter in zip(model.parameters.values(), parameters, strict=True):
        view[...] += 0.3 * rng.normal(size=view.shape)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(view.copy()))
    return model, twin


def statistics(twin):
    return [
        b.numpy() for name, b in twin.named_buffers() if not name.endswith("num_batches_tracked")
    ]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 3e-5)])
@pytest.mark.parametrize("kind", BOTH)
def test_training_and_inference(kind, dtype, tolerance):
    model, twin = twins(kind, dtype)
    stepper = torch.optim.SGD(twin.parameters(), 0.05)
    rng = np.random.default_rng(1)
    for step in range(20):
        rows = 16 if step % 3 else 5
        x = rng.normal(2, 3, size=(rows, 7)).astype(dtype)
        y = rng.normal(size=(rows, 3)).astype(dtype)
        twin.train()
        stepper.zero_grad()
        loss = torch.nn.functional.mse_loss(twin(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()
        stepper.step()
        found = model.train_on_batch(x, y)["loss"]
        assert found == pytest.approx(loss.item(), rel=tolerance)
    twin.eval()
    with torch.no_grad():
        wanted = twin(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model.predict(x), wanted, rtol=0, atol=10 * tolerance)
    for view, parameter in zip(model.parameters.values(), twin.parameters(), strict=True):
        np.testing.assert_allclose(view, parameter.detach().numpy(), rtol=0, atol=tolerance)
    for view, buffer in zip(model.buffers.values(), statistics(twin), strict=True):
        np.testing.assert_allclose(view, buffer, rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", BOTH)
def test_gradients_are_those_of_the_model_in_use(kind):
    """`model.gradients` is what PyTorch finds in eval mode."""
    model, twin = twins(kind)
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(16, 7)), rng.normal(size=(16, 3))
    model.fit(x, y, epochs=3, batch_size=8, verbose=0)
    with torch.no_grad():
        for view, parameter in zip(model.parameters.values(), twin.parameters(), strict=True):
            parameter.copy_(torch.from_numpy(view.copy()))
        for view, buffer in zip(model.buffers.values(), statistics(twin), strict=True):
            buffer[...] = view
    twin.eval()
    torch.nn.functional.mse_loss(twin(torch.from_numpy(x)), torch.from_numpy(y)).backward()
    found = model.gradients(x, y)
    for view, parameter in zip(found.values(), twin.parameters(), strict=True):
        np.testing.assert_allclose(view, parameter.grad.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_alpha_dropout_has_torchs_two_lines(rate):
    """Every value comes out on one of two lines of x; PyTorch's layer on the same two."""
    x = np.random.default_rng(0).normal(size=(4000, 1))
    y = torch.nn.AlphaDropout(rate).double().train()(torch.from_numpy(x)).numpy()
    model = bp.Sequential([bp.Input(1), bp.AlphaDropout(rate), bp.Dense(1, use_bias=False)])
    model.compile(optimizer=bp.optim.SGD(1e-300), loss="sse", dtype="float64")
    model.parameters["dense0.weight"][...] = 1.0
    ours = np.array([model.train_on_batch(row[None], [[0.0]])["loss"] for row in x[:400]])
    dropped = np.unique(np.round(y[np.abs(y - np.median(y)) >= 0], 9), return_counts=True)
    common = dropped[0][dropped[1] > 1]  # dropped values are all one number
    assert len(common) == (rate > 0)
    for value in common:
        share = np.isclose(ours, value**2, rtol=1e-8).mean()
        assert share == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / 400))
    kept = ~np.isclose(y[:, 0], common[0], atol=1e-8) if rate else np.full(len(y), True)
    slope, shift = np.polyfit(x[kept, 0], y[kept, 0], 1)
    mine = ~np.isclose(ours, common[0] ** 2, rtol=1e-8) if rate else np.full(400, True)
    np.testing.assert_allclose(ours[mine], (slope * x[:400, 0][mine] + shift) ** 2, rtol=1e-6)
