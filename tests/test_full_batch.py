"""L-BFGS and conjugate gradients: minima that are known, other implementations, resuming."""

import numpy as np
import pytest
from test_updates import assert_same_bits

import pybp as bp
from pybp import full_batch
from pybp.optim.line_search import Point, search

OPTIMISERS = {
    "l-bfgs": lambda **o: bp.optim.LBFGS(**o),
    "l-bfgs, short memory": lambda **o: bp.optim.LBFGS(memory=2, **o),
    "polak-ribiere+": lambda **o: bp.optim.ConjugateGradient(**o),
    "hager-zhang": lambda **o: bp.optim.ConjugateGradient("hager-zhang", **o),
}
each = pytest.mark.parametrize("name", OPTIMISERS)
RNG = np.random.default_rng(12)
X = RNG.normal(size=(90, 5)) @ RNG.normal(size=(5, 5))
LABELS = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 0.5)


def linear(optimizer, penalty=None, dtype="float64"):
    model = bp.Sequential([bp.Input(5), bp.Dense(2, weight_regularizer=penalty)])
    model.compile(optimizer=optimizer, loss="mse", dtype=dtype, seed=0)
    return model


def classifier(optimizer, dtype="float64", l2=1e-2, hidden=6):
    penalty = bp.regularizers.L2(l2)
    model = bp.Sequential(
        [
            bp.Input(5),
            bp.Dense(hidden, activation="tanh", weight_regularizer=penalty),
            bp.Dense(3, activation="softmax", weight_regularizer=penalty),
        ]
    )
    model.compile(optimizer=optimizer, loss="cross_entropy", dtype=dtype, seed=1)
    return model


@each
@pytest.mark.parametrize("seed", range(5))
def test_least_squares(name, seed):
    rng = np.random.default_rng(seed)
    targets = X @ rng.normal(size=(5, 2)) + 0.1 * rng.normal(size=(90, 2)) + 3
    model = linear(OPTIMISERS[name](tolerance=1e-10))
    history = model.fit(X, targets, epochs=400, batch_size=90, verbose=0)
    assert history.ending == "stopped"  # at the minimum
    best = np.linalg.lstsq(np.c_[X, np.ones(90)], targets, rcond=None)[0]
    np.testing.assert_allclose(model.parameters["dense0.weight"], best[:5].T, atol=3e-8)
    np.testing.assert_allclose(model.parameters["dense0.bias"], best[5], atol=3e-8)


