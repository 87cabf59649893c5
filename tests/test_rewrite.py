"""What the compiler drops and fuses."""

import numpy as np
import pytest

import pybp as bp
from pybp import _core
from pybp.graph import Node, Parameter
from pybp.init import Normal
from pybp.lower import _Lowering, lower
from pybp.request import Request
from pybp.store import ParameterStore

ROWS = 5


def feed(width, source=0):
    return Node("feed", attrs={"source": source, "scale": 1.0}, shape=(width,))


def dense(x, name, units):
    parameter = Parameter(f"{name}.weight", (units, x.shape[-1]), Normal(1.0))
    return Node("dense", (x,), (parameter,), layer=name)


def dropout(x):
    return Node("dropout", (x,), attrs={"rate": 0.5})


def loss(y, target):
    return Node("squared_error", (y, target), attrs={"factor": 0.5, "mean": 0})


class Net:
    """relu(x a') twice dropped, then b, with the squared distance to the target."""

    def __init__(self, drop):
        self.x, target = feed(4), feed(3, source=1)
        self.z = dense(self.x, "a", 6)
        self.dropped = drop(self.z)
        self.h = Node("relu", (self.dropped,))
        self.last = drop(self.h)
        y = dense(self.last, "b", 3)
        self.loss, self.metric = loss(y, target), loss(self.h, feed(6, source=2))
        self.store = ParameterStore((*self.z.parameters, *y.parameters), np.dtype(np.float64))
        self.store.draw(3)
        self.gradient = self.store.new_vector()

    def lower(self, training=False, wrt=(), metrics=()):
        request = Request(
            ROWS,
            results=[self.loss, *metrics],
            backward=True,
            training=training,
            gradient=self.gradient,
            wrt=wrt,
            sources=3,
        )
        return lower(request, self.store)

    def run(self, lowered, nodes, gradients):
        rng = np.random.default_rng(0)
        bound = tuple(_core.Source(rng.normal(size=(ROWS, n))) for n in (4, 3, 6))
        wanted = [lowered.value(node) for node in nodes]
        wanted += [lowered.gradients[id(node)] for node in gradients]
        found = [np.array(a) for a in lowered.plan.once(bound, ROWS, wanted)]
        return [*found, np.array(self.gradient)]


DROPS = {
    "one": dropout,
    "two": lambda x: dropout(dropout(x)),
    "every kind": lambda x: Node(
        "gaussian_noise",
        (Node("alpha_dropout", (dropout(x),), attrs={"rate": 0.5}),),
        attrs={"stddev": 1.0},
    ),
}


@pytest.mark.parametrize("drop", DROPS)
def test_what_does_nothing_leaves_no_trace(drop):
    """Same instructions, numbers and gradients as without it; relu is fused across it."""
    plain, net = Net(lambda x: x), Net(DROPS[drop])
    with_, without = net.lower(), plain.lower()
    assert [k["op"] for k in with_.instructions] == [k["op"] for k in without.instructions]
    assert with_.act_bytes == without.act_bytes
    assert "a            dense + relu" in with_.describe()
    a = net.run(with_, [net.loss, net.last], [])
    b = plain.run(without, [plain.loss, plain.last], [])
    assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("drop", DROPS)
def test_the_gradient_of_what_does_nothing_is_its_inputs(drop):
    plain, net = Net(lambda x: x), Net(DROPS[drop])
    of = net.run(net.lower(wrt=[net.last, net.x]), [net.loss], [net.last, net.x])
    twin = plain.run(plain.lower(wrt=[plain.h, plain.x]), [plain.loss], [plain.h, plain.x])
    assert all(np.array_equal(p, q) for p, q in zip(of, twin, strict=True))
    assert of[1].any()
    assert of[2].any()


def test_a_dropped_op_whose_input_has_other_readers():
    """h is read by a metric as well as through dropout."""
    plain, net = Net(lambda x: x), Net(dropout)
    a = net.run(net.lower(metrics=[net.metric]), [net.loss, net.metric], [])
    b = plain.run(plain.lower(metrics=[plain.metric]), [plain.loss, plain.metric], [])
    assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


