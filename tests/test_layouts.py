"""Layouts: who says "NHWC" gets it everywhere, and the numbers are those of "NCHW"."""

import numpy as np
import pytest
from refusal import says

import pybp as bp
from pybp import ops as o
from pybp.graph import topological

RNG = np.random.default_rng(0)


def nets(dtype="float64", **how):
    """The same network for images of both layouts, with equal parameters."""
    found = {}
    for layout, shape in [("NCHW", (3, 9, 8)), ("NHWC", (9, 8, 3))]:
        model = bp.Sequential(
            [
                bp.Input(shape, layout=layout, **how),
                bp.Conv2D(4, 3, activation="relu"),
                bp.BatchNorm(),
                bp.MaxPool2D(2),
                bp.PReLU(),
                bp.GroupNorm(2),
                bp.Flatten(),
                bp.Dense(2),
            ]
        )
        model.compile(bp.optim.SGD(0.05, momentum=0.9), loss="mse", dtype=dtype, seed=1)
        found[layout] = model
    first, last = found["NCHW"], found["NHWC"]
    for name, view in last.parameters.items():
        if name != "dense0.weight":
            view[...] = first.parameters[name]
    last.parameters["dense0.weight"][...] = reordered(first.parameters["dense0.weight"])
    return first, last


def reordered(weight):
    """The weights behind a Flatten of (4, 3, 3), for one of (3, 3, 4)."""
    return weight.reshape(2, 4, 3, 3).transpose(0, 2, 3, 1).reshape(2, -1)


def test_both_layouts_train_alike():
    x, y = RNG.normal(size=(50, 3, 9, 8)), RNG.normal(size=(50, 2))
    first, last = nets()
    at_last = x.transpose(0, 2, 3, 1)
    for model, rows in ((first, x), (last, at_last)):
        model.fit(rows, y, epochs=3, batch_size=16, verbose=0)
    np.testing.assert_allclose(first.predict(x), last.predict(at_last), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        reordered(first.parameters["dense0.weight"]), last.parameters["dense0.weight"], rtol=1e-9
    )
    np.testing.assert_array_equal(
        first.parameters["conv2d0.weight"].shape, last.parameters["conv2d0.weight"].shape
    )


def test_activations_and_summary_speak_the_users_layout(capsys):
    x = RNG.normal(size=(5, 3, 9, 8))
    first, last = nets()
    a, b = first.activations(x), last.activations(x.transpose(0, 2, 3, 1))
    for name, value in a.items():
        wanted = value.transpose(0, 2, 3, 1) if value.ndim == 4 else value
        if name not in ("flatten0", "dense0"):
            np.testing.assert_allclose(b[name].reshape(wanted.shape), wanted, atol=1e-12)
    assert b["maxpool2d0"].shape == (5, 3, 3, 4)
    np.testing.assert_array_equal(b["flatten0"], b["groupnorm0"].reshape(5, -1))
    assert "(N, 7, 6, 4)" in last.summary()
    assert "(N, 4, 7, 6)" in first.summary()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_spatial_outputs_and_targets_have_the_users_layout(layout):
    """A net that must learn to shift channels: predictions compare with targets as given."""
    axes = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)
    x = RNG.normal(size=(64, 2, 4, 5))
    y = x[:, ::-1]
    x, y = x.transpose(axes), y.transpose(axes)
    model = bp.Sequential([bp.Input(x.shape[1:], layout=layout), bp.Conv2D(2, 1)])
    model.compile(bp.optim.Adam(0.1), loss="mse", seed=0)
    model.fit(x, y, epochs=60, batch_size=16, verbose=0)
    assert model.predict(x).shape == y.shape
    np.testing.assert_allclose(model.predict(x), y, atol=0.05)
    # mse is the mean over all values of an image
    error = np.mean((model.predict(x) - y) ** 2)
    assert model.evaluate(x, y)["loss"] == pytest.approx(error, rel=1e-4)


def test_sequences_of_both_layouts():
    x = RNG.normal(size=(20, 3, 11))
    found = []
    for layout, rows in [("NCL", x), ("NLC", x.transpose(0, 2, 1))]:
        model = bp.Sequential(
            [
                bp.Input(rows.shape[1:], layout=layout),
                bp.Conv1D(4, 3, padding="same"),
                bp.MaxPool1D(2),
                bp.Conv1D(2, 2),
            ]
        )
        model.compile(dtype="float64", seed=5)
        found.append(model.predict(rows))
    np.testing.assert_allclose(found[0].transpose(0, 2, 1), found[1], atol=1e-12)
    assert found[1].shape == (20, 4, 2)


