"""Sparse rows: SciPy's CSR gives the results of its toarray(), and a damaged one is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusal import says, state

import pybp as bp

sp = pytest.importorskip("scipy.sparse")

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "?"]
COLUMNS, CLASSES = 60, 4


def counts(rows=23, columns=COLUMNS, density=0.15, seed=0):
    """Small whole numbers, exact in every dtype; row 3 is empty, and so is column 5."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 9, (rows, columns)) * (rng.random((rows, columns)) < density)
    x[3 % rows :: 1000] = 0
    x[:, 5 % columns] = 0
    return x


def labels(rows=23):
    return np.random.default_rng(1).integers(0, CLASSES, rows)


def network(columns=COLUMNS, dtype="float64", optimizer=None, hidden=19, scale=0.125, **dense):
    model = bp.Sequential(
        [
            bp.Input(columns, scale=scale),
            bp.Dense(hidden, activation="tanh", **dense),
            bp.Dropout(0.2),
            bp.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile(
        optimizer or bp.optim.Adam(0.01), "cross_entropy", metrics=["accuracy"], dtype=dtype, seed=2
    )
    return model


def everything(x, y, batch_size=7, **how):
    """All that a model says of x and y, before and after a training, by name."""
    model = network(**how)
    found = {f"gradient {k}": v for k, v in model.gradients(x, y, deltas=True).items()}
    found |= {f"output {k}": v for k, v in model.activations(x).items() if k != "input0"}
    found["prediction"] = model.predict(x)
    found["bound"] = model.predictor(batch_size=x.shape[0])(x).copy()
    found["history"] = model.fit(x, y, epochs=4, batch_size=batch_size, verbose=0).history["loss"]
    found["batch"] = model.train_on_batch(x, y)["loss"]
    found |= model.parameters
    found |= model.evaluate(x, y)
    return {name: np.array(value) for name, value in found.items()}


def same(found, wanted, **tolerance):
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], **tolerance, err_msg=name)


