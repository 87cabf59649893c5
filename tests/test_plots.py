"""Pictures hold what they were given, whole and readable, and leave nothing behind."""

import sys

import numpy as np
import pytest
from interpreter import python

pytest.importorskip("matplotlib")

import pybp as bp
from pybp import plots

RNG = np.random.default_rng(0)
CURVES = {
    "loss": [2.0, 1.0, 0.5, 0.25],
    "accuracy": [0.2, 0.5, 0.7, 0.8],
    "val_loss": [1.5, 1.0, 0.8, 0.7],
    "val_accuracy": [0.3, 0.5, 0.6, 0.65],
}
PNG = b"\x89PNG\r\n\x1a\n"


def said(classes, rows=None, wrong=0.2):
    """True classes, and answers of which some are wrong."""
    true = np.arange(rows or 12 * classes) % classes
    other = RNG.integers(0, classes, len(true))
    return true, np.where(RNG.random(len(true)) < wrong, other, true)


def texts(figure):
    """All that can be read, subfigures included."""
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def flaws(figure):
    """Texts that stand on one another or leave the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    unseen = {label for axes in figure.axes for label in _beyond(axes)}
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and text not in unseen
    ]
    names = [name for name, _ in boxes]
    low = np.array([(box.x0, box.y0) for _, box in boxes])
    high = np.array([(box.x1, box.y1) for _, box in boxes])
    size = np.array(canvas.get_width_height())
    out = ((low < -1) | (high > size + 1)).any(axis=1)
    shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    pairs = np.argwhere(np.triu((shared > 1).all(axis=2), 1))
    return [f"{names[i]} leaves the picture" for i in np.flatnonzero(out)] + [
        f"{names[i]} and {names[j]} overlap" for i, j in pairs
    ]


def _beyond(axes):
    """Labels of ticks beyond the limits: matplotlib has them, but does not draw them."""
    for axis, limits in (axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim()):
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            yield tick.label2
            if not (axes.axison and min(limits) <= tick.get_loc() <= max(limits)):
                yield tick.label1


# -- curves ----------------------------------------------------------------------------------------


def test_history_draws_every_value(tmp_path):
    figure = plots.history(CURVES, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "accuracy"]
    for axes in figure.axes:
        name = axes.get_title(loc="left")
        drawn = {line.get_label(): line for line in axes.lines}
        for label, key in (("training", name), ("validation", f"val_{name}")):
            np.testing.assert_array_equal(drawn[label].get_xdata(), [1, 2, 3, 4])
            np.testing.assert_array_equal(drawn[label].get_ydata(), CURVES[key])


def test_history_of_a_fit():
    import pybp as bp

    model = bp.Sequential([bp.Input(2), bp.Dense(1)])
    model.compile(loss="mse", metrics=["mae"])
    x = RNG.normal(size=(20, 2))
    figure = model.fit(x, x.sum(axis=1), epochs=3, verbose=0).plot()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "mae"]
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]


def test_a_learning_rate_that_changed_is_drawn():
    import pybp as bp

    model = bp.Sequential([bp.Input(2), bp.Dense(1)])
    model.compile(bp.optim.SGD(bp.schedules.Exponential(0.1, factor=0.01)), loss="mse")
    x = RNG.normal(size=(20, 2))
    history = model.fit(x, x.sum(axis=1), epochs=3, validation_split=0.2, verbose=0)
    figure = history.plot()
    loss, rate = figure.axes
    assert (rate.get_title(loc="left"), rate.get_legend()) == ("learning rate", None)
    assert rate.lines[0].get_ydata().tolist() == history.learning_rate
    assert rate.get_yscale() == "log"
    assert len(loss.lines) == 2
    assert flaws(figure) == []


def test_what_was_measured_in_validation_alone_is_drawn():
    figure = plots.history({"loss": [2.0, 1.0], "val_loss": [3.0, 2.0], "val_gap": [0.5, 0.25]})
    loss, gap = figure.axes
    assert [line.get_label() for line in gap.lines] == ["validation"]
    assert gap.lines[0].get_ydata().tolist() == [0.5, 0.25]
    assert len(loss.lines) == 2


def test_a_search_and_a_line_are_readable():
    import pybp as bp
    from pybp.finder import RateSearch

    rates = np.geomspace(1e-7, 10, 100)
    losses = 2.3 - 2 / (1 + (1e-2 / rates) ** 2) + (rates > 1) * 1e5
    assert flaws(RateSearch(rates, losses + RNG.normal(0, 0.1, 100)).plot()) == []
    model = bp.Sequential([bp.Input(2), bp.Dense(4, activation="tanh"), bp.Dense(1)])
    model.compile(loss="mse")
    x = RNG.normal(size=(20, 2))
    figure = plots.loss_landscape(model, x, x.sum(axis=1), visited=[0, 0.1, 0.2])
    assert flaws(figure) == []


def test_a_single_epoch_can_be_seen():
    (axes,) = plots.history({"loss": [1.0]}).axes
    assert axes.lines[0].get_marker() == "o"


def test_losses_over_decades_get_a_logarithmic_axis():
    (axes,) = plots.history({"loss": [10.0, 1.0, 0.01]}).axes
    assert axes.get_yscale() == "log"
    (axes,) = plots.history({"loss": [10.0, 1.0, 0.0]}).axes
    assert axes.get_yscale() == "linear", "zero has no logarithm"


def test_the_gallery_shows_every_activation_and_its_derivative():
    from pybp.graph import ACTIVATIONS

    figure = plots.activations()
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert set(panels) == ACTIVATIONS | {"maxout"}
    slope, value = (line.get_ydata() for line in panels["tanh"].lines[-2:])
    x = panels["tanh"].lines[-1].get_xdata()
    np.testing.assert_allclose(value, np.tanh(x), rtol=1e-12)
    np.testing.assert_allclose(slope, 1 - np.tanh(x) ** 2, atol=1e-12)
    slope, value = (line.get_ydata() for line in panels["relu"].lines[-2:])
    assert np.isnan(slope).sum() == 1  # the jump is not bridged
    np.testing.assert_array_equal(value, np.maximum(x, 0))
    slope, value = (line.get_ydata() for line in panels["maxout"].lines[-2:])
    np.testing.assert_allclose(value, np.maximum.reduce([-0.5 * x - 0.5, 0.2 * x, x - 1]))
    assert set(np.unique(slope[~np.isnan(slope)]).round(12)) == {-0.5, 0.2, 1.0}
    assert flaws(figure) == []


@pytest.mark.parametrize("empty", [{}, {"loss": []}])
def test_a_history_without_epochs_is_refused(empty):
    with pytest.raises(ValueError, match="at least one epoch"):
        plots.history(empty)


# -- classes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 10, 30])
def test_confusion_matrix_counts(classes):
    true, guess = said(classes)
    (axes,) = plots.confusion_matrix(true, guess).axes
    counts = np.zeros((classes, classes), int)
    for text in axes.texts:
        column, row = map(int, text.get_position())
        counts[row, column] = int(text.get_text())
    wanted = np.zeros((classes, classes), int)
    np.add.at(wanted, (true, guess), 1)
    np.testing.assert_array_equal(counts, wanted)


def test_misclassified_shows_the_most_confident_mistakes_first():
    images = np.zeros((5, 4, 4))
    images[:, 0, 0] = np.arange(5)
    true, guess = [0, 1, 2, 0, 1], [0, 2, 2, 1, 0]
    figure = plots.misclassified(
        images, true, guess, ["ant", "bee", "cat"], confidence=[0.9, 0.5, 0.9, 0.8, 0.6], count=2
    )
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.images[0].get_array()[0, 0] for axes in shown] == [3, 4]
    assert [axes.get_title() for axes in shown] == ["said bee (80%)", "said ant (60%)"]
    assert [axes.texts[0].get_text() for axes in shown] == ["true ant", "true bee"]
    assert "3 of 5 misclassified; the 2 most confident" in texts(figure)


def test_misclassified_takes_colour_images():
    figure = plots.misclassified(RNG.random((3, 4, 5, 3)), [0, 1, 1], [1, 1, 0])
    assert len([axes for axes in figure.axes if axes.images]) == 2


def test_no_mistake_is_said():
    figure = plots.misclassified(np.zeros((2, 4, 4)), [0, 1], [0, 1])
    assert "None of 2 images is misclassified." in texts(figure)


NAMES = ["yes", "Iris-versicolor", "a very long name of a class", "$5", "_"]


@pytest.mark.parametrize("classes", [2, 3, 10, 30])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("with_images", [False, True])
def test_report_is_readable_with_any_number_of_classes(tmp_path, classes, named, with_images):
    true, guess = said(classes, rows=2000 + classes)
    names = [f"{NAMES[i % 5]}{i}" for i in range(classes)] if named else None
    figure = plots.report(
        CURVES,
        true,
        guess,
        class_names=names,
        images=RNG.random((len(true), 8, 8)) if with_images else None,
        confidence=RNG.random(len(true)),
        title="table.csv: 81.23 % right on 400 test rows",
        subtitle="64 - 256 relu (dropout 0.3) - 10 softmax, 50,826 parameters",
        path=tmp_path / "report.png",
    )
    assert (tmp_path / "report.png").read_bytes().startswith(PNG)
    found = texts(figure)
    parts = ["loss", "accuracy", "confusion matrix"]
    for part in [*parts, *([] if with_images else ["right answers by class"])]:
        assert part in found
    assert flaws(figure) == []


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e3, 1e5, 1e7, 1e12])
def test_report_of_values(tmp_path, scale):
    true = (RNG.normal(size=4000) + 3) * scale
    guess = true + RNG.normal(size=4000) * RNG.normal(size=4000) * scale / 4
    figure = plots.report(
        {"loss": CURVES["loss"]},
        true,
        guess,
        regression=True,
        target_name="median_house_value",
        title="housing.csv",
        path=tmp_path / "report.png",
    )
    drawn = [axes for axes in figure.axes if axes.collections]
    np.testing.assert_allclose(drawn[0].collections[0].get_offsets(), np.c_[true, guess])
    assert "true median_house_value" in texts(figure)
    assert flaws(figure) == []


def test_a_picture_has_a_format_that_is_known(tmp_path):
    with pytest.raises(ValueError, match=r"written to '.*a\.doc': let its name end in \.png"):
        plots.history(CURVES, tmp_path / "a.doc")
    plots.history(CURVES, tmp_path / "a.PDF")
    assert [file.name for file in tmp_path.iterdir()] == ["a.PDF"]


def test_values_that_are_all_the_same():
    plots.predicted_vs_true([1.0, 1.0], [1.0, 1.0]).draw_without_rendering()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plots.confusion_matrix([0, 1], [0]), "same rows"),
        (lambda: plots.confusion_matrix([], []), "same rows"),
        (lambda: plots.confusion_matrix([0, 3], [0, 1], ["a", "b"]), "2 class names"),
        (lambda: plots.confusion_matrix([-1, 1], [0, 1]), "from -1"),
        (lambda: plots.misclassified(np.zeros((3, 4)), [0, 1, 1], [0, 1, 0]), r"\(3, H, W\)"),
        (lambda: plots.misclassified(np.zeros((2, 4, 4)), [0, 1, 1], [0, 1, 0]), r"\(3, H, W\)"),
        (
            lambda: plots.misclassified(np.zeros((2, 4, 4)), [0, 1], [1, 1], confidence=[1.0]),
            "confidence",
        ),
        (lambda: plots.predicted_vs_true([1.0], [1.0, 2.0]), "got 1 and 2"),
    ],
)
def test_what_does_not_fit_together_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_probabilities_are_no_classes():
    with pytest.raises(TypeError, match=r"argmax\(axis=1\)"):
        plots.confusion_matrix([0, 1], [0.2, 0.9])


# -- manners ---------------------------------------------------------------------------------------


def test_no_pyplot_and_no_matplotlib_before_it_is_needed():
    code = """
