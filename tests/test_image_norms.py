"""Normalisation, dropout and PReLU of images: by channels, groups and planes."""

import numpy as np
import pytest

import pybp as bp

RNG = np.random.default_rng(0)
X = RNG.normal(2.0, 3.0, size=(30, 6, 4, 5))


def net(*layers, shape=X.shape[1:], **how):
    model = bp.Sequential([bp.Input(shape, layout="NCHW"), *layers, bp.Flatten(), bp.Dense(2)])
    model.compile(**({"loss": "mse", "dtype": "float64", "seed": 2} | how))
    return model


def test_batch_norm_of_images_is_by_channel():
    model = net(bp.BatchNorm(momentum=1.0))
    assert model.parameters["batchnorm0.gamma"].shape == (6,)
    model.train_on_batch(X, np.zeros((30, 2)))
    mean, variance = X.mean(axis=(0, 2, 3)), X.var(axis=(0, 2, 3), ddof=1)
    np.testing.assert_allclose(model.buffers["batchnorm0.mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(model.buffers["batchnorm0.variance"], variance, rtol=1e-12)


def test_batch_norm_of_sequences_is_by_channel():
    x = RNG.normal(size=(20, 7, 3))
    for layout, rows in [("NLC", x), ("NCL", x.transpose(0, 2, 1))]:
        model = bp.Sequential(
            [
                bp.Input(rows.shape[1:], layout=layout),
                bp.BatchNorm(momentum=1.0),
                bp.Flatten(),
                bp.Dense(1),
            ]
        )
        model.compile(dtype="float64")
        model.train_on_batch(rows, np.zeros(20))
        np.testing.assert_allclose(
            model.buffers["batchnorm0.mean"], x.mean(axis=(0, 1)), atol=1e-14
        )


def test_a_frozen_batch_norm_keeps_its_statistics():
    model = net(bp.BatchNorm(trainable=False))
    model.train_on_batch(X, np.zeros((30, 2)))
    assert not model.buffers["batchnorm0.mean"].any()
    assert (model.buffers["batchnorm0.variance"] == 1).all()


def test_one_row_has_a_variance_where_there_are_places():
    net(bp.BatchNorm()).train_on_batch(X[:1], np.zeros((1, 2)))
    with pytest.raises(ValueError, match="at least two rows"):
        net(bp.BatchNorm(), shape=(3, 1, 1)).train_on_batch(np.ones((1, 3)), np.zeros((1, 2)))


def group_norm(x, groups, eps=1e-5):
    g = x.reshape(len(x), groups, -1)
    h = (g - g.mean(2, keepdims=True)) / np.sqrt(g.var(2, keepdims=True) + eps)
    return h.reshape(x.shape)


@pytest.mark.parametrize(
    ("layer", "groups"), [(bp.GroupNorm(3), 3), (bp.GroupNorm(1), 1), (bp.InstanceNorm(), 6)]
)
def test_groups_have_mean_0_and_deviation_1(layer, groups):
    found = list(net(layer).activations(X).values())[1]
    np.testing.assert_allclose(found, group_norm(X, groups), atol=1e-12)


def test_bad_groups_are_refused():
    with pytest.raises(ValueError, match=r"6 channels of layer 'input0'.*groups=4"):
        net(bp.GroupNorm(4))


def test_spatial_dropout_drops_whole_channels():
    """In training a channel of a row is 0 throughout, or all of it is scaled."""
    x = np.ones((400, 5, 2, 3))
    model = bp.Sequential(
        [bp.Input((5, 2, 3), layout="NCHW"), bp.SpatialDropout2D(0.25), bp.Conv2D(1, (2, 3))]
    )
    model.compile(loss="sse", dtype="float64", seed=9)
    np.testing.assert_array_equal(model.activations(x[:2])["spatialdropout2d0"], x[:2])
    # A plane's six weights get the same gradient from it, so their updates are equal.
    before = model.parameters["conv2d0.weight"].copy()
    model.train_on_batch(x[:1], np.ones((1, 1, 1, 1)))
    step = (model.parameters["conv2d0.weight"] - before)[0].reshape(5, 6)
    np.testing.assert_allclose(step, step[:, :1].repeat(6, 1), atol=1e-15)


def test_prelu_of_images_has_a_slope_for_each_channel():
    model = net(bp.PReLU())
    assert model.parameters["prelu0.slope"].shape == (6,)
    model.parameters["prelu0.slope"][...] = np.arange(6)
    found = model.activations(X)["prelu0"]
    slopes = np.arange(6)[:, None, None]
    np.testing.assert_allclose(found, np.where(X > 0, X, slopes * X), rtol=1e-14)
    assert net(bp.PReLU(shared=True)).parameters["prelu0.slope"].shape == (1,)


@pytest.mark.parametrize(
    "layer",
    [
        bp.BatchNorm(),
        bp.GroupNorm(3),
        bp.GroupNorm(2, affine=False),
        bp.InstanceNorm(),
        bp.LayerNorm(),
        bp.PReLU(),
        bp.PReLU(shared=True),
        bp.SpatialDropout2D(0.5),
        bp.Upsample2D(2),
        bp.Upsample2D((1, 3), "bilinear"),
        bp.ZeroPad2D(((1, 2), (0, 1))),
        bp.Crop2D(1),
    ],
    ids=repr,
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_gradients_by_differences(layer, layout):
    x = X[:7] if layout == "NCHW" else X[:7].transpose(0, 2, 3, 1)
    model = bp.Sequential(
        [
            bp.Input(x.shape[1:], layout=layout),
            bp.Conv2D(6, 1, use_bias=False),
            layer,
            bp.Flatten(),
            bp.Dense(2),
        ]
    )
    model.compile(loss="mse", dtype="float64", seed=2)
    bp.testing.gradcheck(model, x, RNG.normal(size=(7, 2)))


@pytest.mark.parametrize("activation", ["softmax", "log_softmax"])
def test_softmax_of_images_is_over_their_channels(activation):
    for layout, axes in [("NCHW", (0, 1, 2, 3)), ("NHWC", (0, 2, 3, 1))]:
        x = X.transpose(axes)
        model = bp.Sequential(
            [
                bp.Input(x.shape[1:], layout=layout),
                bp.Activation(activation),
                bp.Flatten(),
                bp.Dense(1),
            ]
        )
        model.compile(dtype="float64")
        found = model.activations(x)["activation0"]
        found = np.exp(found) if activation == "log_softmax" else found
        np.testing.assert_allclose(found.sum(axis=1 if layout == "NCHW" else 3), 1.0)
        wanted = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found, wanted.transpose(axes))
