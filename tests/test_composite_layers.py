"""Layers that call other layers in `build`."""

import numpy as np
import pytest

import pybp as bp
from pybp import ops as o
from pybp.parameters import frozen

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 5))
Y = RNG.normal(size=(40, 2))
IMAGES = RNG.uniform(size=(20, 8, 8, 3))


class Block(bp.Layer):
    """x + Dense(relu(Dense(x)))."""

    def __init__(self, units, name=None):
        super().__init__(name)
        self.units = units

    def build(self, x, name):
        h = bp.Dense(self.units, "relu")(x)
        return x + bp.Dense(x.shape[-1])(h)


class Pair(bp.Layer):
    """Two blocks."""

    def build(self, x, name):
        return Block(3, name="last")(Block(2)(x))


class Residual(bp.TrainedLayer):
    """Convolutions, one of them used twice, with statistics of their own."""

    def __init__(self, filters, name=None, **training):
        super().__init__(name, **training)
        self.filters = filters

    def build(self, x, name):
        channels = x.shape[0 if x.layout == "NCHW" else -1]
        h = o.relu(bp.BatchNorm()(bp.Conv2D(self.filters, 3, padding="same")(x)))
        again = bp.Conv2D(channels, 1)
        scale = self.weight(f"{name}.scale", (), 1.0)
        return x + scale * again(again(o.relu(again(h[:channels] if x.layout == "NCHW" else h))))


def compiled(model, loss="mse"):
    model.compile(bp.optim.SGD(0.05, momentum=0.9), loss, dtype="float64", seed=0)
    return model


def written_out():
    x = bp.Input(5)
    h = x
    for i in range(2):
        inner = bp.Dense(7, "relu", name=f"up{i}")(h)
        h = h + bp.Dense(5, name=f"down{i}")(inner)
    return compiled(bp.Model(x, bp.Dense(2, name="out")(h)))


def test_every_use_has_parameters_of_its_own_and_trains_like_its_parts(tmp_path):
    model = compiled(bp.Sequential([bp.Input(5), Block(7), Block(7), bp.Dense(2)]))
    names = [f"block{i}.dense{k}.{p}" for i in (0, 1) for k in (0, 1) for p in ("weight", "bias")]
    assert list(model.parameters) == [*names, "dense0.weight", "dense0.bias"]
    plain = written_out()
    for mine, theirs in zip(plain.parameters.values(), model.parameters.values(), strict=True):
        mine[...] = theirs
    for net in (model, plain):
        net.fit(X, Y, epochs=3, batch_size=16, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))

    model.save(tmp_path / "model")
    again = bp.load(tmp_path / "model", custom=[Block])
    for net in (model, again):
        net.fit(X, Y, epochs=1, batch_size=16, verbose=0)
    np.testing.assert_array_equal(model.predict(X), again.predict(X))


def test_blocks_nest():
    model = compiled(bp.Sequential([bp.Input(5), Pair(), Pair(), bp.Dense(2)]))
    assert {name.rsplit(".", 2)[0] for name in model.parameters if "pair" in name} == {
        f"pair{i}.{part}" for i in (0, 1) for part in ("block0", "last")
    }
    assert bp.testing.gradcheck(model, X[:6], Y[:6])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_residual_block_of_images(layout):
    x = IMAGES if layout == "NHWC" else IMAGES.transpose(0, 3, 1, 2)
    layers = [Residual(3), Residual(3, trainable=False), bp.GlobalAveragePool2D(), bp.Dense(2)]
    model = compiled(bp.Sequential([bp.Input(x.shape[1:], layout=layout), *layers]))
    assert list(model.buffers) == [
        f"residual{i}.batchnorm0.{what}" for i in (0, 1) for what in ("mean", "variance")
    ]
    assert frozen(model) == [
        f"residual1{part}" for part in ("", ".conv2d0", ".batchnorm0", ".conv2d1")
    ]
    before = {name: value.copy() for name, value in model.parameters.items()}
    model.fit(x, Y[:20], epochs=2, batch_size=8, verbose=0)
    for name, value in model.parameters.items():
        assert np.array_equal(value, before[name]) == name.startswith("residual1"), name
    convolution = 3 * 3 * 9 + 3
    assert f"{convolution + 6 + 3 * 3 + 3 + 1:,}" in model.summary().splitlines()[3]


def test_both_layouts_give_the_same():
    found = []
    for layout in ("NCHW", "NHWC"):
        x = IMAGES if layout == "NHWC" else IMAGES.transpose(0, 3, 1, 2)
        layers = [bp.Input(x.shape[1:], layout=layout), Residual(3), bp.GlobalAveragePool2D()]
        model = compiled(bp.Sequential([*layers, bp.Dense(2)]))
        model.fit(x, Y[:20], epochs=2, batch_size=8, shuffle=False, verbose=0)
        found.append(model.predict(x))
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-11)


def test_freezing_takes_the_whole_block():
    model = compiled(bp.Sequential([bp.Input(5), Block(7), Block(7), bp.Dense(2)]))
    model.freeze("block0")
    assert frozen(model) == ["block0.dense0", "block0.dense1"]
    model.unfreeze(model.layers[1])
    assert frozen(model) == []
    model.freeze("block1.dense0")
    assert frozen(model) == ["block1.dense0"]


def test_activations_may_call_layers():
    def gated(x):
        return x * bp.Dense(x.shape[-1], "sigmoid")(x)

    layers = [bp.Dense(4, gated), bp.Dense(4, gated)]
    model = compiled(bp.Sequential([bp.Input(5), *layers, bp.Dense(2)]))
    assert [name for name in model.parameters if name.endswith("weight")] == [
        *("dense0.weight", "dense0.dense0.weight", "dense1.weight", "dense1.dense0.weight"),
        "dense2.weight",
    ]
    model.fit(X, Y, epochs=1, verbose=0)


class Nameless(bp.TrainedLayer):
    def build(self, x, name):
        return x @ self.weight("w", (x.shape[-1], 2))


class Twins(bp.Layer):
    def build(self, x, name):
        return bp.Dense(2, name="a")(x) + bp.Dense(2, name="a")(x)


class Wrong(bp.Layer):
    def build(self, x, name):
        return bp.add([bp.Dense(2)(x), bp.Dense(3)(x)])


class Whole(bp.Layer):
    def build(self, x, name):
        return MODEL(x)


MODEL = compiled(bp.Sequential([bp.Input(5), bp.Dense(2)]))


@pytest.mark.parametrize(
    "layer, said",
    [
        (Nameless, r"layer 'nameless0': its parameter 'w' needs a name that begins with"),
        (Twins, r"layer 'twins0'.*two layers named 'a'"),
        (Wrong, r"layer 'wrong0.add0'.*'wrong0.dense0'.*\(2,\).*'wrong0.dense1'.*\(3,\)"),
        (Whole, r"layer 'whole0': a compiled model cannot be called while a layer is built"),
    ],
)
def test_mistakes(layer, said):
    with pytest.raises(ValueError, match=said):
        bp.Sequential([bp.Input(5), layer()])
    with pytest.raises(ValueError, match=said):
        layer()(bp.Input(5))
