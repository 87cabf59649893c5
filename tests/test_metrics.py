"""Metrics: against scikit-learn, with weights and without, in histories, by name and as objects."""

from __future__ import annotations

import numpy as np
import pytest
from loss_reference import softmax

import pybp as bp
from pybp.metrics import NAMES

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")

ROWS = 300
RNG = np.random.default_rng(4)
X = RNG.normal(size=(ROWS, 4))
LABELS = RNG.integers(0, 4, ROWS)
BITS = (X[:, 0] + RNG.normal(size=ROWS) > 0.3).astype(int)
MANY = RNG.integers(0, 2, (ROWS, 3))
VALUES = X @ RNG.normal(size=(4, 3)) + 5
WEIGHTS = {"plain": None, "weighted": RNG.integers(0, 4, ROWS) * 0.5}
weighing = pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS)


def made(loss, units, activation, metrics, seed=0):
    model = bp.Sequential(
        [bp.Input(4), bp.Dense(6, activation="tanh"), bp.Dense(units, activation=activation)]
    )
    model.compile("adam", loss, metrics=metrics, dtype="float64", seed=seed)
    return model


def agrees(found, expected):
    assert found.keys() == {"loss", *expected}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-10, abs=1e-14), name


@weighing
def test_many_classes(weight):
    names = ["accuracy", "top_k_accuracy", "precision", "recall", "f1", "auc"]
    names[1] = bp.metrics.TopKAccuracy(k=2)
    for activation, y in [("softmax", LABELS), ("softmax", np.eye(4)[LABELS]), (None, LABELS)]:
        model = made("cross_entropy", 4, activation, names)
        model.fit(X, y, epochs=3)
        output = model.predict(X)
        p = output if activation else softmax(output)
        guess = output.argmax(axis=1)
        given = {"average": "macro", "sample_weight": weight, "zero_division": 0}
        agrees(
            model.evaluate(X, y, weight),
            {
                "accuracy": sklearn.accuracy_score(LABELS, guess, sample_weight=weight),
                "top_k_accuracy": sklearn.top_k_accuracy_score(
                    LABELS, p, k=2, sample_weight=weight
                ),
                "precision": sklearn.precision_score(LABELS, guess, **given),
                "recall": sklearn.recall_score(LABELS, guess, **given),
                "f1": sklearn.f1_score(LABELS, guess, **given),
                # scikit-learn weighs many classes only binarised
                "auc": sklearn.roc_auc_score(np.eye(4)[LABELS], p, sample_weight=weight),
            },
        )


@weighing
@pytest.mark.parametrize(
    ("loss", "activation", "threshold", "low"),
    [
        ("binary_cross_entropy", "sigmoid", 0.5, 0),
        ("binary_cross_entropy", None, 0.0, 0),
        ("focal", "sigmoid", 0.5, 0),
        ("mse", "sigmoid", 0.5, 0),
        ("mse", "tanh", 0.0, -1),
        ("hinge", None, 0.0, -1),
        ("squared_hinge", "tanh", 0.0, 0),
    ],
)
def test_two_classes(loss, activation, threshold, low, weight):
    y = np.where(BITS == 1, 1, low)
    model = made(loss, 1, activation, ["accuracy", "precision", "recall", "f1", "auc"])
    model.fit(X, y, epochs=5)
    output = model.predict(X)[:, 0]
    guess = (output > threshold).astype(int)
    given = {"sample_weight": weight, "zero_division": 0}
    agrees(
        model.evaluate(X, y, weight),
        {
            "accuracy": sklearn.accuracy_score(BITS, guess, sample_weight=weight),
            "precision": sklearn.precision_score(BITS, guess, **given),
            "recall": sklearn.recall_score(BITS, guess, **given),
            "f1": sklearn.f1_score(BITS, guess, **given),
            "auc": sklearn.roc_auc_score(BITS, output, sample_weight=weight),
        },
    )


@weighing
@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_independent_units(activation, weight):
    model = made("binary_cross_entropy", 3, activation, ["precision", "recall", "f1", "auc"])
    model.fit(X, MANY, epochs=3)
    output = model.predict(X)
    guess = (output > (0.5 if activation else 0)).astype(int)
    given = {"average": "macro", "sample_weight": weight, "zero_division": 0}
    agrees(
        model.evaluate(X, MANY, weight),
        {
            "precision": sklearn.precision_score(MANY, guess, **given),
            "recall": sklearn.recall_score(MANY, guess, **given),
            "f1": sklearn.f1_score(MANY, guess, **given),
            "auc": sklearn.roc_auc_score(MANY, output, average="macro", sample_weight=weight),
        },
    )