@pytest.mark.parametrize(
    ("shape", "layout"), [((1, 28, 28), "NCHW"), ((28, 28, 1), "NHWC"), ((1, 28, 28), "nchw")]
)
def test_images_without_their_one_channel_fit(shape, layout):
    images = RNG.integers(0, 256, (10, 28, 28), dtype=np.uint8)
    model = bp.Sequential(
        [bp.Input(shape, layout=layout, scale=1 / 255), bp.Conv2D(2, 5), bp.Flatten(), bp.Dense(3)]
    )
    model.compile(seed=0)
    expected = model.predict(images.reshape(10, *shape))
    np.testing.assert_array_equal(model.predict(images), expected)
    np.testing.assert_array_equal(model.predict(images.reshape(10, -1)), expected)
    np.testing.assert_array_equal(model.predict(images[::2]), expected[::2])


def test_images_in_another_layout_are_refused():
    model = bp.Sequential([bp.Input((3, 8, 8), layout="NCHW"), bp.Flatten(), bp.Dense(1)])
    model.compile()
    with pytest.raises(ValueError, match=r"'input0'.*\(N, 3, 8, 8\), layout NCHW, got"):
        model.predict(np.zeros((5, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"\(N, 3, 8, 8\), layout NCHW, got \(5, 8, 8, 1\)"):
        model.predict(np.zeros((5, 8, 8, 1)))


@pytest.mark.parametrize(("shape", "layout"), [((3, 8, 8), "NCHW"), ((4, 6), None)])
def test_rows_whose_axes_lie_otherwise_are_refused_on_every_way(shape, layout):
    """Also on the short ways, once a prediction has opened them."""
    model = bp.Sequential([bp.Input(shape, layout=layout), bp.Flatten(), bp.Dense(2)])
    model.compile("sgd", "mse", seed=0)
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    predictor = model.predictor(4)
    expected = model.predict(x)
    for given in (x, x.reshape(4, -1), x[:, None], x[..., None]):
        for way in (model.predict, predictor):
            np.testing.assert_array_equal(way(given), expected)
    turned = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    for given in (turned, x.reshape(4, 2, -1), x.reshape(4, -1, 3)):
        for way in (model.predict, predictor, lambda x: model.evaluate(x, expected)):
            with pytest.raises(ValueError) as caught:
                way(given)
            says(caught, "input0", str(given.shape), "np.moveaxis")


def test_bad_layouts_are_refused():
    with pytest.raises(ValueError, match="did you mean 'NHWC'"):
        bp.Input((28, 28, 1), layout="NHVC")
    with pytest.raises(ValueError, match=r"names the axes \(C, H, W\).*\(28, 28\) has 2.*for inst"):
        bp.Input((28, 28), layout="NCHW")
    with pytest.raises(ValueError, match=r"Input\(\(1, 28, 28\), layout=.NCHW.\)"):
        bp.Sequential([bp.Input((28, 28)), bp.Conv2D(4, 3)])
    with pytest.raises(ValueError, match=r"say bp\.Input\(\(3, 28, 28\), layout=.NCHW.\)"):
        bp.Sequential([bp.Input((3, 28, 28)), bp.Conv2D(4, 3)])
    with pytest.raises(ValueError, match=r"'conv2d0'.*'dense0'.*bp\.Reshape"):
        bp.Sequential([bp.Input(16), bp.Dense(16), bp.Conv2D(4, 3)])


def test_units_behind_images_are_refused():
    for layer in (bp.Dense(3), bp.Maxout(3)):
        with pytest.raises(ValueError, match=r"'input0' gives rows \(1, 8, 8\).*bp\.Flatten\(\)"):
            bp.Sequential([bp.Input((1, 8, 8), layout="NCHW"), layer])


def test_reshape_makes_images_and_flat_rows():
    x = RNG.normal(size=(7, 24))
    model = bp.Sequential(
        [
            bp.Input(24),
            bp.Reshape((2, -1, 4), layout="NCHW"),
            bp.ZeroPad2D(((1, 0), (0, 2))),
            bp.Crop2D(((1, 0), (0, 2))),
            bp.Permute((1, 2, 0), layout="NHWC"),
            bp.Upsample2D((1, 2)),
            bp.Reshape(-1),
            bp.Dense(1),
        ]
    )
    model.compile(dtype="float64")
    found = model.activations(x)
    images = x.reshape(7, 2, 3, 4)
    np.testing.assert_array_equal(found["crop2d0"], images)
    np.testing.assert_array_equal(found["permute0"], images.transpose(0, 2, 3, 1))
    doubled = images.transpose(0, 2, 3, 1).repeat(2, axis=2)
    np.testing.assert_array_equal(found["upsample2d0"], doubled)
    np.testing.assert_array_equal(found["reshape1"], doubled.reshape(7, -1))


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match=r"24 values of a row \(24,\) of layer 'input0'.*\(5, 5\)"):
        bp.Sequential([bp.Input(24), bp.Reshape((5, 5))])
    with pytest.raises(ValueError, match="one may be -1"):
        bp.Reshape((-1, -1))
    with pytest.raises(ValueError, match="each of 0, 1"):
        bp.Permute((0, 2))
    with pytest.raises(ValueError, match=r"axes \(1, 0\) do not fit rows \(24,\)"):
        bp.Sequential([bp.Input(24), bp.Permute((1, 0))])
    with pytest.raises(ValueError, match="leaves nothing of the 4 x 4 of layer 'input0'"):
        bp.Sequential([bp.Input((1, 4, 4), layout="NCHW"), bp.Crop2D(2)])
    with pytest.raises(ValueError, match="did you mean 'bilinear'"):
        bp.Upsample2D(2, "bilinar")


def test_a_scaler_stands_before_images():
    """Its statistics are those of the user's columns."""
    x = RNG.normal(5.0, 3.0, size=(40, 4, 4, 2))
    model = bp.Sequential(
        [
            bp.Input((4, 4, 2), layout="NHWC"),
            bp.StandardScaler(),
            bp.Conv2D(2, 2),
            bp.Flatten(),
            bp.Dense(1),
        ]
    )
    model.compile(dtype="float64")
    model.adapt(x)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    np.testing.assert_allclose(model.activations(x)["standardscaler0"], scaled, atol=1e-9)


# -- what users write themselves -----------------------------------------------------------------

SHAPES = {"NCHW": (3, 9, 8), "NHWC": (9, 8, 3), "NCL": (3, 9), "NLC": (9, 3)}
ROWS = {layout: RNG.normal(size=(5, *shape)) for layout, shape in SHAPES.items()}


def convolution(layout):
    return (bp.Conv2D if "H" in layout else bp.Conv1D)(4, 3, name="conv")


class Swish(bp.Layer):
    """Elementwise; keeps the shapes of the rows that it is built for."""

    def __init__(self, name=None):
        super().__init__(name)
        self._shapes = []

    def build(self, x, name):
        self._shapes.append(x.shape)
        return x * bp.ops.sigmoid(x)


class Centre(bp.Layer):
    """Less the mean along the user's last axis."""

    def build(self, x, name):
        return x - bp.ops.mean(x, axis=-1, keepdims=True)


def compiled(model):
    model.compile(loss="mse", seed=0, dtype="float64")
    return model


@pytest.mark.parametrize("layout", SHAPES)
def test_custom_layers_see_rows_in_the_users_order(layout):
    swish = Swish(name="swish")
    first = [bp.Input(SHAPES[layout], layout=layout), convolution(layout), swish]
    model = compiled(bp.Sequential([*first, Centre(name="centre"), type(first[1])(2, 2)]))
    seen = model.activations(ROWS[layout])
    assert swish._shapes[-1] == seen["conv"].shape[1:]
    np.testing.assert_allclose(seen["swish"], seen["conv"] / (1 + np.exp(-seen["conv"])), rtol=1e-9)
    centred = seen["swish"] - seen["swish"].mean(-1, keepdims=True)
    np.testing.assert_allclose(seen["centre"], centred, atol=1e-12)


@pytest.mark.parametrize("layout", SHAPES)
def test_operators_on_outputs_work_in_the_users_order(layout):
    x = bp.Input(SHAPES[layout], layout=layout)
    h = convolution(layout)(2 * x - 1)
    scales = np.arange(1.0, h.shape[-1] + 1)
    scaled = h * scales
    outputs = [h, scaled, bp.ops.sum(scaled, axis=0), type(convolution(layout))(2, 2)(scaled)]
    model = compiled(bp.Model(x, outputs))
    a, b, c, d = model.predict(ROWS[layout])
    assert a.shape[1:] == h.shape and d.shape[1:] == outputs[3].shape
    np.testing.assert_allclose(b, a * scales)
    np.testing.assert_allclose(c, b.sum(axis=1), atol=1e-12)


@pytest.mark.parametrize("layout", SHAPES)
def test_saved_operators_keep_the_layout(tmp_path, layout):
    x = bp.Input(SHAPES[layout], layout=layout)
    h = convolution(layout)(x / 2)
    model = compiled(bp.Model(x, type(convolution(layout))(2, 2)(h[:3] * h[1:4])))
    model.save(tmp_path / "model")
    again = bp.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(ROWS[layout]), model.predict(ROWS[layout]))


