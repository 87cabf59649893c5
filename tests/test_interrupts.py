"""Ctrl-C stops a training within 0.2 s and leaves a model that goes on training."""

import sys
import textwrap

import pytest
from interpreter import python

SETTINGS = """
    import os, signal, sys, threading, time
    import numpy as np
    import pybp as bp

    def model(*units, inputs):
        layers = [bp.Dense(n, activation="relu") for n in units[:-1]]
        model = bp.Sequential([bp.Input(inputs), *layers, bp.Dense(units[-1])])
        model.compile(optimizer=bp.optim.Adam(1e-4), loss="cross_entropy", seed=0)
        return model

    def data(rows, inputs):
        rng = np.random.default_rng(0)
        few = rng.normal(size=(100, inputs)).astype("f4")
        return np.tile(few, (rows // 100, 1)), rng.integers(0, 10, size=rows)

    def interrupted_after(seconds, call):
        \"\"\"Seconds from the signal to the KeyboardInterrupt.\"\"\"
        sent = []
        def press():
            time.sleep(seconds)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=press).start()
        try:
            call()
        except KeyboardInterrupt:
            return time.perf_counter() - sent[0]
        raise AssertionError("nothing was interrupted")
"""


def latencies(code):
    """Numbers that a fresh interpreter prints. The least of three is asserted on: other work on the
    machine only ever adds to them."""
    code = textwrap.dedent(SETTINGS) + textwrap.dedent(code)
    return [float(word) for word in python(code).split()]


WORK = {
    "endless epochs of a tiny net": ("model(8, 10, inputs=4)", "data(100, 4)", 8, 10**7),
    "one epoch that lasts seconds": (
        "model(1024, 1024, 10, inputs=256)",
        "data(100_000, 256)",
        128,
        1,
    ),
    "steps of half a second": ("model(2048, 2048, 10, inputs=2048)", "data(3000, 2048)", 1024, 9),
    "steps of 50 ms": ("model(1024, 1024, 10, inputs=512)", "data(20_000, 512)", 1024, 100),
}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("work", WORK)
def test_fit_stops_within_a_fifth_of_a_second(work, threads):
    model, data, batch_size, epochs = WORK[work]
    found = latencies(f"""
        bp.set_num_threads({threads})
        m, (x, y) = {model}, {data}
        def fit():
            m.fit(x, y, epochs={epochs}, batch_size={batch_size}, verbose=0)
        for _ in range(3):
            print(interrupted_after(0.3, fit))
        for view in m.parameters.values():
            assert np.isfinite(view).all()
        x, y = x[:500], (y[:500] + 1) % 10  # other labels: there is something to learn again
        before = m.evaluate(x, y)["loss"]
        m.fit(x, y, epochs=5, batch_size=50, verbose=0)
        assert m.evaluate(x, y)["loss"] < before
        """)
    assert min(found) < 0.2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("call", ["m.predict(x)", "m.evaluate(x, y)"])
def test_predict_and_evaluate_stop_too(call):
    found = latencies(f"""
        bp.set_num_threads(1)
        m = model(2048, 2048, 10, inputs=64)
        x, y = data(200_000, 64)
        for _ in range(3):
            print(interrupted_after(0.3, lambda: {call}))
        """)
    assert min(found) < 0.2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupted_training_stands_at_the_end_of_a_step():
    """Saved after Ctrl-C and loaded, the model goes on to the same bits as the one in memory."""
    latencies("""
        import tempfile
        m, (x, y) = model(8, 10, inputs=4), data(100, 4)
        interrupted_after(0.3, lambda: m.fit(x, y, epochs=10**7, batch_size=8, verbose=0))
        with tempfile.TemporaryDirectory() as folder:
            m.save(folder + "/m.safetensors")
            twin = bp.load(folder + "/m.safetensors")
        for each in (m, twin):
            each.fit(x, y, epochs=3, batch_size=8, verbose=0)
        for a, b in zip(m.parameters.values(), twin.parameters.values(), strict=True):
            assert np.array_equal(a, b)
        """)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("shuffle", "brief"), [(True, 4e9), (False, 4e9), (True, 0)])
def test_what_was_interrupted_goes_on_to_the_bits_of_what_was_not(shuffle, brief):
    """Even in the middle of an epoch: the rest of it, then the epochs that are missing. Steps that
    do not count as brief are abandoned rather than ended; running statistics must not notice."""
    latencies(f"""
        from pybp import training
        training.BRIEF_FLOPS = {brief}
        def trained():
            m = bp.Sequential([bp.Input(64), bp.Dense(64), bp.BatchNorm(), bp.Activation("relu"),
                               bp.Dropout(0.3), bp.GaussianNoise(0.1), bp.Dense(10)])
            m.compile(optimizer=bp.optim.Adam(1e-3), loss="cross_entropy", seed=0)
            return m
        x, y = data(20_000, 64)
        def fit(m, epochs):
            return m.fit(x, y, epochs=epochs, batch_size=16, shuffle={shuffle}, verbose=0)
        cut, whole = trained(), trained()
        for _ in range(4):
            interrupted_after(0.02, lambda: fit(cut, 10**6))
        epochs = cut.progress.epoch + 3
        rest = list(fit(cut, 3).history["loss"])
        losses = list(fit(whole, epochs).history["loss"])
        assert losses[-3:] == rest
        for a, b in zip(cut.tensors().values(), whole.tensors().values(), strict=True):
            assert np.array_equal(a, b)
        """)