@weighing
@pytest.mark.parametrize("units", [1, 3])
def test_values(units, weight):
    y = VALUES[:, :units]
    model = made("huber", units, None, ["mse", "rmse", "mae", "r2"])
    model.fit(X, y, epochs=3)
    output = model.predict(X)
    mse = sklearn.mean_squared_error(y, output, sample_weight=weight)
    agrees(
        model.evaluate(X, y, weight),
        {
            "mse": mse,
            "rmse": mse**0.5,
            "mae": sklearn.mean_absolute_error(y, output, sample_weight=weight),
            "r2": sklearn.r2_score(y, output, sample_weight=weight),
        },
    )


def ranks(score, bits, weight=None):
    """The AUC of such scores, through a model that hands its input on."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1)])
    model.compile(loss="mse", metrics=["auc"], dtype="float64")
    model.parameters["dense0.weight"][...] = 1
    return model.evaluate(np.reshape(score, (-1, 1)), bits, weight)["auc"]


def test_auc_counts_ties_half():
    assert ranks([1.0, 1.0, 1.0, 1.0], [0, 1, 0, 1]) == 0.5
    assert ranks([0.0, 1.0, 1.0, 2.0], [0, 0, 1, 1]) == 3.5 / 4
    assert ranks([3.0, 2.0, 1.0], [0, 0, 1]) == 0
    score, bits = RNG.integers(0, 9, 500) * 1.0, RNG.integers(0, 2, 500)
    weight = RNG.exponential(size=500)
    expected = sklearn.roc_auc_score(bits, score, sample_weight=weight)
    assert ranks(score, bits, weight) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bits", [[0, 0, 0], [1, 1, 1]])
def test_auc_of_one_class_says_what_is_missing(bits):
    with pytest.raises(ValueError, match=r"auc.*output 0.*there is no (positive|negative)"):
        ranks([1.0, 2.0, 3.0], bits)


def test_r2_of_targets_that_are_all_the_same():
    model = bp.Sequential([bp.Input(1), bp.Dense(1)])
    model.compile(loss="mse", metrics=["r2"], dtype="float64")
    model.parameters["dense0.weight"][...] = 0
    assert model.evaluate([[1.0], [2.0]], [0.0, 0.0])["r2"] == 1
    assert model.evaluate([[1.0], [2.0]], [1.0, 1.0])["r2"] == 0


def test_precision_without_predictions_is_zero():
    model = made("binary_cross_entropy", 1, None, ["precision", "recall", "f1"])
    model.parameters["dense1.bias"][...] = -100
    found = model.evaluate(X, BITS)
    assert (found["precision"], found["recall"], found["f1"]) == (0, 0, 0)


def test_training_histories_hold_what_is_summed_and_validation_all():
    model = made("cross_entropy", 4, "softmax", ["accuracy", "f1", "auc"])
    history = model.fit(X, LABELS, epochs=2, validation_data=(X, LABELS)).history
    assert set(history) == {
        "loss", "accuracy", "val_loss", "val_accuracy", "val_f1", "val_auc",
    }  # fmt: skip
    last = {name[4:]: values[-1] for name, values in history.items() if name.startswith("val_")}
    assert last == model.evaluate(X, LABELS)
    assert list(model.evaluate(X, LABELS)) == ["loss", "accuracy", "f1", "auc"]


def test_sums_of_an_epoch_are_finished_at_its_end():
    """With a rate of nearly zero the epoch's value is the evaluation's, however it is cut."""
    names = ["precision", "recall", "f1", "rmse"]
    model = made("binary_cross_entropy", 1, "sigmoid", names)
    model.compile(bp.optim.SGD(1e-30), "binary_cross_entropy", metrics=names, dtype="float64")
    history = model.fit(X, BITS, epochs=3, batch_size=7).history
    expected = model.evaluate(X, BITS)
    for name in ["loss", *names]:
        assert history[name] == pytest.approx([expected[name]] * 3, rel=1e-12)


def test_monitors_may_be_metrics_of_all_predictions():
    model = made("cross_entropy", 4, "softmax", ["auc"])
    stop = bp.callbacks.EarlyStopping(monitor="val_auc", patience=2)
    history = model.fit(X, LABELS, epochs=200, validation_split=0.2, callbacks=[stop])
    assert history.epochs < 200


# -- functions -------------------------------------------------------------------------------------


@weighing
def test_functions_are_scikit_learns_too(weight):
    model = made("mse", 3, None, [sklearn.explained_variance_score, "mae"])
    found = model.evaluate(X, VALUES, weight)
    expected = sklearn.explained_variance_score(VALUES, model.predict(X), sample_weight=weight)
    assert found["explained_variance_score"] == pytest.approx(expected, rel=1e-10)


def test_functions_see_one_dimension_where_there_is_one_value():
    seen = []

    def shapes(y_true, y_pred):
        seen.append((y_true.shape, y_pred.shape))
        return 0

    made("mse", 1, None, [shapes]).evaluate(X, VALUES[:, :1])
    made("cross_entropy", 4, "softmax", [shapes]).evaluate(X, LABELS)
    made("mse", 3, None, [shapes]).evaluate(X, VALUES)
    assert seen == [((ROWS,), (ROWS,)), ((ROWS,), (ROWS, 4)), ((ROWS, 3), (ROWS, 3))]


def test_functions_without_weights_are_refused_where_rows_have_some():
    def worst(y_true, y_pred):
        return abs(y_true - y_pred).max()

    model = made("mse", 3, None, [worst])
    assert model.evaluate(X, VALUES)["worst"] > 0
    with pytest.raises(ValueError, match=r"worst.*sample_weight"):
        model.evaluate(X, VALUES, np.ones(ROWS))


@pytest.mark.parametrize("value", [None, [1.0, 2.0], "high"])
def test_functions_must_return_a_number(value):
    model = made("mse", 3, None, [bp.metrics.Function(lambda y, p: value, name="mine")])
    with pytest.raises(TypeError, match="mine"):
        model.evaluate(X, VALUES)


# -- what may be named -----------------------------------------------------------------------------


def test_every_name_makes_its_metric():
    for name, kind in NAMES.items():
        assert bp.metrics.get(name).name == name
        assert isinstance(bp.metrics.get(name), kind)


@pytest.mark.parametrize(
    ("metrics", "error", "word"),
    [
        ("accuracy", TypeError, r"\['accuracy'\]"),
        (["accuracies"], ValueError, "accuracy"),
        ([3], TypeError, "3"),
        ([bp.metrics.AUC], TypeError, "AUC"),
        (["mse", "mse"], ValueError, "two are called 'mse'"),
        ([bp.metrics.TopKAccuracy(1), bp.metrics.TopKAccuracy(2)], ValueError, "name="),
        ([bp.metrics.Function(len, name="loss")], ValueError, "loss"),
        (5, TypeError, "list"),
    ],
)
def test_bad_metrics(metrics, error, word):
    model = bp.Sequential([bp.Input(4), bp.Dense(3)])
    with pytest.raises(error, match=word):
        model.compile(loss="mse", metrics=metrics)
    assert not model.compiled


@pytest.mark.parametrize(
    ("metrics", "word"),
    [
        ([bp.metrics.TopKAccuracy(k=4)], "k is 4"),
        (["mse"], "one-hot"),
        (["r2"], "one by one"),
    ],
)
def test_metrics_that_do_not_suit_the_targets(metrics, word):
    model = made("cross_entropy", 4, "softmax", metrics)
    with pytest.raises(ValueError, match=word):
        model.evaluate(X, LABELS)


def test_two_of_one_kind_with_names_of_their_own():
    pair = [bp.metrics.TopKAccuracy(k=k, name=f"top_{k}") for k in (1, 3)]
    found = made("cross_entropy", 4, "softmax", ["accuracy", *pair]).evaluate(X, LABELS)
    assert found["top_1"] == found["accuracy"] < found["top_3"]


def test_saved_and_loaded(tmp_path):
    metrics = ["accuracy", bp.metrics.TopKAccuracy(k=2, name="top_2"), "auc"]
    model = made("cross_entropy", 4, "softmax", metrics)
    model.fit(X, LABELS, epochs=1)
    model.save(tmp_path / "m")
    loaded = bp.load(tmp_path / "m")
    assert loaded.evaluate(X, LABELS) == model.evaluate(X, LABELS)


def test_a_file_holds_no_functions_and_says_so(tmp_path):
    model = made("cross_entropy", 4, "softmax", ["accuracy", sklearn.log_loss])
    model.fit(X, LABELS, epochs=1)
    model.save(tmp_path / "m")
    with pytest.warns(UserWarning, match="log_loss"):
        loaded = bp.load(tmp_path / "m")
    expected = model.evaluate(X, LABELS)
    del expected["log_loss"]
    assert loaded.evaluate(X, LABELS) == expected
