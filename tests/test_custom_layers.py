"""Layers, losses and activations that a user writes: as exact and calm as the built-in ones."""

from __future__ import annotations

import numpy as np
import pytest

import pybp as bp
from pybp import ops as o
from pybp.errors import MissingCustomError, ModelFileError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 7))
Y = RNG.normal(size=(50, 3))
LABELS = RNG.integers(0, 3, 50)
CALLS: list[str] = []


class Affine(bp.TrainedLayer):
    """A fully connected layer, with its weight [O, I], or [I, O] when it is turned."""

    has_rows = True

    def __init__(self, units, turned=False, name=None, **training):
        super().__init__(name, **training)
        self.units, self.turned = units, turned

    def build(self, x, name):
        CALLS.append(name)
        inputs = x.shape[-1]
        shape = (inputs, self.units) if self.turned else (self.units, inputs)
        w = self.weight(f"{name}.weight", shape, "glorot")
        b = self.bias(f"{name}.bias", (self.units,))
        return o.tanh(x @ (w if self.turned else w.T) + b)


class Normalise(bp.Layer):
    """(x - mean) / sqrt(variance + eps) of every row."""

    def __init__(self, eps=1e-5, name=None):
        super().__init__(name)
        self.eps = eps

    def build(self, x, name):
        apart = x - x.mean(-1, keepdims=True)
        return apart * o.rsqrt(o.mean(apart**2, -1, keepdims=True) + self.eps)


class Attention(bp.TrainedLayer):
    """Single-head self-attention over rows [T, C]."""

    def build(self, x, name):
        t, c = x.shape
        q, k, v = (x @ self.weight(f"{name}.{part}", (c, c)) for part in "qkv")
        mixed = o.softmax(q @ o.swapaxes(k, 0, 1) / c**0.5 - 1e9 * np.triu(np.ones((t, t)), 1))
        return x + mixed @ v


def squared(y_true, y_pred):
    return (y_pred - y_true) ** 2


def negative_log(y_true, y_pred):
    return -o.take(o.log_softmax(y_pred), y_true)


def swish(x):
    return x * o.sigmoid(x)


def model(*layers, loss="mse", dtype="float64", **how):
    net = bp.Sequential([bp.Input(X.shape[1:]), *layers])
    net.compile(bp.optim.Adam(0.01), loss, dtype=dtype, seed=1, **how)
    return net


def trained(net, y=Y, epochs=4, **how):
    net.fit(X, y, epochs=epochs, batch_size=8, verbose=0, **how)
    return net.predict(X)


@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_custom_dense_layer_trains_as_the_built_in_one(dtype, close, turned):
    own = model(Affine(16, turned, name="a"), bp.Dense(3), dtype=dtype)
    built_in = model(bp.Dense(16, "tanh", name="a"), bp.Dense(3), dtype=dtype)
    first = built_in.parameters["a.weight"]
    own.parameters["a.weight"][...] = first.T if turned else first
    np.testing.assert_allclose(trained(own), trained(built_in), atol=close)


def test_a_product_with_a_weight_and_its_activation_are_the_same_instruction_as_dense():
    from pybp.lower import lower
    from pybp.request import Request

    net = model(Affine(16), bp.Dense(3))
    lowered = lower(Request(8, output=net._output), net._require("test"))
    assert [k["op"] for k in lowered.instructions] == ["feed", "dense", "dense"]
    assert lowered.instructions[1]["activation"][0] == "tanh"


def test_a_custom_loss_is_the_built_in_one():
    for loss, name, y, width in [
        (squared, "mse", Y, 3),
        (negative_log, "cross_entropy", LABELS, 3),
    ]:
        for weight in (None, RNG.uniform(0, 2, 50) * (RNG.random(50) < 0.8)):
            own = model(bp.Dense(width), loss=loss, metrics=["accuracy"] if y is LABELS else [])
            built_in = model(
                bp.Dense(width), loss=name, metrics=["accuracy"] if y is LABELS else []
            )
            found, expected = (
                (trained(net, y, sample_weight=weight), net.evaluate(X, y, weight))
                for net in (own, built_in)
            )
            np.testing.assert_allclose(found[0], expected[0], atol=1e-12)
            assert found[1] == pytest.approx(expected[1], rel=1e-12)


