"""Every op of the registry: against NumPy, against differences, in every instruction set, precision
and number of threads. What is checked of an op follows from its table row and its reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from op_reference import CASES, REFERENCE, SAME_SHAPE

import pybp as bp
from pybp import _core
from pybp.graph import ACTIVATIONS, Node, Parameter, Running
from pybp.init import Constant
from pybp.lower import capacity_for, lower
from pybp.request import Request
from pybp.sparse import Rows
from pybp.store import ParameterStore

OPS = _core.ops()
ALL = [
    pytest.param(op, case, id=f"{op}-{i}")
    for op in OPS
    for i, case in enumerate(CASES.get(op, SAME_SHAPE))
]
FEED = {"source": 0, "scale": 1.0}
DIFFERENTIABLE = [p for p in ALL if OPS[p.values[0]]["differentiable"]]
TOLERANCE = {np.float32: {"rtol": 3e-6, "atol": 3e-6}, np.float64: {"rtol": 1e-12, "atol": 1e-13}}


def test_every_op_has_a_reference():
    assert set(REFERENCE) == set(OPS)


@pytest.fixture(params=_core.isa_list())
def isa(request, monkeypatch):
    monkeypatch.setenv("PYBP_CPU", request.param)
    assert _core.isa() == request.param
    return request.param


def rows_of(x):
    """The values that are not zero, as sparse rows."""
    at = np.argwhere(x)
    start = np.searchsorted(at[:, 0], np.arange(len(x) + 1))
    return Rows(start.astype("i4"), at[:, 1].astype("i4"), x[x != 0], x.shape[1])


class Use:
    """A case with values, run through a plan of its own; in blocks of rows if wanted."""

    def __init__(self, op, case, dtype=np.float64, blocked=False):
        self.blocked = blocked
        rng = np.random.default_rng([len(op), case.rows, *map(ord, op)])
        self.op, self.case, self.dtype = op, case, dtype
        self.weighs = "per_row" in OPS[op]["flags"] and len(case.inputs) > 2
        self.inputs = (
            case.draw(rng, case.rows)
            if case.draw
            else [rng.normal(size=(case.rows, *shape)) for shape in case.inputs]
        )
        self.parameters = [rng.normal(size=shape) for shape in case.parameters]
        self.running = [rng.uniform(0.5, 1.5, size=shape) for shape in case.running]

    @property
    def flowing(self):
        """How many inputs have gradients: of a loss the first, and not its targets and weights."""
        every = 1 if "per_row" in OPS[self.op]["flags"] else len(self.case.inputs)
        return self.case.flowing or every

    def reference(self, inputs=None):
        given = self.inputs if inputs is None else inputs
        if self.op == "feed":
            return REFERENCE["feed"](given[0], **self.case.attrs)
        reference = self.case.reference or REFERENCE[self.op]
        return reference(*given, *self.running, *self.parameters, **self.case.attrs)

    def run(self, cotangent=None, training=None):
        """(output, gradients by the inputs, gradients by the parameters); gradients of the sum of
        cotangent * output, or of the batch's loss where the op is one."""
        case = self.case
        training = case.training if training is None else training
        feeds = [
            Node("feed", attrs={"source": i, "scale": 1.0}, shape=shape)
            for i, shape in enumerate(case.inputs)
        ]
        store = ParameterStore(
            [Parameter(f"p{i}", v.shape, Constant()) for i, v in enumerate(self.parameters)]
            or [Parameter("unused", (1,), Constant())],
            self.dtype,
            [Running(f"r{i}", v.shape, 0.0) for i, v in enumerate(self.running)],
        )
        for i, value in enumerate(self.running):
            store.buffers[f"r{i}"][...] = value
        for i, value in enumerate(self.parameters):
            store.view(f"p{i}")[...] = value
        sources = [np.asarray(x, self.dtype).reshape(case.rows, -1) for x in self.inputs]
        if self.weighs:
            sources[2] = sources[2].astype(np.float64)
        own = tuple(store.parameters.values()) if self.parameters else ()
        if "source" in OPS[self.op]["flags"]:
            node = Node(self.op, (), own, case.attrs, shape=case.inputs[0])
        else:
            kept = tuple(Running(name, v.shape, 0.0) for name, v in store.buffers.items())
            inputs = [Node("to_blocks", (f,)) for f in feeds] if self.blocked else feeds
            given = {"shape": case.shape, "running": kept, "blocked": self.blocked}
            node = Node(self.op, tuple(inputs), own, case.attrs, **given)
            if self.blocked:
                node = Node("from_blocks", (node,), shape=node.shape)
        loss, wrt = self._loss(node, feeds, sources, cotangent)
        gradient = store.new_vector()
        lowered = lower(
            Request(
                capacity_for(max(case.rows, _core.lanes())) if self.blocked else case.rows,
                results=[] if loss is None else [loss],
                keep=[node],
                wrt=wrt,
                backward=loss is not None,
                training=training,
                gradient=gradient,
                sources=len(sources),
                weights=2 if self.weighs else -1,
            ),
            store,
        )
        wanted = [lowered.value(node), *(lowered.gradients[id(w)] for w in wrt)]
        if "sparse" in OPS[self.op]["flags"]:
            sources[0] = rows_of(sources[0])
        bound = tuple(_core.Source(s) for s in sources)
        y, *dx = lowered.plan.once(bound, case.rows, wanted, training, seed=7, step=3)
        return y, dx, [store.view(f"p{i}", gradient) for i in range(len(self.parameters))]

    def _loss(self, node, feeds, sources, cotangent):
        """The loss node that backward starts from, and the inputs to differentiate by."""
        if not OPS[self.op]["differentiable"] or self.op == "feed":
            return None, []
        if "per_row" in node.flags:
            return node, feeds[:1]
        if cotangent is None:
            return None, []
        # d/dy of half the squared distance to y - v is v.
        y, _, _ = self.run()
        sources.append((y - cotangent).reshape(self.case.rows, -1).astype(self.dtype))
        target = Node(
            "feed", attrs={"source": len(feeds), "scale": 1.0}, shape=sources[-1].shape[1:]
        )
        attrs = {"factor": 0.5, "mean": 0}
        return Node("squared_error", (node, target), attrs=attrs), feeds[: self.flowing]

    def scalar(self, inputs, parameters, cotangent):
        """What the gradients are gradients of, by the reference."""
        keep, self.parameters = self.parameters, parameters
        y = self.reference(inputs)
        self.parameters = keep
        if "per_row" in OPS[self.op]["flags"]:
            total = inputs[2].sum() if self.weighs else len(y)
            return y.sum() / total if self.case.mean else y.sum()
        return (y * cotangent).sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("op", "case"), ALL)
