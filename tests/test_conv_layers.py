"""Convolution layers: the worked example of a 3 x 3 image, NumPy, differences, files, errors."""

import numpy as np
import pytest
from conv_reference import attributes, conv
from layer_run import run

import pybp as bp

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_toy_example_is_exact(dtype):
    """X = 1..9, K = [[1, 2], [3, 4]]: Y, and with an upstream gradient of ones dK and dX."""
    x = np.arange(1, 10, dtype=dtype).reshape(1, 1, 3, 3)
    kernel = np.array([[1, 2], [3, 4]], dtype)
    y, dx, (dk,) = run(
        bp.Conv2D(1, 2, use_bias=False),
        x,
        "NCHW",
        [kernel],
        np.array([[37, 47], [67, 77]], dtype).reshape(1, 1, 2, 2),
        np.ones((1, 1, 2, 2), dtype),
    )
    assert y[0, 0].tolist() == [[37, 47], [67, 77]]
    assert dk[0, 0].tolist() == [[12, 16], [24, 28]]
    assert dx[0, 0].tolist() == [[1, 3, 2], [4, 10, 6], [3, 7, 4]]


# layer, shape of a row, stride, dilation, padding (top, bottom, left, right), groups
LAYERS = [
    (bp.Conv2D(3, 2), (2, 5, 6), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    (bp.Conv2D(3, 3, padding="same"), (2, 5, 6), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    (bp.Conv2D(3, 2, padding="same"), (2, 5, 6), (1, 1), (1, 1), (0, 1, 0, 1), 1),
    (bp.Conv2D(3, 3, 2, padding="same"), (2, 5, 6), (2, 2), (1, 1), (1, 1, 0, 1), 1),
    (bp.Conv2D(3, 4, 3, padding="same"), (2, 7, 9), (3, 3), (1, 1), (1, 2, 0, 1), 1),
    (bp.Conv2D(3, 2, 3, padding="same"), (2, 6, 6), (3, 3), (1, 1), (0, 0, 0, 0), 1),
    (bp.Conv2D(2, (3, 2), dilation=(1, 2), padding="same"), (1, 6, 6), (1, 1), (1, 2),
     (1, 1, 1, 1), 1),
    (bp.Conv2D(4, 3, padding=(2, 0)), (2, 5, 6), (1, 1), (1, 1), (2, 2, 0, 0), 1),
    (bp.Conv2D(4, 3, padding=((2, 1), (0, 3))), (2, 5, 6), (1, 1), (1, 1), (2, 1, 0, 3), 1),
    (bp.Conv2D(6, 3, (2, 1), groups=2), (4, 7, 6), (2, 1), (1, 1), (0, 0, 0, 0), 2),
    (bp.DepthwiseConv2D(3, 2, 1, depth_multiplier=2), (3, 7, 6), (2, 2), (1, 1), (1, 1, 1, 1), 3),
]  # fmt: skip


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("layer", "shape", "stride", "dilation", "pad", "groups"), LAYERS)
def test_layers_are_numpys(layer, shape, stride, dilation, pad, groups, layout):
    turned = shape if layout == "NCHW" else (*shape[1:], shape[0])
    model = bp.Sequential([bp.Input(turned, layout=layout), layer])
    model.compile(dtype="float64", seed=3)
    weight, bias = model.parameters.values()
    bias[...] = RNG.normal(size=bias.shape)
    x = RNG.normal(size=(5, *shape))
    how = attributes(stride, dilation, pad, groups)
    wanted = conv(x, weight, bias, **how)
    given = x if layout == "NCHW" else x.transpose(0, 2, 3, 1)
    found = model.predict(given)
    found = found if layout == "NCHW" else found.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)


def test_a_separable_convolution_is_two():
    model = bp.Sequential(
        [bp.Input((3, 7, 6), layout="NCHW"), bp.SeparableConv2D(5, 3, 2, 1, depth_multiplier=2)]
    )
    model.compile(dtype="float64", seed=3)
    depthwise, weight, bias = model.parameters.values()
    x = RNG.normal(size=(5, 3, 7, 6))
    deep = conv(x, depthwise, 0.0, **attributes((2, 2), (1, 1), (1, 1, 1, 1), 3))
    np.testing.assert_allclose(
        model.predict(x), conv(deep, weight, bias, **attributes()), rtol=1e-12, atol=1e-13
    )


