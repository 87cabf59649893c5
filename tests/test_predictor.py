"""The bound predictor: what predict says, with one buffer, of the model as it is at each call."""

import gc
import threading

import numpy as np
import pytest
from interpreter import python
from refusal import CLASSES, X, classifier, state

import pybp as bp

DTYPES = ["float32", "float64"]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 20])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_predictor_says_what_predict_says(dtype, batch_size):
    """On its native way (contiguous, of the model's dtype) and on every other."""
    model = classifier(dtype)
    predictor = model.predictor(batch_size=batch_size)
    x = X[:batch_size]
    expected = model.predict(x)
    wide = np.repeat(x, 2, axis=1)[:, ::2]
    for given in (x.astype("f4"), x, np.asfortranarray(x), wide, x.astype(">f8"), x.tolist()):
        np.testing.assert_allclose(predictor(given), expected, rtol=2e-5, atol=1e-7)
    assert predictor(x).dtype == dtype


def test_one_buffer_holds_all_answers():
    predictor = classifier().predictor()
    first = predictor(X[:1].astype("f4"))
    kept = first.copy()
    assert predictor(X[1:2].astype("f4")) is first
    assert not np.array_equal(first, kept)


def test_a_single_row_may_come_without_its_first_axis():
    model = classifier()
    predictor = model.predictor(batch_size=1)
    for given in (X[3], X[3].astype("f4")):
        np.testing.assert_allclose(predictor(given), model.predict(X[3:4]), rtol=1e-5)


CHANGES = {
    "training": lambda m: m.fit(X, CLASSES, epochs=5, verbose=0),
    "a written view": lambda m: m.parameters["dense1.bias"].__iadd__(np.arange(3)),
    "initialize": lambda m: m.initialize(seed=9),
    "compile, then training": lambda m: (
        m.compile(optimizer=bp.optim.SGD(0.1), loss="cross_entropy", seed=3),
        m.fit(X, CLASSES, epochs=5, verbose=0),
    ),
    "compile in double, then training": lambda m: (
        m.compile(optimizer="adam", loss="cross_entropy", dtype="float64", seed=3),
        m.fit(X, CLASSES, epochs=5, verbose=0),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_predictor_follows_its_model(change):
    model = classifier()
    predictor, x = model.predictor(), X[:1].astype("f4")
    before = predictor(x).copy()
    CHANGES[change](model)
    np.testing.assert_allclose(predictor(x), model.predict(x), rtol=1e-6)
    assert not np.allclose(predictor(x), before, rtol=1e-4)


def test_parameter_views_stay_the_models_when_it_is_compiled_again():
    model = classifier()
    view = model.parameters["dense1.bias"]
    model.compile(optimizer=bp.optim.SGD(0.1), loss="cross_entropy", seed=3)
    view[...] = 7
    assert np.array_equal(model.parameters["dense1.bias"], np.full(3, 7, "f4"))


def test_a_predictor_outlives_the_name_of_its_model():
    model = classifier()
    predictor, expected = model.predictor(), model.predict(X[:1])
    del model
    gc.collect()
    np.testing.assert_allclose(predictor(X[:1].astype("f4")), expected, rtol=1e-6)


def test_a_predictor_in_a_reference_cycle_is_collected():
    """In a new interpreter, since a mistake here ends it."""
    python("""
        import gc
        from refusal import X, classifier

        class Server:
            def __init__(self, model):
                self.ask, self.me = model.predictor(), self

        model = classifier()
        server, predictor = Server(model), model.predictor()
        ring = [predictor]
        ring.append(ring)
        try:
            model.predictor()([[1, 2, 3]])
        except ValueError as error:
            error.itself = error
        del server, predictor, ring
        gc.collect()
        model.itself = model
        model.predict(X)
        del model
        gc.collect()
        """)


def test_predictors_of_one_model_run_at_once():
    """One per thread, as its documentation asks."""
    model = classifier()
    x, wrong = X.astype("f4"), []
    expected = model.predict(x)

    def ask():
        predictor = model.predictor()
        rows = [*range(20)] * 200
        wrong.extend(
            i for i in rows if not np.allclose(predictor(x[i : i + 1]), expected[i], rtol=1e-5)
        )

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_predictor_at_work_refuses_a_second_thread():
    """Rather than to answer one thread with another's rows."""
    model = bp.Sequential([bp.Input(200), bp.Dense(400, activation="tanh"), bp.Dense(3)])
    model.compile(loss="mse", seed=0)
    rows = [RNG.normal(size=(3000, 200)).astype("f4") for _ in range(4)]
    expected, shared = [model.predict(x) for x in rows], model.predictor(3000)
    answered, refused, wrong = [], [], []

    def ask(i):
        for _ in range(30):
            try:
                shared(rows[i])
                answered.append(i)
            except RuntimeError as error:
                refused.append(str(error))

    def ask_in_turn(i):
        for _ in range(10):
            with lock:
                wrong.append(not np.allclose(shared(rows[i]), expected[i], rtol=1e-4, atol=1e-5))

    lock = threading.Lock()
    for work in (ask, ask_in_turn):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answered) + len(refused) == 120 and answered and refused
    assert all("for each thread" in text for text in refused)
    assert len(wrong) == 40 and not any(wrong)
    np.testing.assert_allclose(shared(rows[1]), expected[1], rtol=1e-4, atol=1e-5)


def test_a_file_saved_during_a_training_is_whole_or_refused(tmp_path):
    """Never one that holds half a step."""
    model = bp.Sequential([bp.Input(4), bp.Dense(300, activation="tanh"), bp.Dense(3)])
    model.compile(optimizer=bp.optim.Adam(1e-3), loss="cross_entropy", seed=0)
    x, y, before = np.tile(X, (50, 1)), np.tile(CLASSES, 50), state(model)
    fit = threading.Thread(target=lambda: model.fit(x, y, epochs=100, verbose=0))
    fit.start()
    while state(model) == before:
        assert fit.is_alive()
    tries = 0
    while fit.is_alive():
        tries += 1
        try:
            model.save(tmp_path / "m.safetensors")
        except RuntimeError as error:
            assert "train" in str(error)
            continue
        bp.load(tmp_path / "m.safetensors")
    fit.join()
    assert tries
