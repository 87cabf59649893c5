"""Messages name what was joined that does not fit: the layers, the shapes and a remedy."""

import numpy as np
import pytest

import pybp as bp
from pybp import ops as o

FLAT = bp.Input(4, name="flat")
WIDE, NARROW = bp.Dense(5)(FLAT), bp.Dense(3)(FLAT)
IMAGE = bp.Input((3, 8, 8), layout="NCHW", name="image")
MAPS = bp.Conv2D(4, 3)(IMAGE)
BOTH = [["(5,) of layer 'dense0'", "(3,) of layer 'dense1'"], ValueError]


def sub_model(shape, *layers, **how):
    return bp.Sequential([bp.Input(shape, **how), *layers])


def two_inputs():
    left, right = bp.Input(3, name="left"), bp.Input(4, name="right")
    return bp.Model([left, right], bp.concat([left, right]))


def shared():
    layer = bp.Dense(5, name="both")
    return bp.Model(FLAT, bp.concat([layer(WIDE), layer(NARROW)]))


CASES = {
    "matmul": (lambda: o.matmul(WIDE, NARROW), *BOTH),
    "stack": (lambda: o.stack([WIDE, NARROW]), *BOTH),
    "add": (lambda: WIDE + NARROW, *BOTH),
    "einsum": (lambda: o.einsum("i,i->", WIDE, NARROW), *BOTH),
    "dot": (lambda: o.dot(WIDE, np.ones(2)), ["(5,) of layer 'dense0' and (2,)"], ValueError),
    "concatenate": (
        lambda: o.concatenate([MAPS, IMAGE], 0),
        ["(4, 6, 6) of layer 'conv2d0'", "(3, 8, 8) of layer 'image'"],
        ValueError,
    ),
    "conv2d": (
        lambda: o.conv2d(MAPS, np.ones((2, 3, 3, 3))),
        ["(4, 6, 6) of layer 'conv2d0'", "(2, 3, 3, 3)", "[C, H, W]"],
        ValueError,
    ),
    "a kernel of conv2d": (
        lambda: o.conv2d(MAPS, np.ones((2, 4, 9, 3))),
        ["spans (9, 3)", "(6, 6)", "(4, 6, 6) of layer 'conv2d0'"],
        ValueError,
    ),
    "reshape": (lambda: o.reshape(WIDE, (2, 3)), ["(5,) of layer 'dense0'", "(2, 3)"], ValueError),
    "broadcast_to": (lambda: o.broadcast_to(WIDE, (2, 3)), ["(5,) of layer 'dense0'"], ValueError),
    "pad": (lambda: o.pad(WIDE, [(0, 1)] * 2), ["(5,) of layer 'dense0'"], ValueError),
    "pad's widths": (
        lambda: o.pad(MAPS, -1),
        ["bp.ops.pad", "(4, 6, 6) of layer 'conv2d0'", "3 pairs of whole numbers >= 0", "got -1"],
        ValueError,
    ),
    "tril": (
        lambda: o.tril(WIDE),
        ["bp.ops.tril", "(5,) of layer 'dense0'", "matrices", "bp.ops.expand_dims"],
        ValueError,
    ),
    "triu": (lambda: o.triu(WIDE), ["bp.ops.triu", "(5,) of layer 'dense0'"], ValueError),
    "diff": (
        lambda: o.diff(NARROW, 3),
        ["bp.ops.diff", "(3,) of layer 'dense0'", "at most 2"],
        ValueError,
    ),
    "squeeze": (lambda: o.squeeze(WIDE, 0), ["(5,) of layer 'dense0'"], ValueError),
    "index": (lambda: WIDE[7], ["index 7", "length 5", "(5,) of layer 'dense0'"], IndexError),
    "slice": (lambda: WIDE[3:3], ["leaves nothing", "(5,) of layer 'dense0'"], IndexError),
    "a sub-model's width": (
        lambda: sub_model(6, bp.Dense(2))(WIDE),
        ["'input0'", "(6,)", "layer 'dense0' has (5,)"],
        ValueError,
    ),
    "a sub-model's layout": (
        lambda: sub_model((3, 8, 8), bp.Conv2D(2, 3), layout="NCHW")(
            bp.Input((3, 8, 8), layout="NHWC", name="other")
        ),
        ["(3, 8, 8), NCHW", "layer 'other' has (3, 8, 8), NHWC"],
        ValueError,
    ),
    "too few for a sub-model": (
        lambda: two_inputs()(WIDE),
        ["takes 2 inputs", "'left' of shape (3,), 'right' of shape (4,)", "got 1"],
        ValueError,
    ),
    "an input that nothing reads": (
        lambda: bp.Model([FLAT, bp.Input(7, name="idle")], WIDE),
        ["'idle' of shape (7,)", "connect it"],
        ValueError,
    ),
    "a shared layer": (
        shared,
        ["'both'", "(5,), from 'dense0'", "(3,), from 'dense1'", "(5, 5) and (5, 3)"],
        ValueError,
    ),
    "filters in groups": (
        lambda: bp.Conv2D(3, 3, groups=2)(MAPS),
        ["3 filters, of the 4 channels of layer 'conv2d0'", "groups=2"],
        ValueError,
    ),
    "channels in groups": (
        lambda: bp.GroupNorm(3)(MAPS),
        ["the 4 channels of layer 'conv2d0' (rows (4, 6, 6), NCHW)", "give a number"],
        ValueError,
    ),
    "images beside flat rows": (
        lambda: bp.concat([MAPS, WIDE]),
        ["'concat0': 'conv2d0' gives rows of shape (4, 6, 6)", "'dense0' of shape (5,)", "Flatten"],
        ValueError,
    ),
    "images of two sizes": (
        lambda: bp.concat([MAPS, IMAGE], axis=0),
        ["axis 0", "'conv2d0' gives rows of shape (4, 6, 6)", "'image' of shape (3, 8, 8)"],
        ValueError,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_named(case):
    make, words, error = CASES[case]
    with pytest.raises(error) as caught:
        make()
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


def test_a_mistake_in_a_call_is_told_once():
    with pytest.raises(ValueError, match="'conv2d0'") as caught:
        bp.Conv2D(4, 3)(WIDE)
    assert caught.value.__suppress_context__


def test_a_pixel_that_is_not_a_number_is_named_by_its_place():
    model = sub_model((3, 8, 8), bp.Conv2D(2, 3), bp.Flatten(), layout="NCHW")
    model.compile(loss="mse")
    x = np.zeros((4, 3, 8, 8))
    x[2, 1, 3, 4] = np.nan
    with pytest.raises(ValueError, match=r"x\[2\] is nan at \(1, 3, 4\) of its shape \(3, 8, 8\)"):
        model.predict(x)
    good = x[np.isfinite(x).reshape(len(x), -1).all(axis=1)]  # as the message says
    assert model.predict(good).shape == (3, 72)


def test_a_class_of_a_users_may_have_the_name_of_one_of_ours(tmp_path):
    class Dense(bp.Layer):
        def build(self, x, name):
            return 2 * x

    model = sub_model(3, Dense(), bp.Dense(3))
    model.compile(loss="mse", seed=0)
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(bp.errors.MissingCustomError, match=r"layer 'Dense'.*custom=\[Dense\]"):
        bp.load(tmp_path / "m.safetensors")
    loaded = bp.load(tmp_path / "m.safetensors", custom=[Dense])
    x = np.ones((2, 3))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