# -- the same as the full matrix -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_type(dtype):
    x, y = counts().astype(dtype), labels()
    same(everything(sp.csr_matrix(x), y), everything(x, y), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(
    "kind", [sp.csr_matrix, sp.csr_array, sp.csc_array, sp.coo_matrix, sp.lil_array]
)
def test_every_format(kind):
    x, y = counts() / 8, labels()
    same(everything(kind(x), y), everything(x, y), rtol=1e-9, atol=1e-13)


OPTIMISERS = {
    "sgd": lambda: bp.optim.SGD(0.1),
    "momentum": lambda: bp.optim.SGD(0.05, momentum=0.9),
    "adam": lambda: bp.optim.Adam(0.01),
    "sgd with decay": lambda: bp.optim.SGD(0.1, weight_decay=0.01),
    "sgd, clipped": lambda: bp.optim.SGD(0.1, clip_value=0.001),
    "sgd, global norm": lambda: bp.optim.SGD(0.1, global_clip_norm=0.1),
    "accumulating": lambda: bp.optim.SGD(0.1, accumulate=2),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_way_to_update(name, dtype):
    """Lazily where that is exact, everywhere where state or decay wants it."""
    x, y = counts() / 8, labels()
    how = {"dtype": dtype, "optimizer": OPTIMISERS[name]()}
    exact = dtype == "float64"
    tolerance = {"rtol": 1e-9, "atol": 1e-13} if exact else {"rtol": 2e-4, "atol": 2e-5}
    same(everything(sp.csr_array(x), y, **how), everything(x, y, **how), **tolerance)


def test_penalties_and_max_norm_reach_columns_without_entries():
    x, y = counts() / 8, labels()
    how = {
        "optimizer": bp.optim.SGD(0.1),
        "weight_regularizer": bp.regularizers.L2(0.1),
        "max_norm": 0.5,
    }
    sparse = everything(sp.csr_array(x), y, **how)
    same(sparse, everything(x, y, **how), rtol=1e-9, atol=1e-13)
    assert np.linalg.norm(sparse["dense0.weight"], axis=1).max() < 0.5 + 1e-9


def test_plain_descent_leaves_columns_without_entries_to_the_bit():
    model = network(optimizer=bp.optim.SGD(0.5))
    before = model.parameters["dense0.weight"].copy()
    model.fit(sp.csr_array(counts()), labels(), epochs=3, verbose=0)
    changed = (model.parameters["dense0.weight"] != before).any(axis=0)
    assert np.array_equal(changed, counts().any(axis=0))


def test_indices_of_64_bits_memory_maps_and_read_only_parts(tmp_path):
    x, y = sp.csr_array(counts() / 8), labels()
    wanted = everything(x, y)
    wide = sp.csr_array(x)
    wide.indices, wide.indptr = x.indices.astype("i8"), x.indptr.astype("i8")
    mixed = sp.csr_array(x)
    mixed.indices = x.indices.astype("i8")
    frozen = sp.csr_array(x)
    for part in (frozen.data, frozen.indices, frozen.indptr):
        part.flags.writeable = False
    mapped = sp.csr_array(x)
    for part in ("data", "indices", "indptr"):
        values = getattr(x, part)
        values.tofile(tmp_path / part)
        setattr(mapped, part, np.memmap(tmp_path / part, values.dtype, "r"))
    strided = sp.csr_array(x)
    strided.data = np.repeat(x.data, 2)[::2]
    other_order = sp.csr_array(x)
    other_order.data = x.data.astype(">f8")
    for matrix in (wide, mixed, frozen, mapped, strided, other_order):
        found = everything(matrix, y)
        assert all(found[name].tobytes() == wanted[name].tobytes() for name in wanted)


def scrambled(x, rng):
    """The same matrix with its entries in disorder, each in two parts, and written zeros."""
    row, column = np.nonzero(x)
    value = x[row, column] / 1.0
    parts = rng.uniform(size=len(value))
    zeros = rng.integers(0, x.shape[0], 9), rng.integers(0, x.shape[1], 9)
    row = np.concatenate([row, row, zeros[0]])
    column = np.concatenate([column, column, zeros[1]])
    value = np.concatenate([value * parts, value * (1 - parts), np.zeros(9)])
    order = rng.permutation(len(row))
    order = order[np.argsort(row[order], kind="stable")]
    start = np.searchsorted(row[order], np.arange(x.shape[0] + 1))
    return sp.csr_matrix((value[order], column[order], start), x.shape)


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 80),
    density=st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    hidden=st.integers(1, 40),
    batch_size=st.integers(1, 45),
    seed=st.integers(0, 99),
)
def test_any_order_doubles_and_written_zeros(rows, columns, density, hidden, batch_size, seed):
    x, y = counts(rows, columns, density, seed), labels(rows)
    matrix = scrambled(x, np.random.default_rng(seed))
    how = {"columns": columns, "hidden": hidden, "batch_size": batch_size}
    same(everything(matrix, y, **how), everything(x, y, **how), rtol=1e-7, atol=1e-11)


