"""Losses: against PyTorch, at their edges, by name and as objects, saved and loaded."""

from __future__ import annotations

import numpy as np
import pytest
from loss_uses import USES, LossUse, X, Y

import pybp as bp

NAMES = sorted(bp.losses._PLACES)


def test_every_loss_has_a_use():
    used = {use.loss if isinstance(use.loss, str) else use.loss.name for use in USES.values()}
    assert used == set(NAMES)


def of_torch(name):
    """PyTorch's loss as a function of (output before softmax or sigmoid, target)."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    f = torch.nn.functional

    def focal(gamma):
        def loss(z, y):
            log_p = f.log_softmax(z, dim=1)
            t = f.one_hot(y, 3) if y.dim() == 1 else y
            return -(t * (1 - log_p.exp()) ** gamma * log_p).sum(1).mean()

        return loss

    def sigmoid_focal(gamma, alpha):
        def loss(z, y):
            p = torch.sigmoid(z)
            p_t = y * p + (1 - y) * (1 - p)
            a = 1.0 if alpha is None else y * alpha + (1 - y) * (1 - alpha)
            return -(a * (1 - p_t) ** gamma * p_t.log()).mean()

        return loss

    def quantile(z, y):
        return torch.maximum(0.8 * (y - z), -0.2 * (y - z)).mean()

    def signs(y):
        return torch.where(y > 0, 1.0, -1.0)

    return {
        "half_sse": lambda z, y: 0.5 * f.mse_loss(z, y, reduction="sum"),
        "sse": lambda z, y: f.mse_loss(z, y, reduction="sum"),
        "mse": f.mse_loss,
        "mae": f.l1_loss,
        "huber": f.huber_loss,
        "huber, narrow": lambda z, y: f.huber_loss(z, y, delta=0.3),
        "log_cosh": lambda z, y: (z - y).cosh().log().mean(),
        "quantile": quantile,
        "poisson": f.poisson_nll_loss,
        "poisson of rates": lambda z, y: f.poisson_nll_loss(z, y, log_input=False),
        "cosine_similarity": lambda z, y: (1 - f.cosine_similarity(z, y)).mean(),
        "cross_entropy": f.cross_entropy,
        "cross_entropy of masses": f.cross_entropy,
        "cross_entropy, smooth": lambda z, y: f.cross_entropy(z, y, label_smoothing=0.1),
        "smooth of masses": lambda z, y: f.cross_entropy(z, y, label_smoothing=0.2),
        "binary_cross_entropy": f.binary_cross_entropy_with_logits,
        "binary_cross_entropy, smooth": lambda z, y: f.binary_cross_entropy_with_logits(
            z, 0.9 * y + 0.05
        ),
        "kl_divergence": lambda z, y: f.kl_div(f.log_softmax(z, 1), y, reduction="batchmean"),
        "focal": focal(2.0),
        "focal of masses": focal(0.5),
        "focal, one unit": sigmoid_focal(1.5, 0.25),
        "focal, sigmoid": sigmoid_focal(2.0, None),
        "hinge": lambda z, y: (1 - signs(y) * z).clamp(min=0).mean(),
        "hinge of bits": lambda z, y: (1 - signs(y) * z).clamp(min=0).mean(),
        # PyTorch's is of Weston and Watkins: it adds the margins up, here the worst one counts.
        "hinge of classes": lambda z, y: crammer_singer(torch, z, y).mean(),
        "squared_hinge": lambda z, y: ((1 - signs(y) * z).clamp(min=0) ** 2).mean(),
        "squared_hinge of classes": lambda z, y: (crammer_singer(torch, z, y) ** 2).mean(),
    }[name]


def crammer_singer(torch, z, y):
    mine = torch.nn.functional.one_hot(y, z.shape[1]).bool()
    rival = z.masked_fill(mine, -torch.inf).max(dim=1).values
    return (1 + rival - z[mine]).clamp(min=0)


@pytest.mark.parametrize("name", USES)
def test_torch_agrees_over_ten_steps(name):
    loss = of_torch(name)
    import torch

    use, last = USES[name], {"tanh": torch.nn.Tanh(), "softplus": torch.nn.Softplus()}
    if name == "mse":
        last["sigmoid"] = torch.nn.Sigmoid()
    model = use.model()
    twin = torch.nn.Sequential(
        torch.nn.Linear(X.shape[1], 7, dtype=torch.float64),
        torch.nn.Tanh(),
        torch.nn.Linear(7, use.units, dtype=torch.float64),
        last.get(use.activation, torch.nn.Identity()),
    )
    with torch.no_grad():
        for ours, theirs in zip(model.parameters.values(), twin.parameters(), strict=True):
            theirs.copy_(torch.from_numpy(ours.copy()))
    rate = 0.001 if name in ("sse", "half_sse") else 0.05
    model.learning_rate = rate
    stepper = torch.optim.SGD(twin.parameters(), rate, momentum=0.5)
    classes = use.y.ndim == 1 and use.units > 1
    y = torch.from_numpy(use.y if classes else use.y.reshape(-1, use.units).astype(float))
    for _ in range(10):
        stepper.zero_grad()
        value = loss(twin(torch.from_numpy(X)), y)
        value.backward()
        stepper.step()
        assert model.train_on_batch(X, use.y)["loss"] == pytest.approx(value.item(), rel=1e-12)
    for ours, theirs in zip(model.parameters.values(), twin.parameters(), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", USES)
def test_gradients_are_differences(name):
    model = USES[name].model()
    y = USES[name].y
    weight = model.parameters["dense1.weight"]
    gradient = model.gradients(X, y)["dense1.weight"]
    rng = np.random.default_rng(0)
    direction = rng.normal(size=weight.shape)
    before, h = weight.copy(), 1e-5
    ends = []
    for sign in (1, -1):
        weight[...] = before + sign * h * direction
        ends.append(model.evaluate(X, y)["loss"])
    numeric = (ends[0] - ends[1]) / (2 * h)
    assert (gradient * direction).sum() == pytest.approx(numeric, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", USES)
def test_saved_and_loaded_it_goes_on_to_the_same_bits(name, tmp_path):
    use = USES[name]
    straight, broken = use.model(dtype="float32"), use.model(dtype="float32")
    straight.fit(X, use.y, epochs=4, batch_size=10)
    broken.fit(X, use.y, epochs=2, batch_size=10)
    broken.save(tmp_path / "m")
    loaded = bp.load(tmp_path / "m")
    assert repr(loaded._goals[0].loss) == repr(broken._goals[0].loss)
    loaded.fit(X, use.y, epochs=2, batch_size=10)
    for a, b in zip(straight.parameters.values(), loaded.parameters.values(), strict=True):
        assert a.tobytes() == b.tobytes()


def one_weight(loss, z, t, dtype="float64"):
    """The loss of the single output z for the target t."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1)])
    model.compile(loss=loss, dtype=dtype)
    model.parameters["dense0.weight"][...] = z
    return model.evaluate([[1.0]], [t])["loss"]