import sys
import pybp as bp
assert bp.plots and "matplotlib" not in sys.modules
bp.plots.confusion_matrix([0, 1], [0, 1])
assert "matplotlib.pyplot" not in sys.modules
"""
    python(code)


def test_settings_of_others_are_left_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.confusion_matrix([0, 1], [0, 1])
    assert dict(matplotlib.rcParams) == before


def test_notebooks_show_figures():
    assert plots.history(CURVES)._repr_png_().startswith(PNG)


def test_without_matplotlib_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    plots._figure_class.cache_clear()
    try:
        with pytest.raises(ModuleNotFoundError, match=r'pip install "pybp\[plot\]"'):
            plots.history(CURVES)
    finally:
        plots._figure_class.cache_clear()


def test_a_graph_of_units_is_drawn_with_all_of_them(tmp_path):
    edges = [("in", "i"), ("i", "j"), ("i", "k"), ("j", "o"), ("k", "o"), ("i", "o")]
    graph = bp.NeuronGraph(edges)
    figure = plots.neuron_graph(graph, [0.3, -0.2, 0.4, 0.7, -0.6, 0.25], tmp_path / "graph.png")
    assert sorted(texts(figure)) == ["i", "in", "j", "k", "o"] and not flaws(figure)
    assert (tmp_path / "graph.png").read_bytes()[:8] == PNG
    colors = [patch.get_edgecolor()[:3] for patch in figure.axes[0].patches[:6]]
    assert colors[1] == colors[4] != colors[0] == colors[2] == colors[3] == colors[5]
    with pytest.raises(ValueError, match="shape"):
        plots.neuron_graph(graph, [1.0])
    with pytest.raises(ValueError, match="201 units cannot be seen"):
        plots.neuron_graph(bp.NeuronGraph([(i, i + 1) for i in range(200)]))