def test_in_training_nothing_is_dropped():
    ops = [k["op"] for k in Net(dropout).lower(training=True).instructions]
    assert ops.count("dropout") == 4  # two forward, two backward


@pytest.mark.parametrize("pads", [0, 1])
@pytest.mark.parametrize("pair", [(2, 2), (3, 2), (2, 1)])
def test_a_relu_goes_behind_max_pooling(pair, pads):
    """Values and gradients stay, also where values are equal, negative, infinite or NaN."""
    size, stride = pair
    attrs = dict.fromkeys(("pool_h", "pool_w"), size)
    attrs |= dict.fromkeys(("stride_h", "stride_w"), stride)
    attrs |= dict.fromkeys(("pad_top", "pad_bottom", "pad_left", "pad_right"), pads)
    image = Node("feed", attrs={"source": 0, "scale": 1.0}, shape=(3, 9, 8))
    relu = Node("relu", (image,), layer="before")
    pooled = Node("max_pool", (relu,), attrs=attrs)
    target = Node("feed", attrs={"source": 1, "scale": 1.0}, shape=pooled.shape)
    store = ParameterStore((), np.dtype(np.float32))
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 3, (ROWS, 3 * 9 * 8)).astype("f4")
    x[0, :9], x[1, 5], x[1, 60:64] = -0.0, np.nan, np.inf
    arrays = x, rng.normal(size=(ROWS, *pooled.shape)).reshape(ROWS, -1).astype("f4")
    found = {}
    for merge in (True, False):
        request = Request(
            ROWS, results=[loss(pooled, target)], backward=True, wrt=[image], sources=2, merge=merge
        )
        lowered = lower(request, store)
        assert ("max_pool + relu" in lowered.describe()) == merge
        wanted = [lowered.value(request.results[0]), lowered.gradients[id(image)]]
        bound = tuple(_core.Source(a) for a in arrays)
        found[merge] = [np.array(a) for a in lowered.plan.once(bound, ROWS, wanted)]
    for merged, plain in zip(found[True], found[False], strict=True):
        np.testing.assert_array_equal(merged, plain)
    kept = lower(Request(ROWS, keep=[relu, pooled]), store)
    assert "max_pool + relu" not in kept.describe()


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normalisation_of_the_input_and_an_activation(activation, dtype):
    """What gathers the input can be scaled and shifted, and applies no activation."""
    x = np.random.default_rng(0).normal(size=(20, 3))
    layers = [bp.Input(3), bp.BatchNorm(), bp.Activation(activation), bp.Dense(3)]
    model = bp.Sequential(layers)
    model.compile("sgd", "mse", dtype=dtype, seed=0)
    model.fit(x, x, epochs=2, verbose=0)
    wanted = model.activations(x)["dense0"]
    np.testing.assert_allclose(model.predict(x), wanted, rtol=1e-5, atol=1e-6)
    error = np.mean((wanted - x) ** 2)
    assert model.evaluate(x, x)["loss"] == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("filters", "kernel", "side"), [(6, 5, 14), (16, 5, 15), (16, 3, 14), (18, 3, 13)]
)
def test_convolutions_pool_what_they_make(filters, kernel, side, dtype, monkeypatch):
    """Direct and Winograd's, odd and even sides, last partial blocks: bit by bit."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 16, side, side)).astype(dtype)
    y = rng.integers(0, 3, 90)
    found = {}
    for join in (True, False):
        if not join:
            monkeypatch.setattr(_Lowering, "join", lambda *_: None)
        image = bp.Input(x.shape[1:], layout="NCHW")
        convolved = bp.Conv2D(filters, kernel, activation="relu")(image)
        model = bp.Model(image, bp.Dense(3)(bp.Flatten()(bp.MaxPool2D(2)(convolved))))
        model.compile("sgd", "cross_entropy", dtype=dtype, seed=0)
        model.fit(x, y, epochs=2, batch_size=37, verbose=0)
        plans = [plan.describe() for plan in model._plans.values()]
        assert plans and all(("conv + the next" in text) == join for text in plans)
        found[join] = [model.predict(x), *model.parameters.values()]
    for joined, apart in zip(found[True], found[False], strict=True):
        np.testing.assert_array_equal(joined, apart)
