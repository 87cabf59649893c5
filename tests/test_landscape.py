"""The loss along a line: numbers that are known, and a model that is left as it was."""

from itertools import pairwise

import numpy as np
import pytest
from refusal import CLASSES, X, classifier, refused

import pybp as bp
from pybp import landscape


def whole_state(model):
    tensors = {name: view.tobytes() for name, view in model.tensors().items()}
    return tensors, model.progress.state()


def parabola(weight=1.0, rate=0.1):
    """f(w) = w^2 / 2: slope w, curvature 1, least at 0."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1, use_bias=False, weight_init=weight)])
    model.compile(bp.optim.SGD(rate), loss="half_sse", dtype="float64")
    return model, [[1.0]], [[0.0]]


ALONG_W = {"dense0.weight": [[1.0]]}


# -- descent on a parabola: slope, step, minimum ---------------------------------------------------


def test_the_line_through_a_parabola():
    model, x, y = parabola(weight=1.5)
    line = landscape.along(model, x, y, ALONG_W, span=2, points=41)
    np.testing.assert_allclose(line.losses, (1.5 + line.at) ** 2 / 2, rtol=1e-12, atol=1e-15)
    assert (line.here, line.slope) == (1.125, 1.5)
    assert line.at[line.losses.argmin()] == pytest.approx(-1.5)


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0, 1.5, 1.9, 1.999])
def test_the_loss_falls_at_every_step_for_rates_below_two_over_the_curvature(rate):
    model, x, y = parabola(rate=rate)
    losses = model.fit(x, y, epochs=40, verbose=0).history["loss"]
    assert losses == pytest.approx([(1 - rate) ** (2 * k) / 2 for k in range(40)], abs=1e-15)
    falling = losses[: losses.index(0) + 1] if 0 in losses else losses
    assert all(after < before for before, after in pairwise(falling))


@pytest.mark.parametrize("rate", [2.001, 2.1, 3.0, 50.0])
def test_descent_diverges_above(rate):
    model, x, y = parabola(rate=rate)
    losses = model.fit(x, y, epochs=40, verbose=0).history["loss"]
    assert all(after > before for before, after in pairwise(losses))
    with pytest.raises(bp.errors.DivergenceError, match="smaller learning rate"):
        model.fit(x, y, epochs=10**6, verbose=0)


def test_five_steps_of_a_tenth():
    model, x, y = parabola(rate=0.1)
    weights = []

    def watch(epoch, logs):
        weights.append(model.parameters["dense0.weight"].item())

    model.fit(x, y, epochs=5, callbacks=[watch], verbose=0)
    assert weights == pytest.approx([0.9, 0.81, 0.729, 0.6561, 0.59049], rel=1e-14)


# -- any model -------------------------------------------------------------------------------------


@pytest.mark.parametrize("trained", [0, 3])
def test_the_model_is_left_as_it_was(trained):
    model = classifier()
    model.fit(X, CLASSES, epochs=trained + 1, verbose=0)
    before = whole_state(model)
    for direction in (None, model.gradients(X, CLASSES)):
        landscape.along(model, X, CLASSES, direction, span=3, points=11)
        assert whole_state(model) == before


def test_also_where_the_loss_overflows():
    model, x, y = parabola()
    before = whole_state(model)
    with pytest.raises(bp.errors.DivergenceError):
        landscape.along(model, x, y, {"dense0.weight": [[1e300]]}, span=1, points=3)
    assert whole_state(model) == before


@pytest.mark.parametrize("direction", [None, "gradient"])
def test_the_slope_is_that_of_the_curve(direction):
    model = classifier("float64")
    if direction:
        direction = model.gradients(X, CLASSES)
    line = landscape.along(model, X, CLASSES, direction, span=1e-4, points=3)
    assert line.slope == pytest.approx((line.losses[2] - line.losses[0]) / 2e-4, rel=1e-5)
    assert line.here == model.evaluate(X, CLASSES)["loss"]


def test_a_random_direction_is_as_long_as_the_weights_unit_by_unit():
    model = classifier()
    direction = landscape.random_direction(model, seed=3)
    assert direction.keys() == {"dense0.weight", "dense1.weight"}
    for name, step in direction.items():
        lengths = np.linalg.norm(model.parameters[name], axis=1)
        np.testing.assert_allclose(np.linalg.norm(step, axis=1), lengths, rtol=1e-6)
    again = landscape.random_direction(model, seed=3)
    other = landscape.random_direction(model, seed=4)
    assert np.array_equal(again["dense0.weight"], direction["dense0.weight"])
    assert not np.array_equal(other["dense0.weight"], direction["dense0.weight"])


W0 = np.zeros((5, 4))


@pytest.mark.parametrize(
    "settings, exception, words",
    [
        ({"direction": {"dense0.wght": W0}}, ValueError, ("dense0.wght", "did you mean")),
        ({"direction": {"dense0.weight": W0.T}}, ValueError, ("dense0.weight", "(4, 5)", "(5, 4)")),
        ({"direction": {"dense0.weight": W0}}, ValueError, ("zero everywhere",)),
        ({"direction": {"dense0.weight": W0 + np.nan}}, ValueError, ("non-finite",)),
        ({"direction": W0}, TypeError, ("direction", "ndarray")),
        ({"span": 0}, ValueError, ("span", "> 0")),
        ({"points": 2}, ValueError, ("points", "at least 3")),
        ({"seed": -1}, ValueError, ("seed", "-1")),
        ({"visited": [3.0]}, ValueError, ("visited", "span")),
    ],
)
def test_bad_settings(settings, exception, words):
    refused(lambda model: bp.plots.loss_landscape(model, X, CLASSES, **settings), exception, *words)


# -- its picture -----------------------------------------------------------------------------------


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    model, x, y = parabola(weight=1.0)
    steps = np.array([0.0, -0.3, -0.51])
    figure = bp.plots.loss_landscape(
        model, x, y, ALONG_W, span=2, visited=steps, path=tmp_path / "line.png"
    )
    (axes,) = figure.axes
    curve, tangent, here, visited, lowest = axes.lines
    np.testing.assert_allclose(curve.get_ydata(), (1 + curve.get_xdata()) ** 2 / 2, atol=1e-12)
    (x0, x1), (y0, y1) = tangent.get_data()
    assert (y1 - y0) / (x1 - x0) == pytest.approx(1.0)
    assert (here.get_xdata()[0], here.get_ydata()[0]) == (0, 0.5)
    assert visited.get_xdata().tolist() == steps.tolist()
    assert lowest.get_xdata()[0] == pytest.approx(-1.0)
    assert (tmp_path / "line.png").read_bytes()[:4] == b"\x89PNG"


def test_a_model_in_its_minimum_has_no_lower_point():
    pytest.importorskip("matplotlib")
    model, x, y = parabola(weight=0.0)
    (axes,) = bp.plots.loss_landscape(model, x, y, ALONG_W).axes
    assert len(axes.lines) == 3