def test_log_cosh_keeps_its_digits_at_both_ends():
    assert one_weight("log_cosh", 1e-6, 0) == pytest.approx(5e-13, rel=1e-9)
    assert one_weight("log_cosh", 1e6, 0) == pytest.approx(1e6 - np.log(2), rel=1e-15)
    assert one_weight("log_cosh", 1.0, 0) == pytest.approx(np.log(np.cosh(1.0)), rel=1e-15)


@pytest.mark.parametrize("z", [-800.0, -30.0, 30.0, 800.0])
@pytest.mark.parametrize("t", [0, 1])
def test_focal_of_extreme_logits_is_finite(z, t):
    expected = abs(z) if (z > 0) != (t == 1) else 0.0
    assert one_weight("focal", z, t) == pytest.approx(expected, abs=1e-6)


def test_softmax_focal_of_sure_outputs_has_gradients():
    model = bp.Sequential([bp.Input(1), bp.Dense(3)])
    model.compile(loss=bp.losses.Focal(gamma=0.5), dtype="float64")
    model.parameters["dense0.weight"][...] = [[500.0], [0.0], [-500.0]]
    for label in range(3):
        gradient = model.gradients([[1.0]], [label])["dense0.bias"]
        assert np.isfinite(gradient).all()
        assert gradient[label] <= 0
        assert abs(gradient.sum()) < 1e-12


def test_the_median_is_where_the_quantile_loss_is_least():
    y = np.random.default_rng(0).exponential(size=501)
    model = bp.Sequential([bp.Input(1), bp.Dense(1, use_bias=False)])
    for q in (0.1, 0.5, 0.9):
        model.compile(loss=bp.losses.Quantile(q=q), dtype="float64")
        losses = []
        for value in (np.quantile(y, q) + d for d in (-0.05, 0.0, 0.05)):
            model.parameters["dense0.weight"][...] = value
            losses.append(model.evaluate(np.ones((501, 1)), y)["loss"])
        assert losses[1] == min(losses)


def test_kl_divergence_is_zero_for_the_right_distribution():
    model = bp.Sequential([bp.Input(1), bp.Dense(3, activation="softmax")])
    model.compile(loss="kl_divergence", dtype="float64")
    x = [[0.3]]
    assert model.evaluate(x, model.predict(x))["loss"] == pytest.approx(0, abs=1e-15)
    assert model.evaluate(x, [[1.0, 0.0, 0.0]])["loss"] > 0


def test_huber_is_quadratic_then_linear():
    assert one_weight(bp.losses.Huber(delta=2.0), 1.0, 0) == 0.5
    assert one_weight(bp.losses.Huber(delta=2.0), 5.0, 0) == 2 * (5 - 1)