def test_more_entries_than_are_read_at_once():
    """A batch of 30 000 entries is taken in parts."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 900)) * (rng.random((60, 900)) < 0.6), labels(60)
    how = {"columns": 900, "batch_size": 50, "optimizer": bp.optim.SGD(0.01)}
    same(everything(sp.csr_array(x), y, **how), everything(x, y, **how), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads_gives_the_same_bits(dtype, optimizer):
    x, y = sp.random_array((300, 5000), density=0.02, format="csr", rng=0), labels(300)
    found = []
    for threads in (1, 2, 3, 4):
        bp.set_num_threads(threads)
        how = {"columns": 5000, "dtype": dtype, "optimizer": optimizer, "hidden": 90}
        values = everything(x, y, batch_size=64, **how)
        found.append({name: value.tobytes() for name, value in values.items()})
    assert found[0] == found[1] == found[2] == found[3]


@pytest.mark.parametrize(
    "how",
    [
        {"sample_weight": np.arange(23) % 3},
        {"class_weight": {0: 2.0, 1: 1.0, 2: 0.0, 3: 0.5}},
    ],
)
def test_weights_of_rows_and_classes(how):
    losses = [
        network().fit(form, labels(), epochs=3, batch_size=5, verbose=0, **how).history["loss"]
        for form in (counts(), sp.csr_array(counts()))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


@pytest.mark.parametrize("kind", ["LBFGS", "ConjugateGradient"])
def test_full_batches(kind):
    losses = []
    for form in (counts(), sp.csr_array(counts())):
        model = bp.Sequential([bp.Input(COLUMNS, scale=0.125), bp.Dense(CLASSES)])
        model.compile(getattr(bp.optim, kind)(), "cross_entropy", dtype="float64", seed=2)
        losses.append(model.fit(form, labels(), epochs=5, batch_size=23, verbose=0).history["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-7)


def test_the_scale_of_the_input_counts():
    x, y = counts(), labels()
    found = everything(sp.csr_array(x), y, scale=1 / 16)
    same(found, everything(x / 16, y, scale=1.0), rtol=1e-9, atol=1e-13)


def test_no_rows():
    assert network().predict(sp.csr_array((0, COLUMNS))).shape == (0, CLASSES)


def test_validation_data_and_split():
    x, y = counts(40), labels(40)
    histories = [
        network().fit(form, y, epochs=2, validation_split=0.25, verbose=0).history
        for form in (x, sp.csr_array(x))
    ]
    assert histories[0]["val_loss"] == pytest.approx(histories[1]["val_loss"], rel=1e-9)
    mixed = network().fit(x[:30], y[:30], validation_data=(sp.csr_array(x)[30:], y[30:]), verbose=0)
    assert mixed.history["val_loss"][0] > 0


def test_one_model_takes_both_forms_and_keeps_its_training(tmp_path):
    """Sparse, saved, loaded, full: the steps of one training."""
    x, y = counts() / 8, labels()
    model, twin = network(), network()
    model.fit(sp.csr_array(x), y, epochs=2, verbose=0)
    model.save(tmp_path / "m.safetensors")
    model = bp.load(tmp_path / "m.safetensors")
    model.fit(x, y, epochs=2, verbose=0)
    twin.fit(x, y, epochs=4, verbose=0)
    for name, view in twin.parameters.items():
        np.testing.assert_allclose(model.parameters[name], view, rtol=1e-9, atol=1e-12)


def test_a_text_sized_matrix_trains_in_seconds():
    """2000 documents of 90 words out of 30 000, whose class is told by their words."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 20, 2000)
    words = rng.integers(0, 1500, (2000, 90)) * 20 + np.where(
        rng.random((2000, 90)) < 0.2, y[:, None], rng.integers(0, 20, (2000, 90))
    )
    x = sp.csr_array((np.ones(words.size), words.ravel(), np.arange(0, words.size + 1, 90)))
    model = bp.Sequential([bp.Input(30000), bp.Dense(20, activation="softmax")])
    model.compile(bp.optim.Adam(0.01), "cross_entropy", metrics=["accuracy"], seed=0)
    history = model.fit(x, y, epochs=5, verbose=0)
    assert history.history["accuracy"][-1] > 0.95 and history.seconds < 10


# -- refused ---------------------------------------------------------------------------------------


def damaged(**parts):
    x = sp.csr_array(counts() / 8)
    for name, change in parts.items():
        setattr(x, name, change(getattr(x, name).copy()))
    return x


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


CALLS = {
    "fit": lambda m, x: m.fit(x, labels(), verbose=0),
    "train_on_batch": lambda m, x: m.train_on_batch(x, labels()),
    "predict": lambda m, x: m.predict(x),
    "evaluate": lambda m, x: m.evaluate(x, labels()),
    "gradients": lambda m, x: m.gradients(x, labels()),
    "activations": lambda m, x: m.activations(x),
    "predictor": lambda m, x: m.predictor(23)(x),
    "validation": lambda m, x: m.fit(counts(), labels(), validation_data=(x, labels()), verbose=0),
}