@each
def test_the_penalty_is_part_of_what_is_minimised(name):
    """Ridge regression: mean of (Xw - t)^2 over N rows and 2 outputs, plus l2/2 |w|^2."""
    targets, l2 = np.random.default_rng(7).normal(size=(90, 2)), 0.3
    model = linear(OPTIMISERS[name](tolerance=1e-10), bp.regularizers.L2(l2))
    history = model.fit(X, targets, epochs=400, batch_size=90, verbose=0)
    centred, mean = X - X.mean(axis=0), targets.mean(axis=0)
    best = np.linalg.solve(centred.T @ centred + 90 * l2 * np.eye(5), centred.T @ (targets - mean))
    np.testing.assert_allclose(model.parameters["dense0.weight"], best.T, atol=1e-8)
    data = np.mean((centred @ best - (targets - mean)) ** 2)
    assert history.history["loss"][-1] == pytest.approx(data, rel=1e-9)  # without the penalty


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each
def test_a_network_learns_and_its_objective_never_rises(name, dtype):
    model = classifier(OPTIMISERS[name](), dtype)
    values = []
    for _ in range(80):
        loss = model.fit(X, LABELS, epochs=1, batch_size=90, verbose=0).history["loss"][0]
        weights = [v for key, v in model.parameters.items() if key.endswith("weight")]
        values.append(loss + 0.005 * sum(np.sum(w.astype(float) ** 2) for w in weights))
    assert np.all(np.diff(values) <= 1e-14) and values[-1] < 0.75 * values[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each
def test_saved_and_loaded_it_goes_on_to_the_same_bits(name, dtype, tmp_path):
    whole, parts = (classifier(OPTIMISERS[name](), dtype) for _ in range(2))
    losses = whole.fit(X, LABELS, epochs=30, batch_size=90, verbose=0).history["loss"]
    first = parts.fit(X, LABELS, epochs=13, batch_size=90, verbose=0).history["loss"]
    parts.save(tmp_path / "m")
    parts = bp.load(tmp_path / "m")
    second = parts.fit(X, LABELS, epochs=17, batch_size=90, verbose=0).history["loss"]
    assert losses == first + second
    assert_same_bits(whole, parts)


@each
def test_any_number_of_threads_gives_the_same_bits(name):
    before, models = bp.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            bp.set_num_threads(threads)
            model = classifier(OPTIMISERS[name](), "float32", hidden=2000)
            model.fit(X, LABELS, epochs=5, batch_size=90, verbose=0)
            models.append(model)
    finally:
        bp.set_num_threads(before)
    for model in models[1:]:
        assert_same_bits(models[0], model)


def test_rows_go_through_in_pieces_and_the_plan_is_made_once(monkeypatch):
    whole, pieces = classifier(bp.optim.LBFGS()), classifier(bp.optim.LBFGS())
    whole.fit(X, LABELS, epochs=8, batch_size=90, verbose=0)
    monkeypatch.setattr(full_batch, "PIECE", 16)
    pieces.fit(X, LABELS, epochs=8, batch_size=90, verbose=0)
    for name, view in whole.parameters.items():
        np.testing.assert_allclose(view, pieces.parameters[name], rtol=1e-7, atol=1e-9)
    (key,) = [key for key in pieces._plans if key[0] == "train"]
    lowered = pieces._plans[key]
    pieces.fit(X, LABELS, epochs=2, batch_size=90, verbose=0)
    assert pieces._plans[key] is lowered and lowered.plan.capacity == 16


@each
def test_rows_of_weight_0_are_removed_rows(name):
    weight = np.random.default_rng(7).integers(0, 2, len(X))
    some = weight > 0
    model, other = classifier(OPTIMISERS[name]()), classifier(OPTIMISERS[name]())
    history = model.fit(X, LABELS, epochs=6, batch_size=90, sample_weight=weight, verbose=0)
    removed = other.fit(X[some], LABELS[some], epochs=6, batch_size=90, verbose=0)
    np.testing.assert_allclose(history.history["loss"], removed.history["loss"], rtol=1e-9)


def test_frozen_layers_stay():
    model = classifier(bp.optim.LBFGS())
    model.freeze("dense0")
    before = model.parameters["dense0.weight"].copy()
    model.fit(X, LABELS, epochs=10, batch_size=90, verbose=0)
    assert np.array_equal(model.parameters["dense0.weight"], before)
    assert np.any(model.parameters["dense1.bias"] != 0)


def test_an_interruption_puts_the_last_point_back(monkeypatch):
    model = classifier(bp.optim.LBFGS())
    model.fit(X, LABELS, epochs=4, batch_size=90, verbose=0)
    before = {name: tensor.copy() for name, tensor in model.tensors().items()}
    looked = []
    look = full_batch.FullBatchTrainer._look

    def interrupted(trainer, w, penalty):
        looked.append(look(trainer, w, penalty))
        if len(looked) == 2:
            raise KeyboardInterrupt
        return looked[-1]

    monkeypatch.setattr(full_batch.FullBatchTrainer, "_look", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, LABELS, epochs=4, batch_size=90, verbose=0)
    assert not np.array_equal(looked[1].w, looked[0].w)
    for name, tensor in model.tensors().items():
        assert np.array_equal(tensor, before[name])
    assert model.progress.step == 4


def test_what_full_batches_cannot_have_is_said():
    model = classifier(bp.optim.LBFGS())
    with pytest.raises(ValueError, match=r"batch_size=90\), the number of rows.*batch_size=32"):
        model.fit(X, LABELS, verbose=0)
    for layer, message in (
        (bp.Dropout(0.1), "'dropout0' .dropout."),
        (bp.BatchNorm(), "'batchnorm0' .batch_norm."),
        (bp.Dense(4, max_norm=1.0), "no max_norm"),
        (bp.Dense(4, learning_rate_factor=0.5), "no learning rates"),
    ):
        model = bp.Sequential([bp.Input(5), layer, bp.Dense(2)])
        model.compile(optimizer="lbfgs", loss="mse")
        with pytest.raises(ValueError, match=message):
            model.fit(X, X[:, :2], batch_size=90, verbose=0)
    with pytest.raises(ValueError, match="did you mean 'hager-zhang'"):
        bp.optim.ConjugateGradient("hager-zang")
    with pytest.raises(TypeError):
        bp.optim.LBFGS(accumulate=2)
    with pytest.raises(ValueError, match="no learning rate to set"):
        classifier(bp.optim.LBFGS()).learning_rate = 0.1
    with pytest.raises(ValueError, match="has no learning rate"):
        bp.find_learning_rate(classifier(bp.optim.LBFGS()), X, LABELS)


def test_a_step_that_overflows_is_tried_shorter():
    model = linear(bp.optim.ConjugateGradient(), dtype="float32")
    x = X * 1e12
    first = model.evaluate(x, X[:, :2])["loss"]
    loss = model.fit(x, X[:, :2], epochs=5, batch_size=90, verbose=0).history["loss"]
    assert np.isfinite(loss).all() and loss[-1] < 1e-3 * first


CURVES = {
    "parabola": (lambda a: (a - 7) ** 2, lambda a: 2 * (a - 7)),
    "quartic": (lambda a: (a - 0.01) ** 4 - a, lambda a: 4 * (a - 0.01) ** 3 - 1),
    "wave": (lambda a: np.sin(3 * a) - 0.5 * a, lambda a: 3 * np.cos(3 * a) - 0.5),
    "wall": (
        lambda a: np.inf if a > 1e-3 else (a - 8e-4) ** 2,
        lambda a: 0.0 if a > 1e-3 else 2 * (a - 8e-4),
    ),
}


@pytest.mark.parametrize("first", [1e-4, 0.3, 1.0, 50.0])
@pytest.mark.parametrize("curvature", [0.1, 0.9])
@pytest.mark.parametrize("name", CURVES)
def test_line_search_ends_where_the_strong_wolfe_conditions_hold(name, curvature, first):
    value, slope = CURVES[name]

    def look(w):
        return Point(w, float(value(w[0])), np.array([float(slope(w[0]))]))

    start = look(np.zeros(1))
    down = -np.sign(start.gradient)
    point, length = search(look, start, down, first, curvature, 60)
    fall = start.gradient[0] * down[0]
    assert point.w[0] == pytest.approx(length * down[0])
    assert point.value <= start.value + 1e-4 * length * fall
    assert abs(point.gradient[0]) <= -curvature * fall


# --- beside others -------------------------------------------------------------------------------


@each
def test_scipy_finds_no_lower_minimum_of_a_convex_objective(name):
    scipy = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
    labels, l2 = LABELS, 0.02
    model = bp.Sequential(
        [
            bp.Input(5),
            bp.Dense(3, activation="softmax", weight_regularizer=bp.regularizers.L2(l2)),
        ]
    )
    model.compile(optimizer=OPTIMISERS[name](), loss="cross_entropy", dtype="float64", seed=1)
    model.fit(X, labels, epochs=500, batch_size=90, verbose=0)

    def objective(flat):
        w, b = flat[:15].reshape(3, 5), flat[15:]
        z = X @ w.T + b
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        delta = (p - np.eye(3)[labels]) / len(X)
        value = -np.mean(np.log(p[np.arange(len(X)), labels])) + l2 / 2 * np.sum(w**2)
        return value, np.r_[(delta.T @ X + l2 * w).ravel(), delta.sum(axis=0)]

    best = scipy.minimize(objective, np.zeros(18), jac=True, method="L-BFGS-B", tol=1e-14)
    parameters = model.parameters
    ours = np.r_[parameters["dense0.weight"].ravel(), parameters["dense0.bias"]]
    assert objective(ours)[0] <= best.fun * (1 + 1e-9)


@pytest.mark.parametrize("data", ["iris", "wheat"])
def test_scikit_learns_loss_is_reached(data, request):
    """The same network, start and penalty, alpha / (2 N) |w|^2, in as many iterations; the data
    scaled to mean 0 and deviation 1."""
    network = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed")
    x, y = request.getfixturevalue(data)
    alpha, rows = 0.5, len(x)
    theirs, ours = [], []
    for seed in range(5):
        other = network.MLPClassifier(
            (5,), "tanh", solver="lbfgs", alpha=alpha, max_iter=2000, random_state=seed, tol=1e-9
        )
        theirs.append(other.fit(x, y).loss_)
        penalty = bp.regularizers.L2(alpha / rows)
        model = bp.Sequential(
            [
                bp.Input(x.shape[1]),
                bp.Dense(5, activation="tanh", weight_regularizer=penalty),
                bp.Dense(3, activation="softmax", weight_regularizer=penalty),
            ]
        )
        model.compile(optimizer="lbfgs", loss="cross_entropy", dtype="float64", seed=seed)
        model.fit(x, y, epochs=2000, batch_size=rows, verbose=0)
        weights = [v for key, v in model.parameters.items() if key.endswith("weight")]
        value = model.evaluate(x, y)["loss"]
        ours.append(value + alpha / (2 * rows) * sum(np.sum(w**2) for w in weights))
    assert min(ours) <= min(theirs) * (1 + 1e-6)
    assert np.median(ours) <= np.median(theirs) * 1.02
