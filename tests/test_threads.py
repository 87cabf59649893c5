"""Many Python threads on one model: everybody gets the bits that one thread gets; forks work."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from interpreter import python

import pybp as bp

ROWS, COLUMNS, CLASSES = 700, 40, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, COLUMNS)).astype("f4")
Y = RNG.integers(0, CLASSES, ROWS)


def network():
    model = bp.Sequential(
        [
            bp.Input(COLUMNS),
            bp.Dense(50, activation="gelu"),
            bp.BatchNorm(),
            bp.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile("adam", "cross_entropy", metrics=["accuracy"], seed=3)
    model.fit(X, Y, epochs=2, verbose=0)
    return model


def as_bytes(result):
    """Bits of arrays, and of dictionaries of them."""
    if isinstance(result, dict):
        return {name: np.asarray(value).tobytes() for name, value in result.items()}
    return result.tobytes()


QUESTIONS = {
    "predict": lambda model, x, y: model.predict(x),
    "predict doubles": lambda model, x, y: model.predict(x.astype("f8")),
    "evaluate": lambda model, x, y: model.evaluate(x, y),
    "gradients": lambda model, x, y: model.gradients(x, y),
    "activations": lambda model, x, y: model.activations(x),
    "predictor": lambda model, x, y: model.predictor(len(x))(x).copy(),
}


def together(jobs, threads=8):
    """Results of functions that begin at once, in as many threads."""
    barrier = threading.Barrier(threads)

    def work(part):
        barrier.wait()
        return [job() for job in part]

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(work, [jobs[i::threads] for i in range(threads)]))
    found = [None] * len(jobs)
    for i, part in enumerate(parts):
        found[i::threads] = part
    return found


@pytest.mark.parametrize("native", [1, 2, 4])
@pytest.mark.parametrize("question", QUESTIONS)
def test_many_threads_get_the_bits_that_one_gets(question, native):
    """The model has no plan yet when they all begin; `native` threads of its own it has besides."""
    ask, sizes = QUESTIONS[question], [1, 2, 31, 128, 129, 500, 3, 700] * 8
    alone, shared = network(), network()
    expected = {n: as_bytes(ask(alone, X[:n], Y[:n])) for n in sizes}
    bp.set_num_threads(native)
    jobs = [lambda n=n: as_bytes(ask(shared, X[:n], Y[:n])) for n in sizes]
    assert together(jobs) == [expected[n] for n in sizes]


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 20, 130])
@pytest.mark.parametrize("groups", [1, 2])
def test_images_in_any_number_of_threads(groups, rows):
    """Few rows are enough work for threads in step, which share images, outputs, rows of them."""
    model = bp.Sequential(
        [
            bp.Input((3, 21, 21), layout="NCHW"),
            bp.Conv2D(40, 5, padding="same", activation="relu"),
            bp.MaxPool2D(2),
            bp.Conv2D(24, 3, groups=groups, activation="tanh"),
            bp.Flatten(),
            bp.Dense(90, activation="relu"),
            bp.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile("sgd", "cross_entropy", seed=3)
    x = RNG.normal(size=(rows, 3, 21, 21)).astype("f4")
    found, answers = set(), set()
    for threads in (1, 2, 3, 4):
        bp.set_num_threads(threads)
        bound = model.predictor(batch_size=rows)
        found |= {model.predict(x).tobytes() for _ in range(3)}
        answers |= {bound(x).tobytes() for _ in range(3)}
    assert len(found) == len(answers) == 1


def test_threads_on_sparse_rows():
    sp = pytest.importorskip("scipy.sparse")
    x = sp.csr_array(np.where(X > 1, X, 0))
    alone, shared = network(), network()
    sizes = [1, 129, 700] * 16
    expected = {n: as_bytes(alone.evaluate(x[:n], Y[:n])) for n in sizes}
    jobs = [lambda n=n: as_bytes(shared.evaluate(x[:n], Y[:n])) for n in sizes]
    assert together(jobs) == [expected[n] for n in sizes]


def test_a_bound_predictor_for_each_thread():
    model = network()
    expected = model.predict(X).tobytes()

    def serve():
        ask = model.predictor()
        return np.concatenate([ask(X[i : i + 1]).copy() for i in range(ROWS)])

    single = serve().tobytes()
    np.testing.assert_allclose(serve(), np.frombuffer(expected, "f4").reshape(ROWS, -1), rtol=1e-5)
    assert {found.tobytes() for found in together([serve] * 8)} == {single}


@pytest.mark.parametrize("native", [1, 2])
def test_asking_while_the_model_trains(native):
    """Answers come from the midst of a step; each is a distribution over the classes, and the
    training is what it is when nobody asks."""
    bp.set_num_threads(native)
    quiet, asked = network(), network()
    done, wrong, answers = threading.Event(), [], []

    def ask(question):
        while not done.is_set():
            found = QUESTIONS[question](asked, X[:200], Y[:200])
            values = found.values() if isinstance(found, dict) else [found]
            wrong.extend(question for value in values if not np.isfinite(value).all())
            answers.append(question)

    threads = [threading.Thread(target=ask, args=(question,)) for question in QUESTIONS]
    for thread in threads:
        thread.start()
    asked.fit(X, Y, epochs=30, batch_size=16, verbose=0)
    while set(answers) != set(QUESTIONS):
        assert any(thread.is_alive() for thread in threads)
    done.set()
    for thread in threads:
        thread.join()
    quiet.fit(X, Y, epochs=30, batch_size=16, verbose=0)
    assert not wrong
    assert as_bytes(quiet.parameters) == as_bytes(asked.parameters)


def test_a_second_training_at_once_is_refused():
    model = network()
    refusals = []

    def train():
        try:
            model.fit(X, Y, epochs=20, verbose=0)
        except RuntimeError as error:
            refusals.append(str(error))

    together([train] * 4, threads=4)
    assert len(refusals) < 4 and all("trained by another call" in text for text in refusals)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

BEFORE = """
    import os, signal, threading
    import numpy as np
    import pybp as bp
    from test_threads import X, Y, network
    bp.set_num_threads(2)
    model = network()
    x = np.tile(X, (20, 1))
    expected = model.predict(x).tobytes()
"""


@needs_fork
def test_processes_of_multiprocessing_predict_and_train():
    """Forked workers of a parent whose pool has been at work."""
    python(
        BEFORE
        + """
    import multiprocessing
    def work(_):
        signal.alarm(60)
        same = model.predict(x).tobytes() == expected
        model.fit(X, Y, epochs=1, batch_size=128, verbose=0)
        return same, model.predict(x).tobytes()
    with multiprocessing.get_context("fork").Pool(3, maxtasksperchild=1) as pool:
        found = pool.map(work, range(6), chunksize=1)
    same, trained = zip(*found)
    assert all(same) and len(set(trained)) == 1 and trained[0] != expected
    assert model.predict(x).tobytes() == expected
    """
    )


@needs_fork
def test_a_child_forked_while_threads_predict():
    """Fork copies the pool in whatever state it is in: the child starts one of its own."""
    python(
        BEFORE
        + """
    stop = threading.Event()
    def busy():
        while not stop.is_set():
            model.predict(x)
    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        child = os.fork()
        if not child:
            signal.alarm(30)
            same = model.predict(x).tobytes() == expected
            twin = network()
            os._exit(0 if same and twin.predict(x).tobytes() == expected else 1)
        assert os.waitpid(child, 0)[1] == 0
    stop.set()
    for thread in threads:
        thread.join()
    """
    )
