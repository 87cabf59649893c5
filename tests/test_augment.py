"""Augmentation as a user sees it: each variation alone, what is drawn, when, and how often.

`test_ops.py` compares both ops with `augment_reference.py` pixel by pixel, in all instruction sets.
"""

import augment_reference as reference
import numpy as np
import pytest

import pybp as bp

RNG = np.random.default_rng(0)
DIGITS = RNG.random((30, 1, 28, 28))
EVERYTHING = {"shift": 2, "rotation": 10, "scale": 0.1, "shear": 5, "stretch": 0.1, "crop": 1}
EVERYTHING |= {"flip_horizontal": True, "flip_vertical": True, "elastic": 20, "erase": 0.5}


def ramp(count, height, width):
    """Images (count, 2, H, W) whose channels are each pixel's column and row: what comes out says
    where it was read."""
    rows, columns = np.mgrid[:height, :width].astype(float)
    return np.broadcast_to([columns, rows], (count, 2, height, width))


# -- the reference itself --------------------------------------------------------------------------


def test_the_reference_turns_moves_and_mirrors_as_numpy_does():
    image, still = RNG.random((9, 9)), np.zeros((2, 9, 9))
    turned = reference.warp(image, np.array([[0.0, 1.0], [-1.0, 0.0]]), np.zeros(2), still, 0)
    np.testing.assert_allclose(turned, np.rot90(image, -1), atol=1e-12)
    mirrored = reference.warp(image, np.diag([-1.0, 1.0]), np.zeros(2), still, 0)
    np.testing.assert_allclose(mirrored, image[:, ::-1], atol=1e-12)
    moved = reference.warp(image, np.eye(2), np.array([2.0, -1.0]), still, 5.0)
    np.testing.assert_allclose(moved[:-1, 2:], image[1:, :-2], atol=1e-12)
    assert (moved[-1] == 5).all() and (moved[:, :2] == 5).all()
    half = reference.warp(image, np.eye(2), np.array([0.5, 0.0]), still, 0.0)
    np.testing.assert_allclose(half[:, 1:], (image[:, 1:] + image[:, :-1]) / 2, atol=1e-12)


# -- each variation --------------------------------------------------------------------------------


def test_flips_are_exact_and_of_every_other_image():
    x = RNG.random((400, 2, 5, 8))
    y = bp.Augment(flip_horizontal=True, flip_vertical=True).apply(x)
    ways = [x, x[..., ::-1], x[..., ::-1, :], x[..., ::-1, ::-1]]
    which = np.array([[np.array_equal(a, b) for a, b in zip(way, y, strict=True)] for way in ways])
    assert (which.sum(axis=0) == 1).all()
    assert (np.abs(which.mean(axis=1) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 400)).all()
    only = bp.Augment(flip_vertical=True).apply(x)
    same, turned = (only == x).all((1, 2, 3)), (only == x[..., ::-1, :]).all((1, 2, 3))
    assert (same ^ turned).all() and 0.3 < turned.mean() < 0.7


def test_a_crop_moves_by_whole_pixels_up_to_its_margin():
    x = RNG.random((300, 1, 6, 7))
    y = bp.Augment(crop=2, fill=0.25).apply(x)
    padded = np.pad(x, [(0, 0), (0, 0), (2, 2), (2, 2)], constant_values=0.25)
    places = [(i, j) for i in range(5) for j in range(5)]
    found = [
        [np.array_equal(y[n], padded[n, :, i : i + 6, j : j + 7]) for i, j in places]
        for n in range(len(x))
    ]
    assert (np.sum(found, axis=1) == 1).all()
    share = np.mean(found, axis=0)
    assert (np.abs(share - 1 / 25) < 5 * np.sqrt(0.04 * 0.96 / 300)).all()


