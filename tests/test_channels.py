"""Channels are channels in every layout, behind every layer, however the model is written."""

import numpy as np
import pytest

import pybp as bp

RNG = np.random.default_rng(0)
SHAPES = {"NCHW": (3, 4, 5), "NHWC": (4, 5, 3), "NCL": (3, 7), "NLC": (7, 3)}
FIRST = [
    [],
    [bp.LayerNorm()],
    [bp.RMSNorm(), bp.Activation("tanh")],
    [bp.BatchNorm()],
    [bp.Dropout(0.1)],
]


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("layout", SHAPES)
def test_functions_of_channels(layout, first):
    shape, axis = SHAPES[layout], layout.index("C")
    rows = RNG.normal(size=(6, *shape))
    model = bp.Sequential(
        [
            bp.Input(shape, layout=layout),
            *first,
            bp.PReLU(slope_init=0.5, name="prelu"),
            bp.Activation("softmax", name="softmax"),
            bp.Activation("tanh"),
            bp.Activation("log_softmax", name="logs"),
        ]
    )
    model.compile(dtype="float64")
    assert model.parameters["prelu.slope"].shape == (3,)
    seen = model.activations(rows)
    np.testing.assert_allclose(seen["softmax"].sum(axis), 1)
    np.testing.assert_allclose(np.exp(seen["logs"]).sum(axis), 1)


@pytest.mark.parametrize("layout", SHAPES)
def test_reshaped_rows(layout):
    shape, axis = SHAPES[layout], layout.index("C")
    layers = [bp.Reshape(shape, layout=layout), bp.Activation("softmax", name="s")]
    model = bp.Sequential([bp.Input(int(np.prod(shape))), *layers])
    model.compile(dtype="float64")
    seen = model.activations(RNG.normal(size=(3, np.prod(shape))))
    np.testing.assert_allclose(seen["s"].sum(axis), 1)


@pytest.mark.parametrize("layout", SHAPES)
def test_a_softmax_of_a_softmax_is_refused(layout):
    kind = bp.Conv1D if "L" in layout else bp.Conv2D
    twice = [kind(3, 1, activation="softmax", name="conv"), bp.Activation("log_softmax")]
    with pytest.raises(ValueError, match=r"log_softmax of a softmax .layer 'conv'"):
        bp.Sequential([bp.Input(SHAPES[layout], layout=layout), *twice])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", SHAPES)
def test_inputs_are_scaled_however_the_model_is_written(layout, channels):
    shape = tuple(channels if axis == "C" else 4 for axis in layout[1:])
    rows = RNG.normal(size=(9, *shape))
    for layer in (bp.Normalize(0.5, 2.0), bp.StandardScaler(), bp.MinMaxScaler()):
        if hasattr(layer, "adapt"):
            layer.adapt(rows)
        x = bp.Input(shape, layout=layout)
        listed = bp.Sequential([bp.Input(shape, layout=layout), layer])
        called = bp.Model(x, layer(x))
        for model in (listed, called):
            model.compile(dtype="float64")
        np.testing.assert_array_equal(called.predict(rows), listed.predict(rows))
        assert called.predict(rows).shape == rows.shape


@pytest.mark.parametrize("shape", [(7, 3), (7, 1), (1, 3)])
@pytest.mark.parametrize("first", [[], [bp.LayerNorm()], [bp.Conv1D(3, 1), bp.BatchNorm()]])
def test_units_at_every_place_of_channels_last_sequences(shape, first):
    model = bp.Sequential([bp.Input(shape, layout="NLC"), *first, bp.Dense(4, name="units")])
    model.compile(dtype="float64")
    seen = model.activations(RNG.normal(size=(5, *shape)))
    before = seen[list(seen)[-2]]
    expected = before @ model.parameters["units.weight"].T + model.parameters["units.bias"]
    np.testing.assert_allclose(seen["units"], expected, atol=1e-12)


def adapted(scaler):
    return scaler.adapt(RNG.normal(3.0, 5.0, size=(50, 2, 6, 6)))


@pytest.mark.parametrize(
    "first",
    [
        lambda x: bp.Normalize([0.5, 0.1], [0.2, 3.0])(x),
        lambda x: adapted(bp.StandardScaler())(x),
        lambda x: bp.Augment(shift=1, rotation=20)(x),
        lambda x: bp.Augment(flip_horizontal=True)(bp.Normalize(0.5, 0.2)(x)),
        lambda x: bp.concat([x, adapted(bp.MinMaxScaler())(x), bp.Normalize(1.0, 0.5)(x)]),
    ],
)
def test_gradients_by_inputs_are_by_what_the_user_gives(first):
    """Before it is scaled, and however many ways it goes; outside of training nothing moves it."""
    image = bp.Input((2, 6, 6), layout="NCHW")
    h = bp.Conv2D(3, 3, activation="tanh")(first(image))
    model = bp.Model(image, bp.Dense(1)(bp.Flatten()(h)))
    model.compile(loss="mse", dtype="float64", seed=0)
    x, way = RNG.normal(size=(2, 4, 2, 6, 6))
    y, e = RNG.normal(size=(4, 1)), 1e-6
    slope = (model.gradients(x, y, inputs=True)["input0"] * way).sum()
    above, below = (model.evaluate(x + s * e * way, y)["loss"] for s in (1, -1))
    np.testing.assert_allclose(slope, (above - below) / (2 * e), rtol=1e-6, atol=1e-9)


def squared(y_true, y_pred):
    return (y_true - y_pred) ** 2


@pytest.mark.parametrize("loss", ["mse", "huber", squared])
def test_targets_whose_axes_lie_otherwise_are_refused(loss):
    x = bp.Input(3)
    model = bp.Model(x, bp.ops.outer(bp.Dense(4)(x), x))
    model.compile(loss=loss)
    rows = np.ones((5, 3))
    for shape in [(5, 4, 3), (5, 12), (5, 1, 4, 3)]:
        model.train_on_batch(rows, np.zeros(shape))
    for shape in [(5, 3, 4), (5, 2, 6), (5, 6, 2)]:
        with pytest.raises(ValueError, match=r"y must have shape \(N, 4, 3\).*np\.moveaxis"):
            model.train_on_batch(rows, np.zeros(shape))
