"""Scalers: statistics of the rows that they are given and of no others, inside the model."""

import copy
import pickle

import numpy as np
import pytest
from conftest import _csv

import pybp as bp
from pybp.errors import NotAdaptedError

SCALERS = [bp.MinMaxScaler, bp.StandardScaler]


def model_with(scaler, columns, dtype="float64", seed=0, loss="mse"):
    model = bp.Sequential([bp.Input(columns), scaler, bp.Dense(5, activation="tanh"), bp.Dense(2)])
    model.compile(optimizer=bp.optim.Adam(0.01), loss=loss, dtype=dtype, seed=seed)
    return model


def scaled_by(model, x):
    """What comes out of the scaler inside the model."""
    name = next(name for name in model.activations(x) if "scaler" in name)
    return model.activations(x)[name]


def by_hand(scaler, x):
    x = np.asarray(x, np.float64)
    if isinstance(scaler, bp.StandardScaler):
        deviation = x.std(axis=0)
        return (x - x.mean(axis=0)) / np.where(deviation < 1e-12, 1.0, deviation)
    low, high = scaler.feature_range
    span = np.ptp(x, axis=0)
    return low + (high - low) * (x - x.min(axis=0)) / np.where(span == 0, 1.0, span)


@pytest.fixture(params=["iris", "wheat-seeds"])
def raw(request, data_root):
    """The columns as they were measured."""
    name = request.param
    return _csv(data_root / name / f"{name}.csv")[0]


@pytest.mark.parametrize("settings", [(), ((-1.0, 1.0),), ((5.0, 7.5),)])
def test_scikit_learns_min_max(raw, settings):
    sk = pytest.importorskip("sklearn.preprocessing", reason="scikit-learn is not installed")
    check_against(sk.MinMaxScaler(*settings), bp.MinMaxScaler(*settings), raw)


def test_scikit_learns_standard(raw):
    sk = pytest.importorskip("sklearn.preprocessing", reason="scikit-learn is not installed")
    check_against(sk.StandardScaler(), bp.StandardScaler(), raw)


def check_against(theirs, ours, raw):
    raw = np.column_stack([raw, np.full(len(raw), 3.7)])  # and a constant column
    model = model_with(ours, raw.shape[1])
    half = raw[: len(raw) // 2]
    model.adapt(half)
    theirs.fit(half)
    found, wanted = scaled_by(model, raw), theirs.transform(raw)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.transform(raw), wanted, rtol=0, atol=1e-12)
    back = theirs.inverse_transform(wanted)
    np.testing.assert_allclose(ours.inverse(wanted), back, rtol=1e-12)
    np.testing.assert_allclose(ours.inverse(found), raw, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scaler", [*SCALERS, lambda: bp.MinMaxScaler((-2, 3))])
def test_the_definition(scaler, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)) * [1, 10, 1e-3, 1e6, 1, 1] + [0, 5, 0, -1e6, 0, 100]
    x[:, 4] = 0.1
    model = model_with(scaler(), 6, dtype)
    model.adapt(x)
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(
        scaled_by(model, x), by_hand(model.layers[1], x), rtol=tolerance, atol=tolerance
    )


def test_large_offsets_cost_no_digits_in_float32():
    """Seconds since 1970 that span a day; float32 alone holds them to two minutes."""
    x = 1.7e9 + np.linspace(0, 86400, 101)[:, None]
    model = model_with(bp.MinMaxScaler(), 1, "float32")
    model.adapt(x)
    np.testing.assert_allclose(scaled_by(model, x)[:, 0], np.linspace(0, 1, 101), atol=1e-7)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("scaler", SCALERS)
def test_any_dtype_and_layout(scaler, dtype):
    x = np.random.default_rng(1).integers(0, 200, size=(30, 8)).astype(dtype)
    for array in (x, np.asfortranarray(x), x[::-2, ::2]):
        model = model_with(scaler(), array.shape[1])
        model.adapt(array)
        wanted = by_hand(model.layers[1], array)
        np.testing.assert_allclose(scaled_by(model, array), wanted, rtol=1e-12, atol=1e-12)