def test_a_shift_is_uniform_up_to_its_bound_and_the_same_everywhere():
    y = bp.Augment(shift=3).apply(ramp(300, 20, 20))
    moved = ramp(1, 20, 20) - y  # by (t_x, t_y)
    inner = moved[:, :, 5:-5, 5:-5]
    np.testing.assert_allclose(np.ptp(inner, axis=(2, 3)), 0, atol=1e-9)
    t = inner[:, :, 0, 0]
    assert np.abs(t).max() <= 3 and np.abs(t).max() > 2.8
    assert (np.abs(t.mean(axis=0)) < 5 * 3 / np.sqrt(3 * 300)).all()
    assert (np.abs(t.std(axis=0) - np.sqrt(3)) < 0.3).all()
    assert abs(np.corrcoef(t.T)[0, 1]) < 5 / np.sqrt(300)


def linear_part(**amounts):
    """The maps' matrices (N, 2, 2) at the middle of large images."""
    y = bp.Augment(**amounts).apply(ramp(200, 41, 41))[:, :, 18:23, 18:23]
    across, down = (y[:, :, 2, 4] - y[:, :, 2, 0]) / 4, (y[:, :, 4, 2] - y[:, :, 0, 2]) / 4
    return np.stack([across, down], axis=2)


def test_turns_scales_and_shears_are_what_they_are_called():
    turns = linear_part(rotation=30)
    np.testing.assert_allclose(
        turns @ turns.transpose(0, 2, 1), np.tile(np.eye(2), (200, 1, 1)), atol=1e-9
    )
    angle = np.degrees(np.arctan2(turns[:, 0, 1], turns[:, 0, 0]))
    assert np.abs(angle).max() <= 30 and angle.max() > 28 and angle.min() < -28
    scales = linear_part(scale=0.25)
    np.testing.assert_allclose(scales, scales[:, :1, :1] * np.eye(2), atol=1e-9)
    size = 1 / scales[:, 0, 0]
    assert 0.8 - 1e-9 <= size.min() < 0.82 and 1.22 < size.max() <= 1.25
    stretched = linear_part(stretch=0.25)
    np.testing.assert_allclose(np.linalg.det(stretched), 1, atol=1e-9)
    assert 1.22 < stretched[:, 0, 0].max() <= 1.25
    sheared = linear_part(shear=20)
    np.testing.assert_allclose(sheared[:, [0, 1, 1], [0, 0, 1]], [[1, 0, 1]] * 200, atol=1e-9)
    lean = np.degrees(np.arctan(sheared[:, 0, 1]))
    assert 18 < np.abs(lean).max() <= 20


@pytest.mark.parametrize(("alpha", "sigma"), [(34.0, 4.0), (20.0, 6.0)])
def test_elastic_fields_are_as_large_and_as_smooth_as_simards(alpha, sigma):
    """Uniform noise in [-1, 1] convolved with a Gaussian, times alpha: mean square
    alpha^2 / (12 pi sigma^2), correlation exp(-d^2 / 4 sigma^2) at distance d."""
    y = bp.Augment(elastic=alpha, elastic_sigma=sigma).apply(ramp(400, 60, 60))
    field = (y - ramp(1, 60, 60))[:, :, 12:-12, 12:-12]
    wanted = alpha / np.sqrt(12 * np.pi) / sigma
    assert abs(np.sqrt((field**2).mean()) / wanted - 1) < 0.05
    assert np.abs(field.mean(axis=(0, 2, 3))).max() < 0.1 * wanted
    for distance in (1, int(sigma), int(2 * sigma)):
        found = (field[..., distance:] * field[..., :-distance]).mean() / (field**2).mean()
        assert abs(found - np.exp(-(distance**2) / 4 / sigma**2)) < 0.06
    assert np.abs(np.diff(field, n=2)).max() < 8 * wanted / sigma**2


def test_erasing_fills_rectangles_of_the_right_size_as_often_as_told():
    y = bp.Augment(erase=0.4, erase_area=(0.1, 0.3), erase_aspect=2, fill=-1).apply(
        np.zeros((500, 3, 20, 30))
    )
    gone = y == -1
    assert ((y == 0) | gone).all() and (gone[:, :1] == gone).all()
    hit = gone.any(axis=(1, 2, 3))
    assert abs(hit.mean() - 0.4) < 5 * np.sqrt(0.24 / 500)
    high = gone[hit, 0].any(axis=2).sum(axis=1)
    wide = gone[hit, 0].any(axis=1).sum(axis=1)
    assert (high * wide == gone[hit, 0].sum(axis=(1, 2))).all()
    area = high * wide
    assert area.min() >= 55 and area.max() <= 190
    ratio = high / wide
    assert 0.45 < ratio.min() < 0.6 and 1.7 < ratio.max() < 2.2


