"""What layers of one's own do with weights: products, sums beside them, weights that are computed
and weights that are read several times, against NumPy, `bp.grad` and the built-in layers."""

from __future__ import annotations

import numpy as np
import pytest

import pybp as bp
from pybp import ops as o

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 7))
Y = RNG.normal(size=(50, 3))


FORMULAS = {
    "x w' / |w|": lambda o, x, w: x @ (w / o.sqrt(o.sum(w * w, axis=1, keepdims=True))).T,
    "x w' w": lambda o, x, w: (x @ (w.T @ w))[:3],
    "x + sum w w": lambda o, x, w: x[:3] + o.sum(w * w, axis=1),
    "(x w')^2 + sum w sin w": lambda o, x, w: (x @ w.T) * (x @ w.T) + o.sum(w * o.sin(w)),
}


class Formula(bp.TrainedLayer):
    """A function of rows and a weight, which reads the weight several times."""

    def __init__(self, formula, name=None):
        super().__init__(name)
        self.formula = formula

    def build(self, x, name):
        w = self.weight(f"{name}.weight", (3, x.shape[-1]), "glorot")
        return FORMULAS[self.formula](o, x, w)


# With m, which is `bp.ops` or NumPy: what may stand beside a product of rows with a weight [3, 3].
ADDENDS = {
    "the rows": lambda m, x, w, b: x,
    "a bias": lambda m, x, w, b: b,
    "part of a bias": lambda m, x, w, b: b[:1],
    "a function of a bias": lambda m, x, w, b: m.tanh(b),
    "a part of the weight": lambda m, x, w, b: w[:, 0],
    "an array": lambda m, x, w, b: np.arange(3.0),
    "a number": lambda m, x, w, b: 2.5,
    "the product again": lambda m, x, w, b: x @ w.T,
    "rows times a bias": lambda m, x, w, b: x * b,
    "means of rows": lambda m, x, w, b: m.mean(x, -1, keepdims=True),
}


class Sum(bp.TrainedLayer):
    """x w' + addend, or addend + x w'."""

    def __init__(self, addend, first, name=None):
        super().__init__(name)
        self.addend, self.first = addend, first

    def build(self, x, name):
        w = self.weight(f"{name}.w", (3, 3), "glorot")
        b = self.bias(f"{name}.b", (3,), 0.3)
        other = ADDENDS[self.addend](o, x, w, b)
        return x @ w.T + other if self.first else other + x @ w.T


class Convolution(bp.TrainedLayer):
    """bp.Conv2D by bp.ops; `computed` weights go another way."""

    has_rows = True

    def __init__(self, filters, kernel_size, computed=False, name=None, **how):
        super().__init__(name)
        self.filters, self.kernel_size, self.computed, self._how = (
            filters,
            kernel_size,
            computed,
            how,
        )

    def build(self, x, name):
        channels = x.shape[0 if x.layout == "NCHW" else -1] // self._how.get("groups", 1)
        shape = (self.filters, channels, self.kernel_size, self.kernel_size)
        w = self.weight(f"{name}.weight", shape, "he")
        return o.relu(o.conv2d(x, w * 1.0 if self.computed else w, **self._how))


