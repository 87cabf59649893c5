"""Dropout, seen from outside: a step of descent on a linear unit shows the mask that was drawn."""

import numpy as np
import pytest

import pybp as bp

UNITS = 2000


def linear(rate, inputs=UNITS, seed=0):
    """sum_j m_j w_j x_j with x = w = 1 and target 0, half_sse: dE/dw_j = (sum_i m_i) m_j."""
    model = bp.Sequential([bp.Input(inputs), bp.Dropout(rate), bp.Dense(1, use_bias=False)])
    model.compile(optimizer=bp.optim.SGD(1.0), loss="half_sse", dtype="float64", seed=seed)
    return model


def drawn(model):
    """(the sum of the mask as the loss tells, the mask as the gradient tells) of one step."""
    view = model.parameters["dense0.weight"]
    view[...] = 1.0
    loss = model.train_on_batch(np.ones((1, UNITS)), [[0.0]])["loss"]
    total = np.sqrt(2 * loss)
    return total, (1 - view[0]) / total


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9])
def test_mask_is_zero_or_the_inverse_of_what_is_kept(rate):
    """Values are 0 and 1 / (1 - rate), in the right proportion, the same forward and backward."""
    total, mask = drawn(linear(rate))
    kept = mask > 0
    np.testing.assert_allclose(mask[kept], 1 / (1 - rate), rtol=1e-12)
    assert np.array_equal(mask[~kept], np.zeros((~kept).sum()))
    assert mask.sum() == pytest.approx(total, rel=1e-12)
    assert kept.mean() == pytest.approx(1 - rate, abs=4 * np.sqrt(rate * (1 - rate) / UNITS))


def test_forward_and_both_backward_passes_use_one_mask():
    """sum_j v_j m_j w_j x at v = w = x = 1: dE/dv_j and dE/dw_j are both (sum_i m_i) m_j."""
    model = bp.Sequential(
        [
            bp.Input(1),
            bp.Dense(UNITS, use_bias=False),
            bp.Dropout(0.3),
            bp.Dense(1, use_bias=False),
        ]
    )
    model.compile(optimizer=bp.optim.SGD(1.0), loss="half_sse", dtype="float64", seed=0)
    for view in model.parameters.values():
        view[...] = 1.0
    total = np.sqrt(2 * model.train_on_batch([[1.0]], [[0.0]])["loss"])
    inner, outer = (1 - view.ravel() for view in model.parameters.values())
    np.testing.assert_allclose(inner, outer, rtol=1e-12)
    assert set(np.round(inner / total, 9)) == {0.0, round(1 / 0.7, 9)}
    assert inner.sum() == pytest.approx(total**2, rel=1e-12)


def test_every_step_draws_anew_and_every_row_its_own():
    model = linear(0.5)
    masks = [drawn(model)[1] > 0 for _ in range(6)]
    masks.append(drawn(linear(0.5, seed=1))[1] > 0)
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert np.mean(a == b) == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(UNITS))

    rows = bp.Sequential([bp.Input(1), bp.Dropout(0.5), bp.Dense(1, use_bias=False)])
    rows.compile(optimizer=bp.optim.SGD(1e-30), loss="half_sse", dtype="float64", seed=0)
    rows.parameters["dense0.weight"][...] = 1.0
    loss = rows.train_on_batch(np.ones((UNITS, 1)), np.zeros((UNITS, 1)))["loss"]
    kept = loss / (0.5 * 2**2)  # each row that is kept adds 1/2 (1 / (1 - rate))^2
    assert kept == pytest.approx(UNITS / 2, abs=5 * np.sqrt(UNITS) / 2)


def test_two_dropouts_draw_apart():
    model = bp.Sequential(
        [bp.Input(UNITS), bp.Dropout(0.5), bp.Dropout(0.5), bp.Dense(1, use_bias=False)]
    )
    model.compile(optimizer=bp.optim.SGD(1.0), loss="half_sse", dtype="float64", seed=0)
    kept = drawn(model)[1] > 0
    assert kept.mean() == pytest.approx(0.25, abs=5 * np.sqrt(0.1875 / UNITS))


def test_only_training_drops():
    model, x = linear(0.5), np.random.default_rng(0).normal(size=(7, UNITS))
    weight = model.parameters["dense0.weight"]
    np.testing.assert_allclose(model.predict(x), x @ weight.T, rtol=1e-12)
    assert model.evaluate(x, x @ weight.T)["loss"] == pytest.approx(0, abs=1e-20)
    np.testing.assert_allclose(model.gradients(x, 0 * x[:, :1])["dense0.weight"], weight @ x.T @ x)
    assert np.array_equal(model.activations(x)["dropout0"], x)


def test_rate_zero_is_no_dropout():
    with_, without = linear(0.0), bp.Sequential([bp.Input(UNITS), bp.Dense(1, use_bias=False)])
    without.compile(optimizer=bp.optim.SGD(1.0), loss="half_sse", dtype="float64", seed=0)
    x, y = np.random.default_rng(0).normal(size=(9, UNITS)) / UNITS, np.zeros(9)
    without.parameters["dense0.weight"][...] = with_.parameters["dense0.weight"]
    for model in (with_, without):
        model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    assert np.array_equal(with_.parameters["dense0.weight"], without.parameters["dense0.weight"])