def test_nothing_asked_changes_nothing():
    assert np.array_equal(bp.Augment().apply(DIGITS), DIGITS)
    assert np.array_equal(bp.Augment(erase=0.0, fill=3.0).apply(DIGITS), DIGITS)


# -- what goes in ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64, np.float16, bool])
def test_apply_takes_any_numbers_in_any_layout(dtype):
    x = (255 * DIGITS).astype(dtype)
    layer = bp.Augment(**EVERYTHING)
    y = layer.apply(x, seed=3)
    assert y.dtype == (np.float64 if dtype == np.float64 else np.float32) and y.shape == x.shape
    np.testing.assert_allclose(y, layer.apply(x.astype(np.float64), seed=3), atol=0.01)
    strided = np.asfortranarray(np.repeat(x, 2, axis=3))[..., ::2]
    assert np.array_equal(layer.apply(strided, seed=3), y)
    flat = bp.Augment(**EVERYTHING, image_shape=(28, 28)).apply(x.reshape(30, 784), seed=3)
    assert np.array_equal(flat, y.reshape(30, 784))
    assert np.array_equal(layer.apply(x[:, 0], seed=3), y[:, 0])


def test_an_image_depends_on_its_place_the_seed_and_the_step_and_on_nothing_else():
    layer = bp.Augment(**EVERYTHING)
    y = layer.apply(DIGITS, seed=1)
    assert np.array_equal(layer.apply(DIGITS[:7], seed=1), y[:7])
    same = layer.apply(np.repeat(DIGITS[:1], 30, axis=0), seed=1)
    assert len({image.tobytes() for image in same}) == 30
    assert np.array_equal(same[0], y[0])
    assert not np.array_equal(layer.apply(DIGITS, seed=2), y)
    assert not np.array_equal(layer.apply(DIGITS, seed=1, step=1), y)


# -- in a model ------------------------------------------------------------------------------------


SMALL = RNG.integers(0, 256, (230, 144), dtype=np.uint8)


def net(hidden=0, dtype="float64"):
    """A small network on 12 x 12 images, augmented."""
    layers = [bp.Input(144, scale=1 / 255), bp.Augment(**EVERYTHING, image_shape=(12, 12))]
    if hidden:
        layers.append(bp.Dense(hidden, activation="tanh"))
    model = bp.Sequential([*layers, bp.Dense(3)])
    model.compile(bp.optim.SGD(0.01), loss="mse", dtype=dtype, seed=5)
    return model


def same_without(model, *before):
    """The last layer alone, with its weights."""
    plain = bp.Sequential([*before, bp.Dense(3)])
    plain.compile(bp.optim.SGD(0.01), loss="mse", dtype="float64", seed=5)
    plain.parameters["dense0.weight"][...] = model.parameters["dense0.weight"]
    return plain


def test_a_step_sees_what_apply_shows():
    x, y = SMALL[:40], RNG.normal(size=(40, 3))
    model = net()
    plain = same_without(model, bp.Input(144))
    for m, rows in ((model, x), (plain, model.layers[1].apply(x / 255, seed=5))):
        m.fit(rows, y, batch_size=40, epochs=1, shuffle=False, verbose=0)
    weights = [m.parameters["dense0.weight"] for m in (model, plain)]
    np.testing.assert_allclose(*weights, rtol=1e-9, atol=1e-12)


