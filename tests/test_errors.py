"""Bad data: the exception names the argument and what was found; the model stays as it was."""

import numpy as np
import pytest
from refusal import CLASSES, TARGETS, X, classifier, refused, regressor, says, state

import pybp as bp


def replaced(array, value, where=(7, 2), dtype=float):
    array = np.array(array, dtype=dtype)
    array[where[: array.ndim]] = value
    return array


# -- x ---------------------------------------------------------------------------------------------

TAKING_X = {
    "fit": lambda model, x: model.fit(x, np.zeros(np.shape(x)[:1], int), verbose=0),
    "evaluate": lambda model, x: model.evaluate(x, np.zeros(np.shape(x)[:1], int)),
    "train_on_batch": lambda model, x: model.train_on_batch(x, np.zeros(np.shape(x)[:1], int)),
    "gradients": lambda model, x: model.gradients(x, np.zeros(np.shape(x)[:1], int)),
    "predict": lambda model, x: model.predict(x),
    "activations": lambda model, x: model.activations(x),
}

BAD_X = {
    "one column too many": (np.zeros((20, 5)), ValueError, ("x", "5", "4")),
    "one column too few": (np.zeros((20, 3)), ValueError, ("x", "3", "4")),
    "no columns": (np.zeros((20, 0)), ValueError, ("x", "0", "4")),
    "too many dimensions": (np.zeros((20, 2, 3)), ValueError, ("x", "(20, 2, 3)", "4")),
    "one dimension": (np.zeros(4), ValueError, ("x", "(4,)")),
    "NaN": (replaced(X, np.nan), ValueError, ("x", "nan", "7")),
    "infinity": (replaced(X, np.inf), ValueError, ("x", "inf", "7")),
    "negative infinity": (replaced(X, -np.inf), ValueError, ("x", "inf", "7")),
    "NaN in float32": (replaced(X, np.nan, dtype="f4"), ValueError, ("x", "nan", "7")),
    "NaN in float16": (replaced(X, np.nan, dtype="f2"), ValueError, ("x", "nan", "7")),
    "NaN in a strided array": (replaced(X, np.nan)[:, ::-1], ValueError, ("x", "nan", "7")),
    "complex": (X + 0j, TypeError, ("x", "complex")),
    "strings": (X.astype(str), TypeError, ("x", ("str", "<U"))),
    "bytes": (X.astype("S8"), TypeError, ("x", ("bytes", "|S", "S8"))),
    "objects": (X.astype(object), TypeError, ("x", "object")),
    "objects that are no numbers": (np.full((20, 4), None), TypeError, ("x", "object")),
    "dates": (np.zeros((20, 4), "M8[s]"), TypeError, ("x", "datetime")),
    "durations": (np.zeros((20, 4), "m8[s]"), TypeError, ("x", "timedelta")),
    "records": (np.zeros(20, [("a", "f4"), ("b", "f4")]), TypeError, ("x",)),
    "a list of words": ([["a", "b", "c", "d"]] * 20, TypeError, ("x", ("str", "<U"))),
}


@pytest.mark.parametrize("kind", BAD_X)
@pytest.mark.parametrize("method", TAKING_X)
def test_bad_x(method, kind):
    x, exception, words = BAD_X[kind]
    refused(lambda model: TAKING_X[method](model, x), exception, *words)


NO_ARRAYS = {
    "nothing": (None, TypeError),
    "a number": (3.0, (TypeError, ValueError)),
    "a word": ("iris.csv", TypeError),
    "a mapping": ({"x": 1}, TypeError),
    "a set": ({1, 2}, TypeError),
    "a generator": ((row for row in X), TypeError),
    "a list of arrays": ([X, X], ValueError),
    "a ragged list": ([[1, 2, 3, 4], [1, 2, 3]], ValueError),
}


@pytest.mark.parametrize("kind", NO_ARRAYS)
@pytest.mark.parametrize("method", ["fit", "predict", "evaluate", "train_on_batch", "gradients"])
def test_x_that_is_no_array(method, kind):
    x, exception = NO_ARRAYS[kind]

    def call(model):
        arguments = (x,) if method == "predict" else (x, [0, 1])
        getattr(model, method)(*arguments)

    refused(call, exception, "x")


