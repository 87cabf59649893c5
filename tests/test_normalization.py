"""BatchNorm, LayerNorm and RMSNorm: running statistics, folding, files, threads and mistakes."""

import numpy as np
import pytest

import pybp as bp
from pybp.lower import lower
from pybp.request import Request
from pybp.testing import gradcheck

TOLERANCE = {"float32": 2e-6, "float64": 1e-13}


def classifier(*inside, dtype="float64", seed=0, loss="mse", optimizer=None):
    layers = [bp.Input(6), bp.Dense(17), *inside, bp.Dense(3)]
    model = bp.Sequential(layers)
    chosen = optimizer or bp.optim.Adam(0.02)
    model.compile(optimizer=chosen, loss=loss, dtype=dtype, seed=seed)
    return model


def data(rows=50, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(2, 3, size=(rows, 6)), rng.normal(size=(rows, 3))


NETS = {
    "before the activation": lambda: [bp.BatchNorm(), bp.Activation("relu")],
    "after the activation": lambda: [bp.Activation("tanh"), bp.BatchNorm()],
    "without either": lambda: [bp.BatchNorm(affine=False)],
    "with dropout": lambda: [bp.Dropout(0.2), bp.BatchNorm(eps=1e-3), bp.Dropout(0.1)],
    "twice": lambda: [bp.BatchNorm(), bp.BatchNorm(momentum=0.5), bp.Activation("sigmoid")],
    "around": lambda: [bp.BatchNorm(), bp.Activation("relu"), bp.BatchNorm()],
    "layer": lambda: [bp.LayerNorm(), bp.Activation("relu")],
    "rms": lambda: [bp.Activation("tanh"), bp.RMSNorm()],
    "rows without parameters": lambda: [bp.LayerNorm(affine=False), bp.RMSNorm(affine=False)],
}


@pytest.fixture(params=NETS)
def inside(request):
    return NETS[request.param]


# -- the running statistics ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("momentum", [0.0, 0.1, 1.0])
def test_running_statistics_are_numpys(momentum, dtype):
    """Over batches of 20, 20 and 10 of 50 rows, twice."""
    x, y = data()
    x = x.astype(dtype)
    model = bp.Sequential([bp.Input(6), bp.BatchNorm(momentum), bp.Dense(3)])
    model.compile(dtype=dtype)
    mean, variance = np.zeros(6), np.ones(6)
    for name, value in (("mean", mean), ("variance", variance)):
        view = model.buffers[f"batchnorm0.{name}"]
        assert view.dtype == np.float64
        np.testing.assert_array_equal(view, value)
    model.fit(x, y, epochs=2, batch_size=20, shuffle=False, verbose=0)
    for begin in (0, 20, 40) * 2:
        batch = x[begin : begin + 20].astype(np.float64)
        mean = (1 - momentum) * mean + momentum * batch.mean(axis=0)
        variance = (1 - momentum) * variance + momentum * batch.var(axis=0, ddof=1)
    np.testing.assert_allclose(model.buffers["batchnorm0.mean"], mean, rtol=1e-13)
    np.testing.assert_allclose(model.buffers["batchnorm0.variance"], variance, rtol=1e-13)


def test_statistics_of_values_far_from_zero():
    """Deviation 1 about a million, in float32: summed squares would have no digit left."""
    x = (1e6 + np.random.default_rng(0).normal(size=(200, 1))).astype(np.float32)
    model = bp.Sequential([bp.Input(1), bp.BatchNorm(momentum=1.0), bp.Dense(1)])
    model.compile()
    model.fit(x, np.zeros(200), batch_size=200, verbose=0)
    wanted = x.astype(np.float64).var(ddof=1)
    np.testing.assert_allclose(model.buffers["batchnorm0.variance"], wanted, rtol=1e-12)
    out = model.activations(x)["batchnorm0"]
    assert abs(out.mean()) < 1e-3
    assert out.std() == pytest.approx(1, rel=5e-3)


def test_axes_before_the_last_count_as_rows():
    x = np.random.default_rng(0).normal(size=(8, 5, 3))
    model = bp.Sequential([bp.Input((5, 3)), bp.BatchNorm(momentum=1.0), bp.Dense(1)])
    model.compile(dtype="float64")
    model.fit(x, np.zeros((8, 5)), batch_size=8, verbose=0)
    np.testing.assert_allclose(
        model.buffers["batchnorm0.mean"], x.mean(axis=(0, 1)), rtol=0, atol=1e-14
    )


def test_rows_without_weight_count_in_the_statistics():
    """They take part in the layer, though not in the loss."""
    x, y = data(30)
    model = bp.Sequential([bp.Input(6), bp.BatchNorm(momentum=1.0), bp.Dense(3)])
    model.compile(dtype="float64")
    weight = np.arange(30) % 3 > 0
    model.fit(x, y, batch_size=30, sample_weight=weight.astype(float), verbose=0)
    np.testing.assert_allclose(model.buffers["batchnorm0.mean"], x.mean(axis=0), rtol=1e-13)


def test_only_training_moves_them():
    x, y = data()
    model = classifier(bp.BatchNorm())
    model.fit(x, y, verbose=0)
    before = {name: view.copy() for name, view in model.buffers.items()}
    model.predict(x)
    model.evaluate(x, y)
    model.gradients(x, y)
    model.activations(x)
    assert all(np.array_equal(model.buffers[name], before[name]) for name in before)
    model.initialize(seed=1)
    assert not model.buffers["batchnorm0.mean"].any()


def test_buffers_are_no_parameters():
    model = classifier(bp.BatchNorm())
    assert set(model.buffers) == {"batchnorm0.mean", "batchnorm0.variance"}
    assert not set(model.buffers) & set(model.parameters)
    assert {"batchnorm0.gamma", "batchnorm0.beta"} <= set(model.parameters)
    assert set(model.buffers) <= set(model.tensors())
    assert not [name for name in model.tensors() if name.startswith("batchnorm0.mean@")]
    assert set(model.gradients(*data())) == set(model.parameters)
    deltas = set(model.gradients(*data(), deltas=True)) - set(model.parameters)
    assert deltas == {"dense0.delta", "dense1.delta"}


def test_a_diverging_step_leaves_them_alone():
    x, y = data(40)
    model = classifier(bp.BatchNorm(), dtype="float64")
    model.fit(x, y, batch_size=20, verbose=0)
    before = {name: view.copy() for name, view in model.tensors().items()}
    model.parameters["dense1.bias"][...] = 1e300
    before["dense1.bias"] = model.parameters["dense1.bias"].copy()
    with pytest.raises(bp.errors.DivergenceError):
        model.fit(x, y, batch_size=20, verbose=0)
    assert all(np.array_equal(model.tensors()[name], before[name]) for name in before)


# -- inference ----------------------------------------------------------------------------------


def unfolded(model, x):
    """The output by a plan that keeps every value, so that nothing can be folded."""
    return list(model.activations(x).values())[-1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_folded_and_not_are_equal(inside, dtype):
    x, y = data()
    model = classifier(*inside(), dtype=dtype)
    model.fit(x, y, epochs=3, batch_size=10, verbose=0)
    wanted = unfolded(model, x)
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(model.predict(x), wanted, rtol=1e-6, atol=1e-6 * scale)
    one = model.predictor()
    np.testing.assert_allclose(one(x[0].astype(dtype)), wanted[:1], rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize(
    ("layers", "program"),
    [
        ([bp.BatchNorm()], "dense + batch_norm"),
        ([bp.BatchNorm(), bp.Activation("relu")], "dense + batch_norm + relu"),
        ([bp.Activation("relu"), bp.BatchNorm()], "dense + relu + batch_norm"),
        ([bp.Dropout(0.5), bp.BatchNorm(), bp.GaussianNoise(1)], "dense + batch_norm"),
    ],
)
def test_no_pass_over_the_activations_remains(layers, program):
    model = classifier(*layers)
    lowered = lower(Request(16, output=model._output), model._store)
    text = lowered.describe()
    ops = [k["op"] for k in lowered.instructions]
    assert ops == ["feed", "batch_norm_affine", "dense", "dense"]
    assert f"dense0       {program}: " in text
    small = lowered.tensors[lowered.instructions[1]["out"]]
    assert (small.shape, small.batched) == ((2, 17), False)


@pytest.mark.parametrize("shape", [6, (3, 2)])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_behind_the_input_it_is_part_of_the_gathering(shape, scale):
    x, y = np.random.default_rng(0).normal(2, 3, size=(50, 6)), np.zeros((50, 1))
    model = bp.Sequential([bp.Input(shape, scale), bp.BatchNorm(), bp.Dense(1)])
    model.compile(loss="mse", dtype="float64")
    if shape == 6:
        model.fit(x, y, epochs=2, batch_size=10, verbose=0)
    model.buffers["batchnorm0.mean"][...] += 0.5
    model.buffers["batchnorm0.variance"][...] *= 3
    ops = [k["op"] for k in lower(Request(16, output=model._output), model._store).instructions]
    assert ops == ["batch_norm_affine", "feed", "dense"]
    np.testing.assert_allclose(model.predict(x), unfolded(model, x), rtol=1e-12, atol=1e-14)
    one = model.predictor()
    np.testing.assert_allclose(one(x[:1]), unfolded(model, x[:1]), rtol=1e-12, atol=1e-14)


def test_what_cannot_be_folded_is_a_pass():
    """The second of two in a row."""
    model = classifier(bp.BatchNorm(), bp.BatchNorm())
    ops = [k["op"] for k in lower(Request(16, output=model._output), model._store).instructions]
    assert ops == ["feed", "batch_norm_affine", "dense", "batch_norm", "dense"]


def test_folding_follows_training():
    """Plans and predictors made before training see what it changes."""
    x, y = data()
    model = classifier(bp.BatchNorm(), bp.Activation("relu"))
    one = model.predictor()
    before = one(x[0]).copy(), model.predict(x)
    model.fit(x, y, epochs=2, batch_size=10, verbose=0)
    np.testing.assert_allclose(model.predict(x), unfolded(model, x), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(one(x[0]), model.predict(x[:1]))
    assert not np.array_equal(one(x[0]), before[0])
    model.buffers["batchnorm0.mean"][...] += 1.0
    np.testing.assert_allclose(model.predict(x), unfolded(model, x), rtol=1e-12, atol=1e-12)


def test_a_row_does_not_depend_on_its_neighbours(inside):
    x, y = data()
    model = classifier(*inside())
    model.fit(x, y, batch_size=10, verbose=0)
    whole = model.predict(x)
    for i in (0, 7, 49):
        np.testing.assert_allclose(model.predict(x[i : i + 1]), whole[i : i + 1], rtol=1e-12)
    assert model.predict(x[:0]).shape == (0, 3)


def test_gradients_are_those_of_evaluate(inside):
    x, y = data(20)
    model = classifier(*[layer for layer in inside() if "relu" not in repr(layer)])
    model.fit(x, y, epochs=2, batch_size=10, verbose=0)
    gradcheck(model, x, y, tolerance=1e-6)


# -- training -----------------------------------------------------------------------------------


def test_a_training_step_is_differences_of_the_training_loss():
    """One SGD step's gradients against central differences of the loss that the step reports."""
    x, y = data(12)

    def loss_with(name=None, direction=None, h=0.0, step=0.0):
        model = classifier(bp.BatchNorm(), bp.Activation("tanh"), optimizer=bp.optim.SGD(step))
        if name:
            model.parameters[name][...] += h * direction
        return model.train_on_batch(x, y)["loss"], model

    rate = 1e-4
    _, stepped = loss_with(step=rate)
    _, start = loss_with(step=1e-300)
    rng = np.random.default_rng(0)
    for name, view in stepped.parameters.items():
        gradient = (start.parameters[name] - view) / rate
        direction = rng.normal(size=view.shape)
        (up, _), (down, _) = (loss_with(name, direction, h, 1e-300) for h in (1e-5, -1e-5))
        wanted = (up - down) / 2e-5
        assert (gradient * direction).sum() == pytest.approx(wanted, rel=1e-5, abs=1e-9), name


def test_uint8_rows_and_learning():
    """Digits of two columns that only normalisation brings to one scale."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.integers(0, 4, 200), rng.integers(0, 255, 200)]).astype(np.uint8)
    y = (x[:, 0] >= 2).astype(int)
    model = bp.Sequential(
        [
            bp.Input(2),
            bp.BatchNorm(),
            bp.Dense(8),
            bp.BatchNorm(),
            bp.Activation("relu"),
            bp.Dense(2, activation="softmax"),
        ]
    )
    model.compile(optimizer=bp.optim.Adam(0.02), loss="cross_entropy", metrics=["accuracy"])
    model.fit(x, y, epochs=30, batch_size=32, verbose=0)
    assert model.evaluate(x, y)["accuracy"] > 0.99


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_give_the_same_bits(inside, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 80)), rng.normal(size=(300, 3))
    found = []
    for threads in (1, 2, 3):
        bp.set_num_threads(threads)
        model = bp.Sequential([bp.Input(80), bp.Dense(130), *inside(), bp.Dense(3)])
        model.compile(loss="mse", dtype=dtype, seed=1)
        model.fit(x, y, epochs=2, batch_size=110, verbose=0)
        found.append([*(v.tobytes() for v in model.tensors().values()), model.predict(x).tobytes()])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resume_to_the_same_bits(inside, dtype, tmp_path):
    x, y = data(55)
    straight, first = classifier(*inside(), dtype=dtype), classifier(*inside(), dtype=dtype)
    straight.fit(x, y, epochs=4, batch_size=10, verbose=0)
    first.fit(x, y, epochs=2, batch_size=10, verbose=0)
    first.save(tmp_path / "half.pybp")
    second = bp.load(tmp_path / "half.pybp")
    assert repr(second) == repr(first)
    assert np.array_equal(second.predict(x), first.predict(x))
    second.fit(x, y, epochs=2, batch_size=10, verbose=0)
    for name, view in straight.tensors().items():
        assert np.array_equal(second.tensors()[name], view), name


def test_another_precision_keeps_the_statistics():
    x, y = data()
    model = classifier(bp.BatchNorm(), dtype="float64")
    model.fit(x, y, verbose=0)
    before = {name: view.copy() for name, view in model.buffers.items()}
    model.compile(loss="mse", dtype="float32")
    assert all(np.array_equal(model.buffers[name], before[name]) for name in before)


def test_a_batch_of_one_row_is_refused():
    x, y = data(21)
    model = classifier(bp.BatchNorm(name="norm"))
    before = {name: view.copy() for name, view in model.tensors().items()}
    with pytest.raises(ValueError, match=r"'norm'.*21 rows in batches of 10.*batch_size"):
        model.fit(x, y, batch_size=10, verbose=0)
    with pytest.raises(ValueError, match="'norm'"):
        model.fit(x, y, batch_size=1, verbose=0)
    with pytest.raises(ValueError, match="'norm'"):
        model.train_on_batch(x[:1], y[:1])
    assert all(np.array_equal(model.tensors()[name], before[name]) for name in before)
    assert model.progress.step == 0
    model.fit(x, y, batch_size=19, verbose=0)  # a last batch of two
    classifier(bp.LayerNorm(), bp.RMSNorm()).train_on_batch(x[:1], y[:1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bp.BatchNorm(momentum=1.5), "BatchNorm: momentum"),
        (lambda: bp.BatchNorm(eps=0), "BatchNorm: eps"),
        (lambda: bp.BatchNorm(affine=1), "BatchNorm: affine"),
        (lambda: bp.LayerNorm(eps=-1), "LayerNorm: eps"),
        (lambda: bp.RMSNorm(eps=float("nan")), "RMSNorm: eps"),
        (lambda: bp.RMSNorm(affine="yes"), "RMSNorm: affine"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_frozen_layer_is_as_at_inference():
    """It keeps gamma, beta and statistics, and uses the latter in training."""
    x, y = data(40)
    model = classifier(bp.BatchNorm(), bp.Activation("tanh"), optimizer=bp.optim.SGD(0.05))
    model.fit(x, y, epochs=3, batch_size=10, verbose=0)
    model.freeze("batchnorm0")
    kept = {name: v.copy() for name, v in model.tensors().items() if name.startswith("batchnorm0")}
    gradients = {name: g.copy() for name, g in model.gradients(x, y).items()}
    start = {name: view.copy() for name, view in model.parameters.items()}
    assert model.train_on_batch(x, y)["loss"] == pytest.approx(model_loss(start, model, x, y))
    for name in ("dense0.weight", "dense1.bias"):
        wanted = start[name] - 0.05 * gradients[name]
        np.testing.assert_allclose(model.parameters[name], wanted, rtol=1e-12, atol=1e-15)
    assert all(np.array_equal(model.tensors()[name], value) for name, value in kept.items())
    model.train_on_batch(x[:1], y[:1])  # a single row is fine then
    model.unfreeze("batchnorm0")
    model.train_on_batch(x, y)
    assert not any(np.array_equal(model.tensors()[name], value) for name, value in kept.items())


def model_loss(parameters, model, x, y):
    """What evaluate says at other parameters."""
    now = {name: view.copy() for name, view in model.parameters.items()}
    for name, value in parameters.items():
        model.parameters[name][...] = value
    loss = model.evaluate(x, y)["loss"]
    for name, value in now.items():
        model.parameters[name][...] = value
    return loss


@pytest.mark.parametrize("kind", [bp.BatchNorm, bp.LayerNorm, bp.RMSNorm])
def test_options_of_layers_with_parameters(kind, tmp_path):
    """A penalty on gamma and a rate of its own, against the step without them."""
    x, y = data(40)

    def step(**options):
        model = classifier(kind(name="norm", **options), optimizer=bp.optim.SGD(0.1))
        model.train_on_batch(x, y)
        return model

    plain = step().parameters["norm.gamma"] - 1
    slow = step(learning_rate_factor=0.5).parameters["norm.gamma"] - 1
    np.testing.assert_allclose(slow, plain / 2, rtol=1e-9, atol=1e-12)
    pulled = step(weight_regularizer=bp.regularizers.L1(0.3))
    np.testing.assert_allclose(pulled.parameters["norm.gamma"] - 1, plain - 0.03, rtol=1e-9)
    assert np.array_equal(step(trainable=False).parameters["norm.gamma"], np.ones(17))
    with pytest.raises(ValueError, match="max_norm"):
        kind(max_norm=1.0)
    pulled.save(tmp_path / "m.pybp")
    assert repr(bp.load(tmp_path / "m.pybp")) == repr(pulled)


def test_early_stopping_restores_the_statistics_too():
    x, y = data(40)
    model = classifier(bp.BatchNorm())
    model.fit(x, y, batch_size=10, verbose=0)
    stop = bp.callbacks.EarlyStopping(monitor="val_loss", patience=1)
    seen = []
    note = bp.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(
            (logs["val_loss"], model.buffers["batchnorm0.mean"].copy())
        )
    )
    validation = (x[:10] + 5, y[:10])
    model.fit(
        x,
        y,
        epochs=12,
        batch_size=10,
        validation_data=validation,
        verbose=0,
        callbacks=[note, stop],
    )
    best = min(seen, key=lambda pair: pair[0])[1]
    assert np.array_equal(model.buffers["batchnorm0.mean"], best)
