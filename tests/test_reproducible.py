"""Same seed, same bits: with any number of threads, through a file, in threads, after a fork."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from interpreter import python

import pybp as bp


def build(units=(16, 12, 3), inputs=8, dtype="float32", seed=0, dropout=0.25, optimizer=None):
    layers = [bp.Input(inputs)]
    for n in units[:-1]:
        layers.append(bp.Dense(n, activation="relu"))
        if dropout:
            layers.append(bp.Dropout(dropout))
    model = bp.Sequential([*layers, bp.Dense(units[-1], activation="softmax")])
    model.compile(
        optimizer=optimizer or bp.optim.Adam(0.01),
        loss="cross_entropy",
        metrics=["accuracy"],
        dtype=dtype,
        seed=seed,
    )
    return model


def data(rows=150, inputs=8, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, inputs)), rng.integers(0, classes, size=rows)


def bits(model):
    return {name: view.tobytes() for name, view in model.parameters.items()}


def trained(seed=0, epochs=5, **settings):
    model = build(seed=seed, **settings)
    history = model.fit(*data(), epochs=epochs, batch_size=16, verbose=0)
    return bits(model), list(history.history["loss"])


# -- seeds -----------------------------------------------------------------------------------------


def test_same_seed_same_bits():
    assert trained(seed=7) == trained(seed=7)


def test_other_seed_other_weights_other_order_other_masks():
    assert bits(build(seed=1)) != bits(build(seed=2))
    start = build(seed=1)
    outcomes = []
    for seed in (1, 2):
        model = build(seed=seed, dropout=0)
        for name, view in model.parameters.items():
            view[...] = start.parameters[name]
        model.fit(*data(), epochs=1, batch_size=16, verbose=0)
        outcomes.append(bits(model))
    assert outcomes[0] != outcomes[1], "the order of the rows does not depend on the seed"

    outcomes = []
    for seed in (1, 2):
        model = build(seed=seed)
        for name, view in model.parameters.items():
            view[...] = start.parameters[name]
        model.fit(*data(), epochs=1, batch_size=16, shuffle=False, verbose=0)
        outcomes.append(bits(model))
    assert outcomes[0] != outcomes[1], "the masks of dropout do not depend on the seed"


def test_every_epoch_has_its_own_order_and_its_own_masks():
    """At a vanishing rate the epochs have one loss without dropout, and many with it."""
    x, y = data()
    still = bp.optim.SGD(1e-30)
    plain = build(dropout=0, dtype="float64", optimizer=still)
    losses = plain.fit(x, y, epochs=4, batch_size=16, verbose=0).history["loss"]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-12)
    noisy = build(dropout=0.5, dtype="float64", optimizer=still)
    losses = noisy.fit(x, y, epochs=4, batch_size=16, verbose=0).history["loss"]
    assert len(set(losses)) == 4


def test_numpys_global_generator_is_neither_used_nor_disturbed():
    outcomes = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002, the legacy generator is what this is about
        outcomes.append(trained())
        after = np.random.random()  # noqa: NPY002
        assert after == np.random.RandomState(seed).random_sample()
    assert outcomes[0] == outcomes[1]


def test_predict_evaluate_and_gradients_leave_the_training_as_it_would_have_been():
    x, y = data()
    quiet, busy = build(), build()
    for _ in range(3):
        quiet.fit(x, y, epochs=1, batch_size=16, verbose=0)
        busy.fit(x, y, epochs=1, batch_size=16, verbose=0)
        busy.predict(x)
        busy.evaluate(x, y)
        busy.gradients(x, y)
        busy.activations(x)
    assert bits(quiet) == bits(busy)


def test_validation_leaves_the_training_as_it_would_have_been():
    x, y = data()
    plain, watched = build(), build()
    plain.fit(x, y, epochs=4, batch_size=16, verbose=0)
    watched.fit(x, y, epochs=4, batch_size=16, validation_data=data(40, seed=1), verbose=0)
    assert bits(plain) == bits(watched)


def test_two_fits_are_one_long_fit():
    x, y = data()
    long, short = build(), build()
    losses = long.fit(x, y, epochs=7, batch_size=16, verbose=0).history["loss"]
    first = short.fit(x, y, epochs=3, batch_size=16, verbose=0).history["loss"]
    second = short.fit(x, y, epochs=4, batch_size=16, verbose=0).history["loss"]
    assert list(losses) == [*first, *second]
    assert bits(long) == bits(short)


# -- threads ---------------------------------------------------------------------------------------

NETS = {
    "8-3": (8, (3,)),
    "8-16-12-3": (8, (16, 12, 3)),
    "33-65-129-7": (33, (65, 129, 7)),
    "784-128-10": (784, (128, 10)),
    "300-512-512-10": (300, (512, 512, 10)),
}


def everything(net, batch_size, dtype):
    """Bits of a fit, its losses, a prediction, an evaluation and a gradient."""
    inputs, units = NETS[net]
    x, y = data(2 * batch_size + 5, inputs, units[-1])
    model = build(units, inputs, dtype)
    history = model.fit(x, y, epochs=2, batch_size=batch_size, verbose=0)
    gradients = {name: np.asarray(g).tobytes() for name, g in model.gradients(x, y).items()}
    losses = list(history.history["loss"])
    return bits(model), losses, model.predict(x).tobytes(), model.evaluate(x, y), gradients


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 7, 32, 200])
@pytest.mark.parametrize("net", NETS)
def test_any_number_of_threads_gives_the_same_bits(net, batch_size, dtype):
    found = []
    for threads in (1, 2, 3, 4):
        bp.set_num_threads(threads)
        found.append(everything(net, batch_size, dtype))
    for threads, other in enumerate(found[1:], start=2):
        parts = ("parameters", "losses", "prediction", "evaluation", "gradients")
        for part, a, b in zip(parts, found[0], other, strict=True):
            assert a == b, f"{part} differ between 1 and {threads} threads"


def test_number_of_threads_may_change_during_a_training():
    steady, changing = build(), build()
    x, y = data()
    for threads in (1, 4, 2, 3):
        bp.set_num_threads(1)
        steady.fit(x, y, epochs=1, batch_size=16, verbose=0)
        bp.set_num_threads(threads)
        assert bp.get_num_threads() == threads
        changing.fit(x, y, epochs=1, batch_size=16, verbose=0)
    assert bits(steady) == bits(changing)


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer",
    [
        bp.optim.Adam(0.01),
        bp.optim.SGD(0.05, momentum=0.9),
        bp.optim.SGD(0.05, momentum=0.9, nesterov=True),
        bp.optim.Adam(bp.schedules.Cosine(0.02, steps=80)),
    ],
    ids=["adam", "momentum", "nesterov", "adam on a cosine"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ten_epochs_are_four_a_file_and_six(optimizer, dtype, tmp_path):
    x, y = data()
    whole = build(dtype=dtype, optimizer=optimizer)
    losses = whole.fit(x, y, epochs=10, batch_size=16, shuffle=True, verbose=0).history["loss"]

    first = build(dtype=dtype, optimizer=optimizer)
    head = first.fit(x, y, epochs=4, batch_size=16, shuffle=True, verbose=0).history["loss"]
    first.save(tmp_path / "m.safetensors")
    second = bp.load(tmp_path / "m.safetensors")
    tail = second.fit(x, y, epochs=6, batch_size=16, shuffle=True, verbose=0).history["loss"]
    assert bits(whole) == bits(second)
    assert list(losses) == [*head, *tail]
    assert np.array_equal(whole.predict(x), second.predict(x))


def test_saving_changes_nothing_and_gives_the_same_file_each_time(tmp_path):
    model = build()
    model.fit(*data(), epochs=1, verbose=0)
    before = bits(model)
    model.save(tmp_path / "a.safetensors")
    model.save(tmp_path / "b.safetensors")
    bp.load(tmp_path / "a.safetensors").save(tmp_path / "c.safetensors")
    assert bits(model) == before
    assert len({(tmp_path / f"{name}.safetensors").read_bytes() for name in "abc"}) == 1


# -- concurrency -----------------------------------------------------------------------------------


def test_eight_python_threads_predict_what_one_does():
    model = build((64, 32, 3), dropout=0)
    xs = [data(rows, seed=rows)[0] for rows in range(1, 65)]
    alone = [model.predict(x).tobytes() for x in xs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            together = list(pool.map(lambda x: model.predict(x).tobytes(), xs))
            assert together == alone


def test_two_models_train_at_the_same_time_as_they_would_alone():
    alone = [trained(seed, epochs=20) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: trained(seed, epochs=20), range(4)))
    assert together == alone


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_predicts_and_trains():
    """After threads were in use; the child has to end by itself within its 30 s alarm."""
    python("""
        import os, signal
        import pybp as bp
        from test_reproducible import bits, build, data
        bp.set_num_threads(3)
        x, y = data(600, 300, 10)
        def model():
            return build((256, 10), 300)
        used = model()
        used.fit(x, y, epochs=2, batch_size=128, verbose=0)
        parent = used.predict(x).tobytes()
        child = os.fork()
        if not child:
            signal.alarm(30)
            same = used.predict(x).tobytes() == parent
            used.fit(x, y, epochs=2, batch_size=128, verbose=0)
            fresh = model()
            fresh.fit(x, y, epochs=4, batch_size=128, verbose=0)
            os._exit(0 if same and bits(fresh) == bits(used) else 1)
        assert os.waitpid(child, 0)[1] == 0
        used.fit(x, y, epochs=2, batch_size=128, verbose=0)
        """)
