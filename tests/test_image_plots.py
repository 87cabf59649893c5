"""Pictures of filters, maps, weights and augmented images: what they show is what there is."""

from types import SimpleNamespace

import numpy as np
import pytest

import pybp as bp

pytest.importorskip("matplotlib")

from matplotlib.colors import to_rgb
from test_plots import PNG, flaws, texts

from pybp import _tiles, plots
from pybp._draw import BLUE, VERMILLION

RNG = np.random.default_rng(0)


class Net:
    """As much of a model as pictures look at."""

    def __init__(self, parameters, outputs=(), layers=()):
        self.parameters, self.outputs, self.layers = parameters, dict(outputs), list(layers)
        self.network = SimpleNamespace(steps=[], inputs=(), nodes=lambda which: [])

    def activations(self, x):
        self.seen = np.asarray(x)
        return self.outputs


def convolution(layer, shape, weight):
    """A model of this layer, with these weights."""
    layout = "NCHW" if len(shape) == 3 else "NCL"
    model = bp.Sequential([bp.Input(shape, layout=layout), layer])
    model.compile()
    model.parameters[f"{layer.name}.weight"][...] = weight
    return model


def tile(figure, row, column, shape, axes=0):
    """The colours of the middles of a tile's values: (h, w, 3)."""
    picture = np.asarray(figure.axes[axes].get_images()[0].get_array())
    fine = max(1, -(-_tiles._FINE // max(shape)))
    step = np.array(shape) * fine + _tiles._GAP
    top, left = np.array([row, column]) * step + _tiles._GAP
    part = picture[top : top + step[0] - _tiles._GAP, left : left + step[1] - _tiles._GAP]
    return part[fine // 2 :: fine, fine // 2 :: fine]


def test_filters_are_blue_above_zero_and_orange_below_on_one_scale(tmp_path):
    weight = np.zeros((6, 1, 3, 3), np.float32)
    weight[0, 0, 0, 1], weight[5, 0, 2, 2] = 2.0, -2.0
    weight[1, 0, 1, 1] = 1.0
    model = convolution(bp.Conv2D(6, 3, name="c"), (1, 8, 8), weight)
    figure = plots.filters(model, path=tmp_path / "filters.png")
    assert (tmp_path / "filters.png").read_bytes().startswith(PNG)
    assert "c: 6 filters of 3 by 3" in texts(figure) and not flaws(figure)
    down, across = _tiles.grid_for(6)
    assert (down, across) == (2, 3)
    np.testing.assert_allclose(tile(figure, 0, 0, (3, 3))[0, 1], to_rgb(BLUE), atol=0.01)
    np.testing.assert_allclose(tile(figure, 1, 2, (3, 3))[2, 2], to_rgb(VERMILLION), atol=0.01)
    half = (np.array(to_rgb(BLUE)) + 1) / 2
    np.testing.assert_allclose(tile(figure, 0, 1, (3, 3))[1, 1], half, atol=0.02)
    np.testing.assert_allclose(tile(figure, 0, 2, (3, 3)), 1, atol=0.02)


def test_filters_of_many_channels_have_a_row_each_and_say_what_is_left_out():
    weight = RNG.normal(size=(90, 20, 3, 5)).astype(np.float32)
    model = convolution(bp.Conv2D(90, (3, 5), name="c"), (20, 8, 8), weight)
    figure = plots.filters(model, count=30)
    assert "c: 30 of 90 filters of 3 by 5, 16 of 20 channels" in texts(figure)
    assert not flaws(figure)
    scale = _tiles.scale_for(weight[:30, :16])
    np.testing.assert_allclose(tile(figure, 29, 15, (3, 5)), scale.paint(weight[29, 15]), atol=1e-6)
    assert scale.high == -scale.low and scale.beyond
    layer = bp.Conv1D(8, 7, name="c")
    sequence = plots.filters(convolution(layer, (1, 20), RNG.normal(size=(8, 1, 7))))
    assert "c: 8 filters of 1 by 7" in texts(sequence) and not flaws(sequence)


@pytest.mark.parametrize(
    ("groups", "row", "column", "read"),
    [(1, 1, 2, (2, 1)), (1, 7, 0, (0, 7)), (2, 1, 2, (2, 1)), (2, 7, 0, (3, 3))],
)
def test_filters_of_a_transposed_convolution_make_one_channel_each(groups, row, column, read):
    weight = RNG.normal(size=(6, 8 // groups, 3, 3)).astype(np.float32)
    model = convolution(bp.ConvTranspose2D(8, 3, groups=groups, name="c"), (6, 8, 8), weight)
    figure = plots.filters(model)
    assert any("c: 8 filters of 3 by 3" in text for text in texts(figure))
    expected = _tiles.scale_for(weight).paint(weight[read])
    np.testing.assert_allclose(tile(figure, row, column, (3, 3)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("groups", "title", "columns"),
    [
        (1, "conv2d0: 6 filters of 3 by 3, 2 channels", {"0", "1"}),
        (2, "conv2d0: 6 filters of 3 by 3, 2 channels in each of 2 groups", set()),
    ],
)
def test_titles_of_few_columns_fit_and_columns_of_groups_have_no_numbers(groups, title, columns):
    weight = RNG.normal(size=(6, 2, 3, 3))
    layer = bp.Conv2D(6, 3, groups=groups, name="conv2d0")
    figure = plots.filters(convolution(layer, (2 * groups, 8, 8), weight))
    assert title in texts(figure) and not flaws(figure)
    assert {label.get_text() for label in figure.axes[0].get_xticklabels()} == columns


def test_a_name_with_dollars_is_no_mathematics(tmp_path):
    weight = np.ones((2, 1, 3, 3))
    model = convolution(bp.Conv2D(2, 3, name="$x_{$"), (1, 8, 8), weight)
    x = np.zeros((1, 8, 8))
    plots.history({"loss": [1.0], "$x_{$_loss": [1.0]}, tmp_path / "a.png")
    for figure in (model.plot(), plots.filters(model), plots.feature_maps(model, x)):
        assert not flaws(figure)
        assert any(text.startswith("$x_{$") for text in texts(figure))


def test_weights_of_a_dense_layer_are_images():
    model = bp.Sequential([bp.Input((2, 6, 8)), bp.Dense(3, name="first")])
    flat = bp.Sequential([bp.Input(96), bp.Dense(70, name="first"), bp.Dense(4, name="last")])
    model.compile(), flat.compile()
    figure = plots.weights(flat, image_shape=(2, 6, 8))
    assert "first: weights of 64 of 70 units" in texts(figure) and not flaws(figure)
    images = flat.parameters["first.weight"][:64].reshape(64, 2, 6, 8).sum(axis=1)
    down, across = _tiles.grid_for(64)
    assert (down, across) == (8, 8)
    expected = _tiles.scale_for(images).paint(images[17])
    np.testing.assert_allclose(tile(figure, 2, 1, (6, 8)), expected, atol=1e-6)
    last = plots.weights(flat, "last", (7, 10))
    assert "last: weights of 4 units" in texts(last) and not flaws(last)


@pytest.mark.parametrize("given", [None, "shape"])
@pytest.mark.parametrize(
    ("shape", "layout", "order", "mid"),
    [
        ((6, 8, 3), "NHWC", (2, 0, 1), ()),
        ((3, 6, 8), "NCHW", (0, 1, 2), ()),
        ((6, 8, 1), "NHWC", (2, 0, 1), ()),
        ((6, 8, 3), "NHWC", (2, 0, 1), (bp.BatchNorm(), bp.Dropout(0.1))),
        ((12, 10, 2), "NHWC", (2, 0, 1), (bp.Conv2D(5, 3), bp.MaxPool2D(2))),
        ((2, 12, 10), "NCHW", (0, 1, 2), (bp.Conv2D(5, 3), bp.MaxPool2D(2))),
    ],
)
def test_weights_are_images_in_the_order_of_axes_that_was_given(shape, layout, order, mid, given):
    parts = [bp.Input(shape, layout=layout), *mid, bp.Flatten(), bp.Dense(4, name="first")]
    model = bp.Sequential(parts)
    model.compile()
    rows = model.activations(np.zeros((1, *shape)))
    seen = list(rows.values())[-3].shape[1:]
    weight = model.parameters["first.weight"]
    found = _tiles.images_read(model, "first", weight, seen if given else None)
    np.testing.assert_array_equal(found, np.moveaxis(weight.reshape(4, *seen), 1 + order[0], 1))
    with pytest.raises(ValueError, match=r"'first' reads images .*leave image_shape out"):
        plots.weights(model, image_shape=(2, *seen))


def test_feature_maps_of_every_layer_that_changes_something():
    image = RNG.random((1, 1, 12, 12))
    maps = RNG.normal(size=(1, 20, 6, 6))
    outputs = {"input0": image, "augment0": image, "conv2d0": maps, "dense0": np.zeros((1, 3))}
    net = Net({}, outputs)
    figure = plots.feature_maps(net, image[0])
    words = texts(figure)
    assert {"input0: 1 map of 12 by 12", "conv2d0: 20 maps of 6 by 6"} <= set(words)
    assert not any("augment0" in word for word in words) and not flaws(figure)
    expected = _tiles.scale_for(maps).paint(maps[0, 17])
    np.testing.assert_allclose(tile(figure, 1, 1, (6, 6), axes=1), expected, atol=1e-6)
    assert net.seen.shape[0] == 1
    one = plots.feature_maps(net, image[0], "conv2d0", count=5)
    assert "conv2d0: 5 of 20 maps of 6 by 6" in texts(one)
    bright = _tiles.scale_for(np.abs(maps))  # white to blue where nothing is below zero
    assert bright.low == 0 and np.allclose(bright.paint(np.zeros(1)), 1)


def test_augmented_shows_what_the_layer_does(tmp_path):
    x = RNG.integers(0, 256, (9, 1, 10, 14), dtype=np.uint8)
    layer = bp.Augment(shift=2, rotation=20)
    model = bp.Sequential([bp.Input((1, 10, 14), scale=1 / 255), layer, bp.Dense(2)])
    figure = plots.augmented(model, x, versions=3, seed=4, path=tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)
    assert set(texts(figure)) == {"original", "1", "2", "3"}
    drawn = layer.apply(np.repeat(x[:8] * np.float32(1 / 255), 3, axis=0), seed=4)
    for column, image in enumerate([x[2] / 255, *drawn[6:9]]):
        shown = tile(figure, 2, column, (10, 14))
        np.testing.assert_allclose(shown, 1 - np.repeat(image[0, ..., None], 3, 2), atol=1e-5)
    last = np.moveaxis(RNG.random((3, 3, 10, 14)), 1, -1)
    model = bp.Sequential([bp.Input((10, 14, 3), layout="NHWC"), layer, bp.Flatten()])
    for shown in (plots.augmented(model, last), plots.augmented(layer, last, layout="NHWC")):
        first = plots.augmented(layer, np.moveaxis(last, -1, 1))
        pictures = [figure.axes[0].get_images()[0].get_array() for figure in (first, shown)]
        np.testing.assert_array_equal(*pictures)
    flat = bp.Augment(crop=1, image_shape=(3, 5, 5))
    coloured = plots.augmented(flat, RNG.random((2, 75)), versions=2)
    assert set(texts(coloured)) == {"original", "1", "2"}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_augmented_shows_what_is_normalised_as_it_was_and_the_fill_in_its_units(layout):
    shape = (3, 4, 6) if layout == "NCHW" else (4, 6, 3)
    entrance = bp.Input(shape, layout=layout, scale=1 / 255)
    norm = bp.Normalize([0.2, 0.4, 0.6], [0.1, 0.2, 0.3])
    model = bp.Sequential([entrance, norm, bp.Augment(erase=1.0, erase_area=(1, 1), fill=1.0)])
    model.compile()
    x = RNG.integers(0, 256, (2, *shape), dtype=np.uint8)
    figure = plots.augmented(model, x, versions=1)
    original = np.moveaxis(x[1] / 255, 0, -1) if layout == "NCHW" else x[1] / 255
    np.testing.assert_allclose(tile(figure, 1, 0, (4, 6)), original, atol=1e-6)
    erased = tile(figure, 1, 1, (4, 6)).reshape(24, 3)
    gone = np.isclose(erased, [0.3, 0.6, 0.9], atol=1e-6).all(axis=1)
    assert gone.any() and np.isclose(erased[~gone], original.reshape(24, 3)[~gone]).all()


def test_augmented_takes_rows_of_the_model_alone():
    def of(*before):
        model = bp.Sequential([*before, bp.Augment(shift=1)])
        model.compile()
        return model

    first = bp.Input((3, 16, 20), layout="NCHW")
    with pytest.raises(ValueError, match=r"'input0': x must have shape \(N, 3, 16, 20\)"):
        plots.augmented(of(first), np.zeros((2, 16, 20, 3)))
    image = bp.Reshape((1, 4, 4), layout="NCHW")
    plots.augmented(of(bp.Input(16), image), np.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match="'augment0' is given what layer 'dense0' makes"):
        plots.augmented(of(bp.Input(16), bp.Dense(16, trainable=False), image), np.zeros((2, 16)))
    with pytest.raises(
        bp.errors.NotAdaptedError, match=r"'standardscaler0' .* call model.adapt\(x\)"
    ):
        plots.augmented(of(first, bp.StandardScaler()), np.zeros((2, 3, 16, 20)))


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 16, 32, 64, 100])
def test_grids_are_wide_and_nearly_full(count):
    rows, columns = _tiles.grid_for(count)
    assert rows * columns - columns < count <= rows * columns
    assert columns >= rows and rows * columns - count <= max(1, 0.1 * count)


FLAT = bp.Sequential([bp.Input(12), bp.Dense(5, name="a")])
SQUARE = bp.Sequential([bp.Input(16), bp.Dense(5, name="a")])
FLAT.compile(), SQUARE.compile()
POOLED = bp.Sequential(
    [bp.Input((4, 8, 8), layout="NCHW"), bp.GlobalAveragePool2D(), bp.Dense(3, name="a")]
)
SECOND = bp.Sequential(
    [bp.Input((1, 4, 4), layout="NCHW"), bp.Flatten(), bp.Dense(16), bp.Dense(3, name="b")]
)
POOLED.compile(), SECOND.compile()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda net: plots.filters(net), "filters: there is no layer .* none of this model"),
        (lambda net: plots.weights(net, "b"), "weights: layer 'b' is not one .* have them: 'a'"),
        (lambda _: plots.weights(FLAT), r"'a' reads flat .* 12 values: .*image_shape=\(H, W\)"),
        (lambda _: plots.weights(SQUARE), r"flat rows of 16 .*such as image_shape=\(4, 4\)"),
        (lambda _: plots.weights(SECOND, "b"), r"'b' reads flat rows of 16"),
        (lambda _: plots.weights(FLAT, "a", (3, 5)), r"12 values in all, got \(3, 5\)"),
        (lambda _: plots.weights(POOLED, "a", (2, 2)), "'a' reads one value"),
        (lambda _: plots.weights(POOLED), r"'a' reads one value of each of 4 channels.*'a.weight'"),
        (
            lambda _: plots.feature_maps(POOLED, np.zeros((2, 4, 8, 8))),
            r"x must be one row \(4, 8, 8\), or a batch of one, got shape \(2, 4, 8, 8\)",
        ),
        (lambda net: plots.feature_maps(net, np.zeros(4)), "no layer of the model has an output"),
        (lambda net: plots.feature_maps(net, np.zeros(4), "q"), "layer 'q' has no maps"),
        (lambda net: plots.augmented(net, np.zeros((1, 3, 3))), "has no layer bp.Augment"),
        (lambda net: plots.augmented(bp.Augment(), np.zeros(3)), "x must hold images"),
        (lambda _: plots.augmented(bp.Augment(), np.zeros((1, 3, 3, 3)), layout="q"), "layout"),
    ],
)
def test_mistakes(draw, message):
    net = Net({"a.weight": np.zeros((5, 12))}, {"a": np.zeros((1, 5))}, [object()])
    with pytest.raises(ValueError, match=message):
        draw(net)


@pytest.mark.parametrize(
    ("draw", "what"),
    [
        (lambda n: plots.filters(None, count=n), "filters: count"),
        (lambda n: plots.weights(FLAT, image_shape=(3, 4), count=n), "weights: count"),
        (lambda n: plots.feature_maps(FLAT, np.zeros(12), count=n), "feature_maps: count"),
        (lambda n: plots.augmented(bp.Augment(), np.zeros((1, 3, 3)), n), "augmented: versions"),
        (lambda n: plots.misclassified(None, [0], [1], count=n), "misclassified: count"),
    ],
)
def test_as_many_are_shown_as_a_whole_number_says(draw, what):
    for count in (0, -1):
        with pytest.raises(ValueError, match=f"{what} must be at least 1, got {count}"):
            draw(count)
    with pytest.raises(TypeError, match=f"{what} must be a whole number, got 2.5"):
        draw(2.5)