def transposed(x, weight, stride, cut):
    """Every value adds the kernel times itself; then the frame is cut off."""
    n, _, h, w = x.shape
    _, outs, kh, kw = weight.shape
    y = np.zeros((n, outs, (h - 1) * stride + kh, (w - 1) * stride + kw))
    for i in range(h):
        for j in range(w):
            patch = np.einsum("nc,couv->nouv", x[:, :, i, j], weight)
            y[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw] += patch
    return y[:, :, cut : y.shape[2] - cut, cut : y.shape[3] - cut]


@pytest.mark.parametrize(
    ("layer", "stride", "cut"),
    [
        (bp.ConvTranspose2D(3, 2), 1, 0),
        (bp.ConvTranspose2D(3, 3, 2), 2, 0),
        (bp.ConvTranspose2D(3, 3, 2, 1), 2, 1),
        (bp.ConvTranspose2D(3, 4, 2, "same"), 2, 1),
    ],
)
def test_transposed_convolutions_are_numpys(layer, stride, cut):
    x = RNG.normal(size=(5, 2, 4, 5))
    model = bp.Sequential([bp.Input((2, 4, 5), layout="NCHW"), layer])
    model.compile(dtype="float64", seed=3)
    wanted = transposed(x, model.parameters["convtranspose2d0.weight"], stride, cut)
    np.testing.assert_allclose(model.predict(x), wanted, rtol=1e-12, atol=1e-13)
    if layer.padding == "same":
        assert wanted.shape[2:] == (8, 10)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (bp.ConvTranspose2D(2, 2, 3, "same"), (2, 4, 5)),
        (bp.ConvTranspose2D(2, 3, 2, 1, 1, groups=2, activation="tanh"), (2, 4, 5)),
        (bp.ConvTranspose1D(2, 3, 2, (0, 1)), (2, 9)),
        (bp.Conv1D(4, 3, 2, "same", activation="sigmoid"), (2, 9)),
        (bp.Conv1D(4, 3, padding=(2, 0), dilation=2), (2, 9)),
        (bp.Conv2D(3, 3, activation=bp.Activation("elu", alpha=0.5)), (2, 6, 5)),
        (bp.Conv2D(4, (2, 3), (2, 1), 1, (2, 1), 2, activation="gelu"), (2, 6, 5)),
        (bp.Conv2D(3, 3, padding="same", activation="prelu"), (2, 6, 5)),
        (bp.DepthwiseConv2D(3, padding="same", depth_multiplier=3), (2, 6, 5)),
        (bp.SeparableConv2D(3, 3, activation="tanh"), (2, 6, 5)),
        (bp.Conv2D(3, 3, activation="softmax"), (2, 6, 5)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, bp.Layer) else "",
)
def test_gradients_by_differences(layer, shape):
    layout = "NCHW" if len(shape) == 3 else "NCL"
    model = bp.Sequential([bp.Input(shape, layout=layout), layer, bp.Flatten(), bp.Dense(2)])
    model.compile(loss="mse", dtype="float64", seed=1)
    rng = np.random.default_rng(8)
    bp.testing.gradcheck(model, rng.normal(size=(9, *shape)), rng.normal(size=(9, 2)))


def test_initialisers_count_the_kernels_places():
    model = bp.Sequential(
        [bp.Input((16, 9, 9), layout="NCHW"), bp.Conv2D(64, 5, activation="relu")]
    )
    model.compile(dtype="float64", seed=0)
    weight = model.parameters["conv2d0.weight"]
    assert weight.shape == (64, 16, 5, 5)
    assert weight.var() == pytest.approx(2 / (16 * 25), rel=0.05)  # He
    glorot = bp.init.Glorot("normal")(np.random.default_rng(0), (64, 16, 5, 5))
    assert glorot.var() == pytest.approx(2 / ((16 + 64) * 25), rel=0.05)


