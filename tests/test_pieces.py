"""Pieces of a batch of images: the step of the whole batch, in a part of the memory."""

from __future__ import annotations

import numpy as np
import pytest

import pybp as bp
from pybp import training
from pybp.callbacks import Callback

ROWS, SHAPE = 100, (2, 8, 7)  # in batches of 40: the last one has 20
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, *SHAPE)).astype("f4")
Y = RNG.normal(size=(ROWS, 3)).astype("f4")
WEIGHTS = RNG.integers(0, 3, ROWS).astype(float)


def net(optimizer, *between, dtype="float64", loss="mse"):
    model = bp.Sequential([
        bp.Input(SHAPE, layout="NCHW"),
        bp.Conv2D(6, 3, activation="relu"),
        *between,
        bp.MaxPool2D(2),
        bp.Conv2D(4, 2, activation="tanh"),
        bp.Flatten(),
        bp.Dense(3),
    ])  # fmt: skip
    model.compile(optimizer=optimizer, loss=loss, dtype=dtype, metrics=["mae"], seed=3)
    return model


def trained(model, epochs=2, **how):
    history = model.fit(X, Y, epochs=epochs, batch_size=40, verbose=0, **how)
    (plan,) = [plan for key, plan in model._plans.items() if key[0] == "train"]
    return history, plan


def in_pieces(monkeypatch):
    monkeypatch.setattr(training, "PIECE_BYTES", training.LEAST_PIECE * 2**10)


OPTIMIZERS = {
    "momentum": lambda: bp.optim.SGD(0.05, momentum=0.9),
    "adam": lambda: bp.optim.Adam(1e-2, weight_decay=1e-3),
    "clipped": lambda: bp.optim.SGD(0.05, global_clip_norm=0.1),
    "accumulated": lambda: bp.optim.SGD(0.05, accumulate=2),
    "average": lambda: bp.optim.Adam(1e-2, average=bp.optim.EMA(0.9)),
}


