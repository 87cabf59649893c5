"""Models of several inputs and several outputs: data, losses with weights, metrics, answers."""

from itertools import pairwise

import numpy as np
import pytest
from refusal import says

import pybp as bp
from pybp.graph import Node

RNG = np.random.default_rng(0)
N = 53
A, B = RNG.normal(size=(N, 5)), RNG.normal(size=(N, 2, 3))
VALUES = np.stack([A[:, 0] * B[:, 0, 0], B.sum(axis=(1, 2))], axis=1)
CLASSES = (A[:, 1] > 0).astype(int) + (B[:, 1, 1] > 0)
WEIGHT = RNG.integers(0, 3, size=N).astype(float)
X, Y = [A, B], [VALUES, CLASSES]


def side_by_side(parts):
    """Rows of any shape as one vector: an op that no layer of its own makes."""
    nodes = tuple(part.node if isinstance(part, bp.Input) else part for part in parts)
    return Node("concat", nodes, attrs={"axis": -1})


def build(dtype="float64", loss_weights=(0.5, 2.0), metrics=(), optimizer=None, loss=None):
    a, b = bp.Input(5, name="a"), bp.Input((2, 3), name="b")
    wide = bp.Dense(4, "tanh")(b)  # (2, 4)
    parts = [bp.Dense(8, "tanh")(a), side_by_side([wide, wide])]
    h = bp.concat([parts[0], bp.Dense(6, "relu")(parts[1])])
    values = bp.Dense(2, name="value")(h)
    classes = bp.Dense(3, "softmax", name="class")(bp.concat([h, a]))
    model = bp.Model([a, b], [values, classes])
    model.compile(
        optimizer or bp.optim.Adam(0.01),
        loss or ["mse", "cross_entropy"],
        metrics,
        dtype,
        3,
        loss_weights,
    )
    return model


def cross_entropy(p, t=CLASSES):
    return -np.log(p[np.arange(len(t)), t])


def test_losses_are_the_weighted_sum_that_numpy_computes():
    model = build()
    values, classes = model.predict(X)
    single = ((values - VALUES) ** 2).mean(axis=1), cross_entropy(classes)
    found = model.evaluate(X, Y)
    assert list(found) == ["loss", "value_loss", "class_loss"]
    np.testing.assert_allclose(found["value_loss"], single[0].mean(), rtol=1e-12)
    np.testing.assert_allclose(found["class_loss"], single[1].mean(), rtol=1e-12)
    np.testing.assert_allclose(
        found["loss"], 0.5 * single[0].mean() + 2 * single[1].mean(), rtol=1e-12
    )
    weighted = model.evaluate(X, Y, WEIGHT)
    for name, of_row in zip(("value_loss", "class_loss"), single, strict=True):
        np.testing.assert_allclose(weighted[name], np.average(of_row, weights=WEIGHT), rtol=1e-12)


@pytest.mark.parametrize("weights", [None, (0.5, 2.0), (0.0, 1.0), {"value": 0.1}])
def test_gradients_are_central_differences_of_the_total(weights):
    bp.testing.gradcheck(build(loss_weights=weights), X, Y, entries=15)


