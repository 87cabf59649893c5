"""The problems that the field began with: what one layer cannot do, what a hidden layer finds.

XOR, parity and the encoder are Rumelhart, Hinton and Williams's ("Parallel distributed processing",
1986, chapter 8); diabetes and mushroom are of Proben1 (Prechelt, 1994).
"""

import itertools
from statistics import mean

import numpy as np
import pytest

import pybp as bp

TEN_SEEDS = range(10)


def bits(n):
    """All rows of n bits."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=n)))


def network(inputs, *layers, optimizer, loss, seed):
    """A compiled stack of dense layers, given as (units, activation)."""
    dense = [bp.Dense(units, activation=activation) for units, activation in layers]
    model = bp.Sequential([bp.Input(inputs), *dense])
    model.compile(optimizer, loss, ["accuracy"], dtype="float64", seed=seed)
    return model


# -- exclusive or ----------------------------------------------------------------------------------

XOR = bits(2), np.array([0, 1, 1, 0])


def best_of_one_layer(loss, seed):
    """The most rows that a single unit ever has right, over 200 epochs row by row."""
    activation = "sigmoid" if loss == "binary_cross_entropy" else None
    optimizer = bp.optim.SGD(0.1)
    model = network(2, (1, activation), optimizer=optimizer, loss=loss, seed=seed)
    y = XOR[1] if activation else 2 * XOR[1] - 1
    best = 0.0
    for _ in range(200):
        model.fit(XOR[0], y, batch_size=1, verbose=0)
        best = max(best, model.evaluate(XOR[0], y)["accuracy"])
    return best


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "hinge"])
def test_no_single_unit_has_more_than_three_rows_of_xor_right(loss):
    """0.75, since the two classes cannot be separated by a line."""
    assert max(best_of_one_layer(loss, seed) for seed in range(3)) == 0.75


def test_five_hidden_units_solve_xor():
    """2-5-1, all sigmoid, rate 0.5, 10 000 steps of one row: a loss below 1e-3 in 9 of 10 seeds."""
    losses = []
    for seed in TEN_SEEDS:
        layers = (5, "sigmoid"), (1, "sigmoid")
        model = network(2, *layers, optimizer=bp.optim.SGD(0.5), loss="mse", seed=seed)
        model.fit(*XOR, epochs=2500, batch_size=1, verbose=0)
        losses.append(model.evaluate(*XOR)["loss"])
    assert sum(loss < 1e-3 for loss in losses) >= 9


# -- parity and the encoder ------------------------------------------------------------------------


def test_eight_hidden_units_solve_the_parity_of_four_bits():
    x = bits(4)
    y = x.sum(axis=1) % 2
    solved = 0
    for seed in TEN_SEEDS:
        optimizer = bp.optim.SGD(0.2, momentum=0.9)
        layers = (8, "tanh"), (1, "sigmoid")
        model = network(4, *layers, optimizer=optimizer, loss="mse", seed=seed)
        model.fit(x, y, epochs=3000, batch_size=16, verbose=0)
        solved += model.evaluate(x, y)["accuracy"] == 1
    assert solved >= 9


def test_three_hidden_units_encode_eight_patterns():
    """8-3-8: one of eight comes out as it went in, through three numbers."""
    x = np.eye(8)
    solved = 0
    for seed in TEN_SEEDS:
        layers = (3, "sigmoid"), (8, "sigmoid")
        optimizer = bp.optim.Adam(0.05)
        model = network(8, *layers, optimizer=optimizer, loss="binary_cross_entropy", seed=seed)
        model.fit(x, x, epochs=1000, batch_size=8, verbose=0)
        code = model.activations(x)["dense0"]
        assert code.shape == (8, 3)
        apart = min(np.abs(a - b).max() for a, b in itertools.combinations(code, 2))
        solved += np.array_equal(model.predict(x) > 0.5, x == 1) and apart > 0.2
    assert solved >= 9


# -- one output unit for two classes ---------------------------------------------------------------


@pytest.fixture(scope="module")
def proben1(data_root):
    """name -> ((x, y) to train, (x, y) to test), y being 0 or 1, from FANN's text format: rows,
    inputs, outputs, and then numbers; of its two outputs, one for each class, the second."""

    def read(path):
        if not path.is_file():
            pytest.skip(f"no real data: {path} does not exist")
        rows, inputs, outputs, *values = path.read_text().split()
        table = np.array(values, np.float64).reshape(int(rows), int(inputs) + int(outputs))
        assert outputs == "2" and (table[:, -2] + table[:, -1] == 1).all()
        return table[:, :-2], table[:, -1]

    folder = data_root / "proben1"
    return lambda name: [read(folder / f"{name}.{part}") for part in ("train", "test")]


def wrong(data, hidden, epochs, seed):
    """Share of the test rows on the wrong side of 1/2, by one sigmoid output and iRPROP+."""
    (x, y), (x_test, y_test) = data
    layers = (hidden, "tanh"), (1, "sigmoid")
    model = network(x.shape[1], *layers, optimizer=bp.optim.Rprop(), loss="mse", seed=seed)
    model.fit(x, y, epochs=epochs, batch_size=len(x), verbose=0)
    output = model.predict(x_test)
    assert output.shape == (len(x_test), 1)
    share = np.mean((output[:, 0] >= 0.5) != (y_test == 1))
    assert 1 - model.evaluate(x_test, y_test)["accuracy"] == pytest.approx(share, abs=1e-12)
    return share


def test_diabetes_with_one_output_unit(proben1):
    """8-8-1, 384 rows: at most 26 % of the other 384 wrong, mean of five seeds."""
    data = proben1("diabetes")
    assert [x.shape for x, _ in data] == [(384, 8), (384, 8)]
    assert mean(wrong(data, hidden=8, epochs=100, seed=seed) for seed in range(5)) <= 0.26


def test_mushroom_with_one_output_unit(proben1):
    """125-32-1, 4062 rows: at most 0.5 % of the other 4062 wrong, mean of five seeds."""
    data = proben1("mushroom")
    assert [x.shape for x, _ in data] == [(4062, 125), (4062, 125)]
    assert mean(wrong(data, hidden=32, epochs=50, seed=seed) for seed in range(5)) <= 0.005
