"""Every kind of array a user may hold gives the result of a plain NumPy network in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import SGD, Adam, Net, sigmoid, softmax

import pybp as bp

ACTIVATIONS = ["tanh", "softmax"]


def classifier(inputs=6, dtype="float64", optimizer=None, scale=1.0, seed=5, batches=None):
    model = bp.Sequential(
        [
            bp.Input(inputs, scale=scale),
            bp.Dense(9, activation="tanh"),
            bp.Dense(4, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=optimizer or bp.optim.Adam(0.01), loss="cross_entropy", dtype=dtype, seed=seed
    )
    return model


def reference_of(model, scale=1.0):
    return Net.like(model, ACTIVATIONS, "cross_entropy", scale)


def counts(rows=11, columns=6, high=90):
    """Whole numbers that every dtype holds exactly."""
    return np.random.default_rng(1).integers(0, high, size=(rows, columns))


LABELS = np.array([0, 1, 2, 3, 3, 2, 1, 0, 1, 3, 2])

# -- dtypes ----------------------------------------------------------------------------------------

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
DTYPES += [">" + code for code in DTYPES if code[1] != "1"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_predict_takes_every_number_type(dtype):
    model, x = classifier(scale=1 / 90), counts()
    expected = reference_of(model, 1 / 90).predict(x)
    np.testing.assert_allclose(model.predict(x.astype(dtype)), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_training_on_every_number_type_gives_the_same_bits(dtype):
    x, same = counts(), []
    for cast in ("f8", dtype):
        model = classifier(scale=1 / 90)
        model.fit(x.astype(cast), LABELS, epochs=3, batch_size=4, verbose=0)
        same.append([view.tobytes() for view in model.parameters.values()])
    assert same[0] == same[1]


def test_booleans_are_zeros_and_ones():
    model, x = classifier(), counts() > 40
    np.testing.assert_allclose(model.predict(x), reference_of(model).predict(x * 1.0), rtol=1e-12)


def test_small_negative_integers_keep_their_sign():
    model, x = classifier(scale=1 / 50), counts() - 45
    expected = reference_of(model, 1 / 50).predict(x)
    for dtype in ("i1", "i2", "i4", "i8"):
        np.testing.assert_allclose(model.predict(x.astype(dtype)), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [*DTYPES, "?"])
def test_labels_of_every_number_type(dtype):
    x = counts() / 90
    y = LABELS % 2 if dtype == "?" else LABELS
    model, expected = classifier(), reference_of(classifier()).value(x, y)
    assert model.evaluate(x, y.astype(dtype))["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("form", ["column", "one-hot bytes", "one-hot floats", "list"])
def test_labels_as_a_column_or_one_hot(form):
    y = {
        "column": LABELS[:, None],
        "one-hot bytes": np.eye(4, dtype="u1")[LABELS],
        "one-hot floats": np.eye(4)[LABELS],
        "list": LABELS.tolist(),
    }[form]
    x, trained = counts() / 90, []
    for labels in (LABELS, y):
        model = classifier()
        model.fit(x, labels, epochs=3, batch_size=4, verbose=0)
        trained.append(model.parameters)
    for name, view in trained[0].items():
        np.testing.assert_allclose(view, trained[1][name], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    "loss, last, y",
    [
        ("cross_entropy", "softmax", LABELS),
        ("cross_entropy", "softmax", np.eye(4)[LABELS]),
        ("binary_cross_entropy", "sigmoid", np.eye(4)[LABELS]),
    ],
)
def test_logits_train_like_probabilities(loss, last, y):
    """To the bit; the softmax or sigmoid is in the loss once, whichever way the model says it."""
    trained, predicted = [], []
    for activation in (last, None):
        model = bp.Sequential([bp.Input(6, scale=1 / 90), bp.Dense(4, activation=activation)])
        model.compile(optimizer=bp.optim.Adam(0.01), loss=loss, dtype="float64", seed=0)
        losses = model.fit(counts(), y, epochs=5, batch_size=4, verbose=0).history["loss"]
        found = model.evaluate(counts(), y)["loss"]
        trained.append([list(losses), found, *map(bytes, model.parameters.values())])
        predicted.append(model.predict(counts()))
    assert trained[0] == trained[1]
    probability = {"softmax": softmax, "sigmoid": sigmoid}[last](predicted[1])
    np.testing.assert_allclose(predicted[0], probability, rtol=1e-13)


# -- layouts ---------------------------------------------------------------------------------------


def memmap(x, folder):
    path = folder / "x.bin"
    x.tofile(path)
    return np.memmap(path, dtype=x.dtype, mode="r", shape=x.shape)


def read_only(x, _):
    x = x.copy()
    x.flags.writeable = False
    return x


def misaligned(x, _):
    raw = np.zeros(x.nbytes + 1, dtype="u1")
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    assert not view.flags.aligned or x.dtype.itemsize == 1
    return view


LAYOUTS = {
    "every other row": lambda x, _: np.repeat(x, 2, axis=0)[::2],
    "every other column": lambda x, _: np.repeat(x, 2, axis=1)[:, ::2],
    "some of the columns": lambda x, _: np.hstack([x * 7, x, x * 5])[:, 6:12],
    "rows backwards": lambda x, _: x[::-1].copy()[::-1],
    "columns backwards": lambda x, _: x[:, ::-1].copy()[:, ::-1],
    "all backwards": lambda x, _: x[::-1, ::-1].copy()[::-1, ::-1],
    "Fortran order": lambda x, _: np.asfortranarray(x),
    "transposed": lambda x, _: x.T.copy().T,
    "read-only": read_only,
    "memory-mapped": memmap,
    "misaligned": misaligned,
    "three dimensions": lambda x, _: x.reshape(len(x), 2, 3),
    "three dimensions, strided": lambda x, _: np.repeat(x.reshape(len(x), 2, 3), 2, axis=2)[
        ..., ::2
    ],
    "a field of records": lambda x, _: records(x)["x"],
    "list of lists": lambda x, _: x.tolist(),
    "list of rows": lambda x, _: list(x),
    "tuple": lambda x, _: tuple(map(tuple, x)),
}


def records(x):
    table = np.zeros(len(x), dtype=[("flag", "u1"), ("x", x.dtype, x.shape[1])])
    table["x"] = x
    return table


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i4", ">f8"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_does_not_matter(layout, dtype, tmp_path):
    """Prediction, gradient and a training in random order: to the bit those of a plain array."""
    plain = counts().astype(dtype)
    array = LAYOUTS[layout](plain, tmp_path)
    found = []
    for x in (plain, array):
        model = classifier(scale=1 / 90)
        gradients = model.gradients(x, LABELS)
        model.fit(x, LABELS, epochs=3, batch_size=4, verbose=0)
        arrays = [*gradients.values(), model.predict(x), *model.parameters.values()]
        found.append([np.asarray(a).tobytes() for a in arrays])
    assert found[0] == found[1]


def test_one_row_broadcast_to_many():
    row = np.linspace(-1, 1, 6)
    x, y = np.broadcast_to(row, (11, 6)), np.broadcast_to(2, 11)
    model = classifier()
    assert np.array_equal(model.predict(x), model.predict(x.copy()))
    model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    twin = classifier()
    twin.fit(x.copy(), y.copy(), epochs=2, batch_size=4, verbose=0)
    for a, b in zip(model.parameters.values(), twin.parameters.values(), strict=True):
        assert np.array_equal(a, b)


def test_inputs_and_labels_are_not_written_to():
    x, y = counts() / 90, LABELS.copy()
    model = classifier()
    model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    model.predict(x)
    assert np.array_equal(x, counts() / 90) and np.array_equal(y, LABELS)


def test_a_prediction_is_the_callers_to_keep():
    """No later call writes into a result that was handed out."""
    model, x = classifier(), counts() / 90
    first = model.predict(x)
    kept = first.copy()
    model.predict(-x)
    model.fit(x, LABELS, epochs=1, verbose=0)
    assert np.array_equal(first, kept) and first.flags.writeable


def test_results_have_the_dtype_of_the_model():
    x = counts() / 90
    for dtype in ("float32", "float64"):
        model = classifier(dtype=dtype)
        assert model.predict(x).dtype == dtype
        assert {view.dtype.name for view in model.parameters.values()} == {dtype}
        assert {g.dtype.name for g in model.gradients(x, LABELS).values()} == {dtype}
        assert {a.dtype.name for a in model.activations(x).values()} == {dtype}


# -- numbers of rows -------------------------------------------------------------------------------


def test_predicting_no_rows_gives_no_rows():
    prediction = classifier().predict(np.empty((0, 6)))
    assert prediction.shape == (0, 4) and prediction.dtype == np.float64


@pytest.mark.parametrize("rows", [1, 2, 3, 31, 32, 33, 255, 256, 257, 1023, 1025])
def test_predicting_any_number_of_rows(rows):
    model, x = classifier(), np.random.default_rng(rows).normal(size=(rows, 6))
    expected = reference_of(model).predict(x)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 11, 12, 1000, 100_000])
def test_any_batch_size(batch_size):
    """11 rows: a partial last batch, an exact one, one larger than the data."""
    x, model = counts() / 90, classifier()
    expected = reference_of(model)
    losses = expected.fit(x, LABELS, 4, batch_size, Adam(0.01))
    history = model.fit(x, LABELS, epochs=4, batch_size=batch_size, shuffle=False, verbose=0)
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-10)
    for name, view in model.parameters.items():
        np.testing.assert_allclose(view, expected.parameters[name], rtol=1e-10, atol=1e-12)


def test_a_single_row_trains():
    model = classifier()
    history = model.fit(counts(1) / 90, [2], epochs=30, batch_size=8, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_shuffling_visits_every_row_once_per_epoch():
    """On a linear unit under half_sse at rate 0 the sum of losses sees each row exactly once."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1, use_bias=False)])
    model.compile(optimizer=bp.optim.SGD(1e-300), loss="half_sse", dtype="float64", seed=0)
    model.parameters["dense0.weight"][...] = 1.0
    x = 2.0 ** np.arange(0, 20)[:, None]  # the sum of any other choice of rows differs
    losses = model.fit(x, 0 * x, epochs=20, batch_size=3, shuffle=True, verbose=0).history["loss"]
    assert losses == pytest.approx([0.5 * np.sum(x**2)] * 20, rel=1e-15)