FLAWS = {
    "a column too far": (lambda: damaged(indices=put(7, COLUMNS)), ["indices[7]", "60 columns"]),
    "a negative column": (lambda: damaged(indices=put(7, -1)), ["indices[7]", "-1"]),
    "a start too far": (lambda: damaged(indptr=put(4, 10**6)), ["indptr", "row 3"]),
    "a negative start": (lambda: damaged(indptr=put(0, -1)), ["indptr", "row 0"]),
    "starts in disorder": (lambda: damaged(indptr=put(2, 0)), ["indptr", "row 1"]),
    "an end too far": (lambda: damaged(indptr=put(-1, 10**6)), ["indptr", "data"]),
    "starts left out": (lambda: damaged(indptr=lambda a: a[:-2]), ["indptr", "21"]),
    "values left out": (lambda: damaged(data=lambda a: a[:-2]), ["data"]),
    "columns left out": (lambda: damaged(indices=lambda a: a[:-2]), ["indices"]),
    "fractions of columns": (lambda: damaged(indices=lambda a: a + 0.5), ["indices", "whole"]),
    "NaN": (lambda: damaged(data=put(0, np.nan)), ["x[", "nan", "finite"]),
    "infinity": (lambda: damaged(data=put(-1, -np.inf)), ["-inf", "finite"]),
    "complex numbers": (lambda: sp.csr_array(counts() * 1j), ["complex", "real"]),
    "other columns": (lambda: sp.csr_array(counts(columns=7)), ["(N, 60)", "(23, 7)"]),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_damaged_matrix_is_refused_before_anything_runs(flaw, call):
    make, words = FLAWS[flaw]
    words = [word.replace("x[", "[") for word in words]
    model = network()
    before = state(model)
    with pytest.raises((ValueError, TypeError)) as caught:
        CALLS[call](model, make())
    says(caught, *words)
    assert state(model) == before


def test_an_error_names_row_and_column():
    x = sp.csr_array(counts() / 8)
    row, column = np.argwhere(counts())[40]
    x[row, column] = np.nan
    with pytest.raises(ValueError, match=rf"x\[{row}, {column}\] is nan"):
        network().predict(x)


def test_values_beyond_float32_are_refused():
    x = sp.csr_array(counts() * 1e38)
    with pytest.raises(ValueError, match="float64"):
        network(dtype="float32", scale=1.0).predict(x)
    network(dtype="float64", scale=1e-37).predict(x)


@pytest.mark.parametrize("seed", range(200))
def test_a_matrix_damaged_at_random_is_refused_or_harmless(seed):
    rng = np.random.default_rng(seed)
    x = damaged()
    for _ in range(rng.integers(1, 4)):
        part = getattr(x, rng.choice(["indptr", "indices"]))
        odd = [-1, 0, 1, COLUMNS - 1, COLUMNS, 2**31 - 1, -(2**31)]
        part[rng.integers(len(part))] = rng.choice(odd)
    model = network()
    try:
        out = model.predict(x)
        model.fit(x, labels(), verbose=0)
    except ValueError:
        return
    assert np.isfinite(out).all()


@pytest.mark.parametrize(
    "layers, words",
    [
        ([bp.Input((6, 10)), bp.Dense(4), bp.Flatten()], ["input0", "vectors", "toarray"]),
        ([bp.Input(60), bp.Activation("tanh"), bp.Dense(4)], ["activation0", "Dense", "toarray"]),
        ([bp.Input(60), bp.Dropout(0.5), bp.Dense(4)], ["dropout0", "Dense", "toarray"]),
        ([bp.Input(60), bp.BatchNorm(), bp.Dense(4)], ["batchnorm0", "Dense", "toarray"]),
    ],
)
def test_what_would_fill_the_matrix_is_refused(layers, words):
    model = bp.Sequential(layers)
    model.compile(loss="cross_entropy")
    for call in CALLS.values():
        with pytest.raises(ValueError) as caught:
            call(model, sp.csr_array(counts()))
        says(caught, *words)


def test_scalers_are_refused():
    scaler = bp.StandardScaler().adapt(counts())
    model = bp.Sequential([bp.Input(COLUMNS), scaler, bp.Dense(4)])
    model.compile(loss="cross_entropy")
    with pytest.raises(ValueError, match=r"standardscaler0.*toarray"):
        model.predict(sp.csr_array(counts()))


def test_sparse_targets_are_refused():
    with pytest.raises(TypeError, match=r"y is a sparse matrix: pass y.toarray\(\)"):
        network().fit(counts(), sp.csr_array(np.eye(CLASSES)[labels()]), verbose=0)