def test_a_custom_loss_of_rows_of_any_shape():
    """Two numbers of each target for a mixture of one output's mean and width."""
    net = model(
        bp.Dense(2), loss=lambda t, y: o.exp(-y[1]) * (t[0] - y[0]) ** 2 + y[1] + 0 * t[1] * t[2]
    )
    losses = net.fit(X, Y, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    weighed = net.evaluate(X, Y, sample_weight=np.arange(50.0))["loss"]
    rows = [net.evaluate(X[[i]], Y[[i]])["loss"] for i in range(50)]
    assert weighed == pytest.approx(np.average(rows, weights=np.arange(50.0)), rel=1e-12)


def test_class_weights_of_a_custom_loss():
    weights = {0: 1.0, 1: 3.0, 2: 0.5}
    own, built_in = (
        trained(model(bp.Dense(3), loss=loss), LABELS, class_weight=weights)
        for loss in (negative_log, "cross_entropy")
    )
    np.testing.assert_allclose(own, built_in, atol=1e-12)


def test_a_custom_activation_is_the_built_in_one():
    how = {"weight_init": "glorot"}
    expected = trained(model(bp.Dense(16, "silu", name="a", **how), bp.Dense(3)))
    for layers in (
        [bp.Dense(16, swish, name="a", **how)],
        [bp.Dense(16, bp.Activation(swish), name="a", **how)],
        [bp.Dense(16, name="a", **how), bp.Activation(swish)],
    ):
        np.testing.assert_allclose(trained(model(*layers, bp.Dense(3))), expected, atol=1e-12)


def test_a_custom_normalisation_is_the_built_in_one():
    own = trained(model(bp.Dense(16), Normalise(1e-5), bp.Dense(3)))
    built_in = trained(model(bp.Dense(16), bp.LayerNorm(1e-5, affine=False), bp.Dense(3)))
    np.testing.assert_allclose(own, built_in, atol=1e-11)


def test_gradients_of_custom_layers_are_differences():
    rows = RNG.normal(size=(6, 5, 4))
    net = bp.Sequential(
        [bp.Input((5, 4)), Attention(name="mix"), Normalise(), Affine(2), bp.Dense(3, swish)]
    )
    net.compile(loss=squared, dtype="float64", seed=0)
    found = bp.testing.gradcheck(net, rows, RNG.normal(size=(6, 15)))
    assert found.error < 1e-6
    assert {"mix.q", "mix.k", "mix.v"} <= set(found.errors)


def test_a_broken_derivative_is_flagged():
    def forgetful(x):
        return o.tanh(o.stop_gradient(x)) + 0.5 * x - o.stop_gradient(0.5 * x)

    net = model(bp.Dense(5, forgetful), bp.Dense(3))
    with pytest.raises(AssertionError, match=r"gradient of dense0\.\w+"):
        bp.testing.gradcheck(net, X, Y)


def test_build_and_losses_are_called_once_however_long_the_training():
    calls = []

    def counted(y_true, y_pred):
        calls.append("loss")
        return squared(y_true, y_pred)

    CALLS.clear()
    net = model(Affine(8), bp.Dense(3), loss=counted)
    net.fit(X, Y, epochs=30, batch_size=4, verbose=0)
    net.predict(X)
    net.evaluate(X, Y)
    assert (len(CALLS), len(calls)) == (1, 1)


def test_any_number_of_threads_gives_the_same_bits():
    rows, y = RNG.normal(size=(512, 12, 20)), RNG.normal(size=(512, 12, 30))
    found = []
    for threads in (1, 2, 3, 4):
        bp.set_num_threads(threads)
        layers = [Attention(), Normalise(), Affine(40, turned=True), bp.Dense(30, swish)]
        net = bp.Sequential([bp.Input((12, 20)), *layers])
        net.compile(bp.optim.SGD(0.1, momentum=0.9), squared, seed=3)
        net.fit(rows, y.reshape(512, -1), epochs=2, batch_size=128, verbose=0)
        found.append(b"".join(p.tobytes() for p in net.parameters.values()))
    assert found[0] == found[1] == found[2] == found[3]


@pytest.mark.parametrize(
    "optimizer", ["sgd", bp.optim.Adam(0.01, clip_norm=0.5), bp.optim.Adam(accumulate=2)]
)
def test_other_optimisers(optimizer):
    own = model(Affine(6, turned=True, name="a"), bp.Dense(3))
    built_in = model(bp.Dense(6, "tanh", name="a"), bp.Dense(3))
    for net in (own, built_in):
        net.compile(optimizer, squared if net is own else "mse", dtype="float64")
    own.parameters["a.weight"][...] = built_in.parameters["a.weight"].T
    np.testing.assert_allclose(trained(own, epochs=3), trained(built_in, epochs=3), atol=1e-9)


def test_full_batches():
    own, built_in = model(bp.Dense(3), loss=squared), model(bp.Dense(3))
    for net in (own, built_in):
        net.compile("lbfgs", net._goals[0].loss, dtype="float64")
        net.fit(X, Y, epochs=4, batch_size=50, verbose=0)
    np.testing.assert_allclose(own.predict(X), built_in.predict(X), atol=1e-9)


def test_frozen_custom_layers_stay():
    net = model(Affine(6, name="a"), Affine(6, turned=True, name="b", trainable=False), bp.Dense(3))
    net.freeze("a")
    before = {name: p.copy() for name, p in net.parameters.items()}
    trained(net)
    moved = [name for name, p in net.parameters.items() if not np.array_equal(p, before[name])]
    assert moved == ["dense0.weight", "dense0.bias"]


def test_penalties_and_learning_rates_of_custom_parameters():
    how = {
        "weight_regularizer": bp.regularizers.L2(0.1),
        "learning_rate_factor": 0.5,
        "max_norm": 1.0,
    }
    own = trained(model(Affine(6, name="a", **how), bp.Dense(3)))
    built_in = trained(model(bp.Dense(6, "tanh", name="a", **how), bp.Dense(3)))
    np.testing.assert_allclose(own, built_in, atol=1e-12)


# -- files -----------------------------------------------------------------------------------------


def whole():
    return model(Affine(6, name="a"), Normalise(1e-4), bp.Dense(3, swish), loss=squared)


def test_a_saved_training_goes_on_to_the_same_bits(tmp_path):
    path = tmp_path / "own.safetensors"
    net = whole()
    trained(net)
    net.save(path)
    again = bp.load(path, custom=[Affine, Normalise, swish, squared])
    assert again.layers[1].config()["units"] == 6
    np.testing.assert_array_equal(trained(net), trained(again))


def test_functions_may_be_given_by_name(tmp_path):
    path = tmp_path / "own.safetensors"
    net = model(bp.Dense(3, lambda x: x * o.sigmoid(x)), loss=squared)
    net.save(path)
    with pytest.raises(MissingCustomError, match="<lambda>"):
        bp.load(path, custom=[squared])
    net = model(bp.Dense(3, swish), loss=squared)
    net.save(path)
    given = {"swish": lambda x: x * o.sigmoid(x), "squared": squared}
    np.testing.assert_array_equal(bp.load(path, custom=given).predict(X), net.predict(X))


def test_two_functions_of_one_name_are_not_saved(tmp_path):
    layers = [bp.Dense(3, lambda x: x * o.sigmoid(x)), bp.Dense(3, lambda x: o.where(x > 0, x, 0))]
    model = bp.Sequential([bp.Input(7), *layers])
    model.compile(loss="mse")
    with pytest.raises(ValueError, match=r"two functions are called '<lambda>'.*`def`"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    same = bp.Sequential([bp.Input(7), layers[0], bp.Dense(3, layers[0].activation)])
    same.compile(loss="mse")
    same.save(tmp_path / "model")


@pytest.mark.parametrize("missing", [Affine, Normalise, swish, squared])
def test_a_file_without_its_classes_names_them(tmp_path, missing):
    path = tmp_path / "own.safetensors"
    whole().save(path)
    given = [thing for thing in (Affine, Normalise, swish, squared) if thing is not missing]
    with pytest.raises(MissingCustomError, match=f"(?i){missing.__name__}.*custom=") as caught:
        bp.load(path, custom=given)
    assert isinstance(caught.value, ModelFileError)
    assert "damaged" not in str(caught.value)


# -- errors ----------------------------------------------------------------------------------------


class Broken(bp.Layer):
    def __init__(self, how, name=None):
        super().__init__(name)
        self._how = how

    def build(self, x, name):
        return self._how(x)


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        (lambda x: None, TypeError, "layer 'own': Broken.build must return a node.*NoneType"),
        (lambda x: x + np.ones(3), ValueError, r"layer 'own'.*\(7,\).*\(3,\)"),
        (lambda x: x if x > 0 else -x, TypeError, "layer 'own'.*bp.ops.where"),
        (lambda x: x @ np.ones((3, 2)), ValueError, r"layer 'own'.*7 != 3"),
        (lambda x: x[9], IndexError, "layer 'own'.*out of range"),
        (lambda x: np.tanh(x), TypeError, "layer 'own'.*bp.ops.tanh"),
    ],
)
def test_errors_in_build_name_the_layer(how, error, said):
    with pytest.raises(error, match=said):
        bp.Sequential([bp.Input(7), Broken(how, name="own"), bp.Dense(1)])


