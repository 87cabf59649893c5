"""Resident memory stays where it is, whatever a process asks of its models for how long."""

from pathlib import Path

import pytest
from interpreter import python

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory is read from /proc"
)

BEFORE = """
    import os
    import numpy as np
    import pybp as bp
    from test_reproducible import build, data
    def resident():
        with open("/proc/self/statm") as numbers:
            return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
"""


def grown(code):
    """Bytes by which a new process has grown between `first()` and the end of `then()`."""
    after = """
    first()
    before = resident()
    then()
    print(resident() - before)
    """
    return int(python(BEFORE + code + after))


def test_a_hundred_thousand_predictions_and_a_hundred_fits():
    """After a first round that fills the pools."""
    size = grown("""
    bp.set_num_threads(2)
    x, y = data(500, 64, 10)
    model = build((128, 10), 64)
    def work(fits, predictions):
        for _ in range(fits):
            model.fit(x, y, epochs=2, batch_size=32, verbose=0)
        for i in range(predictions):
            model.predict(x[: 1 + i % 40])
    first, then = lambda: work(5, 2000), lambda: work(100, 100_000)
    """)
    assert size < 2**20


def test_batches_of_every_size_share_their_memory():
    """A step on each of 300 batch sizes, a predictor for each: no hoard of workspaces."""
    size = grown("""
    x, y = data(300, 200, 10)
    model = build((500, 10), 200)
    def first():
        model.train_on_batch(x, y)
        model.predictor(300)(x)
    def then():
        for rows in range(1, 300):
            model.train_on_batch(x[:rows], y[:rows])
            model.predictor(rows)(x[:rows])
            model.evaluate(x[:rows], y[:rows])
    """)
    assert size < 32 * 2**20


def test_models_are_freed():
    """Three hundred models of 1.3 MB (with the moments of Adam) come and go."""
    size = grown("""
    x, y = data(8, 100, 10)
    def work(models):
        for _ in range(models):
            model = build((1000, 10), 100)
            model.fit(x, y, epochs=1, verbose=0)
            model.predict(x)
    first, then = lambda: work(30), lambda: work(300)
    """)
    assert size < 16 * 2**20


def test_compiling_again_frees_the_plans_from_before():
    """Three hundred times, between optimisers with and without state and both precisions."""
    size = grown("""
    x, y = data(100, 100, 10)
    model = build((500, 10), 100)
    def work(times):
        for i in range(times):
            optimizer = ("adam", "sgd", "rmsprop")[i % 3]
            model.compile(optimizer, "cross_entropy", dtype=("float32", "float64")[i // 3 % 2])
            model.fit(x, y, epochs=1, verbose=0)
            model.evaluate(x, y)
            model.predict(x)
    first, then = lambda: work(30), lambda: work(300)
    """)
    assert size < 8 * 2**20


def test_gradients_and_activations_leave_nothing_behind():
    size = grown("""
    x, y = data(60, 100, 10)
    model = build((300, 10), 100)
    def work(times):
        for i in range(times):
            model.gradients(x[: 1 + i % 60], y[: 1 + i % 60], deltas=True)
            model.activations(x[: 1 + i % 60])
    first, then = lambda: work(100), lambda: work(1000)
    """)
    assert size < 4 * 2**20


def test_threads_that_come_and_go():
    """Four hundred threads, of which each predicts once and asks a predictor of its own."""
    size = grown("""
    import threading
    x, y = data(300, 64, 10)
    model = build((128, 10), 64)
    def ask():
        model.predict(x)
        model.predictor()(x[:1])
    def work(times):
        for _ in range(times):
            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    first, then = lambda: work(20), lambda: work(50)
    """)
    assert size < 8 * 2**20


def test_sparse_rows():
    pytest.importorskip("scipy.sparse")
    size = grown("""
    import scipy.sparse as sp
    x = sp.random_array((200, 2000), density=0.02, format="csr", dtype="f4", rng=0)
    y = np.arange(200) % 3
    model = build((20, 3), 2000, dropout=0)
    def work(times):
        for i in range(times):
            model.fit(x, y, epochs=1, verbose=0)
            for _ in range(20):
                model.predict(x[: 1 + i % 50])
    first, then = lambda: work(20), lambda: work(200)
    """)
    assert size < 4 * 2**20


def test_a_batch_beyond_the_memory_says_how_much_it_takes():
    said = python(
        """
        import resource
        import numpy as np, pybp as bp
        model = bp.Sequential([bp.Input(100), bp.Dense(3000), bp.Dense(1)])
        model.compile("sgd", "mse")
        rows = np.broadcast_to(np.zeros(100, np.float32), (2_000_000, 100))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        before = model.parameters["dense0.weight"].copy()
        try:
            model.gradients(rows, np.zeros(2_000_000))
        except MemoryError as error:
            print(error)
        print((model.parameters["dense0.weight"] == before).all())
        """
    )
    assert "GiB" in said and "2000000 rows" in said and "smaller batch" in said
    assert said.splitlines()[-1] == "True"
