"""Embedding: rows of a table, its gradient, and numbers that name no row."""

import numpy as np
import pytest

import pybp as bp

RNG = np.random.default_rng(0)


def net(words=6, length=4, size=3, last=None, dtype="float64", optimizer="sgd", **how):
    layers = [bp.Input(length), bp.Embedding(words, size, **how), last or bp.Flatten(), bp.Dense(2)]
    model = bp.Sequential(layers)
    model.compile(optimizer, loss="mse", dtype=dtype, seed=1)
    return model


def test_it_gives_the_named_rows():
    x = RNG.integers(0, 6, (9, 4))
    model = net()
    weight = model.parameters["embedding0.weight"]
    found = model.activations(x)["embedding0"]
    np.testing.assert_array_equal(found, weight[x])
    np.testing.assert_array_equal(model.activations(x)["flatten0"], weight[x].reshape(9, -1))


def test_the_gradient_adds_up_over_a_words_places():
    x = RNG.integers(0, 5, (20, 4))  # word 5 never occurs
    model = net()
    bp.testing.gradcheck(model, x, RNG.normal(size=(20, 2)))
    gradient = model.gradients(x, np.zeros((20, 2)))["embedding0.weight"]
    assert not gradient[5].any()
    assert gradient[:5].all()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad"])
def test_training_has_the_same_bits_for_any_number_of_threads(optimizer):
    x, y = RNG.integers(0, 500, (64, 40)), RNG.normal(size=(64, 2))
    found = []
    for threads in (1, 2, 3):
        bp.set_num_threads(threads)
        model = net(500, 40, 32, dtype="float32", optimizer=optimizer)
        model.fit(x, y, epochs=3, batch_size=64, verbose=0)
        found.append(model.parameters["embedding0.weight"].tobytes())
    assert found[0] == found[1] == found[2]


def test_words_are_told_apart():
    """Which of two words occurs is learnt from the words alone."""
    x = RNG.integers(2, 30, (300, 8))
    y = RNG.integers(0, 2, 300)
    x[np.arange(300), RNG.integers(0, 8, 300)] = y
    model = bp.Sequential(
        [
            bp.Input(8),
            bp.Embedding(30, 4),
            bp.Conv1D(8, 1, activation="relu"),
            bp.GlobalMaxPool1D(),
            bp.Dense(2, "softmax"),
        ]
    )
    model.compile(bp.optim.Adam(0.03), loss="cross_entropy", metrics=["accuracy"], seed=0)
    model.fit(x, y, epochs=30, verbose=0)
    assert model.evaluate(x, y)["accuracy"] > 0.98


@pytest.mark.parametrize(
    ("bad", "remedy"),
    [
        (6, "give bp.Embedding more words"),
        (1e9, "give bp.Embedding more words"),
        (-1, "number the words from 0"),
        (2.5, "number the words from 0"),
    ],
)
def test_numbers_that_name_no_row_are_refused(bad, remedy):
    x = RNG.integers(0, 6, (50, 4)).astype(float)
    y = np.zeros((50, 2))
    model = net()
    model.predict(x)
    model.predict(x[:1])  # from now on there is a shortcut
    before = model.parameters["embedding0.weight"].copy()
    x[31, 2] = bad
    message = r"x\[{}, 2\] is {}.*'embedding0' takes whole numbers from 0 to 5; " + remedy
    for call in (
        lambda: model.fit(x, y, verbose=0),
        lambda: model.train_on_batch(x, y),
        lambda: model.evaluate(x, y),
        lambda: model.gradients(x, y),
        lambda: model.predict(x),
        lambda: model.activations(x),
    ):
        with pytest.raises(ValueError, match=message.format(31, f"{bad:.0f}" if bad > 6 else bad)):
            call()
    with pytest.raises(ValueError, match=r"x\[0, 2\]"):
        model.predict(x[31:32])
    np.testing.assert_array_equal(model.parameters["embedding0.weight"], before)


def test_it_stands_behind_the_input():
    with pytest.raises(ValueError, match="directly behind"):
        bp.Sequential([bp.Input(4), bp.Dense(4), bp.Embedding(5, 2)])
    with pytest.raises(ValueError, match="does not scale"):
        bp.Sequential([bp.Input(4, scale=0.5), bp.Embedding(5, 2)])