BAD = {
    "no loss": ({"loss": "hubber"}, ValueError, "huber"),
    "a class": ({"loss": bp.losses.Huber}, TypeError, "bp.losses.Huber"),
    "a number": ({"loss": 3}, TypeError, "3"),
    "softmax for hinge": ({"loss": "hinge", "activation": "softmax"}, ValueError, "tanh"),
    "relu for poisson": ({"loss": "poisson", "activation": "relu"}, ValueError, "log_input"),
    "alpha of many classes": (
        {"loss": bp.losses.Focal(alpha=0.3), "activation": "softmax"},
        ValueError,
        "class_weight",
    ),
    "direction of one": ({"loss": "cosine_similarity", "units": 1}, ValueError, "two outputs"),
    "kl of one": ({"loss": "kl_divergence", "units": 1}, ValueError, "two outputs"),
}


@pytest.mark.parametrize("kind", BAD)
def test_losses_that_do_not_suit_the_model(kind):
    given, error, word = BAD[kind]
    given = {"units": 3, "activation": None, **given}
    model = bp.Sequential([bp.Input(2), bp.Dense(given["units"], activation=given["activation"])])
    with pytest.raises(error, match=r"loss|Focal") as caught:
        model.compile(loss=given["loss"])
    assert word in str(caught.value)
    assert not model.compiled


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: bp.losses.Huber(delta=0), "delta"),
        (lambda: bp.losses.Huber(delta="1"), "delta"),
        (lambda: bp.losses.Quantile(q=1), "q"),
        (lambda: bp.losses.Focal(gamma=-1), "gamma"),
        (lambda: bp.losses.Focal(alpha=2), "alpha"),
        (lambda: bp.losses.CrossEntropy(label_smoothing=1), "label_smoothing"),
        (lambda: bp.losses.Poisson(log_input=1), "log_input"),
    ],
)
def test_bad_arguments(make, word):
    with pytest.raises((TypeError, ValueError), match=word):
        make()


BAD_TARGETS = {
    "counts below 0": (LossUse("poisson", 3, None, Y["counts"]), -1, "counts"),
    "hinge of 2": (LossUse("hinge", 1, None, Y["bits"]), 2, "-1 and 1"),
    "hinge of 0 beside -1": (LossUse("hinge", 1, None, Y["signs"]), 0, "there are -1"),
    "hinge class 3": (LossUse("hinge", 3, None, Y["labels"]), 3, "class labels"),
    "half a bit for focal": (LossUse("focal", 1, None, Y["bits"] * 1.0), 0.5, "0 and 1"),
    "masses below 0": (LossUse("kl_divergence", 3, None, Y["masses"]), -0.2, "sum"),
}


@pytest.mark.parametrize("kind", BAD_TARGETS)
def test_bad_targets_are_named_before_anything_changes(kind):
    use, value, word = BAD_TARGETS[kind]
    model = use.model()
    before = {name: view.copy() for name, view in model.parameters.items()}
    y = use.y.copy()
    y[5] = value
    with pytest.raises(ValueError, match=r"y\[5\]") as caught:
        model.fit(X, y)
    assert word in str(caught.value)
    for name, view in model.parameters.items():
        assert (view == before[name]).all()


def test_kl_divergence_of_labels_says_what_to_use():
    use = USES["kl_divergence"]
    with pytest.raises(ValueError, match="cross_entropy"):
        use.model().fit(X, Y["labels"])


# -- functions of bp.ops that end a model ----------------------------------------------------------


@pytest.mark.parametrize("last", ["sigmoid", "softmax", "tanh"])
def test_an_activation_is_one_however_it_is_written(last):
    """The loss takes the scores before it in all three cases, and never applies it twice."""
    function = getattr(bp.ops, last)
    labels = (X[:, 0] > 0).astype(int)
    loss = {"sigmoid": "binary_cross_entropy", "softmax": "cross_entropy", "tanh": "hinge"}[last]
    units = 2 if last == "softmax" else 1
    found = []
    for end in (
        lambda x: bp.Dense(units, last)(x),
        lambda x: bp.Dense(units, function)(x),
        lambda x: function(bp.Dense(units)(x)),
    ):
        x = bp.Input(X.shape[1])
        model = bp.Model(x, end(x))
        model.compile("sgd", loss, ["accuracy"], "float64", seed=0)
        history = model.fit(X, labels, epochs=3, verbose=0).history
        found.append((history, model.predict(X)))
    for history, prediction in found[1:]:
        np.testing.assert_allclose(prediction, found[0][1], rtol=1e-12)
        for name, values in history.items():
            np.testing.assert_allclose(values, found[0][0][name], rtol=1e-12)


@pytest.mark.parametrize(
    ("activation", "loss"), [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")]
)
def test_a_mean_of_probabilities_is_no_score(activation, loss):
    x = bp.Input(4)
    model = bp.Model(x, bp.average([bp.Dense(3, activation)(x), bp.Dense(3, activation)(x)]))
    with pytest.raises(ValueError, match=f"{loss}.*'average0' is a sum of.*{activation}"):
        model.compile(loss=loss)