def moves(model):
    nodes = topological([step.node for step in model.network.steps])
    return sum(node.op in ("permute", "reshape") for node in nodes)


@pytest.mark.parametrize("layout", SHAPES)
def test_elementwise_functions_of_images_move_nothing(layout):
    """Images stay in the order in which they are computed on."""

    def net(own):
        functions = {True: lambda x: x * bp.ops.sigmoid(x), False: "silu"}
        layer = Swish() if own else bp.Activation("silu")
        kind = type(convolution(layout))
        first = kind(4, 3, activation=functions[own], weight_init="he")
        return compiled(
            bp.Sequential([bp.Input(SHAPES[layout], layout=layout), first, layer, kind(2, 2)])
        )

    own, built_in = net(True), net(False)
    assert moves(own) == moves(built_in)
    np.testing.assert_allclose(
        own.predict(ROWS[layout]), built_in.predict(ROWS[layout]), atol=1e-12
    )


def test_layers_on_reshaped_rows_work_on_channels():
    layers = [bp.Reshape((3, 4, 5), layout="NCHW"), bp.BatchNorm(), bp.PReLU()]
    model = compiled(bp.Sequential([bp.Input(60), *layers]))
    assert {name: p.shape for name, p in model.parameters.items()} == {
        "batchnorm0.gamma": (3,),
        "batchnorm0.beta": (3,),
        "prelu0.slope": (3,),
    }