def lenet(layout="NCHW", seed=1, **how):
    """LeNet-5 with rectifiers."""
    shape = (1, 28, 28) if layout == "NCHW" else (28, 28, 1)
    model = bp.Sequential(
        [
            bp.Input(shape, layout=layout, scale=1 / 255),
            bp.Conv2D(6, 5, padding="same", activation="relu"),
            bp.MaxPool2D(2),
            bp.Conv2D(16, 5, activation="relu"),
            bp.MaxPool2D(2),
            bp.Flatten(),
            bp.Dense(120, activation="relu"),
            bp.Dense(84, activation="relu"),
            bp.Dense(10, activation="softmax"),
        ]
    )
    given = {"loss": "cross_entropy", "metrics": ["accuracy"], "seed": seed}
    model.compile(bp.optim.SGD(0.05, momentum=0.9), **(given | how))
    return model


def test_lenets_summary_counts_its_parameters_and_operations(capsys):
    text = lenet().summary()
    assert "61,706" in text
    multiplications = 28 * 28 * 6 * 25 + 100 * 16 * 6 * 25
    assert f"{2 * 28 * 28 * 6 * 25 + 28 * 28 * 6:,}" in text
    assert f"{2 * 100 * 16 * 150 + 1600:,}" in text
    assert multiplications == 357600


def test_lenet_learns_mnist(mnist_train, mnist_test):
    x, y = mnist_train
    model = lenet()
    model.learning_rate = 0.02
    model.fit(x[:6000], y[:6000], epochs=3, batch_size=32, verbose=0)
    found = model.evaluate(mnist_test[0][:2000], mnist_test[1][:2000])
    assert found["accuracy"] > 0.93


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_files_and_resumed_training_have_the_same_bits(tmp_path, layout):
    x = RNG.integers(0, 256, (70, 28, 28), dtype=np.uint8)
    y = RNG.integers(0, 10, 70)
    whole, half = lenet(layout), lenet(layout)
    whole.fit(x, y, epochs=4, batch_size=32, verbose=0)
    half.fit(x, y, epochs=2, batch_size=32, verbose=0)
    half.save(tmp_path / "lenet.pybp")
    again = bp.load(tmp_path / "lenet.pybp")
    assert repr(again) == repr(half)
    again.fit(x, y, epochs=2, batch_size=32, verbose=0)
    for name, view in whole.parameters.items():
        assert np.array_equal(view, again.parameters[name]), name
    np.testing.assert_array_equal(whole.predict(x), again.predict(x))


EVERY = [
    bp.Conv2D(4, 3, (2, 1), ((1, 0), (2, 1)), activation="relu"),
    bp.DepthwiseConv2D((3, 2), padding="same"),
    bp.SeparableConv2D(4, 3),
    bp.ConvTranspose2D(4, 2, 2, output_padding=(1, 0)),
    bp.MaxPool2D((2, 3), 1, "same"),
    bp.AveragePool2D(2, count_padding=True, padding=((0, 1), (1, 0))),
    bp.BatchNorm(),
    bp.GroupNorm(2),
    bp.InstanceNorm(),
    bp.PReLU(),
    bp.SpatialDropout2D(0.5),
    bp.Upsample2D((2, 1), "bilinear"),
    bp.ZeroPad2D((1, 2)),
    bp.Crop2D(((1, 0), (0, 1))),
    bp.Permute((2, 0, 1), layout="NCHW"),
    bp.Reshape((4, 12, -1), layout="NCHW"),
]


SEQUENCES = [
    (bp.DepthwiseConv1D(3, padding="same"), bp.DepthwiseConv2D((1, 3), padding="same")),
    (
        bp.DepthwiseConv1D(2, 2, (1, 0), depth_multiplier=2),
        bp.DepthwiseConv2D((1, 2), (1, 2), ((0, 0), (1, 0)), depth_multiplier=2),
    ),
    (bp.SeparableConv1D(5, 3, dilation=2), bp.SeparableConv2D(5, (1, 3), dilation=(1, 2))),
    (bp.ZeroPad1D((2, 1)), bp.ZeroPad2D(((0, 0), (2, 1)))),
    (bp.Crop1D((0, 3)), bp.Crop2D(((0, 0), (0, 3)))),
    (bp.Upsample1D(3), bp.Upsample2D((1, 3))),
    (bp.Upsample1D(2, "linear"), bp.Upsample2D((1, 2), "bilinear")),
]


