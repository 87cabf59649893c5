"""The learning-rate finder: what it finds, and that the model is left as it was, to the bit."""

import sys

import numpy as np
import pytest
from interpreter import python
from refusal import CLASSES, X, classifier, refused, says

import pybp as bp
from pybp.finder import RateSearch
from pybp.results import Results


def whole_state(model):
    tensors = {name: view.tobytes() for name, view in model.tensors().items()}
    return tensors, model.progress.state()


def quadratic(curvature=1.0):
    """f(w) = curvature w^2 / 2 from w = 1: descent is stable up to a rate of 2 / curvature."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1, use_bias=False, weight_init=1.0)])
    model.compile(bp.optim.SGD(0.1), loss="half_sse", dtype="float64")
    return model, [[curvature**0.5]], [[0.0]]


# -- what it finds ---------------------------------------------------------------------------------


def test_each_loss_is_that_of_its_step():
    """On w^2 / 2 the weight is multiplied by 1 - rate at every step."""
    model, x, y = quadratic()
    found = bp.find_learning_rate(model, x, y, lowest=1e-3, highest=1.0, steps=40)
    rates = np.geomspace(1e-3, 1.0, 40)
    weights = np.concatenate([[1.0], np.cumprod(1 - rates[:-1])])
    np.testing.assert_allclose(found.rates, rates, rtol=1e-12)
    np.testing.assert_allclose(found.losses, weights**2 / 2, rtol=1e-12)


def test_losses_of_batches_that_end_and_begin_epochs():
    """20 rows in batches of 8, 8, 4: the steps are those of train_on_batch."""
    model, twin = (bp.Sequential([bp.Input(4), bp.Dense(3)]) for _ in range(2))
    for each in (model, twin):
        each.compile(bp.optim.SGD(), loss="cross_entropy", dtype="float64", seed=1)
    found = bp.find_learning_rate(model, X, CLASSES, 1e-4, 0.1, 10, batch_size=8, shuffle=False)
    for t, (rate, loss) in enumerate(zip(found.rates, found.losses, strict=True)):
        rows = slice(8 * (t % 3), 8 * (t % 3) + 8)
        twin.learning_rate = rate
        assert loss == pytest.approx(twin.train_on_batch(X[rows], CLASSES[rows])["loss"], rel=1e-9)


def test_rows_of_weight_0_are_rows_left_out():
    def build():
        model = bp.Sequential([bp.Input(4), bp.Dense(3)])
        model.compile(bp.optim.SGD(), loss="cross_entropy", dtype="float64", seed=1)
        return model

    kept, data = np.arange(20) % 2, {"steps": 20, "shuffle": False}
    weighted = bp.find_learning_rate(build(), X, CLASSES, batch_size=20, sample_weight=kept, **data)
    fewer = bp.find_learning_rate(build(), X[1::2], CLASSES[1::2], batch_size=10, **data)
    np.testing.assert_allclose(weighted.losses, fewer.losses, rtol=1e-12)


@pytest.mark.parametrize("curvature", [0.01, 1.0, 100.0])
def test_the_suggestion_scales_with_the_curvature_and_is_stable(curvature):
    model, x, y = quadratic(curvature)
    found = bp.find_learning_rate(model, x, y, lowest=1e-6, highest=1e4, steps=200)
    assert 0.005 < found.suggestion * curvature < 2
    model.learning_rate = found.suggestion
    losses = model.fit(x, y, epochs=50, verbose=0).history["loss"]
    assert losses == sorted(losses, reverse=True)


def test_it_ends_where_the_loss_explodes():
    model, x, y = quadratic()
    found = bp.find_learning_rate(model, x, y, lowest=1e-3, highest=1e6, steps=300)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 300
    assert found.rates[-1] > 2
    assert np.isfinite(found.losses).all()


def test_the_suggestion_trains_iris(iris):
    x, y = iris
    for optimizer in (bp.optim.SGD(), bp.optim.Adam()):
        model = bp.Sequential([bp.Input(4), bp.Dense(10, activation="tanh"), bp.Dense(3)])
        model.compile(optimizer, loss="cross_entropy", metrics=["accuracy"], seed=0)
        model.learning_rate = bp.find_learning_rate(model, x, y, batch_size=16).suggestion
        model.fit(x, y, epochs=30, batch_size=16, verbose=0)
        assert model.evaluate(x, y)["accuracy"] >= 0.95


@pytest.mark.parametrize("seed", range(10))
def test_nothing_to_find_is_said(seed):
    """A loss that only scatters suggests no rate; one that falls on top of it does."""
    rates = np.geomspace(1e-7, 10, 100)
    noise = np.random.default_rng(seed).normal(1, 0.1, 100)
    flat = RateSearch(rates, noise)
    assert flat.suggestion is None and "None" in repr(flat)
    fall = RateSearch(rates, noise - 0.8 / (1 + (1e-2 / rates) ** 2))
    assert 3e-3 < fall.suggestion < 3e-2


def test_a_loss_that_explodes_at_once():
    model, x, y = quadratic()
    before = whole_state(model)
    with pytest.raises(ValueError, match="lowest=") as caught:
        bp.find_learning_rate(model, x, y, lowest=1e3, highest=1e6)
    says(caught, "explodes", "find_learning_rate")
    assert whole_state(model) == before


# -- the model is left as it was -------------------------------------------------------------------


@pytest.mark.parametrize("highest", [0.1, 1e4])
@pytest.mark.parametrize("trained", [0, 2])
def test_the_model_is_put_back_to_the_bit(highest, trained):
    model, twin = classifier(), classifier()
    for each in (model, twin):
        each.fit(X, CLASSES, epochs=trained + 1, batch_size=8, verbose=0)
    bp.find_learning_rate(model, X, CLASSES, highest=highest, batch_size=8)
    assert whole_state(model) == whole_state(twin)
    for each in (model, twin):
        each.fit(X, CLASSES, epochs=2, batch_size=8, verbose=0)
    assert whole_state(model) == whole_state(twin)


OPTIMIZERS = {name: kind() for name, kind in bp.optim.KINDS.items()} | {
    "EMA": bp.optim.Adam(average=bp.optim.EMA(decay=0.9)),
    "SWA": bp.optim.SGD(0.1, momentum=0.9, average=bp.optim.SWA(start=1)),
    "accumulating": bp.optim.Adam(accumulate=2),
    "clipping": bp.optim.SGD(0.1, momentum=0.9, global_clip_norm=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_with_every_optimiser(name):
    models = [classifier(), classifier()]
    for each in models:
        each.compile(OPTIMIZERS[name], loss="cross_entropy", metrics=["accuracy"], seed=1)
        each.fit(X, CLASSES, epochs=3, batch_size=8, verbose=0)
    bp.find_learning_rate(models[0], X, CLASSES, batch_size=8)
    assert whole_state(models[0]) == whole_state(models[1])
    for each in models:
        each.fit(X, CLASSES, epochs=2, batch_size=8, verbose=0)
    assert whole_state(models[0]) == whole_state(models[1])


def test_in_the_middle_of_an_epoch():
    model, twin = classifier(), classifier()
    for each in (model, twin):

        def stop(batch, logs, each=each):
            each.stop_training = batch == 1

        watch = bp.callbacks.LambdaCallback(on_batch_end=stop)
        each.fit(X, CLASSES, batch_size=8, callbacks=[watch], verbose=0)
        assert each.progress.row == 16
    for size in (8, 5):
        bp.find_learning_rate(model, X, CLASSES, batch_size=size)
    for each in (model, twin):
        each.fit(X, CLASSES, epochs=2, batch_size=8, verbose=0)
    assert whole_state(model) == whole_state(twin)


def test_with_running_state():
    model = bp.Sequential([bp.Input(4), bp.Dense(8), bp.BatchNorm(), bp.Dense(3)])
    model.compile(loss="cross_entropy")
    before = whole_state(model)
    bp.find_learning_rate(model, X, CLASSES, batch_size=10)
    assert whole_state(model) == before


def test_after_an_exception_too(monkeypatch):
    model = classifier()
    before = whole_state(model)

    def fails(*arguments):
        fails.calls += 1
        if fails.calls == 20:
            raise KeyboardInterrupt
        return named(*arguments)

    fails.calls, named = 0, Results.named
    monkeypatch.setattr(Results, "named", fails)
    with pytest.raises(KeyboardInterrupt):
        bp.find_learning_rate(model, X, CLASSES)
    assert whole_state(model) == before
    model.predict(X)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_puts_the_model_back():
    python("""
        import os, signal, threading, time
        import numpy as np
        import pybp as bp
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(4000, 64)).astype("f4"), rng.integers(0, 10, size=4000)
        model = bp.Sequential([bp.Input(64), bp.Dense(512, activation="relu"), bp.Dense(10)])
        model.compile(loss="cross_entropy")
        before = {name: view.copy() for name, view in model.tensors().items()}
        def press():
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=press).start()
        try:
            bp.find_learning_rate(model, x, y, highest=1e-6, steps=10**6, batch_size=512)
        except KeyboardInterrupt:
            for name, view in model.tensors().items():
                assert np.array_equal(view, before[name]), name
        else:
            raise AssertionError("nothing was interrupted")
        """)


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, exception, words",
    [
        ({"lowest": 0}, ValueError, ("lowest", "> 0")),
        ({"lowest": 1.0, "highest": 1.0}, ValueError, ("highest", "> 1")),
        ({"highest": float("inf")}, ValueError, ("highest", "inf")),
        ({"steps": 3}, ValueError, ("steps", "at least 10")),
        ({"steps": 20.0}, TypeError, ("steps", "20.0")),
        ({"batch_size": 0}, ValueError, ("batch_size", "0")),
        ({"shuffle": "no"}, TypeError, ("shuffle", "no")),
    ],
)
def test_bad_settings(settings, exception, words):
    refused(lambda model: bp.find_learning_rate(model, X, CLASSES, **settings), exception, *words)


@pytest.mark.parametrize("name", ["LBFGS", "ConjugateGradient"])
def test_optimisers_without_a_learning_rate_are_refused(name):
    model, x, y = quadratic()
    model.compile(name, loss="half_sse")
    before = whole_state(model)
    with pytest.raises(ValueError, match=f"{name} finds the length of every step"):
        bp.find_learning_rate(model, x, y)
    assert whole_state(model) == before


def test_bad_data():
    refused(lambda model: bp.find_learning_rate(model, X[:, :3], CLASSES), ValueError, "x")
    with pytest.raises(bp.errors.NotCompiledError, match="find_learning_rate"):
        bp.find_learning_rate(bp.Sequential([bp.Input(4), bp.Dense(3)]), X, CLASSES)


# -- its picture -----------------------------------------------------------------------------------


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    rates = np.geomspace(1e-7, 10, 100)
    found = RateSearch(rates, 2.3 - 2 / (1 + (1e-2 / rates) ** 2) + (rates > 1) * 9.0)
    figure = found.plot(tmp_path / "rates.png")
    (axes,) = figure.axes
    losses, smoothed, *_ = axes.lines
    np.testing.assert_array_equal(losses.get_ydata(), found.losses)
    np.testing.assert_array_equal(smoothed.get_xdata(), found.rates)
    assert axes.get_xscale() == "log"
    assert any(f"{found.suggestion:.2g}" in text.get_text() for text in axes.get_legend().texts)
    assert (tmp_path / "rates.png").read_bytes()[:4] == b"\x89PNG"


def test_the_picture_of_nothing_found():
    pytest.importorskip("matplotlib")
    found = RateSearch(np.geomspace(1e-7, 10, 20), np.ones(20))
    (axes,) = found.plot().axes
    assert len(axes.lines) == 2
