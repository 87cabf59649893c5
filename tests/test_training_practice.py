"""How one trains: batches of any size, rows one by one, scaling without a leak, stopping when done.

The numbers are worked out beside the network, in NumPy or by hand.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import pybp as bp
from pybp.callbacks import EarlyStopping

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
needs_examples = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="installed without examples/")


def example(name):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def linear(x, rate):
    """One linear unit from zero: the delta rule."""
    model = bp.Sequential([bp.Input(x.shape[1]), bp.Dense(1, weight_init=0.0)])
    model.compile(bp.optim.SGD(rate), loss="half_sse", dtype="float64")
    return model


# -- batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 16, 32, 49, 50, 1000])
def test_a_batch_of_any_size_with_a_smaller_one_at_the_end(size):
    """Plain descent on the sum over each batch's rows, the last batch being what remains."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), rng.normal(size=50)
    model = linear(x, rate=0.004)
    model.fit(x, y, epochs=3, batch_size=size, shuffle=False, verbose=0)
    w, b = np.zeros(3), 0.0
    for _ in range(3):
        for begin in range(0, 50, size):
            rows = slice(begin, begin + size)
            error = x[rows] @ w + b - y[rows]
            w, b = w - 0.004 * error @ x[rows], b - 0.004 * error.sum()
    np.testing.assert_allclose(model.parameters["dense0.weight"][0], w, rtol=1e-12)
    np.testing.assert_allclose(model.parameters["dense0.bias"][0], b, rtol=1e-12)


def test_rows_one_by_one_from_the_first():
    """w <- w - rate (w x - y) x for x = 1, 2, 3, y = 2 x, by hand: rate 0.1, no bias."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1, use_bias=False, weight_init=0.0)])
    model.compile(bp.optim.SGD(0.1), loss="half_sse", dtype="float64")
    seen = []

    def watch(batch, logs):
        seen.append(model.parameters["dense0.weight"].item())

    watcher = bp.callbacks.LambdaCallback(on_batch_end=watch)
    x = np.array([[1.0], [2.0], [3.0]])
    model.fit(x, 2 * x, batch_size=1, shuffle=False, callbacks=[watcher], verbose=0)
    assert seen == pytest.approx([0.2, 0.92, 1.892], rel=1e-14)


def test_every_row_once_per_epoch_in_a_new_order():
    """The sum over an epoch in batches of one shows each row; the steps show their order."""
    orders = []
    x = np.eye(12)

    class Watch(bp.callbacks.Callback):
        def on_epoch_begin(self, epoch):
            self.order, self.weight = [], np.zeros((1, 12))

        def on_batch_end(self, batch, logs):
            new = self.model.parameters["dense0.weight"].copy()
            self.order.append(int(np.abs(new - self.weight).argmax()))
            self.weight = new

        def on_epoch_end(self, epoch, logs):
            orders.append(self.order)
            self.model.parameters["dense0.weight"][...] = 0

    model = bp.Sequential([bp.Input(12), bp.Dense(1, use_bias=False, weight_init=0.0)])
    model.compile(bp.optim.SGD(0.1), loss="half_sse", dtype="float64")
    model.fit(x, np.ones(12), epochs=4, batch_size=1, callbacks=[Watch()], verbose=0)
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


@needs_examples
def test_batches_of_16_and_32_are_near_the_best_on_mnist(mnist_train, mnist_test, capsys):
    """At equal epochs one of them is within 0.3 % of the best; large batches fall behind."""
    sizes = (8, 16, 32, 128, 512)
    found = example("batch_size").sweep((mnist_train, mnist_test), sizes, epochs=3, seeds=1)
    accuracy = {size: result[0] for size, result in found.items()}
    best = max(accuracy.values())
    assert best > 0.96
    assert max(accuracy[16], accuracy[32]) >= best - 0.003
    assert accuracy[512] < best - 0.003
    assert capsys.readouterr().out.count("\n") == 2 + len(sizes)


@needs_examples
def test_every_activation_but_the_identity_learns_mnist_beyond_softmax_regression(
    mnist_train, mnist_test, capsys
):
    """Two epochs of 784-128-10, Adam: more than 93 % with any bend, less without one."""
    comparison = example("activations")
    found = comparison.compare((mnist_train, mnist_test), epochs=2, seeds=1)
    assert set(found) == set(comparison.NAMES)
    accuracy = {name: result[0] for name, result in found.items()}
    assert accuracy.pop("identity") < 0.93 < min(accuracy.values())
    assert capsys.readouterr().out.count("\n") == 2 + len(found)


@needs_examples
def test_a_unet_tells_which_digit_a_pixel_belongs_to(mnist_train, mnist_test):
    """Half of the training of the example, which reads 95 % of the ink right."""
    assert example("segmentation").main((mnist_train, mnist_test), count=4000, epochs=4) > 0.5


# -- scaling ---------------------------------------------------------------------------------------


@needs_examples
@pytest.mark.parametrize("table", ["wheat-seeds/wheat-seeds.csv", "iris/iris.csv"])
def test_scaling_beside_and_inside_the_model_is_the_same(data_root, table):
    """To 1e-9 in every probability of a cross-validation, as the scaled columns are to 1e-12."""
    pytest.importorskip("sklearn")
    scaling = example("scaling")
    path = data_root / table
    if not path.is_file():
        pytest.skip(f"no real data: {path} does not exist")
    data = bp.datasets.load_csv(path, -1)
    beside, right = scaling.cross_validation(data.x, data.y, scaling.scaled_beside)
    inside, _ = scaling.cross_validation(data.x, data.y, scaling.scaled_inside)
    np.testing.assert_allclose(inside, beside, rtol=0, atol=1e-9)
    assert np.mean(right) > 0.9


@needs_examples
def test_the_other_folds_are_not_looked_at(data_root):
    """Rows of the test fold may hold anything: the others' model stays the same."""
    pytest.importorskip("sklearn")
    scaling = example("scaling")
    x = np.random.default_rng(0).normal(size=(60, 4))
    y = (x[:, 0] > 0).astype(int)
    probe = x[:40]
    for way in (scaling.scaled_beside, scaling.scaled_inside):
        plain = way(x[:40], y[:40], np.vstack([probe, x[40:]]))
        wild = way(x[:40], y[:40], np.vstack([probe, 1000 * x[40:]]))
        assert np.array_equal(plain[:40], wild[:40])