@pytest.mark.parametrize("layout", ["NLC", "NCL"])
@pytest.mark.parametrize(("layer", "twin"), SEQUENCES)
def test_layers_of_sequences_are_those_of_images_one_place_high(layer, twin, layout, tmp_path):
    x = RNG.normal(size=(6, 9, 4))
    images = x[:, None] if layout == "NLC" else x.transpose(0, 2, 1)[:, :, None]
    rows = x if layout == "NLC" else x.transpose(0, 2, 1)
    wide = layout.replace("L", "HW")
    first, second = (
        bp.Sequential([bp.Input(given.shape[1:], layout=order), one, bp.Flatten(), bp.Dense(2)])
        for given, order, one in ((rows, layout, layer), (images, wide, twin))
    )
    for model in (first, second):
        model.compile(loss="mse", dtype="float64", seed=2)
    for mine, other in zip(first.parameters.values(), second.parameters.values(), strict=True):
        assert mine.ndim == other.ndim or mine.ndim == other.ndim - 1
        other[...] = mine.reshape(other.shape)
    np.testing.assert_allclose(first.predict(rows), second.predict(images), rtol=1e-12)
    bp.testing.gradcheck(first, rows, RNG.normal(size=(6, 2)))
    first.save(tmp_path / "m.safetensors")
    again = bp.load(tmp_path / "m.safetensors").predict(rows)
    np.testing.assert_array_equal(again, first.predict(rows))


@pytest.mark.parametrize("layer", EVERY, ids=lambda layer: type(layer).__name__)
def test_every_layer_goes_into_a_file_and_back(layer, tmp_path):
    model = bp.Sequential([bp.Input((6, 8, 4), layout="NHWC"), layer, bp.Flatten(), bp.Dense(2)])
    model.compile(loss="mse", seed=2)
    x = RNG.normal(size=(5, 6, 8, 4))
    model.fit(x, np.zeros((5, 2)), epochs=1, batch_size=5, verbose=0)
    model.save(tmp_path / "model.pybp")
    again = bp.load(tmp_path / "model.pybp")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


@pytest.mark.parametrize("threads", [2, 3])
def test_lenet_has_the_same_bits_for_any_number_of_threads(threads):
    x, y = RNG.integers(0, 256, (40, 28, 28), dtype=np.uint8), RNG.integers(0, 10, 40)
    found = []
    for number in (1, threads):
        bp.set_num_threads(number)
        model = lenet()
        model.fit(x, y, epochs=2, batch_size=16, verbose=0)
        found.append(model.predict(x))
    np.testing.assert_array_equal(*found)


def test_a_kernel_larger_than_its_input_is_refused():
    with pytest.raises(
        ValueError,
        match=r"'conv2d1': a kernel of 5 x 5 is larger than the 4 x 3 of "
        r"layer 'conv2d0' \(rows \(2, 4, 3\), NCHW\).*padding=.same.",
    ):
        bp.Sequential([bp.Input((1, 6, 5), layout="NCHW"), bp.Conv2D(2, 3), bp.Conv2D(2, 5)])
    with pytest.raises(ValueError, match=r"kernel of 5 x 5.*6 x 4 of layer 'input0' with its pad"):
        bp.Sequential([bp.Input((4, 2, 1), layout="NHWC"), bp.Conv2D(2, 3, dilation=2, padding=1)])
    with pytest.raises(ValueError, match="kernel of 9 is larger than the 8 of layer 'input0'"):
        bp.Sequential([bp.Input((1, 8), layout="NCL"), bp.Conv1D(2, 9)])