def test_masked_values_are_not_read_behind_their_mask():
    masked = np.ma.masked_array(X, X > 1)
    refused(lambda model: model.predict(masked), TypeError, "x", "mask", "filled")


def test_float32_ends_where_it_ends():
    """Its largest number is 3.4028e38; 3.5e38 is one too many, in any layout."""
    model = regressor(last="tanh")
    model.predict(replaced(0 * X, 3.4e38))
    for x in (replaced(0 * X, 3.5e38), replaced(0 * X, -3.5e38)[:, ::-1]):
        with pytest.raises(ValueError, match="float32"):
            model.predict(x)


def test_a_target_beyond_float32_is_refused():
    y = replaced(TARGETS["mse"], 1e39)
    refused(
        lambda m: m.fit(X, y, verbose=0),
        ValueError,
        "y",
        "float32",
        build=regressor,
        y=TARGETS["mse"],
    )


def test_a_scale_that_brings_numbers_into_range_is_applied_before_rounding():
    """1e39 is beyond float32 and 1e39 * 1e-20 is not; 1e20 * 1e30 is, though neither factor is."""
    for scale, x, fits in [(1e-20, 1e39, True), (1e30, 1e20, False)]:
        model = bp.Sequential([bp.Input(1, scale=scale), bp.Dense(1, use_bias=False)])
        model.compile(optimizer=bp.optim.SGD(0.1), loss="mse", seed=0)
        model.parameters["dense0.weight"][...] = 1.0
        if fits:
            assert model.predict([[x]]).item() == pytest.approx(x * scale, rel=1e-6)
        else:
            with pytest.raises(ValueError, match="float32"):
                model.predict([[x]])


@pytest.mark.parametrize("value", [1e39, -1e39, 1e300])
def test_a_number_beyond_float32_never_reaches_a_float32_model(value):
    x = replaced(X, value)
    for call in (lambda m: m.predict(x), lambda m: m.fit(x, CLASSES, verbose=0)):
        refused(call, ValueError, "x", "float32", ("7", "float64"))
    classifier("float64").predict(x)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "gradients"])
def test_no_rows(method):
    empty = np.zeros((0, 4))
    call = TAKING_X[method]
    refused(lambda model: call(model, empty), ValueError, "x", ("empty", "no rows", "0 rows"))


def test_a_late_bad_row_is_found_before_anything_is_trained():
    x, y = np.tile(X, (5000, 1)), np.tile(CLASSES, 5000)
    x[99_999, 3] = np.nan
    refused(lambda model: model.fit(x, y, verbose=0), ValueError, "x", "nan", ("99999", "99,999"))


# -- y ---------------------------------------------------------------------------------------------

TAKING_Y = {
    "fit": lambda model, y: model.fit(X, y, verbose=0),
    "evaluate": lambda model, y: model.evaluate(X, y),
    "train_on_batch": lambda model, y: model.train_on_batch(X, y),
    "gradients": lambda model, y: model.gradients(X, y),
}