def test_the_gradient_is_the_weighted_sum_of_those_of_single_losses():
    both = build().gradients(X, Y, WEIGHT)
    apart = [build(loss_weights=w).gradients(X, Y, WEIGHT) for w in ((1.0, 0.0), (0.0, 1.0))]
    for name, value in both.items():
        wanted = 0.5 * apart[0][name] + 2.0 * apart[1][name]
        np.testing.assert_allclose(value, wanted, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("optimizer", [bp.optim.SGD(0.1), bp.optim.LBFGS()])
def test_sums_instead_of_means(optimizer):
    model = build(optimizer=optimizer, loss=["sse", "half_sse"])
    targets = [VALUES, np.eye(3)[CLASSES]]
    values, classes = model.predict(X)
    single = ((values - VALUES) ** 2).sum(), ((classes - targets[1]) ** 2).sum() / 2
    found = model.evaluate(X, targets)
    np.testing.assert_allclose(found["loss"], 0.5 * single[0] + 2 * single[1], rtol=1e-12)
    bp.testing.gradcheck(model, X, targets, entries=5)
    if optimizer.full_batch:
        losses = model.fit(X, targets, epochs=10, batch_size=N, verbose=0).history["loss"]
        assert losses[-1] < 0.5 * losses[0]


def test_full_batches_of_means():
    model = build(optimizer=bp.optim.LBFGS())
    losses = model.fit(X, Y, epochs=15, batch_size=N, verbose=0).history["loss"]
    assert all(later <= earlier for earlier, later in pairwise(losses))
    assert losses[-1] < 0.5 * losses[0]


def test_a_step_of_plain_descent_is_numpys():
    model = build(optimizer=bp.optim.SGD(0.1))
    before = {name: view.copy() for name, view in model.parameters.items()}
    gradients = {name: g.copy() for name, g in model.gradients(X, Y).items()}
    logs = model.train_on_batch(X, Y)
    np.testing.assert_allclose(logs["loss"], 0.5 * logs["value_loss"] + 2 * logs["class_loss"])
    for name, view in model.parameters.items():
        np.testing.assert_allclose(view, before[name] - 0.1 * gradients[name], rtol=1e-9)


# -- what histories hold ---------------------------------------------------------------------------


def test_histories_and_metrics_by_output():
    metrics = {"class": ["accuracy", "auc"], "value": ["mae"]}
    model = build("float32", metrics=metrics)
    history = model.fit(X, Y, epochs=2, batch_size=20, validation_data=(X, Y), verbose=0).history
    own = ["loss", "value_loss", "class_loss", "value_mae", "class_accuracy"]
    watched = ["loss", "value_loss", "class_loss", "value_mae", "class_accuracy", "class_auc"]
    assert list(history) == [*own, *(f"val_{name}" for name in watched)]
    found = model.evaluate(X, Y)
    assert list(found) == watched
    assert found == {name: history[f"val_{name}"][-1] for name in watched}
    values, classes = model.predict(X)
    np.testing.assert_allclose(found["value_mae"], np.abs(values - VALUES).mean(), rtol=1e-5)
    assert found["class_accuracy"] == pytest.approx((classes.argmax(1) == CLASSES).mean())
    np.testing.assert_allclose(
        history["loss"],
        0.5 * np.array(history["value_loss"]) + 2 * np.array(history["class_loss"]),
        rtol=1e-6,
    )


def test_lists_of_lists_and_one_loss_for_all():
    model = build(metrics=[[], ["accuracy"]], loss_weights=None)
    assert list(model.evaluate(X, Y)) == ["loss", "value_loss", "class_loss", "class_accuracy"]
    for loss in ("mse", {"class": "mse", "value": bp.losses.MSE()}):
        model = build(loss=loss)
        assert set(model.evaluate(X, [VALUES, np.eye(3)[CLASSES]])) > {"value_loss"}


def test_callbacks_know_which_way_is_up():
    from pybp.callbacks import EarlyStopping

    model = build("float32", metrics=[[], ["accuracy"]])
    stop = EarlyStopping("val_class_accuracy", patience=50)
    model.fit(X, Y, epochs=3, validation_split=0.3, callbacks=[stop], verbose=0)
    assert stop.rising


# -- data ------------------------------------------------------------------------------------------


def bits(model):
    return [view.tobytes() for view in model.tensors().values()]


def strided(array):
    room = np.zeros((3 * len(array), *array.shape[1:]))
    room[::3] = array
    return room[::3]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("change", [strided, read_only, np.asfortranarray, np.ndarray.tolist])
def test_however_the_arrays_lie(change):
    models = [build("float32"), build("float32")]
    models[0].fit(X, Y, epochs=2, batch_size=20, verbose=0)
    given = [change(array) for array in X], [change(array) for array in Y]
    models[1].fit(*given, epochs=2, batch_size=20, verbose=0)
    assert bits(models[0]) == bits(models[1])


def test_dicts_by_name_are_lists():
    models = [build("float32", metrics={"class": ["auc"]}) for _ in range(2)]
    x, y = {"b": B, "a": A}, {"class": CLASSES, "value": VALUES}
    models[0].fit(X, Y, epochs=1, validation_data=(X, Y), verbose=0)
    models[1].fit(x, y, epochs=1, validation_data=(x, y), verbose=0)
    assert bits(models[0]) == bits(models[1])
    assert models[0].evaluate(X, Y) == models[1].evaluate(x, y)
    for one, other in zip(models[0].predict(X), models[1].predict(x), strict=True):
        np.testing.assert_array_equal(one, other)


def test_bytes_are_scaled_on_the_way_in():
    image, table = bp.Input((4, 4), scale=1 / 255, name="image"), bp.Input(3, name="table")
    flat = side_by_side([image, image])
    model = bp.Model([image, table], bp.Dense(2)(bp.concat([flat, table])))
    model.compile(loss="mse", seed=1)
    pixels, rest = RNG.integers(0, 256, (9, 4, 4)).astype("u1"), RNG.normal(size=(9, 3))
    found = model.predict([pixels, rest])
    p = {name: view.astype(float) for name, view in model.parameters.items()}
    scaled = pixels.reshape(9, -1) / 255
    wanted = np.concatenate([scaled, scaled, rest], axis=1) @ p["dense0.weight"].T
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    model.fit([pixels, rest], found, epochs=1, verbose=0)


def test_partial_batches_count_by_their_rows():
    """An epoch's loss is the mean over rows, also where the last batch is smaller."""
    model = build(optimizer=bp.optim.SGD(1e-12))
    wanted = model.evaluate(X, Y)
    history = model.fit(X, Y, epochs=1, batch_size=20, verbose=0).history
    for name, value in wanted.items():
        np.testing.assert_allclose(history[name][0], value, rtol=1e-8)


def test_weight_two_is_a_row_twice_and_zero_none():
    rows = np.repeat(np.arange(N), WEIGHT.astype(int))
    weighted, repeated = build(), build()
    found = weighted.gradients(X, Y, WEIGHT)
    wanted = repeated.gradients([a[rows] for a in X], [y[rows] for y in Y])
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-14)