# -- a whole training, replayed --------------------------------------------------------------------

# Rates at which every loss falls: an unstable training would magnify the last bits of rounding.
OPTIMISERS = {
    "sgd": (bp.optim.SGD(0.01), lambda: SGD(0.01)),
    "momentum": (bp.optim.SGD(0.002, momentum=0.9), lambda: SGD(0.002, 0.9)),
    "nesterov": (
        bp.optim.SGD(0.002, momentum=0.9, nesterov=True),
        lambda: SGD(0.002, 0.9, True),
    ),
    "adam": (bp.optim.Adam(0.01), lambda: Adam(0.01)),
}
LAST = {
    "half_sse": None,
    "sse": "sigmoid",
    "mse": "tanh",
    "cross_entropy": "softmax",
    "binary_cross_entropy": "sigmoid",
}


@st.composite
def trainings(draw):
    """A random network, data, loss, optimiser and batch size."""
    loss = draw(st.sampled_from(sorted(LAST)))
    depth = draw(st.integers(0, 3))
    hidden = [draw(st.sampled_from(["relu", "tanh", "sigmoid", None])) for _ in range(depth)]
    outputs = draw(st.integers(2 if loss == "cross_entropy" else 1, 6))
    units = [draw(st.integers(1, 20)) for _ in hidden] + [outputs]
    last = draw(st.sampled_from([LAST[loss], None]))
    return {
        "loss": loss,
        "activations": [*hidden, last],
        "units": units,
        "biases": [draw(st.booleans()) for _ in units],
        "inputs": draw(st.integers(1, 20)),
        "optimiser": draw(st.sampled_from(sorted(OPTIMISERS))),
        "rows": draw(st.integers(1, 40)),
        "batch_size": draw(st.integers(1, 45)),
        "seed": draw(st.integers(0, 2**31)),
    }