def test_layers_of_sequences_refuse_images():
    image = bp.Input((1, 8, 8), layout="NCHW")
    for kind in (bp.ZeroPad1D, bp.Crop1D, bp.Upsample1D):
        with pytest.raises(ValueError, match=rf"use bp.{kind.__name__[:-2]}2D instead"):
            kind()(image)
    with pytest.raises(ValueError, match=r"leaves nothing of the 5 .*\(5, 2\), NLC.*crop less"):
        bp.Crop1D((2, 3))(bp.Input((5, 2), layout="NLC"))
    with pytest.raises(ValueError, match=r"interpolation for Upsample1D.*linear"):
        bp.Upsample1D(2, "bilinear")


def test_a_transposed_convolution_must_leave_something():
    with pytest.raises(ValueError, match="padding cuts off all of the 2 x 2 that layer 'input0'"):
        bp.Sequential([bp.Input((1, 1, 1), layout="NCHW"), bp.ConvTranspose2D(1, 2, padding=1)])
    with pytest.raises(
        ValueError,
        match=r"output_padding \(2, 2\) behind layer 'input0' \(rows \(1, 3, 3\), NCHW\) must be "
        r"smaller than the stride \(2, 2\)",
    ):
        bp.Sequential(
            [bp.Input((1, 3, 3), layout="NCHW"), bp.ConvTranspose2D(1, 2, 2, output_padding=2)]
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bp.Conv2D(2, 3, stride=2**25), "Conv2D: stride must be at most 16777216"),
        (lambda: bp.Conv2D(2, 3, dilation=2**25), "Conv2D: dilation must be at most 16777216"),
        (lambda: bp.Conv2D(2, 3, padding=2**23), "2 x 16777222 x 16777222 values.*pad less"),
        (lambda: bp.DepthwiseConv2D(3, padding=2**24), "1 x 33554438 x 33554438.*pad less"),
        (lambda: bp.ConvTranspose2D(2, 3, 2**22), "29360131 x 29360131.*16777216 places.*stride"),
        (lambda: bp.Upsample2D(2**22), "1 x 33554432 x 33554432 .*make factor smaller"),
        (
            lambda: bp.ZeroPad2D(2**23),
            "1 x 16777224 x 16777224 .*a row has 281474976710656 at most",
        ),
    ],
)
def test_sizes_beyond_what_can_be_are_refused_with_the_limit(make, message):
    with pytest.raises(ValueError, match=message):
        make()(bp.Input((1, 8, 8), layout="NCHW"))


def test_channels_must_divide_into_groups():
    with pytest.raises(ValueError, match=r"the 3 channels of layer 'input0' .*groups=2"):
        bp.Sequential([bp.Input((3, 6, 5), layout="NCHW"), bp.Conv2D(4, 3, groups=2)])
    with pytest.raises(ValueError, match=r"its 5 filters.*groups=2"):
        bp.Sequential([bp.Input((4, 6, 5), layout="NCHW"), bp.Conv2D(5, 3, groups=2)])


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="did you mean 'same'"):
        bp.Conv2D(2, 3, padding="samme")
    with pytest.raises(ValueError, match=r"padding must be a number, \(height, width\)"):
        bp.Conv2D(2, 3, padding=(1, 2, 3))
    with pytest.raises(ValueError, match=r"padding must be a number, \(left, right\)"):
        bp.Conv1D(2, 3, padding=(1, 2, 3))
    with pytest.raises(ValueError, match="kernel_size must be a number or a pair"):
        bp.Conv2D(2, (3, 3, 3))
    with pytest.raises(ValueError, match="kernel_size must be one number"):
        bp.Conv1D(2, (3, 3))
    with pytest.raises(ValueError, match="stride must be at least 1"):
        bp.Conv2D(2, 3, 0)
    with pytest.raises(TypeError, match="kernel_size must be a whole number"):
        bp.Conv2D(2, 2.5)
    with pytest.raises(ValueError, match="padding must be at least 0"):
        bp.Conv2D(2, 3, padding=-1)
    with pytest.raises(ValueError, match=r"gives sequences.*use bp\.Conv1D instead of bp\.Conv2D"):
        bp.Sequential([bp.Input((8, 2), layout="NLC"), bp.Conv2D(2, 3)])


