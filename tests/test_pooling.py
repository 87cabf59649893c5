"""Pooling layers: against NumPy, by differences, their edges, and what is refused."""

import numpy as np
import pytest
from image_reference import average_pool, max_pool

import pybp as bp

SHAPE = (2, 7, 9)


def net(layer, shape=SHAPE, layout="NCHW", dtype="float64"):
    """The layer behind one whose weights have gradients only through it."""
    before = bp.Conv2D(3, 2) if layout in ("NCHW", "NHWC") else bp.Conv1D(3, 2)
    layers = [bp.Input(shape, layout=layout), before, layer, bp.Flatten(), bp.Dense(2)]
    model = bp.Sequential(layers)
    model.compile(loss="mse", dtype=dtype, seed=3)
    return model


def alone(layer, x, layout="NCHW"):
    """What the layer gives for x."""
    model = bp.Sequential([bp.Input(x.shape[1:], layout=layout), layer, bp.Flatten(), bp.Dense(1)])
    model.compile(dtype="float64")
    return list(model.activations(x).values())[1]


def attrs(size, stride, pads):
    found = dict(zip(("pool_h", "pool_w", "stride_h", "stride_w"), (*size, *stride), strict=True))
    sides = ("pad_top", "pad_bottom", "pad_left", "pad_right")
    return found | dict(zip(sides, pads, strict=True))


@pytest.mark.parametrize(
    ("size", "stride", "padding", "pads"),
    [
        (2, None, 0, (0, 0, 0, 0)),
        (3, 2, "same", (1, 1, 1, 1)),
        (3, 2, 1, (1, 1, 1, 1)),
        (2, 2, "same", (0, 1, 0, 1)),
        ((3, 2), (1, 3), ((2, 1), (0, 1)), (2, 1, 0, 1)),
        (2, 3, "valid", (0, 0, 0, 0)),
    ],
)
def test_pools_are_numpys(size, stride, padding, pads):
    x = np.random.default_rng(0).normal(size=(5, *SHAPE))
    pair = size if isinstance(size, tuple) else (size, size)
    step = pair if stride is None else stride if isinstance(stride, tuple) else (stride, stride)
    found = alone(bp.MaxPool2D(size, stride, padding), x)
    np.testing.assert_array_equal(found, max_pool(x, **attrs(pair, step, pads)))
    for count in (False, True):
        found = alone(bp.AveragePool2D(size, stride, padding, count), x)
        wanted = average_pool(x, count_pad=int(count), **attrs(pair, step, pads))
        np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-15)


def test_global_pools_are_means_and_maxima():
    x = np.random.default_rng(1).normal(size=(5, *SHAPE))
    np.testing.assert_allclose(alone(bp.GlobalAveragePool2D(), x), x.mean(axis=(2, 3)), rtol=1e-13)
    np.testing.assert_array_equal(alone(bp.GlobalMaxPool2D(), x), x.max(axis=(2, 3)))


def test_pools_of_sequences():
    x = np.random.default_rng(2).normal(size=(5, 3, 11))
    wanted = x[:, :, :10].reshape(5, 3, 5, 2)
    np.testing.assert_array_equal(alone(bp.MaxPool1D(2), x, "NCL"), wanted.max(axis=3))
    last = alone(bp.AveragePool1D(2), x.transpose(0, 2, 1), "NLC")
    np.testing.assert_allclose(last, wanted.mean(axis=3).transpose(0, 2, 1), rtol=1e-13)
    np.testing.assert_array_equal(alone(bp.GlobalMaxPool1D(), x, "NCL"), x.max(axis=2))
    np.testing.assert_allclose(
        alone(bp.GlobalAveragePool1D(), x, "NCL"), x.mean(axis=2), rtol=1e-13
    )


def test_the_gradient_goes_to_the_first_of_the_largest():
    """Of four equal values of a window, only the first weight's derivative is not zero."""
    model = bp.Sequential([bp.Input(1), bp.Dense(4), bp.Reshape((1, 2, 2), "NCHW"), bp.MaxPool2D()])
    model.compile(loss="sse", dtype="float64")
    model.parameters["dense0.weight"][...] = 1.0
    found = model.gradients(np.ones((1, 1)), np.zeros((1, 1)))["dense0.bias"]
    assert found.tolist() == [2.0, 0.0, 0.0, 0.0]