def test_class_weights_with_several_inputs():
    a, b = bp.Input(5), bp.Input(6)
    model = bp.Model([a, b], bp.Dense(3)(bp.concat([a, b])))
    model.compile(bp.optim.SGD(1e-12), "cross_entropy", dtype="float64", seed=1)
    x = [A, B.reshape(N, -1)]
    factor = np.array([0.5, 1.0, 3.0])[CLASSES]
    logs = model.train_on_batch(x, CLASSES, WEIGHT, {0: 0.5, 2: 3.0})
    wanted = model.evaluate(x, CLASSES, sample_weight=factor * WEIGHT)
    np.testing.assert_allclose(logs["loss"], wanted["loss"], rtol=1e-9)


def test_validation_split_is_the_last_rows():
    models = [build("float32"), build("float32")]
    one = models[0].fit(X, Y, epochs=2, validation_split=0.25, sample_weight=WEIGHT, verbose=0)
    cut = int(N * 0.75)
    first, last = [A[:cut], B[:cut]], [A[cut:], B[cut:]]
    y_first, y_last = [VALUES[:cut], CLASSES[:cut]], [VALUES[cut:], CLASSES[cut:]]
    other = models[1].fit(
        first,
        y_first,
        epochs=2,
        validation_data=(last, y_last, WEIGHT[cut:]),
        sample_weight=WEIGHT[:cut],
        verbose=0,
    )
    assert one.history == other.history
    assert bits(models[0]) == bits(models[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads_gives_the_same_bits(dtype):
    found = []
    for threads in (1, 2, 3):
        bp.set_num_threads(threads)
        model = build(dtype)
        model.fit(X, Y, epochs=2, batch_size=20, verbose=0)
        found.append((bits(model), [y.tobytes() for y in model.predict(X)], model.evaluate(X, Y)))
    assert found[0] == found[1] == found[2]


def test_a_loaded_model_goes_on_in_the_midst_of_an_epoch(tmp_path):
    """Interrupted after a batch, saved, loaded: the same bits as never having stopped."""
    from pybp.callbacks import Callback

    class Stop(Callback):
        def on_batch_end(self, batch, logs):
            self.model.stop_training = batch == 1

    metrics = [["mae"], ["accuracy"]]
    straight, halted = (build("float32", metrics=metrics) for _ in range(2))
    straight.fit(X, Y, epochs=2, batch_size=10, verbose=0)
    halted.fit(X, Y, epochs=2, batch_size=10, callbacks=[Stop()], verbose=0)
    assert halted.progress.row == 20
    halted.save(tmp_path / "m.safetensors")
    model = bp.load(tmp_path / "m.safetensors")
    model.fit(X, Y, epochs=2, batch_size=10, verbose=0)
    assert bits(model) == bits(straight)
    assert model.evaluate(X, Y) == straight.evaluate(X, Y)


# -- answers ---------------------------------------------------------------------------------------


def test_predictors_answer_as_predict_does():
    model = build("float32")
    bound = model.predictor(batch_size=3)
    for begin in (0, 3):
        part = [array[begin : begin + 3] for array in X]
        for one, other in zip(bound(part), model.predict(part), strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="batches of 3 rows"):
        bound(X)


def test_one_input_and_several_outputs():
    x = bp.Input(5)
    h = bp.Dense(4, "tanh")(x)
    model = bp.Model(x, [bp.Dense(2)(h), bp.Dense(1)(h), h])
    model.compile(loss="mse", seed=1)
    rows = A.astype("f4")
    found, quick = model.predict(rows), model.predictor(1)
    assert [y.shape for y in found] == [(N, 2), (N, 1), (N, 4)]
    for one, other in zip(quick(rows[:1]), model.predict(rows[:1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    found = model.activations(rows)
    assert list(found) == ["input0", "dense0", "dense1", "dense2"]
    sparse = pytest.importorskip("scipy.sparse")
    for one, other in zip(model.predict(sparse.csr_array(rows)), model.predict(rows), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_outputs_that_have_axes():
    x = bp.Input((2, 3))
    model = bp.Model(x, [bp.Dense(4)(x), bp.Activation("tanh")(x)])
    model.compile(loss="mse", seed=1)
    first, second = model.predict(B)
    assert first.shape == (N, 2, 4)
    np.testing.assert_allclose(second, np.tanh(B), rtol=1e-6)


def test_what_looks_at_models_looks_at_these():
    model = build("float32")
    found = bp.find_learning_rate(model, X, Y, steps=20)
    assert len(found.rates) > 4
    pytest.importorskip("matplotlib")
    bp.plots.loss_landscape(model, X, Y, points=3)


def test_scalers_of_each_input():
    a, b = bp.Input(5), bp.Input(6)
    merged = bp.concat([bp.StandardScaler()(a), bp.MinMaxScaler()(b)])
    model = bp.Model([a, b], bp.Dense(1)(merged))
    model.compile(loss="mse", dtype="float64")
    flat = B.reshape(N, -1)
    model.adapt([A, flat])
    found = model.activations([A, flat])["concat0"]
    np.testing.assert_allclose(found[:, :5].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(found[:, 5:].min(axis=0), 0, atol=1e-12)


# -- an oracle -------------------------------------------------------------------------------------


def test_pytorch_agrees():
    """Two inputs, a tied layer, a residual sum, two weighted losses, ten steps of SGD."""
    torch = pytest.importorskip("torch")
    a, b = bp.Input(5), bp.Input(6)
    tied = bp.Dense(7, "tanh")
    first, second = tied(bp.Dense(5)(a)), tied(bp.Dense(5, "relu")(b))
    h = bp.Activation("relu")(bp.add([first, second]))
    outputs = [bp.Dense(2)(bp.concat([h, a])), bp.Dense(3)(bp.multiply([h, first]))]
    model = bp.Model([a, b], outputs)
    model.compile(
        bp.optim.SGD(0.1), ["mse", "cross_entropy"], dtype="float64", loss_weights=[0.3, 1.5]
    )
    p = {
        name: torch.tensor(view.copy(), requires_grad=True)
        for name, view in model.parameters.items()
    }

    def dense(x, k):
        return x @ p[f"dense{k}.weight"].T + p[f"dense{k}.bias"]

    flat = torch.tensor(B.reshape(N, -1))
    rows = torch.tensor(A)
    optimizer = torch.optim.SGD(p.values(), lr=0.1)
    for _ in range(10):
        one = torch.tanh(dense(dense(rows, 0), 1))
        two = torch.tanh(dense(torch.relu(dense(flat, 2)), 1))
        h = torch.relu(one + two)
        values, logits = dense(torch.cat([h, rows], 1), 3), dense(h * one, 4)
        loss = 0.3 * torch.nn.functional.mse_loss(values, torch.tensor(VALUES))
        loss = loss + 1.5 * torch.nn.functional.cross_entropy(logits, torch.tensor(CLASSES))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        logs = model.train_on_batch([A, B.reshape(N, -1)], Y)
        np.testing.assert_allclose(logs["loss"], loss.item(), rtol=1e-10)
    for name, view in model.parameters.items():
        np.testing.assert_allclose(view, p[name].detach().numpy(), rtol=1e-8, atol=1e-12)


def test_no_log_has_two_meanings():
    """An output named "val" would log its loss as "val_loss", which is that of validation data."""
    x = bp.Input(5)
    model = bp.Model(x, [bp.Dense(2, name="val")(x), bp.Dense(2, name="test")(x)])
    with pytest.raises(ValueError, match=r"'val_loss'.*another name"):
        model.compile(loss="mse")
    bp.Model(x, bp.Dense(2, name="val")(x)).compile(loss="mse")  # the only one has no prefix


# -- errors ----------------------------------------------------------------------------------------

MISTAKES = {
    "one array": (lambda m: m.predict(A), ValueError, ["x", "list of 2", "a, b", "ndarray"]),
    "three arrays": (lambda m: m.predict([A, B, A]), ValueError, ["list of 2", "got 3"]),
    "an unknown name": (lambda m: m.predict({"a": A, "c": B}), ValueError, ["input", "'c'"]),
    "a missing name": (lambda m: m.predict({"a": A}), ValueError, ["'b'", "nothing"]),
    "other rows": (
        lambda m: m.predict([A, B[:5]]),
        ValueError,
        ["'b' has 5 rows", "'a' has 53"],
    ),
    "another shape": (lambda m: m.predict([A, A]), ValueError, ["'b'", "x[1]", "(N, 2, 3)"]),
    "not a number": (
        lambda m: m.fit([A, np.full_like(B, np.nan)], Y),
        ValueError,
        [
            "x[1][0] is nan at (0, 0)",
            "(2, 3)",
            "in all arrays",
            "np.isfinite(x[1]).reshape(len(x[1])",
        ],
    ),
    "not a number to predict": (
        lambda m: m.predict([A, np.full_like(B, np.inf)]),
        ValueError,
        ["x[1][0] is inf at (0, 0)", "(2, 3)"],
    ),
    "one target": (lambda m: m.fit(X, VALUES), ValueError, ["y", "list of 2", "value, class"]),
    "fewer targets": (
        lambda m: m.fit(X, [VALUES, CLASSES[:9]]),
        ValueError,
        ["53 rows", "y[1]", "9"],
    ),
    "bad classes": (lambda m: m.fit(X, [VALUES, CLASSES + 1]), ValueError, ["y[1]", "0 to 2"]),
    "class weights": (
        lambda m: m.fit(X, Y, class_weight="balanced"),
        ValueError,
        ["class_weight", "one output", "value, class"],
    ),
    "no rows": (lambda m: m.fit([A[:0], B[:0]], Y), ValueError, ["empty"]),
    "losses": (lambda m: m.compile(loss=["mse"]), ValueError, ["loss", "value, class", "1"]),
    "a loss of no output": (
        lambda m: m.compile(loss={"value": "mse", "klass": "mse"}),
        ValueError,
        ["'klass'", "class"],
    ),
    "a loss too few": (lambda m: m.compile(loss={"value": "mse"}), ValueError, ["'class'"]),
    "means and sums": (
        lambda m: m.compile(loss=["mse", "sse"]),
        ValueError,
        ["'mse'", "'sse'", "mean", "sum"],
    ),
    "weights": (lambda m: m.compile(loss_weights=[1]), ValueError, ["loss_weights", "value"]),
    "negative weights": (
        lambda m: m.compile(loss_weights=[1, -1]),
        ValueError,
        ["loss_weights[1]", "-1"],
    ),
    "weights that are zero": (lambda m: m.compile(loss_weights=[0, 0]), ValueError, ["all 0"]),
    "one list of metrics": (
        lambda m: m.compile(metrics=["mae", "accuracy"]),
        TypeError,
        ["metrics", "one list for each"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_and_change_nothing(mistake):
    call, exception, words = MISTAKES[mistake]
    model, twin = build("float32"), build("float32")
    with pytest.raises(exception) as caught:
        call(model)
    says(caught, *words)
    for each in (model, twin):
        each.fit(X, Y, epochs=1, verbose=0)
    assert bits(model) == bits(twin)


def test_sparse_rows_are_for_one_input():
    sparse = pytest.importorskip("scipy.sparse")
    model = build("float32")
    with pytest.raises(ValueError, match="one input"):
        model.predict([sparse.csr_array(A), B])


def test_a_branch_that_overflows_is_named():
    from pybp.errors import DivergenceError

    model = build("float32", optimizer=bp.optim.SGD(0.1))
    with pytest.raises(DivergenceError, match="layer 'value' overflowed"):
        model.fit(X, [VALUES * 1e30, CLASSES], epochs=1, verbose=0)
