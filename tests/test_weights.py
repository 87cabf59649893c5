"""Sample and class weights: weight 0 is a row left out, weight 2 a row given twice, everywhere."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from loss_uses import ROWS, USES, X, Y
from refusal import X as X20
from refusal import classifier, refused

import pybp as bp

WEIGHTS = np.random.default_rng(5).integers(0, 3, ROWS)  # 0, 1 and 2
TWICE = np.repeat(np.arange(ROWS), WEIGHTS)  # the rows as often as they count
METRICS = {
    "labels": ["accuracy", "precision", "recall", "f1", "auc", bp.metrics.TopKAccuracy(k=2)],
    "values": ["mse", "rmse", "mae", "r2"],
    "bits": ["accuracy", "precision", "recall", "f1", "auc", "mse", "rmse", "mae", "r2"],
}


def metrics_for(use):
    if use.y.ndim == 1 and use.units > 1:
        return METRICS["labels"]
    binary = set(np.unique(use.y)) <= {0, 1}
    return METRICS["bits"] if binary else METRICS["values"]


def assert_same(ours, theirs, atol=1e-12):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12, atol=atol, err_msg=name)


@pytest.mark.parametrize("name", USES)
def test_values_and_gradients_are_those_of_repeated_rows(name):
    use = USES[name]
    model = use.model(metrics=metrics_for(use))
    y = use.y[TWICE]
    assert_same(model.evaluate(X, use.y, WEIGHTS), model.evaluate(X[TWICE], y))
    assert_same(model.gradients(X, use.y, WEIGHTS), model.gradients(X[TWICE], y))


@pytest.mark.parametrize("name", USES)
def test_training_on_full_batches_is_that_of_repeated_rows(name):
    use = USES[name]
    metrics = metrics_for(use)
    rate = bp.optim.SGD(0.001) if name in ("sse", "half_sse") else bp.optim.Adam(0.01)
    weighted, repeated = (use.model(metrics, optimizer=rate) for _ in range(2))
    validation = X[:9], use.y[:9]
    if "auc" in metrics:
        validation = X, use.y
    a = weighted.fit(
        X,
        use.y,
        epochs=6,
        batch_size=ROWS,
        sample_weight=WEIGHTS,
        validation_data=(*validation, np.full(len(validation[0]), 3.0)),
    )
    b = repeated.fit(
        X[TWICE], use.y[TWICE], epochs=6, batch_size=len(TWICE), validation_data=validation
    )
    summed = not weighted._goals[0].loss.mean
    if summed:  # three times every row is three times the sum
        a.history["val_loss"] = [value / 3 for value in a.history["val_loss"]]
    assert_same(a.history, b.history, 1e-9)
    assert_same(weighted.parameters, repeated.parameters, 1e-9)


@pytest.mark.parametrize("name", USES)
def test_weights_of_one_change_nothing(name):
    use = USES[name]
    plain, weighted = (use.model(metrics_for(use)) for _ in range(2))
    a = plain.fit(X, use.y, epochs=3, batch_size=7)
    b = weighted.fit(X, use.y, epochs=3, batch_size=7, sample_weight=np.ones(ROWS))
    assert_same(a.history, b.history, 1e-11)
    assert_same(plain.parameters, weighted.parameters, 1e-11)


@pytest.mark.parametrize("hidden", [7, 300])
def test_any_number_of_threads_gives_the_same_bits(hidden):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(500, 40)), rng.integers(0, 10, 500)
    weight = rng.exponential(size=500)
    found = []
    for threads in (1, 2, 4):
        bp.set_num_threads(threads)
        model = bp.Sequential([bp.Input(40), bp.Dense(hidden, activation="relu"), bp.Dense(10)])
        model.compile(loss="cross_entropy", metrics=["accuracy"], seed=1)
        history = model.fit(x, y, epochs=2, batch_size=200, sample_weight=weight)
        state = {name: view.tobytes() for name, view in model.parameters.items()}
        found.append((history.history, state, model.evaluate(x, y, weight)))
    assert found[0] == found[1] == found[2]


def test_the_mean_of_a_minibatch_is_over_its_weights():
    use = USES["mse"]
    weight = np.random.default_rng(1).exponential(size=ROWS)
    model = use.model(optimizer=bp.optim.SGD(1e-30), metrics=["mae"])
    history = model.fit(X, use.y, batch_size=5, shuffle=False, sample_weight=weight).history
    expected = model.evaluate(X, use.y, weight)
    assert history["loss"][0] == pytest.approx(expected["loss"], rel=1e-12)
    assert history["mae"][0] == pytest.approx(expected["mae"], rel=1e-12)
    error = ((model.predict(X) - use.y) ** 2).mean(axis=1)
    assert expected["loss"] == pytest.approx(np.average(error, weights=weight), rel=1e-12)


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_without_weight_moves_nothing(name, dtype):
    use = USES[name]
    model = use.model(dtype=dtype, optimizer=bp.optim.SGD(0.1))
    weight = np.r_[np.zeros(8), np.ones(ROWS - 8)]
    seen = []

    class Watch(bp.callbacks.Callback):
        def on_batch_end(self, batch, logs):
            seen.append((logs["loss"], [v.tobytes() for v in model.parameters.values()]))

    before = [v.tobytes() for v in model.parameters.values()]
    history = model.fit(
        X, use.y, batch_size=8, shuffle=False, sample_weight=weight, callbacks=[Watch()]
    )
    assert seen[0] == (0.0, before)
    assert seen[1][1] != before
    assert np.isfinite(history.history["loss"]).all()


def test_a_row_of_weight_zero_may_hold_anything_that_is_finite():
    use = USES["mse"]
    y, weight = use.y.copy(), np.ones(ROWS)
    y[3], weight[3] = 1e300, 0
    model = use.model(metrics=["mae", "r2"])
    kept = np.arange(ROWS) != 3
    assert_same(model.evaluate(X, y, weight), model.evaluate(X[kept], y[kept]))


def test_epochs_are_resumed_to_the_same_bits(tmp_path):
    use = USES["cross_entropy"]
    weight = np.random.default_rng(1).exponential(size=ROWS)
    straight, stopped = (use.model(["accuracy"], dtype="float32") for _ in range(2))
    whole = straight.fit(X, use.y, epochs=3, batch_size=5, sample_weight=weight)

    class Stop(bp.callbacks.Callback):
        def on_batch_end(self, batch, logs):
            self.model.stop_training = batch == 2

    stopped.fit(X, use.y, epochs=3, batch_size=5, sample_weight=weight, callbacks=[Stop()])
    assert stopped.progress.row == 15
    stopped.save(tmp_path / "m")
    loaded = bp.load(tmp_path / "m")
    rest = loaded.fit(X, use.y, epochs=3, batch_size=5, sample_weight=weight)
    assert rest.history == whole.history
    for a, b in zip(straight.parameters.values(), loaded.parameters.values(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_an_epoch_begun_with_weights_is_not_gone_on_with_without():
    use = USES["cross_entropy"]
    model = use.model()

    def stop(batch, logs):
        model.stop_training = True

    watch = bp.callbacks.LambdaCallback(on_batch_end=stop)
    model.fit(X, use.y, batch_size=5, sample_weight=WEIGHTS, callbacks=[watch])
    assert model.progress.row == 5
    history = model.fit(X, use.y, batch_size=5)
    assert history.epochs == 1
    assert model.progress.step == 1 + -(-ROWS // 5)


def test_validation_split_keeps_each_rows_weight():
    use = USES["mse"]
    weight = np.arange(1.0, ROWS + 1)
    model = use.model(optimizer=bp.optim.SGD(1e-30))
    found = model.fit(X, use.y, validation_split=0.25, sample_weight=weight).history
    first, last = slice(0, 18), slice(18, None)
    assert found["loss"][0] == pytest.approx(
        model.evaluate(X[first], use.y[first], weight[first])["loss"], rel=1e-12
    )
    assert found["val_loss"][0] == pytest.approx(
        model.evaluate(X[last], use.y[last], weight[last])["loss"], rel=1e-12
    )


# -- class weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "hinge of classes"])
def test_class_weights_are_sample_weights_by_label(name):
    use = USES[name]
    by_class, by_row = use.model(), use.model()
    table = np.array([1.0, 0.0, 2.5])
    a = by_class.fit(X, use.y, epochs=3, batch_size=6, class_weight={1: 0, 2: 2.5})
    b = by_row.fit(X, use.y, epochs=3, batch_size=6, sample_weight=table[use.y])
    assert a.history == b.history
    assert_same(by_class.parameters, by_row.parameters, 0)


def test_class_weights_multiply_sample_weights():
    use = USES["cross_entropy"]
    one, two = use.model(), use.model()
    table = np.array([1.0, 3.0, 1.0])
    a = one.train_on_batch(X, use.y, WEIGHTS, {1: 3})
    b = two.train_on_batch(X, use.y, WEIGHTS * table[use.y])
    assert a == pytest.approx(b, rel=1e-14)
    assert_same(one.parameters, two.parameters, 0)


def test_balanced_gives_every_class_the_same_total():
    use = USES["cross_entropy"]
    y = np.r_[np.zeros(16, int), np.ones(6, int), np.full(2, 2)]
    counts = np.array([16, 6, 2])
    a = use.model().train_on_batch(X, y, class_weight="balanced")["loss"]
    b = use.model().evaluate(X, y, (ROWS / (3 * counts))[y])["loss"]
    assert a == pytest.approx(b, rel=1e-14)
    one_hot = use.model().train_on_batch(X, np.eye(3)[y], class_weight="balanced")["loss"]
    assert one_hot == pytest.approx(a, rel=1e-14)


@pytest.mark.parametrize("name", ["hinge", "binary_cross_entropy"])
def test_two_classes_are_weighed_by_the_labels_that_y_has(name):
    use = USES[name]
    other = int(use.y.min())
    a = use.model().train_on_batch(X, use.y, class_weight={1: 4, other: 0.5})["loss"]
    b = use.model().evaluate(X, use.y, np.where(use.y == 1, 4, 0.5))["loss"]
    assert a == pytest.approx(b, rel=1e-14)


def test_class_weights_do_not_weigh_validation_data():
    use = USES["cross_entropy"]
    model = use.model()
    history = model.fit(X, use.y, validation_data=(X, use.y), class_weight={0: 7}).history
    assert history["val_loss"][0] == model.evaluate(X, use.y)["loss"]


# -- refusals --------------------------------------------------------------------------------------

GOOD = np.ones(20)
BAD_WEIGHTS = {
    "too short": (GOOD[:-1], ValueError, "one weight for each of the 20 rows"),
    "a matrix": (np.ones((20, 2)), ValueError, "(20,)"),
    "a number": (2.0, ValueError, "rows"),
    "negative": (-GOOD, ValueError, ">= 0"),
    "NaN": (np.where(np.arange(20) == 7, np.nan, 1), ValueError, "[7]"),
    "infinite": (GOOD * np.inf, ValueError, "finite"),
    "all zero": (0 * GOOD, ValueError, "at least one"),
    "zero in float32": (GOOD * 1e-60, ValueError, "at least one"),
    "too large for float32": (GOOD * 1e60, ValueError, "scale them down"),
    "strings": (np.array(["a"] * 20), TypeError, "dtype"),
}


@pytest.mark.parametrize("how", ["fit", "train_on_batch", "evaluate", "gradients"])
@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_bad_sample_weights(kind, how):
    from refusal import CLASSES

    weight, error, word = BAD_WEIGHTS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(
            lambda model: getattr(model, how)(X20, CLASSES, sample_weight=weight),
            error,
            "sample_weight",
            word,
        )


BAD_CLASSES = {
    "no such class": ({3: 1.0}, ValueError, "0 to 2"),
    "a name": ({"cat": 1.0}, TypeError, "labels"),
    "negative": ({1: -1.0}, ValueError, ">= 0"),
    "NaN": ({1: float("nan")}, ValueError, "finite"),
    "a word": ("even", TypeError, "balanced"),
    "a list": ([1, 2, 3], TypeError, "dict"),
    "text": ({1: "2"}, TypeError, "number"),
    "all zero": ({0: 0, 1: 0, 2: 0}, ValueError, "at least one"),
}


@pytest.mark.parametrize("kind", BAD_CLASSES)
def test_bad_class_weights(kind):
    from refusal import CLASSES

    given, error, word = BAD_CLASSES[kind]
    refused(lambda model: model.fit(X20, CLASSES, class_weight=given), error, "class_weight", word)


@pytest.mark.parametrize("name", ["mse", "focal, sigmoid"])
def test_class_weights_need_classes(name):
    use = USES[name]
    with pytest.raises(ValueError, match="sample_weight"):
        use.model().fit(X, use.y, class_weight={0: 2})


def test_parts_of_a_split_need_weight():
    model = classifier("float64")
    weight = np.r_[np.ones(15), np.zeros(5)]
    with pytest.raises(ValueError, match="validation_split"):
        model.fit(X20, Y["labels"][:20], sample_weight=weight, validation_split=0.25)


# -- together with other ways to train -------------------------------------------------------------


def test_accumulated_pieces_share_the_weight_of_their_step():
    use = USES["mse"]
    weight = np.random.default_rng(2).exponential(size=ROWS)
    weight[:4] = 0  # the first piece has none
    pieces = use.model(optimizer=bp.optim.SGD(0.1, accumulate=3))
    whole = use.model(optimizer=bp.optim.SGD(0.1))
    a = pieces.fit(X, use.y, 3, 4, shuffle=False, sample_weight=weight)
    b = whole.fit(X, use.y, 3, 12, shuffle=False, sample_weight=weight)
    assert_same(a.history, b.history)
    assert_same(pieces.parameters, whole.parameters)


def test_full_batch_optimisers_see_weights():
    use = USES["mse"]
    weighted, repeated = (use.model(optimizer=bp.optim.LBFGS()) for _ in range(2))
    a = weighted.fit(X, use.y, 8, ROWS, sample_weight=WEIGHTS)
    b = repeated.fit(X[TWICE], use.y[TWICE], 8, len(TWICE))
    assert_same(a.history, b.history, 1e-7)
    assert_same(weighted.parameters, repeated.parameters, 1e-7)


def test_a_metric_that_overflows_is_not_silent():
    model = bp.Sequential([bp.Input(1), bp.Dense(1)])
    model.compile(loss="mae", metrics=["mse"], dtype="float64")
    with pytest.raises(bp.errors.DivergenceError, match="squared_error"):
        model.evaluate([[1.0]], [1e300])
    assert model.evaluate([[1.0], [1.0]], [1e300, 1.0], [0, 1])["mse"] < 100