BAD_LABELS = {
    "too large": (replaced(CLASSES, 3), ValueError, ("y", "3", ("0..2", "0 to 2", "3 classes"))),
    "far too large": (replaced(CLASSES, 2**40, dtype="i8"), ValueError, ("y", str(2**40))),
    "too large for a byte": (replaced(CLASSES, 255, dtype="u1"), ValueError, ("y", "255")),
    "beyond int64": (replaced(CLASSES, 2**63, dtype="u8"), ValueError, ("y", str(2**63))),
    "negative": (replaced(CLASSES, -1, dtype=int), ValueError, ("y", "-1")),
    "fractional": (replaced(CLASSES, 1.5), ValueError, ("y", "1.5", ("whole", "integer"))),
    "NaN": (replaced(CLASSES, np.nan), ValueError, ("y", "nan")),
    "infinite": (replaced(CLASSES, np.inf), ValueError, ("y", "inf")),
    "too few": (CLASSES[:-1], ValueError, ("x", "y", "20", "19")),
    "too many": (np.append(CLASSES, 0), ValueError, ("x", "y", "20", "21")),
    "none": (CLASSES[:0], ValueError, ("y", "20", "0")),
    "one-hot with a class too many": (np.eye(4)[CLASSES], ValueError, ("y", "4", "3")),
    "one-hot with a class too few": (np.eye(3)[CLASSES][:, :2], ValueError, ("y", "2", "3")),
    "one-hot with NaN": (replaced(np.eye(3)[CLASSES], np.nan), ValueError, ("y", "nan")),
    "three dimensions": (np.zeros((20, 3, 1)), ValueError, ("y", "(20, 3, 1)")),
    "a single number": (np.array(1), ValueError, ("y",)),
    "strings": (np.array(["a", "b"] * 10), TypeError, ("y", ("str", "<U"))),
    "objects": (CLASSES.astype(object), TypeError, ("y", "object")),
    "complex": (CLASSES + 0j, TypeError, ("y", "complex")),
    "nothing": (None, TypeError, ("y",)),
    "a ragged list": ([[0], [0, 1]] * 10, ValueError, ("y",)),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
@pytest.mark.parametrize("method", TAKING_Y)
def test_bad_labels(method, kind):
    y, exception, words = BAD_LABELS[kind]
    refused(lambda model: TAKING_Y[method](model, y), exception, *words)


BAD_TARGETS = {
    "NaN": (lambda y: replaced(y, np.nan), ValueError, ("y", "nan", "7")),
    "infinite": (lambda y: replaced(y, np.inf), ValueError, ("y", "inf", "7")),
    "a column too few": (lambda y: y[:, :2], ValueError, ("y", "2", "3")),
    "a column too many": (lambda y: np.hstack([y, y]), ValueError, ("y", "6", "3")),
    "one dimension": (lambda y: y[:, 0], ValueError, ("y", "(20,)", "3")),
    "too few rows": (lambda y: y[:-1], ValueError, ("x", "y", "20", "19")),
    "complex": (lambda y: y + 0j, TypeError, ("y", "complex")),
    "strings": (lambda y: y.astype(str), TypeError, ("y", ("str", "<U"))),
    "nothing": (lambda y: None, TypeError, ("y",)),
}


@pytest.mark.parametrize("kind", BAD_TARGETS)
@pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy"])
@pytest.mark.parametrize("method", TAKING_Y)
def test_bad_targets(method, loss, kind):
    change, exception, words = BAD_TARGETS[kind]
    y = TARGETS[loss]
    last = "sigmoid" if loss == "binary_cross_entropy" else None
    call = TAKING_Y[method]
    refused(
        lambda model: call(model, change(y)),
        exception,
        *words,
        build=lambda: regressor(loss, last),
        y=y,
    )


@pytest.mark.parametrize("value", [2, -1, 1.01, -0.01])
def test_binary_targets_lie_between_0_and_1(value):
    y = TARGETS["binary_cross_entropy"]
    refused(
        lambda model: model.fit(X, replaced(y, value), verbose=0),
        ValueError,
        "y",
        str(value),
        ("0 and 1", "[0, 1]", "0..1", "0 to 1"),
        build=lambda: regressor("binary_cross_entropy", "sigmoid"),
        y=y,
    )


def test_targets_of_a_single_output_may_have_one_dimension():
    y, found = np.linspace(0, 1, 20), []
    for targets in (y, y[:, None], y.tolist()):
        model = regressor(outputs=1)
        model.fit(X, targets, epochs=2, verbose=0)
        found.append(state(model))
    assert found[0] == found[1] == found[2]


# -- fit's other arguments -------------------------------------------------------------------------

BAD_FIT = {
    "epochs=0": ({"epochs": 0}, ValueError, ("epochs", "0")),
    "epochs=-1": ({"epochs": -1}, ValueError, ("epochs", "-1")),
    "epochs=1.5": ({"epochs": 1.5}, TypeError, ("epochs", ("1.5", "float"))),
    "epochs=True": ({"epochs": True}, TypeError, ("epochs", ("True", "bool"))),
    "epochs='3'": ({"epochs": "3"}, TypeError, ("epochs", ("'3'", "str"))),
    "epochs=None": ({"epochs": None}, TypeError, ("epochs", "None")),
    "batch_size=0": ({"batch_size": 0}, ValueError, ("batch_size", "0")),
    "batch_size=-32": ({"batch_size": -32}, ValueError, ("batch_size", "-32")),
    "batch_size=32.0": ({"batch_size": 32.0}, TypeError, ("batch_size", ("32.0", "float"))),
    "batch_size=True": ({"batch_size": True}, TypeError, ("batch_size", ("True", "bool"))),
    "batch_size=nan": ({"batch_size": float("nan")}, TypeError, ("batch_size", ("nan", "float"))),
    "batch_size='32'": ({"batch_size": "32"}, TypeError, ("batch_size", ("'32'", "str"))),
    "batch_size=[32]": ({"batch_size": [32]}, TypeError, ("batch_size", "[32]")),
}


@pytest.mark.parametrize("kind", BAD_FIT)
def test_bad_arguments_of_fit(kind):
    arguments, exception, words = BAD_FIT[kind]
    refused(lambda model: model.fit(X, CLASSES, verbose=0, **arguments), exception, *words)


def test_whole_numbers_of_numpy_are_whole_numbers():
    classifier().fit(X, CLASSES, epochs=np.int64(1), batch_size=np.uint8(8), verbose=0)


BAD_VALIDATION = {
    "x alone": (X, (TypeError, ValueError)),
    "one item": ((X,), (TypeError, ValueError)),
    "negative weights": ((X, CLASSES, -np.ones(len(X))), ValueError),
    "four items": ((X, CLASSES, CLASSES, CLASSES), (TypeError, ValueError)),
    "a word": ("xy", (TypeError, ValueError)),
    "a number": (0.2, (TypeError, ValueError)),
    "lengths that differ": ((X, CLASSES[:-1]), ValueError),
    "no rows": ((X[:0], CLASSES[:0]), ValueError),
    "x too narrow": ((X[:, :3], CLASSES), ValueError),
    "x with NaN": ((replaced(X, np.nan), CLASSES), ValueError),
    "y out of range": ((X, CLASSES + 3), ValueError),
    "y fractional": ((X, CLASSES + 0.5), ValueError),
    "y of strings": ((X, CLASSES.astype(str)), TypeError),
}


@pytest.mark.parametrize("kind", BAD_VALIDATION)
def test_bad_validation_data(kind):
    pair, exception = BAD_VALIDATION[kind]
    refused(
        lambda model: model.fit(X, CLASSES, validation_data=pair, verbose=0),
        exception,
        "validation_data",
    )


# -- the bound predictor ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "batch_size, exception",
    [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError), ("1", TypeError)],
)
def test_bad_batch_size_of_a_predictor(batch_size, exception):
    refused(lambda model: model.predictor(batch_size=batch_size), exception, "batch_size")


@pytest.mark.parametrize(
    "x, exception",
    [
        (np.zeros((1, 5)), ValueError),
        (np.zeros((3, 4)), ValueError),
        (np.zeros((0, 4)), ValueError),
        (np.array([[0, 0, np.nan, 0]]), ValueError),
        (np.zeros((1, 4), complex), TypeError),
        (np.zeros((1, 4), object), TypeError),
        (None, TypeError),
    ],
    ids=["columns", "rows", "none", "NaN", "complex", "objects", "nothing"],
)
def test_bad_input_of_a_predictor(x, exception):
    refused(lambda model: model.predictor(batch_size=1)(x), exception, "x")


@pytest.mark.parametrize(
    "count, exception",
    [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError), ("2", TypeError)],
)
def test_bad_number_of_threads(count, exception):
    before = bp.get_num_threads()
    with pytest.raises(exception) as caught:
        bp.set_num_threads(count)
    says(caught, "thread", str(count))
    assert bp.get_num_threads() == before