def test_errors_in_losses_and_activations():
    with pytest.raises(TypeError, match="activation '<lambda>' must give a symbolic value"):
        model(bp.Dense(3, lambda x: 3.0))
    with pytest.raises(ValueError, match=r"layer 'dense0': activation 'mean'.*\(\).*\(3,\)"):
        model(bp.Dense(3, o.mean))
    net = model(bp.Dense(3), loss=lambda t, y: 3.0)
    with pytest.raises(TypeError, match="must give a symbolic value"):
        net.fit(X, Y, verbose=0)
    net = model(bp.Dense(3), loss=lambda t, y: t @ y)
    with pytest.raises(ValueError, match=r"2.*3|3.*2"):
        net.fit(X, Y[:, :2], verbose=0)


class Total(bp.Layer):
    """One number of every row, without an axis."""

    def build(self, x, name):
        return o.sum(x)


def test_rows_that_are_single_numbers_are_rows_of_one():
    """As an output, and before layers that need an axis."""
    net = model(bp.Dense(5, "tanh", name="a"), Total(name="own"), metrics=["mae"])
    twin = model(bp.Dense(5, "tanh", name="a"), bp.Dense(1, use_bias=False, weight_init=1.0))
    twin.freeze("dense0")
    assert net.predict(X).shape == (50, 1)
    for y in (Y[:, 0], Y[:, :1]):
        np.testing.assert_allclose(trained(net, y), trained(twin, y), rtol=1e-9)
        assert net.evaluate(X, y)["loss"] == pytest.approx(twin.evaluate(X, y)["loss"])
    behind = model(Total(), bp.Dense(2, name="d"))
    expected = X.sum(1, keepdims=True) @ behind.parameters["d.weight"].T
    np.testing.assert_allclose(behind.predict(X), expected, rtol=1e-12)
    assert "(N)" in net.summary()