def test_forward_is_numpys(op, case, dtype, isa):
    use = Use(op, case, dtype)
    y, _, _ = use.run()
    assert y.shape[0] == case.rows
    expected = use.reference()
    np.testing.assert_allclose(y.reshape(expected.shape), expected, **bounds(use, dtype))


def bounds(use, dtype):
    """Rounding grows with the length of the sums."""
    longest = max([shape[-1] for shape in use.case.inputs] + [1])
    longest = max([math.prod(shape[1:]) for shape in use.case.parameters] + [longest])
    base = TOLERANCE[dtype]
    return {"rtol": base["rtol"], "atol": base["atol"] * max(1, longest**0.5)}


def gradients_of(use, cotangent):
    _, dx, dp = use.run(cotangent)
    return [np.array(g) for g in (*dx, *dp)]


def cotangent_for(use):
    return np.random.default_rng(5).normal(size=use.reference().shape)


def along(use, k, direction, cotangent, h):
    """The scalar with the k-th differentiated array moved by h along a direction."""
    inputs, parameters = list(use.inputs), list(use.parameters)
    if k < use.flowing:
        inputs[k] = inputs[k] + h * direction.reshape(inputs[k].shape)
    else:
        parameters[k - use.flowing] = parameters[k - use.flowing] + h * direction
    return use.scalar(inputs, parameters, cotangent)


def slope(use, k, direction, cotangent, h=1e-4):
    """Two central differences, combined so that their errors of third order cancel."""

    def difference(h):
        ahead, behind = (along(use, k, direction, cotangent, s * h) for s in (1, -1))
        return (ahead - behind) / (2 * h)

    return (4 * difference(h) - difference(2 * h)) / 3