def test_blocks_and_memory_maps(tmp_path, monkeypatch):
    """Read in blocks of a few rows: the same statistics."""
    x = np.random.default_rng(0).normal(3, 2, size=(1001, 7))
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    whole = [scaler().adapt(x).transform(x) for scaler in SCALERS]
    monkeypatch.setattr("pybp.layers.scaler.BLOCK_VALUES", 50)
    for scaler, wanted in zip(SCALERS, whole, strict=True):
        np.testing.assert_allclose(scaler().adapt(mapped).transform(x), wanted, atol=1e-13)


@pytest.mark.parametrize("scaler", SCALERS)
def test_images(scaler):
    x = np.random.default_rng(1).integers(0, 256, size=(20, 4, 5)).astype(np.uint8)
    ours = scaler()
    model = bp.Sequential([bp.Input((4, 5)), ours, bp.Dense(3)])
    model.compile()
    model.adapt(x)
    assert model.predict(x).shape == (20, 4, 3)
    np.testing.assert_allclose(ours.inverse(ours.transform(x)), x, atol=1e-10)


def test_no_leak_from_the_other_folds():
    """Each fold's model knows the statistics of its own training rows."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    x[40:] += 100
    for fold in range(3):
        test = np.arange(60) // 20 == fold
        for scaler in SCALERS:
            model = model_with(scaler(), 3)
            model.adapt(x[~test])
            before = {name: view.copy() for name, view in model.buffers.items()}
            model.fit(x[~test], y[~test], epochs=2, validation_data=(x[test], y[test]), verbose=0)
            model.predict(x[test])
            model.evaluate(x[test], y[test])
            assert all(np.array_equal(model.buffers[name], before[name]) for name in before)
            alone = scaler().adapt(x[~test])
            np.testing.assert_array_equal(scaled_by(model, x[test]), alone.transform(x[test]))


@pytest.mark.parametrize("scaler", SCALERS)
def test_training_is_training_on_scaled_rows(scaler):
    rng = np.random.default_rng(0)
    x, y = rng.normal(50, 9, size=(70, 3)), rng.normal(size=(70, 2))
    ours = model_with(scaler(), 3, seed=4)
    ours.adapt(x)
    plain = bp.Sequential([bp.Input(3), bp.Dense(5, activation="tanh"), bp.Dense(2)])
    plain.compile(optimizer=bp.optim.Adam(0.01), loss="mse", dtype="float64", seed=4)
    z = ours.layers[1].transform(x)
    a = ours.fit(x, y, epochs=5, batch_size=16, verbose=0)
    b = plain.fit(z, y, epochs=5, batch_size=16, verbose=0)
    np.testing.assert_allclose(a.history["loss"], b.history["loss"], rtol=1e-12)
    np.testing.assert_allclose(ours.predict(x), plain.predict(z), rtol=1e-10)
    one = ours.predictor()
    np.testing.assert_array_equal(one(x[0]), ours.predict(x[:1]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scaler", [*SCALERS, lambda: bp.MinMaxScaler((-1, 1))])
def test_the_file_contains_the_preprocessing(scaler, dtype, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(50, 9, size=(30, 3)), rng.normal(size=(30, 2))
    model = model_with(scaler(), 3, dtype)
    model.adapt(x)
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "m.pybp")
    twin = bp.load(tmp_path / "m.pybp")
    assert np.array_equal(twin.predict(x), model.predict(x))
    assert twin.layers[1].adapted
    np.testing.assert_array_equal(
        twin.layers[1].inverse(y[:, :1] * [1, 1, 1]), model.layers[1].inverse(y[:, :1] * [1, 1, 1])
    )
    for m in (model, twin):
        m.fit(x, y, epochs=2, verbose=0)
    assert all(np.array_equal(twin.tensors()[k], v) for k, v in model.tensors().items())


def test_adapt_before_or_after_compile_and_again():
    x = np.random.default_rng(0).normal(7, 3, size=(20, 4))
    early = bp.StandardScaler().adapt(x)
    model = model_with(early, 4)
    late = bp.StandardScaler()
    twin = model_with(late, 4)
    assert not late.adapted
    assert late.adapt(x) is late
    assert np.array_equal(model.predict(x), twin.predict(x))
    plan_exists = model.predict(x)
    model.adapt(x + 1)
    np.testing.assert_allclose(model.predict(x + 1), plan_exists, rtol=1e-12)
    model.compile(dtype="float32")
    np.testing.assert_allclose(model.predict(x + 1), plan_exists, rtol=1e-5)
    model.initialize(seed=5)
    np.testing.assert_allclose(scaled_by(model, x + 1), early.transform(x + 1), atol=1e-5)


def test_copies_keep_the_statistics():
    x = np.random.default_rng(0).normal(7, 3, size=(20, 4))
    scaler = bp.StandardScaler()
    model = model_with(scaler, 4)
    model.adapt(x)
    for twin in (copy.deepcopy(scaler), pickle.loads(pickle.dumps(scaler))):
        np.testing.assert_array_equal(twin.transform(x), scaler.transform(x))
        twin.adapt(x + 5)
        np.testing.assert_array_equal(scaled_by(model, x), scaler.transform(x))


@pytest.mark.parametrize("scaler", SCALERS)
def test_nothing_runs_before_adapt(scaler):
    x, y = np.ones((4, 3)), np.ones((4, 2))
    model = model_with(scaler(name="s"), 3)
    uses = [
        lambda: model.predict(x),
        lambda: model.predictor(),
        lambda: model.evaluate(x, y),
        lambda: model.gradients(x, y),
        lambda: model.activations(x),
        lambda: model.fit(x, y, verbose=0),
        lambda: model.train_on_batch(x, y),
    ]
    before = {name: view.copy() for name, view in model.parameters.items()}
    for use in uses:
        with pytest.raises(NotAdaptedError, match=r"'s'.*model\.adapt\(x\)"):
            use()
    assert all(np.array_equal(model.parameters[name], before[name]) for name in before)
    assert model.progress.step == 0
    for use in (model.layers[1].inverse, model.layers[1].transform):
        with pytest.raises(NotAdaptedError, match="adapt"):
            use(x)
    model.adapt(x)
    for use in uses:
        use()


def test_mistakes():
    with pytest.raises(ValueError, match=r"directly behind bp\.Input"):
        bp.Sequential([bp.Input(3), bp.Dense(3), bp.StandardScaler()])
    with pytest.raises(ValueError, match=r"directly behind bp\.Input"):
        bp.Sequential([bp.Input(3), bp.StandardScaler(), bp.MinMaxScaler(), bp.Dense(1)])
    with pytest.raises(ValueError, match="leave out `scale`"):
        bp.Sequential([bp.Input(3, scale=1 / 255), bp.StandardScaler(), bp.Dense(1)])
    with pytest.raises(ValueError, match="3 values, the model's inputs 4"):
        bp.Sequential([bp.Input(4), bp.StandardScaler().adapt(np.ones((2, 3))), bp.Dense(1)])
    for bad in [(1, 0), (0, 0), (0, np.inf), 3, (1, 2, 3)]:
        with pytest.raises(ValueError, match="feature_range"):
            bp.MinMaxScaler(bad)
    model = model_with(bp.StandardScaler(), 3)
    with pytest.raises(ValueError, match="must have shape"):
        model.adapt(np.ones((5, 4)))
    with pytest.raises(ValueError, match="4 values, the model's inputs 3"):
        model.layers[1].adapt(np.ones((5, 4)))
    with pytest.raises(ValueError, match=r"x\[1, 0\] is nan"):
        model.adapt([[1.0, 2, 3], [np.nan, 0, 0]])
    with pytest.raises(ValueError, match="x is empty"):
        model.adapt(np.ones((0, 3)))
    with pytest.raises(ValueError, match="column 1 of x spans more"):
        model.adapt([[0, -1e308, 0], [0, 1e308, 0]])
    assert not model.layers[1].adapted
    plain = bp.Sequential([bp.Input(2), bp.Dense(1)])
    with pytest.raises(ValueError, match="no layer that looks at the data"):
        plain.adapt([[1.0, 2.0]])


def test_empty_predict():
    model = model_with(bp.StandardScaler(), 3)
    model.adapt(np.eye(3))
    assert model.predict(np.ones((0, 3))).shape == (0, 2)


@pytest.mark.parametrize("scaler", SCALERS)
def test_threads(scaler):
    x = np.random.default_rng(0).normal(size=(500, 60))
    found = []
    for threads in (1, 2, 4):
        bp.set_num_threads(threads)
        model = model_with(scaler(), 60, "float32")
        model.adapt(x)
        model.fit(x, x[:, :2], epochs=2, batch_size=100, verbose=0)
        found.append(model.predict(x).tobytes())
    assert found[0] == found[1] == found[2]