@given(trainings())
def test_a_fit_in_file_order_is_numpys(training):
    rng = np.random.default_rng(training["seed"])
    loss, rows, outputs = training["loss"], training["rows"], training["units"][-1]
    x = rng.normal(size=(rows, training["inputs"])) / np.sqrt(training["inputs"])
    y = {
        "cross_entropy": rng.integers(0, outputs, size=rows),
        "binary_cross_entropy": rng.integers(0, 2, size=(rows, outputs)),
    }.get(loss, rng.uniform(size=(rows, outputs)))

    layers = zip(training["units"], training["activations"], training["biases"], strict=True)
    model = bp.Sequential(
        [bp.Input(training["inputs"])]
        + [bp.Dense(n, activation=f, use_bias=b) for n, f, b in layers]
    )
    ours, numpys = OPTIMISERS[training["optimiser"]]
    model.compile(optimizer=ours, loss=loss, dtype="float64", seed=training["seed"])
    expected = Net.like(model, training["activations"], loss)

    batch_size = training["batch_size"]
    history = model.fit(x, y, epochs=3, batch_size=batch_size, shuffle=False, verbose=0)
    losses = expected.fit(x, y, 3, batch_size, numpys())
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-10, atol=1e-12)
    for name, view in model.parameters.items():
        np.testing.assert_allclose(view, expected.parameters[name], rtol=1e-9, atol=1e-10)