@pytest.mark.parametrize(("op", "case"), [p for p in DIFFERENTIABLE if p.values[0] != "feed"])
def test_gradients_are_central_differences(op, case, isa):
    """Single entries and random directions, in float64: relative error < 1e-6."""
    use, rng = Use(op, case), np.random.default_rng(11)
    v = cotangent_for(use)
    for k, gradient in enumerate(gradients_of(use, v)):
        probes = [np.eye(1, gradient.size, i)[0] for i in rng.integers(0, gradient.size, 12)]
        probes += [rng.normal(size=gradient.size) / gradient.size**0.5 for _ in range(4)]
        for probe in probes:
            direction = probe.reshape(gradient.shape)
            numeric, exact = slope(use, k, direction, v), (gradient * direction).sum()
            scale = max(abs(exact), abs(numeric), 1e-3 * np.abs(gradient).max(), 1e-9)
            assert abs(exact - numeric) / scale < 1e-6


@pytest.mark.parametrize(("op", "case"), [p for p in DIFFERENTIABLE if p.values[0] != "feed"])
def test_float32_gradients_are_float64s(op, case, isa):
    double = Use(op, case)
    single = Use(op, case, np.float32)
    v = cotangent_for(double)
    for a, b in zip(gradients_of(single, v), gradients_of(double, v), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("op", "case"), ALL)
def test_any_number_of_threads_gives_the_same_bits(op, case, dtype, isa):
    use = Use(op, case, dtype)
    v = cotangent_for(use) if OPS[op]["differentiable"] and op != "feed" else None
    found = []
    for threads in (1, 2, 3, 4):
        bp.set_num_threads(threads)
        y, dx, dp = use.run(v)
        found.append([a.tobytes() for a in (y, *dx, *dp)])
    assert found[0] == found[1] == found[2] == found[3]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_backward_uses_the_same_mask(rate, isa):
    case = CASES["dropout"][0].__class__([(500,)], attrs={"rate": rate}, rows=60)
    use = Use("dropout", case)
    use.inputs[0] = np.ones((60, 500))
    y, dx, _ = use.run(cotangent=np.full((60, 500), 3.0), training=True)
    scale = 1 / (1 - rate)
    assert set(np.unique(y)) <= {0.0, scale}
    assert abs((y == 0).mean() - rate) < 4 * (rate * (1 - rate) / y.size) ** 0.5 + 1e-12
    # The scalar is half the squared distance to y_inference - 3, so its gradient follows y's mask.
    np.testing.assert_allclose(dx[0], (y - (1 - 3)) * y, rtol=1e-12)


def test_dropout_draws_the_same_mask_in_every_instruction_set_and_precision(monkeypatch):
    case = CASES["dropout"][0].__class__([(37,)], attrs={"rate": 0.3}, rows=21)
    masks = []
    for isa in _core.isa_list():
        monkeypatch.setenv("PYBP_CPU", isa)
        for dtype in (np.float32, np.float64):
            use = Use("dropout", case, dtype)
            use.inputs[0] = np.ones((21, 37))
            masks.append(use.run(training=True)[0] == 0)
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


@pytest.mark.parametrize("op", sorted(ACTIVATIONS - {"softmax", "log_softmax", "prelu"}))
def test_fused_activation_is_the_activation_behind_the_layer(op, isa):
    """Dense(activation) and Dense, Activation with a reader in between: same bits."""
    x = np.random.default_rng(0).normal(size=(33, 40))
    trains = OPS[op]["differentiable"]
    first = {"weight_init": "glorot", "trainable": trains}
    nets = [
        bp.Sequential([bp.Input(40), bp.Dense(50, activation=op, **first), bp.Dense(3)]),
        bp.Sequential([bp.Input(40), bp.Dense(50, **first), bp.Activation(op), bp.Dense(3)]),
    ]
    y = np.random.default_rng(1).normal(size=(33, 3))
    found = []
    for net in nets:
        net.compile(loss="mse", dtype="float64", seed=4)
        found.append([net.predict(x)])
        if trains:
            found[-1].append(net.gradients(x, y)["dense0.weight"])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    values = nets[1].activations(x)
    attrs = nets[1].layers[2].build(Node("feed", attrs=FEED, shape=(1,)), "").attrs
    expected = REFERENCE[op](values["dense0"], **attrs)
    np.testing.assert_allclose(values["activation0"], expected, rtol=1e-12, atol=1e-15)


def test_an_unknown_instruction_set_is_refused(monkeypatch):
    monkeypatch.setenv("PYBP_CPU", "z80")
    with pytest.raises(ImportError, match="baseline"):
        _core.isa()