@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("channels", [1, 4])
def test_models_as_layers_take_convolutions(layout, channels):
    kind = type(convolution(layout))
    x = bp.Input(SHAPES[layout], layout=layout)
    h = kind(channels, 3)(x)
    part = bp.Input(h.shape, layout=layout)
    inner = bp.Model(part, kind(2, 2, name="inner")(part))
    model = compiled(bp.Model(x, inner(h)))
    plain = compiled(bp.Sequential([x, kind(channels, 3), kind(2, 2)]))
    for view, value in zip(plain.parameters.values(), model.parameters.values(), strict=True):
        view[...] = value
    np.testing.assert_array_equal(model.predict(ROWS[layout]), plain.predict(ROWS[layout]))


@pytest.mark.parametrize("layout", ["NHWC", "NLC"])
def test_one_number_grows_to_an_image_in_the_users_order(layout):
    """(1, 1, 1) looks the same in any order of axes."""
    if layout == "NHWC":
        start, grow = bp.Input((1, 1, 1), layout=layout), bp.Conv2D(4, 1, padding=1)
    else:
        start, grow = bp.Input((1, 1), layout=layout), bp.Conv1D(4, 1, padding=1)
    model = bp.Sequential([start, grow, bp.GroupNorm(4)])
    model.compile(loss="mse", dtype="float64", seed=0)
    y = model.predict(np.ones((2, *start.shape)))
    assert y.shape == ((2, 3, 3, 4) if layout == "NHWC" else (2, 3, 4))
    assert next(iter(model.parameters.values())).shape[0] == 4
    assert bp.testing.gradcheck(model, np.ones((2, *start.shape)), np.ones(y.shape))