class Turn(bp.Layer):
    """Rows [H, W] as [W, H], the last one first."""

    def build(self, x, name):
        return x.T[::-1]


class TurnedProduct(bp.TrainedLayer):
    """Its output shows what is inside of it from another side."""

    def build(self, x, name):
        return (x @ self.weight(f"{name}.w", (3, x.shape[-1]), "glorot").T).T


def test_views_of_layers_that_are_views_stay_within_their_layer():
    def turned(rows):
        return rows.transpose(0, 2, 1)[:, ::-1]

    rows = RNG.normal(size=(5, 4, 6))
    x = bp.Input((4, 6))
    h = TurnedProduct(name="own")(x)
    outputs = [
        o.transpose(h),
        Turn(name="a")(Turn(name="b")(h)),
        o.reshape(h, (12,)),
        h.T @ np.ones((3, 2)),
        bp.Dense(2, name="d")(Turn(name="c")(h)),
    ]
    net = bp.Model(x, outputs)
    net.compile(loss="mse", dtype="float64", seed=0)
    inner = rows @ net.parameters["own.w"].T
    expected = [
        inner,
        turned(turned(inner.transpose(0, 2, 1))),
        inner.transpose(0, 2, 1).reshape(5, 12),
        inner @ np.ones((3, 2)),
        turned(inner.transpose(0, 2, 1)) @ net.parameters["d.weight"].T,
    ]
    for found, wanted in zip(net.predict(rows), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)
    assert list(net.parameters) == ["own.w", "d.weight", "d.bias"]
    chain = bp.Sequential(
        [bp.Input((4, 6)), bp.Dense(5), Turn(), Turn(), bp.Flatten(), bp.Dense(2)]
    )
    chain.compile(loss="mse", dtype="float64", seed=0)
    assert bp.testing.gradcheck(chain, rows, np.ones((5, 2)))
    assert set(chain.activations(rows)) == {step.name for step in chain.network.steps}