# -- stopping when done ----------------------------------------------------------------------------


def test_rosenblatts_perceptron_on_iris_stops_after_its_sixth_epoch(data_root):
    """Setosa and versicolor by the lengths of sepal and petal, row by row, rate 0.1 for errors of
    size 2: 2, 2, 3, 2, 1 errors, and then none (Raschka, "Python machine learning", chapter 2).

    The hinge max(0, 1 - t z) corrects by rate t x, as the perceptron does, and also rows that are
    right by less than 1. A rate 2^20 times as large makes the weights that much larger, so that a
    margin of 1 counts as none. Without any weights, z is a little above 0, which is class 1.
    """
    path = data_root / "iris" / "iris.csv"
    if not path.is_file():
        pytest.skip(f"no real data: {path} does not exist")
    table = bp.datasets.load_csv(path, -1)
    x, y = table.x[:100, [0, 2]], np.where(table.y[:100] == 0, -1, 1)
    large = 2.0**20
    model = bp.Sequential([bp.Input(2), bp.Dense(1, weight_init=0.0, bias_init=1e-9)])
    model.compile(bp.optim.SGD(0.2 * large), "hinge", ["accuracy"], dtype="float64")
    stop = EarlyStopping("accuracy", patience=100, target=1.0)
    data = {"batch_size": 1, "shuffle": False, "verbose": 0}
    history = model.fit(x, y, epochs=50, callbacks=[stop], **data)
    errors = [100 * (1 - share) for share in history.history["accuracy"]]
    assert errors == pytest.approx([2, 2, 3, 2, 1, 0], abs=1e-9)
    assert (history.ending, stop.stopped_epoch) == ("stopped", 5)
    found = np.append(model.parameters["dense0.bias"], model.parameters["dense0.weight"]) / large
    np.testing.assert_allclose(found, [-0.4, -0.68, 1.82], rtol=0, atol=1e-12)