def test_weights_have_the_shapes_that_the_field_gives_them():
    for layer, axes, shape in (
        (bp.Conv1D(4, 3, groups=2), (6, 9), (4, 3, 3)),
        (bp.ConvTranspose1D(4, 3, groups=2), (6, 9), (6, 2, 3)),
        (bp.Conv2D(4, (3, 2), groups=2), (6, 9, 8), (4, 3, 3, 2)),
        (bp.ConvTranspose2D(4, (3, 2), groups=2), (6, 9, 8), (6, 2, 3, 2)),
        (bp.DepthwiseConv2D(3), (6, 9, 8), (6, 1, 3, 3)),
    ):
        model = bp.Sequential([bp.Input(axes, layout="NCL" if len(axes) == 2 else "NCHW"), layer])
        model.compile(loss="mse")
        weight = next(view for name, view in model.parameters.items() if name.endswith("weight"))
        assert weight.shape == shape


NARROW = [  # filters, channels, height, width, kernel, padding, dilation
    (16, 6, 14, 14, 5, 0, 1),
    (16, 1, 5, 4, 3, "same", 1),
    (32, 3, 7, 11, (3, 2), 1, 2),
    (48, 70, 6, 9, 3, "same", 1),
    (16, 33, 12, 12, 5, (2, 1), 1),
    (64, 20, 9, 12, (4, 5), "same", 2),
    (16, 2, 30, 5, (7, 1), 0, 3),
    (16, 35, 9, 19, (4, 5), "same", 1),
    (16, 24, 5, 35, 5, "same", 1),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("filters", "channels", "height", "width", "kernel", "padding", "dilation"), NARROW
)
def test_few_narrow_images(filters, channels, height, width, kernel, padding, dilation, dtype):
    """Whose filters lie in the lanes of vectors: as exact as many images, and the same bits for any
    number of threads and of images."""
    layer = bp.Conv2D(filters, kernel, padding=padding, dilation=dilation, activation="relu")
    shape = (channels, height, width)
    model = bp.Sequential([bp.Input(shape, layout="NCHW"), layer, bp.Flatten()])
    model.compile(loss="mse", dtype=dtype, seed=2)
    model.parameters["conv2d0.bias"][...] = np.linspace(-1, 1, filters)
    x = np.random.default_rng(0).normal(size=(40, *shape)).astype(dtype)
    many = model.predict(x)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-13, "atol": 1e-13}
    for threads in (1, 2, 3):
        bp.set_num_threads(threads)
        for count in (1, 2, 3):
            few = model.predict(x[:count])
            np.testing.assert_allclose(few, many[:count], **close)
            one = np.concatenate([model.predict(row[None]) for row in x[:count]])
            assert one.tobytes() == few.tobytes()
    np.testing.assert_allclose(model.predictor()(x[:1]), many[:1], **close)


@pytest.mark.parametrize("rows", [1, 3, 20])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("channels", "side"), [(4, 14), (16, 10), (16, 30)])
def test_gradients_of_several_readers_add_up_in_float32(channels, side, kernel, rows):
    """Of convolutions, transposed ones and sums, by every way: float32 has more of them."""
    shape = (channels, side, side)

    def net(dtype):
        image = bp.Input(shape, layout="NCHW")
        first = bp.Conv2D(channels, 3, padding="same")(image)
        turned = bp.ConvTranspose2D(channels, kernel, padding=kernel // 2)(first)
        straight = bp.Conv2D(channels, kernel, padding="same")(first)
        out = bp.Dense(3)(bp.Flatten()(bp.add([straight, turned, first])))
        model = bp.Model(image, out)
        model.compile("sgd", "mse", dtype=dtype, seed=0)
        return model

    exact, model = net("float64"), net("float32")
    for name, values in model.parameters.items():
        exact.parameters[name][...] = values
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, *shape)).astype("f4"), rng.normal(size=(rows, 3))
    found = model.gradients(x, y)
    for name, wanted in exact.gradients(x, y).items():
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=1e-5 * abs(wanted).max())