class Pairs(bp.TrainedLayer):
    """Every pixel twice, and three mixtures of its channels."""

    def build(self, x, name):
        assert x.shape == (1, 1, 1)
        return o.concatenate([x, x], 0) @ self.weight(f"{name}.w", (3, 1), "normal").T


def test_images_of_one_number_are_in_the_users_order_too():
    """(1, 1, 1) is itself in any order of axes, and what is made of it is not."""
    net = bp.Sequential([bp.Input((2, 2, 1), layout="NHWC"), bp.AveragePool2D(2), Pairs(name="a")])
    net.compile(loss="mse", dtype="float64", seed=0)
    rows = RNG.normal(size=(5, 2, 2, 1))
    expected = np.repeat(rows.mean((1, 2), keepdims=True), 2, axis=1) @ net.parameters["a.w"].T
    assert net.predict(rows).shape == (5, 2, 1, 3)
    np.testing.assert_allclose(net.predict(rows), expected, rtol=1e-12)


class Same(bp.TrainedLayer):
    """Rows that do not depend on the input: a parameter, something made of it, or constants."""

    def __init__(self, kind, name=None, **training):
        super().__init__(name, **training)
        self.kind = kind

    def build(self, x, name):
        if self.kind == "constant":
            return o.exp(np.arange(3.0))
        w = self.weight(f"{name}.weight", (3,))
        return w if self.kind == "parameter" else o.tanh(2 * w)


@pytest.mark.parametrize("behind", [(), (bp.Dense(3),), (bp.Dense(2, "tanh"), bp.Dense(3))])
@pytest.mark.parametrize("kind", ["constant", "parameter", "made"])
def test_a_layer_may_be_the_same_for_all_rows(kind, behind):
    net = model(Same(kind), *behind)
    rows = net.activations(X)["same0"]
    weight = net.parameters.get("same0.weight")
    row = {"constant": np.exp(np.arange(3)), "parameter": weight}.get(kind)
    np.testing.assert_allclose(rows, np.tile(np.tanh(2 * weight) if row is None else row, (50, 1)))
    if net.parameters:
        bp.testing.gradcheck(net, X, Y)
        trained(net)
        assert net.predict(X[:5]).shape == (5, 3)


@pytest.mark.parametrize("init", ["glorot", "he", "lecun"])
def test_a_weight_that_is_one_number_can_be_drawn(init):
    class Gain(bp.TrainedLayer):
        def build(self, x, name):
            return x * self.weight(f"{name}.gain", (), init)

    net = model(Gain(), bp.Dense(3))
    assert net.parameters["gain0.gain"].shape == ()
    bp.testing.gradcheck(net, X, Y)


class PlusOutside(bp.Layer):
    """Uses a node that it is not called on."""

    def __init__(self, outside, name=None):
        super().__init__(name)
        self._outside = outside

    def build(self, x, name):
        return x + 2 * self._outside


def test_values_from_outside_are_refused():
    """Nodes of no model would read whichever array is the first one."""
    x, z = bp.Input(2), bp.Input(2, name="z")
    with pytest.raises(ValueError, match=r"'plusoutside0'.*of layer 'z'.*merges = True"):
        PlusOutside(z)(x)
    with pytest.raises(ValueError, match=r"'dense0'.*'<lambda>' uses.*of layer 'z'.*one value"):
        bp.Dense(2, lambda v: v + z)(x)
    net = bp.Model([x, z], bp.concat([x, bp.Dense(1)(z)]))
    for outside in (z, 2 * bp.Dense(1)(x)):
        with pytest.raises(ValueError, match=r"loss '<lambda>' uses.*y_true and y_pred alone"):
            net.compile(loss=lambda y_true, y_pred, own=outside: o.mean(y_pred - y_true) + own)
            net.evaluate([X[:, :2], X[:, :2]], X[:, :3])