def test_nan_stays_nan():
    """A window with a NaN is NaN wherever it stands, so that divergence is seen behind a pool."""
    model = bp.Sequential(
        [bp.Input(4), bp.Dense(4, use_bias=False), bp.Reshape((1, 2, 2), "NCHW"), bp.MaxPool2D(2)]
    )
    model.compile(loss="sse", dtype="float64")
    for place in range(4):
        model.parameters["dense0.weight"][...] = np.eye(4)
        model.parameters["dense0.weight"][place, place] = np.nan
        with pytest.raises(bp.errors.DivergenceError, match=r"dense0\.weight"):
            model.predict(np.ones((1, 4)))


@pytest.mark.parametrize("layer", [bp.MaxPool2D, bp.AveragePool2D])
def test_bad_pools_are_refused(layer):
    with pytest.raises(ValueError, match=r"pool of 9 x 9 is larger than the 6 x 8 of layer 'conv"):
        net(layer(9))
    with pytest.raises(
        ValueError,
        match=r"padding of 2 with a pool of 2 x 2 on layer 'conv2d0' \(rows \(\d, 6, 8\), NCHW\): "
        "windows would hold nothing but padding",
    ):
        net(layer(2, padding=2))
    with pytest.raises(ValueError, match="did you mean 'same'"):
        layer(2, padding="sam")
    with pytest.raises(ValueError, match=r"pair, \(height, width\)"):
        layer((2, 2, 2))
    with pytest.raises(ValueError, match="at least 1"):
        layer(0)
    with pytest.raises(ValueError, match=r"needs to know.*layout=.NCHW."):
        bp.Sequential([bp.Input((1, 4, 4)), layer(2)])


def test_dimensions_must_suit():
    with pytest.raises(ValueError, match=r"gives images.*use bp\.MaxPool2D instead"):
        bp.Sequential([bp.Input((1, 4, 4), layout="NCHW"), bp.MaxPool1D(2)])
    with pytest.raises(ValueError, match=r"use bp\.AveragePool1D instead"):
        bp.Sequential([bp.Input((1, 4), layout="NCL"), bp.AveragePool2D(2)])


@pytest.mark.parametrize(
    "layer",
    [
        bp.MaxPool2D(2),
        bp.MaxPool2D(3, 1, "same"),
        bp.AveragePool2D(3, 2, 1),
        bp.AveragePool2D(2, count_padding=True, padding="same"),
        bp.GlobalAveragePool2D(),
        bp.GlobalMaxPool2D(),
    ],
    ids=repr,
)
def test_gradients_by_differences(layer):
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(6, *SHAPE)), rng.normal(size=(6, 2))
    bp.testing.gradcheck(net(layer), x, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stride", [(2, 2), (1, 2), (3, 2)])
def test_few_images_of_any_width_are_pooled(stride, dtype):
    """Whose rows lie in vectors as they come, several in one where they are short."""
    rng = np.random.default_rng(2)
    for width in range(2, 41):
        for height, rows in ((2, 1), (5, 2), (8, 1)):
            x = rng.normal(size=(rows, 3, height, width)).astype(dtype)
            x[..., rng.random(x.shape[1:]) < 0.05] = -0.0
            model = bp.Sequential(
                [
                    bp.Input(x.shape[1:], layout="NCHW"),
                    bp.MaxPool2D(2, stride, name="pool"),
                    bp.Flatten(),
                    bp.Dense(1),
                ]
            )
            model.compile(loss="mse", dtype=dtype)
            found = model.activations(x)["pool"]
            np.testing.assert_array_equal(found, max_pool(x, **attrs((2, 2), stride, [0] * 4)))


@pytest.mark.parametrize("width", [4, 7, 10, 16, 31])
def test_nan_of_few_images_stays_nan(width):
    class Log(bp.Layer):
        def build(self, x, name):
            return bp.ops.log(x)

    model = bp.Sequential(
        [bp.Input((2, 6, width), layout="NCHW"), Log(), bp.MaxPool2D(2), bp.Flatten(), bp.Dense(1)]
    )
    model.compile(loss="mse")
    for place in range(2 * 6 * width):
        x = np.ones((1, 2, 6, width), np.float32)
        x.reshape(-1)[place] = -1
        if place % width < width // 2 * 2:
            with pytest.raises(bp.errors.DivergenceError, match="log0"):
                model.predict(x)