@pytest.mark.parametrize("loss", ["mse", "sse"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pieces_make_the_step_of_the_whole_batch(name, weighted, loss, monkeypatch):
    how = {"sample_weight": WEIGHTS} if weighted else {}
    whole, pieces = (net(OPTIMIZERS[name](), loss=loss) for _ in range(2))
    first, whole_plan = trained(whole, **how)
    in_pieces(monkeypatch)
    second, plan = trained(pieces, **how)
    assert plan.plan.capacity < whole_plan.plan.capacity
    assert plan.act_bytes < 0.6 * whole_plan.act_bytes
    for column, values in first.history.items():
        np.testing.assert_allclose(second.history[column], values, rtol=1e-10)
    for key, value in whole.tensors().items():
        np.testing.assert_allclose(pieces.tensors()[key], value, rtol=1e-8, atol=1e-11)


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    in_pieces(monkeypatch)
    found = []
    for threads in (1, 2, 3):
        bp.set_num_threads(threads)
        model = net(bp.optim.Adam(1e-2), bp.Dropout(0.3), dtype="float32")
        trained(model)
        found.append({key: value.tobytes() for key, value in model.tensors().items()})
    assert found[0] == found[1] == found[2]


def test_pieces_side_by_side_are_pieces_one_after_the_other(monkeypatch):
    """With work for many threads, a shared layer, and one piece left over, which all share."""
    in_pieces(monkeypatch)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(128, 4, 24, 24)).astype("f4")
    y = rng.integers(0, 5, 128)
    found = []
    for threads in (1, 2, 3, 4, 7):
        bp.set_num_threads(threads)
        image = bp.Input((4, 24, 24), layout="NCHW")
        shared = bp.Conv2D(16, 3, padding="same", activation="relu")
        h = bp.Conv2D(16, 1)(bp.Dropout(0.2)(shared(image)))
        h = bp.concat([h, shared(bp.Conv2D(4, 3, padding="same")(image))])
        model = bp.Model(image, bp.Dense(5)(bp.GlobalAveragePool2D()(h)))
        model.compile("adam", "cross_entropy", seed=2)
        history = model.fit(x, y, batch_size=56, epochs=2, verbose=0)
        found.append([v.tobytes() for v in model.tensors().values()] + [history.history["loss"]])
    assert all(each == found[0] for each in found)


def test_pieces_draw_random_numbers_of_their_own(monkeypatch):
    """The same rows twice in a batch lose other values."""
    in_pieces(monkeypatch)
    model = net(bp.optim.SGD(1e-12), bp.Dropout(0.5))
    first = model.train_on_batch(X[:16], Y[:16])["loss"]
    model = net(bp.optim.SGD(1e-12), bp.Dropout(0.5))
    twice = model.train_on_batch(np.tile(X[:16], (2, 1, 1, 1)), np.tile(Y[:16], (2, 1)))["loss"]
    assert twice != pytest.approx(first, rel=1e-6)


def test_a_training_goes_on_from_the_midst_of_an_epoch(monkeypatch, tmp_path):
    in_pieces(monkeypatch)
    straight, broken = (net(bp.optim.Adam(1e-2), bp.Dropout(0.3)) for _ in range(2))
    trained(straight)

    def stop(batch, logs, model=broken):
        model.stop_training = batch == 0

    broken.fit(X, Y, epochs=1, batch_size=40, verbose=0, callbacks=[BatchEnd(stop)])
    assert broken.progress.row == 40
    broken.save(tmp_path / "model.safetensors")
    resumed = bp.load(tmp_path / "model.safetensors")
    resumed.fit(X, Y, epochs=2, batch_size=40, verbose=0)
    for key, value in straight.tensors().items():
        assert np.array_equal(resumed.tensors()[key], value), key


class BatchEnd(Callback):
    def __init__(self, tell):
        self.tell = tell

    def on_batch_end(self, batch, logs):
        self.tell(batch, logs)


@pytest.mark.parametrize("why", ["rows are mixed", "no images", "many parameters"])
def test_a_batch_stays_whole(why, monkeypatch):
    in_pieces(monkeypatch)
    model = net(bp.optim.SGD(0.1), *([bp.BatchNorm()] if why == "rows are mixed" else []))
    if why == "no images":
        model = bp.Sequential([bp.Input(SHAPE), bp.Flatten(), bp.Dense(500), bp.Dense(3)])
        model.compile(optimizer="sgd", loss="mse")
    if why == "many parameters":
        monkeypatch.setattr(training, "PIECE_BYTES", model._store.vector.nbytes - 1)
    assert trained(model)[1].plan.capacity == 64


def test_a_large_batch_of_images_takes_no_more_memory_than_a_small_one():
    """Whole, the larger one would take 250 MB."""
    model = bp.Sequential([
        bp.Input((1, 64, 64), layout="NCHW"),
        bp.Conv2D(32, 3, padding="same", activation="relu"),
        bp.Conv2D(32, 3, padding="same", activation="relu"),
        bp.GlobalAveragePool2D(),
        bp.Dense(2),
    ])  # fmt: skip
    model.compile(optimizer="sgd", loss="mse")
    for rows in (17, 120):
        x, y = np.zeros((rows, 1, 64, 64), "f4"), np.zeros((rows, 2), "f4")
        model.fit(x, y, batch_size=rows, verbose=0)
    (plan,) = [plan for key, plan in model._plans.items() if key[0] == "train"]
    assert plan.act_bytes < 48 * 2**20


@pytest.mark.parametrize(
    ("layers", "rows"),
    [
        ([bp.Dense(64), bp.Dense(10)], 128),
        ([bp.Conv2D(32, 3, padding="same"), bp.Conv2D(32, 3), bp.Flatten(), bp.Dense(10)], 16),
        ([bp.Conv2D(1, 3), bp.MaxPool2D(8), bp.Flatten(), bp.Dense(10)], 64),
        ([bp.Conv2D(8, 3), bp.Flatten(), bp.Dense(1000), bp.Dense(10)], 128),  # many other weights
    ],
)
def test_images_are_predicted_so_few_at_a_time_that_they_stay_in_cache(layers, rows):
    """And the answers are those of single images, however many are asked for."""
    shape = (3, 20, 20) if len(layers) > 2 else (1200,)
    model = bp.Sequential([bp.Input(shape, layout="NCHW" if len(shape) == 3 else ""), *layers])
    model.compile(loss="mse", seed=0)
    x = np.random.default_rng(0).normal(size=(300, *shape)).astype("f4")
    one = np.concatenate([model.predict(x[i : i + 1]) for i in range(len(x))])
    for n in (rows - 1, rows, rows + 1, 129, 300):
        np.testing.assert_allclose(model.predict(x[:n]), one[:n], rtol=1e-4, atol=1e-5)
    assert model._plans["predict", "dense"].plan.capacity == rows


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("batch", [40, 3])  # in blocks, and plain
@pytest.mark.parametrize("activation", ["relu", "tanh", "silu", None])
def test_the_gradient_of_an_averaged_image_takes_its_place(activation, batch, layout):
    """Its last reader writes it; the gradients are those of a mean that does nothing of that."""

    class Mean(bp.Layer):
        def build(self, x, name):
            return bp.ops.mean(x, axis=(1, 2) if layout == "NCHW" else (0, 1))

    def after(mean):
        shape = SHAPE if layout == "NCHW" else (*SHAPE[1:], SHAPE[0])
        image = bp.Input(shape, layout=layout)
        h = bp.Conv2D(5, 3, padding=1, activation=activation)(image)
        model = bp.Model(image, bp.Dense(3)(mean(h)))
        model.compile(bp.optim.SGD(0.1, accumulate=2), "mse", dtype="float64", seed=1)
        x = X if layout == "NCHW" else X.transpose(0, 2, 3, 1)
        model.fit(x, Y, epochs=3, batch_size=batch, verbose=0)
        return model

    model, wanted = after(bp.GlobalAveragePool2D()), after(Mean())
    for name, value in wanted.tensors().items():
        own = model.tensors()[name.replace("mean0", "globalaveragepool2d0")]
        np.testing.assert_allclose(own, value, rtol=1e-9, atol=1e-12)
    (lowered,) = [plan for key, plan in model._plans.items() if key[0] == "train"]
    (k,) = [k for k in lowered.instructions if k.get("op") == "average_pool" and k["din"] != [-1]]
    x, dx = lowered.tensors[k["in"][0]], lowered.tensors[k["din"][0]]
    assert x.offset == dx.offset