def test_only_training_sees_it():
    x, y = SMALL[:40], RNG.normal(size=(40, 3))
    model = net()
    plain = same_without(model, model.layers[0])
    assert np.array_equal(model.predict(x), plain.predict(x))
    assert model.evaluate(x, y) == plain.evaluate(x, y)
    gradients = model.gradients(x, y)
    assert all(np.array_equal(gradients[k], v) for k, v in plain.gradients(x, y).items())
    assert np.array_equal(model.activations(x)["augment0"], model.activations(x)["input0"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resume_and_threads_to_the_same_bits(dtype, tmp_path):
    y = RNG.normal(size=(230, 3))

    straight = net(20, dtype)
    straight.fit(SMALL, y, epochs=4, batch_size=100, verbose=0)
    for threads in (1, 3):
        bp.set_num_threads(threads)
        first = net(20, dtype)
        first.fit(SMALL, y, epochs=2, batch_size=100, verbose=0)
        first.save(tmp_path / "half.pybp")
        second = bp.load(tmp_path / "half.pybp")
        assert repr(second) == repr(first)
        second.fit(SMALL, y, epochs=2, batch_size=100, verbose=0)
        for name, view in straight.tensors().items():
            assert np.array_equal(second.tensors()[name], view)


def test_frozen_layers_may_stand_before_it_and_trained_ones_not():
    def layers(**how):
        return [bp.Input(16), bp.Dense(16, **how), bp.Augment(shift=1, image_shape=(4, 4))]

    frozen = bp.Sequential([*layers(trainable=False), bp.Dense(2)])
    frozen.compile(loss="mse")
    data = RNG.normal(size=(20, 16)), RNG.normal(size=(20, 2))
    frozen.fit(*data, verbose=0)
    with pytest.raises(ValueError, match=r"augment has no derivative.*put it before the layers"):
        frozen.unfreeze("dense0")
        frozen.fit(*data, verbose=0)
    with pytest.raises(ValueError, match=r"'augment0'.*'dense0' before it.*trainable=False"):
        bp.Sequential([*layers(), bp.Dense(2)])


def test_sparse_rows_are_refused_with_a_remedy():
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.random(20, 144, 0.2, format="csr", random_state=0)
    with pytest.raises(ValueError, match=r"'augment0'.*x\.toarray\(\)"):
        net().fit(x, np.zeros((20, 3)), verbose=0)


# -- normalisation ---------------------------------------------------------------------------------


def test_normalize_is_the_formula_in_training_and_out_of_it(tmp_path):
    x = RNG.integers(0, 256, (20, 3, 4, 5), dtype=np.uint8)
    mean, std = [0.4, 0.5, 0.6], [0.1, 0.2, 0.3]
    layers = [bp.Input((3, 4, 5), scale=1 / 255), bp.Normalize(mean, std), bp.Dense(2)]
    model = bp.Sequential(layers)
    model.compile(bp.optim.SGD(0.01), loss="mse", dtype="float64")
    expected = (x / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(model.activations(x)["normalize0"], expected, rtol=1e-12, atol=1e-12)
    plain = bp.Sequential([bp.Input((3, 4, 5)), bp.Dense(2)])
    plain.compile(bp.optim.SGD(0.01), loss="mse", dtype="float64")
    plain.parameters["dense0.weight"][...] = model.parameters["dense0.weight"]
    y = RNG.normal(size=(20, 3, 4, 2))
    for m, rows in ((model, x), (plain, expected)):
        m.fit(rows, y, epochs=2, batch_size=8, verbose=0)
    np.testing.assert_allclose(model.predict(x), plain.predict(expected), rtol=1e-9)
    model.save(tmp_path / "m.pybp")
    loaded = bp.load(tmp_path / "m.pybp")
    assert repr(loaded) == repr(model)
    assert np.array_equal(loaded.predict(x), model.predict(x))


def test_one_number_is_for_all_channels_and_fill_is_in_normalised_units():
    x = np.full((40, 2, 4, 4), 7.0)
    model = bp.Sequential([bp.Input((2, 4, 4)), bp.Normalize(3, 2), bp.Dense(1)])
    model.compile(dtype="float64")
    assert (model.activations(x)["normalize0"] == 2.0).all()
    bp.Sequential([bp.Input((2, 4, 4)), bp.Normalize(3, 2), bp.Augment(shift=1), bp.Dense(1)])


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_apply_takes_channels_last(channels):
    augment = bp.Augment(shift=2, rotation=20, flip_horizontal=True, elastic=8, erase=0.5)
    first = np.random.default_rng(0).random((5, channels, 9, 7))
    last = augment.apply(np.moveaxis(first, 1, -1), 3, layout="NHWC")
    np.testing.assert_array_equal(np.moveaxis(last, -1, 1), augment.apply(first, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bp.Augment(shift=-1), "Augment: shift must be .* >= 0"),
        (lambda: bp.Augment(rotation=200), "Augment: rotation must be .* <= 180"),
        (lambda: bp.Augment(shear=90), "Augment: shear"),
        (lambda: bp.Augment(scale=float("nan")), "Augment: scale"),
        (lambda: bp.Augment(flip_horizontal=0.5), "flip_horizontal must be True or False"),
        (lambda: bp.Augment(crop=1.5), "Augment: crop must be a whole number"),
        (lambda: bp.Augment(elastic_sigma=0.1), "Augment: elastic_sigma"),
        (lambda: bp.Augment(erase=1.2), "Augment: erase must"),
        (lambda: bp.Augment(erase_area=0.3), r"erase_area must be \(low, high\)"),
        (lambda: bp.Augment(erase_area=(0.3, 0.1)), "erase_area's high"),
        (lambda: bp.Augment(erase_aspect=0.5), "Augment: erase_aspect"),
        (lambda: bp.Augment(image_shape=28), r"image_shape must be \(H, W\)"),
        (lambda: bp.Sequential([bp.Input(784), bp.Augment(shift=1)]), r"'augment0'.*image_shape="),
        (
            lambda: bp.Sequential([bp.Input(784), bp.Augment(image_shape=(28, 29))]),
            r"\(28, 29\), .* 812 values, but rows \(784,\) of layer 'input0' have 784: give",
        ),
        (
            lambda: bp.Sequential([bp.Input((1, 8, 8)), bp.Augment(image_shape=(4, 4))]),
            r"rows \(1, 8, 8\) of layer 'input0': leave image_shape out",
        ),
        (
            lambda: bp.Sequential([bp.Input((20, 3), layout="NLC"), bp.Augment(shift=1)]),
            r"Augment takes images, and layer 'input0' gives sequences, rows \(20, 3\)",
        ),
        (lambda: bp.Augment().apply(np.zeros((1, 3, 5, 5)), layout="HW"), "layout for x"),
        (lambda: bp.Augment().apply(np.zeros((3, 5))), "Augment takes images"),
        (lambda: bp.Augment().apply(np.zeros((0, 1, 5, 5))), "x is empty"),
        (lambda: bp.Augment().apply([["a"]]), "strings"),
        (
            lambda: bp.Augment().apply([[[1.0, 2.0], [np.nan, 3.0]]]),
            r"x\[0\] is nan at \(1, 0\) of its shape \(2, 2\): every value must be finite",
        ),
        (lambda: bp.Normalize(0, 0), "Normalize: std must be above 0"),
        (lambda: bp.Normalize([], 1), "Normalize: mean is empty"),
        (lambda: bp.Normalize([1, 2], [1, 2, 3]), "2 and 3 channels"),
        (
            lambda: bp.Sequential([bp.Input((3, 4, 4)), bp.Normalize([1, 2], 1)]),
            r"'normalize0'.*2 channels.*\(3, 4, 4\) of layer 'input0' have 3: give one number, or",
        ),
        (
            lambda: bp.Sequential([bp.Input((8, 8, 3)), bp.Normalize([1, 2, 3], 1)]),
            r"3 channels.*\(8, 8, 3\).* have 8: .*say bp.Input\(\(8, 8, 3\), layout='NHWC'\)",
        ),
        (
            lambda: bp.Sequential([bp.Input((3, 4, 4)), bp.Augment(), bp.Normalize(1, 1)]),
            "directly behind bp.Input and before bp.Augment",
        ),
    ],
)
def test_mistakes(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