@pytest.mark.parametrize("addend", ADDENDS)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_no_addend_of_a_product_is_lost(addend, first, shape):
    """Predictions are NumPy's, and a step of gradient descent follows differences of NumPy's loss:
    `gradcheck` looks at the plan alone, which may be wrong as a whole."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, *shape)), rng.normal(size=(6, *shape))
    model = bp.Sequential([bp.Input(shape), Sum(addend, first, name="own")])
    model.compile(bp.optim.SGD(0.1), loss="mse", dtype="float64", seed=0)
    before = {"own.b": np.full(3, 0.3)} | {k: v.copy() for k, v in model.parameters.items()}

    def value(given):
        w, b = given["own.w"], given["own.b"]
        return x @ w.T + ADDENDS[addend](np, x, w, b)

    np.testing.assert_allclose(model.predict(x), value(before), rtol=1e-12, atol=1e-12)
    model.fit(x, y, epochs=1, batch_size=6, verbose=0)
    for name, after in model.parameters.items():
        slope = np.zeros(after.shape)
        for at in np.ndindex(after.shape):
            for step in (1e-5, -1e-5):
                moved = before | {name: before[name].copy()}
                moved[name][at] += step
                slope[at] += np.mean((value(moved) - y) ** 2) / (2 * step)
        np.testing.assert_allclose(after, before[name] - 0.1 * slope, atol=1e-8)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("layers", [1, 2])
def test_a_weight_may_be_read_several_times(formula, layers):
    """One step of gradient descent, against the gradient of the same function."""
    layer = Formula(formula, name="own")
    inner, fixed = bp.Input(7), bp.Dense(7, trainable=False, name="fixed")
    outer = layer(fixed(layer(inner))) if layers == 2 else layer(inner)
    model = bp.Model(inner, outer)
    model.compile(bp.optim.SGD(0.1), loss="mse", dtype="float64", seed=0)
    before = {name: value.copy() for name, value in model.parameters.items()}

    def loss(w):
        rows = []
        for x in X:
            h = FORMULAS[formula](o, o.constant(x), w)
            if layers == 2:
                h = h @ before["fixed.weight"].T + before["fixed.bias"]
                h = FORMULAS[formula](o, h, w)
            rows.append(h)
        return o.mean((o.stack(rows) - Y) ** 2)

    model.fit(X, Y, epochs=1, batch_size=len(X), verbose=0)
    w = before["own.weight"]
    np.testing.assert_allclose(
        model.parameters["own.weight"], w - 0.1 * bp.grad(loss)(w), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "how",
    [{}, {"padding": 1}, {"stride": 2, "padding": (2, 0)}, {"dilation": (1, 2)}, {"groups": 2}],
    ids=str,
)
def test_a_custom_convolution_is_the_built_in_one(layout, how):
    """And one whose weights are computed gives the same numbers."""
    shape = (4, 9, 8) if layout == "NCHW" else (9, 8, 4)
    x, y = RNG.normal(size=(37, *shape)), RNG.normal(size=(37, 2))
    found = []
    for first in (
        bp.Conv2D(6, 3, activation="relu", use_bias=False, weight_init="he", **how),
        Convolution(6, 3, **how),
        Convolution(6, 3, computed=True, **how),
    ):
        layers = [first, bp.MaxPool2D(2), bp.Flatten(), bp.Dense(2)]
        model = bp.Sequential([bp.Input(shape, layout=layout), *layers])
        model.compile(bp.optim.SGD(0.01, momentum=0.9), loss="mse", dtype="float64", seed=0)
        model.fit(x, y, epochs=3, batch_size=10, verbose=0)
        found.append([*model.parameters.values(), model.predict(x)])
    for built_in, own, computed in zip(*found, strict=True):
        np.testing.assert_array_equal(own, built_in)
        np.testing.assert_allclose(computed, built_in, rtol=1e-7, atol=1e-9)


class WeightNorm(bp.TrainedLayer):
    """Convolutions by weights g v / |v|, which are read three times over."""

    def build(self, x, name):
        v = self.weight(f"{name}.v", (x.shape[0], x.shape[0], 3, 3), "glorot")
        g = self.weight(f"{name}.g", (x.shape[0], 1, 1, 1), 1.0)
        w = g * v / o.sqrt(o.sum(v * v, axis=(1, 2, 3), keepdims=True))
        h = o.tanh(o.conv2d(x, w, padding=1))
        return o.conv2d(h, w, padding=1, stride=2) + o.mean(w)


def weight_normed(rows=6):
    layers = [WeightNorm(), bp.Conv2D(3, 1, activation="relu"), WeightNorm()]
    model = bp.Sequential([bp.Input((3, 9, 8), layout="NCHW"), *layers, bp.Flatten(), bp.Dense(2)])
    model.compile(bp.optim.Adam(0.01), loss="mse", dtype="float64", seed=0)
    rng = np.random.default_rng(1)
    return model, rng.normal(size=(rows, 3, 9, 8)), rng.normal(size=(rows, 2))


def test_gradients_through_computed_weights_are_differences():
    assert bp.testing.gradcheck(*weight_normed())


def test_computed_weights_train_to_the_same_bits_on_any_number_of_threads():
    found = []
    for threads in (1, 2, 3):
        bp.set_num_threads(threads)
        model, x, y = weight_normed(70)
        model.fit(x, y, epochs=2, batch_size=40, verbose=0)
        found.append(model.predict(x).tobytes())
    assert len(set(found)) == 1


class Convolution1D(Convolution):
    """bp.Conv1D by bp.ops."""

    def build(self, x, name):
        channels = x.shape[0 if x.layout == "NCL" else -1] // self._how.get("groups", 1)
        w = self.weight(f"{name}.weight", (self.filters, channels, self.kernel_size), "he")
        return o.conv1d(x, w * 1.0 if self.computed else w, **self._how)


@pytest.mark.parametrize("how", [{}, {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}])
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("layout", ["NCL", "NLC"])
def test_conv1d_is_the_layer(layout, computed, how):
    shape = (4, 11) if layout == "NCL" else (11, 4)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(9, *shape)), rng.normal(size=(9, 2))
    found = []
    for layer in (
        Convolution1D(6, 3, computed, name="c", **how),
        bp.Conv1D(6, 3, use_bias=False, name="c", **how),
    ):
        parts = [bp.Input(shape, layout=layout), layer, bp.BatchNorm(), bp.Flatten(), bp.Dense(2)]
        model = bp.Sequential(parts)
        model.compile(bp.optim.SGD(0.1), loss="mse", dtype="float64", seed=0)
        weight = model.parameters["c.weight"]
        weight[...] = np.linspace(-1, 1, weight.size).reshape(weight.shape) ** 3
        model.fit(x, y, epochs=2, batch_size=4, shuffle=False, verbose=0)
        found.append((weight.copy(), model.predict(x)))
    for mine, layers in zip(*found, strict=True):
        np.testing.assert_allclose(mine, layers, rtol=1e-9)
