"""The order in which an epoch visits its rows, read back from the weights.

On x = 1 with a one-hot target per row, descent at rate 1/2 makes unit r follow
w_r <- (w_r + t_r) / 2: after an epoch from w = 0, w_r = 2^-(steps since row r, it included).
"""

from collections import Counter

import numpy as np
import pytest

import pybp as bp


def model_for(rows, seed=0):
    model = bp.Sequential([bp.Input(1), bp.Dense(rows, use_bias=False)])
    model.compile(optimizer=bp.optim.SGD(0.5), loss="half_sse", dtype="float64", seed=seed)
    return model


def orders(model, epochs, **settings):
    """Row numbers in the order of their visits, epoch by epoch."""
    weight = model.parameters["dense0.weight"]
    rows = len(weight)
    found = []
    for _ in range(epochs):
        weight[...] = 0
        model.fit(np.ones((rows, 1)), np.eye(rows), batch_size=1, verbose=0, **settings)
        since = -np.log2(weight[:, 0])
        assert sorted(since) == list(range(1, rows + 1)), "a row was left out or visited twice"
        found.append(tuple(np.argsort(-since).tolist()))
    return found


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 31, 50])
def test_every_epoch_visits_every_row_once(rows):
    orders(model_for(rows), 20)


def test_without_shuffling_rows_come_as_they_stand():
    assert orders(model_for(20), 3, shuffle=False) == [tuple(range(20))] * 3


def test_epochs_differ_and_seeds_differ():
    first, second = orders(model_for(20, seed=1), 30), orders(model_for(20, seed=2), 30)
    assert len({*first, *second}) == 60
    assert first == orders(model_for(20, seed=1), 30)


def test_a_single_step_in_between_is_no_epoch():
    model = model_for(20)
    model.train_on_batch([[1.0]], np.eye(20)[:1])
    assert orders(model, 3) == orders(model_for(20), 3)


def test_all_orders_are_equally_likely():
    """24 orders of 4 rows, 2400 epochs: every count within 5 deviations of 100."""
    counts = Counter(orders(model_for(4), 2400))
    assert len(counts) == 24
    assert max(abs(count - 100) for count in counts.values()) < 5 * np.sqrt(100)