class Beside(bp.TrainedLayer):
    """A value without a layout before the image, or behind it."""

    def __init__(self, how, first, name=None):
        super().__init__(name)
        self.how, self.first = how, first

    def build(self, x, name):
        o, b = bp.ops, self.bias(f"{name}.b", x.shape, 0.3)
        if self.how == "padded":  # by zeros, which `pad` puts in front
            return o.pad(x, [(1, 0)] * 3) if self.first else o.flip(o.pad(o.flip(x), [(0, 1)] * 3))
        if self.how == "normalised":
            top = o.max(x, axis=0, keepdims=True)
            return -top + x if self.first else x - top
        pair = (b, x) if self.first else (x, b)
        return {"sum": o.add, "product": o.multiply, "maximum": o.maximum}[self.how](*pair)


@pytest.mark.parametrize("how", ["sum", "product", "maximum", "padded", "normalised"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "behind",
    [bp.BatchNorm(momentum=1.0), bp.Activation("softmax"), bp.Conv2D(3, 2), bp.GroupNorm(2)],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layout_is_kept_wherever_the_image_stands_among_operands(how, layout, behind):
    shape = (4, 3, 3) if layout == "NCHW" else (3, 3, 4)
    shape = (3, 3, 3) if how == "padded" else shape
    x = np.random.default_rng(0).normal(size=(8, *shape))
    found = []
    for first in (False, True):
        model = bp.Sequential([bp.Input(shape, layout=layout), Beside(how, first), behind])
        model.compile(bp.optim.SGD(0.1), "mse", dtype="float64", seed=0)
        if model.parameters:
            model.fit(x, np.zeros(model.predict(x).shape), batch_size=8, verbose=0)
        found.append(model.predict(x))
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-12)


class ThereAndBack(bp.Layer):
    """Ways on which functions lose the axes' names."""

    def __init__(self, way, name=None):
        super().__init__(name)
        self.way = way

    def build(self, x, name):
        if self.way == "reshape":
            return o.reshape(o.reshape(x, (-1,)), x.shape)
        if self.way == "stack":
            return o.stack([x[..., k] for k in range(x.shape[-1])], -1)
        return bp.Reshape(x.shape)(bp.Flatten()(x))  # which says that nobody knows


@pytest.mark.parametrize("way", ["reshape", "stack"])
@pytest.mark.parametrize(("shape", "layout"), [((6, 5, 2), "NHWC"), ((2, 6, 5), "NCHW")])
def test_as_many_axes_have_the_same_names(way, shape, layout):
    x = np.random.default_rng(0).normal(size=(7, *shape))
    found = []
    for middle in ((), (ThereAndBack(way),)):
        behind = (bp.Conv2D(3, 3), bp.BatchNorm(), bp.Flatten(), bp.Dense(2))
        model = bp.Sequential([bp.Input(shape, layout=layout), *middle, *behind])
        model.compile(loss="mse", dtype="float64", seed=0)
        found.append(model.predict(x))
    np.testing.assert_array_equal(*found)


def test_a_reshape_that_was_called_names_no_axes():
    with pytest.raises(ValueError, match="'conv2d0': Conv2D needs to know"):
        bp.Sequential([bp.Input((6, 5, 2), layout="NHWC"), ThereAndBack("layer"), bp.Conv2D(3, 3)])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NCL", "NLC"])
@pytest.mark.parametrize("pooled", [False, True])
def test_images_lie_side_by_side_along_their_channels(layout, pooled):
    """Where no axis is given; rows that are no images along their last one."""
    size = {"C": 3, "H": 4, "W": 5, "L": 6}
    shape = tuple(size[axis] for axis in layout[1:])
    inputs = [bp.Input(shape, layout=layout, name=name) for name in "ab"]
    pool = bp.MaxPool2D(1) if "H" in layout else bp.MaxPool1D(1)  # which changes nothing
    model = bp.Model(inputs, bp.concat([pool(x) for x in inputs] if pooled else inputs))
    a, b = np.random.default_rng(0).normal(size=(2, 7, *shape)).astype("f4")
    model.compile("sgd", "mse")
    wanted = np.concatenate([a, b], axis=layout.index("C"))
    np.testing.assert_array_equal(model.predict({"a": a, "b": b}), wanted)
    assert bp.concat([bp.Input((2, 3)), bp.Input((2, 4))]).shape == (2, 7)