@pytest.mark.parametrize("rate, epoch", [(0.1, 30), (0.5, 5), (0.9, 2), (1.0, 1), (1.9, 30)])
def test_descent_on_a_parabola_stops_at_the_epoch_that_can_be_worked_out(rate, epoch):
    """The loss before step k is (1 - rate)^2k / 2; it is below 1e-3 at k = ceil(log(2e-3) / 2 log
    |1 - rate|), and training ends after that epoch, the first being k = 0."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1, use_bias=False, weight_init=1.0)])
    model.compile(bp.optim.SGD(rate), loss="half_sse", dtype="float64")
    stop = EarlyStopping("loss", patience=1000, target=1e-3)
    history = model.fit([[1.0]], [[0.0]], epochs=1000, callbacks=[stop], verbose=0)
    assert history.ending == "stopped"
    assert stop.stopped_epoch == history.epochs - 1
    assert [loss <= 1e-3 for loss in history.history["loss"]] == [False] * epoch + [True]


def test_a_training_that_stands_still_is_stopped_by_its_tolerance():
    """Losses (1 - rate)^2k / 2 that fall by less than 1e-6 are no improvement any more."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1, use_bias=False, weight_init=1.0)])
    model.compile(bp.optim.SGD(0.1), loss="half_sse", dtype="float64")
    stop = EarlyStopping("loss", patience=1, min_delta=1e-6, restore_best=False)
    history = model.fit([[1.0]], [[0.0]], epochs=1000, callbacks=[stop], verbose=0)
    falls = -np.diff(history.history["loss"])
    assert (falls[:-1] > 1e-6).all() and falls[-1] <= 1e-6


# -- the examples run ------------------------------------------------------------------------------


@needs_examples
def test_the_examples_run_and_write_their_pictures(tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    example("gradient_descent").main(tmp_path)
    assert "rate 0.1: w = 1.000, 0.900, 0.810, 0.729" in capsys.readouterr().out
    first, second = example("training_control").main(tmp_path)
    assert min(first, second) > 0.9
    names = {path.name for path in tmp_path.iterdir()}
    assert {"parabola.png", "network.png", "rates.png", "history.png", "log.jsonl"} <= names


@needs_examples
def test_derivatives_written_out_by_hand_are_the_librarys(capsys):
    """Mazur's network with its biases trained: twelve chain rules, the step, the error after it."""
    assert example("by_hand").main() < 1e-15
    text = capsys.readouterr().out
    assert text.count("dE/d") == 24 and "E = 0.298371108760" in text
    assert "dE/dv11 = (o1 - t1) o1 (1 - o1) h1\n" in text
    assert "v11 <- v11 - 0.5 dE/dv11 = 0.358916479718" in text
    assert "w11 <- w11 - 0.5 dE/dw11 = 0.149780716133" in text
    assert text.endswith("after the step: E = 0.280471446791\n")


@needs_examples
def test_error_signals_unit_by_unit_and_what_skips_are_good_for(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    apart, (without, with_skips) = example("neuron_graph").main(tmp_path)
    assert apart < 1e-15 and with_skips > 0.95 > without + 0.05
    text = capsys.readouterr().out
    assert "delta_i = i (1 - i) (w_ij delta_j + w_ik delta_k + w_io delta_o)" in text
    assert "-0.033560819302" in text and "dE/dw_ini = in delta_i = -0.016780409651" in text
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"without_skips.png", "with_skips.png"}


@needs_examples
def test_scaling_is_an_example_without_data(capsys):
    """Wine, whose columns differ a thousandfold: unscaled it is hardly learnt."""
    pytest.importorskip("sklearn")
    example("scaling").main()
    words = [line.split() for line in capsys.readouterr().out.splitlines()]
    shares = {row[0]: float(row[1].rstrip("%")) for row in words}
    assert shares["scaled_inside"] == shares["scaled_beside"] > 95 > shares["unscaled"]


@needs_examples
def test_augmentation_is_an_example_that_needs_few_images(mnist_train, mnist_test, capsys):
    """Of 3000 images, six epochs: with variations it makes fewer mistakes."""
    train = tuple(part[:3000] for part in mnist_train)
    found = example("augmentation").main((train, mnist_test), epochs=6, batch_size=32)
    assert found["affine"] > found["none"] + 0.01 and found["elastic"] > found["none"] + 0.01
    assert capsys.readouterr().out.count("\n") == 2 + len(found)