def test_a_fit_on_mnist_bytes_is_numpys(mnist_train):
    x, y = mnist_train[0][:500], mnist_train[1][:500]
    model = bp.Sequential(
        [
            bp.Input(784, scale=1 / 255),
            bp.Dense(32, activation="relu"),
            bp.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer=bp.optim.Adam(1e-3), loss="cross_entropy", dtype="float64", seed=0)
    expected = Net.like(model, ["relu", "softmax"], "cross_entropy", 1 / 255)
    history = model.fit(x, y, epochs=2, batch_size=32, shuffle=False, verbose=0)
    losses = expected.fit(x, y, 2, 32, Adam(1e-3))
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-10)
    for name, view in model.parameters.items():
        np.testing.assert_allclose(view, expected.parameters[name], rtol=0, atol=1e-10)
    np.testing.assert_allclose(model.predict(x), expected.predict(x), rtol=0, atol=1e-10)


def test_evaluate_is_numpys(iris):
    """Loss and metrics over rows, from labels and from one-hot targets."""
    x, y = iris
    model = bp.Sequential([bp.Input(4), bp.Dense(8, activation="tanh"), bp.Dense(3)])
    expected = None
    for metrics, targets in (["accuracy"], y), (["accuracy", "mse", "mae"], np.eye(3)[y]):
        model.compile("adam", "cross_entropy", metrics=metrics, dtype="float64", seed=2)
        expected = Net.like(model, ["tanh", None], "cross_entropy")
        found, outputs = model.evaluate(x, targets), expected.predict(x)
        assert found["loss"] == pytest.approx(expected.value(x, targets), rel=1e-12)
        assert found["accuracy"] == np.mean(outputs.argmax(axis=1) == y)
        assert found.keys() == {"loss", *metrics}
    assert found["mse"] == pytest.approx(np.mean((outputs - np.eye(3)[y]) ** 2), rel=1e-12)
    assert found["mae"] == pytest.approx(np.mean(np.abs(outputs - np.eye(3)[y])), rel=1e-12)
