"""Blocks of rows: the same results as in rows, for full and for partial blocks."""

from __future__ import annotations

import math

import image_reference
import numpy as np
import pytest
from conv_reference import attributes
from op_reference import CASES
from test_ops import Use, bounds, cotangent_for, gradients_of

import pybp as bp
from pybp import _core
from pybp.blocks import into_blocks
from pybp.graph import OPS, Node, Parameter
from pybp.init import Constant
from pybp.lower import capacity_for, lower
from pybp.request import Request
from pybp.store import ParameterStore

IMAGE_OPS = [op for op in OPS if "blocked" in OPS[op]["flags"] and op in image_reference.REFERENCE]
MERGING = ("add", "multiply", "extreme", "concat")
IMAGES = [
    pytest.param(op, case, id=f"{op}-{i}")
    for op in ("conv", "conv_transpose", *MERGING, *IMAGE_OPS)
    for i, case in enumerate(CASES[op])
]


@pytest.fixture(params=_core.isa_list())
def isa(request, monkeypatch):
    monkeypatch.setenv("PYBP_CPU", request.param)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("op", "case"), IMAGES)
def test_ops_in_blocks_are_ops_in_rows(op, case, dtype, isa):
    rows, blocks = Use(op, case, dtype), Use(op, case, dtype, blocked=True)
    y, _, _ = blocks.run()
    expected = rows.reference()
    np.testing.assert_allclose(y.reshape(expected.shape), expected, **bounds(rows, dtype))
    v = cotangent_for(rows)
    rounding = 2e-5 if dtype == np.float32 else 1e-13
    for a, b in zip(gradients_of(blocks, v), gradients_of(rows, v), strict=True):
        scale = max(1, np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=100 * rounding, atol=10 * rounding * scale)


@pytest.mark.parametrize(("op", "case"), IMAGES)
def test_any_number_of_threads_gives_the_same_bits(op, case, isa):
    use = Use(op, case, np.float32, blocked=True)
    v, found = cotangent_for(use), []
    for threads in (1, 2, 3):
        bp.set_num_threads(threads)
        y, dx, dp = use.run(v)
        found.append([a.tobytes() for a in (y, *dx, *dp)])
    assert found[0] == found[1] == found[2]


def net(activations=("relu", "tanh")):
    """Two convolutions with activations, the second of which goes two ways, and a loss."""
    x = Node("feed", attrs={"source": 0, "scale": 0.5}, shape=(2, 9, 7))
    parameters = []
    for i, (activation, outputs) in enumerate(zip(activations, (5, 3), strict=True)):
        own = (
            Parameter(f"w{i}", (outputs, x.shape[0], 3, 3), Constant()),
            Parameter(f"b{i}", (outputs,), Constant()),
        )
        parameters += own
        x = Node(activation, (Node("conv", (x,), own, attributes(pad=(1, 0, 1, 1))),))
        x = Node("dropout", (x,), attrs={"rate": 0.0})
    target = Node("feed", attrs={"source": 1, "scale": 1.0}, shape=(math.prod(x.shape),))
    loss = Node("squared_error", (x, target), attrs={"factor": 0.5, "mean": 1})
    return x, loss, parameters


def trained(rows, batch, blocked, dtype, threads=1):
    """Parameters and losses after two epochs, and the plan."""
    output, loss, parameters = net()
    store = ParameterStore(parameters, np.dtype(dtype), [])
    rng = np.random.default_rng(1)
    store.vector[...] = rng.normal(size=store.vector.shape) * 0.3
    x = rng.normal(size=(rows, 2 * 9 * 7)).astype(dtype)
    y = rng.normal(size=(rows, math.prod(output.shape))).astype(dtype)
    capacity = capacity_for(batch)
    results = into_blocks([loss], capacity) if blocked else [loss]
    optimizer = bp.optim.SGD(0.2)
    plan = lower(
        Request(
            capacity,
            results=results,
            training=True,
            backward=True,
            optimizer=optimizer.kernel(),
            sources=2,
        ),
        store,
    )
    bp.set_num_threads(threads)
    rates = np.full(2 * -(-rows // batch), 0.2)
    run = _core.Run((_core.Source(x), _core.Source(y)), rows, batch, 2, True, 3, rates, 1)
    assert plan.plan.train(run, 60.0)
    return store.vector.copy(), run.results.copy(), plan


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "batch"), [(40, 16), (37, 32), (16, 16), (70, 64)])
def test_training_in_blocks_is_training(rows, batch, dtype, isa):
    blocks, losses, plan = trained(rows, batch, True, dtype)
    general, expected, plain = trained(rows, batch, False, dtype)
    assert plan.blocked and not plain.blocked
    rtol = 1e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(losses, expected, rtol=rtol)
    np.testing.assert_allclose(blocks, general, rtol=rtol, atol=rtol)
    again, _, _ = trained(rows, batch, True, dtype, threads=3)
    assert np.array_equal(blocks, again)


def test_rows_come_in_and_go_out_in_their_order(isa):
    """Through blocks and back, values and gradients, by both ways in."""
    shape = (3, 5)
    x = np.random.default_rng(0).normal(size=(21, 15))
    for blocked_feed in (False, True):
        feed = Node("feed", attrs={"source": 0, "scale": 1.0}, shape=shape, blocked=blocked_feed)
        block = feed if blocked_feed else Node("to_blocks", (feed,))
        out = Node("from_blocks", (Node("relu", (block,)),), shape=(5, 3))
        target = Node("feed", attrs={"source": 1, "scale": 1.0}, shape=(15,))
        loss = Node("squared_error", (out, target), attrs={"factor": 0.5, "mean": 0})
        store = ParameterStore([Parameter("unused", (1,), Constant())], np.dtype("f8"), [])
        plan = lower(
            Request(
                32,
                results=[loss],
                keep=[out],
                wrt=[] if blocked_feed else [feed],
                backward=not blocked_feed,
                gradient=store.new_vector(),
                sources=2,
            ),
            store,
        )
        wanted = [plan.value(out)] + ([] if blocked_feed else [plan.gradients[id(feed)]])
        bound = (_core.Source(x), _core.Source(np.zeros_like(x)))
        y, *dx = plan.plan.once(bound, 21, wanted)
        np.testing.assert_array_equal(y.reshape(21, 15), np.maximum(x, 0))
        for d in dx:
            np.testing.assert_array_equal(d.reshape(21, 15), np.maximum(x, 0))


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_prediction_in_blocks_is_prediction(scale, isa):
    """Whole chunks and what is left over, where rows might be read in the user's own array."""
    feed = Node("feed", attrs={"source": 0, "scale": scale}, shape=(2, 6, 5))
    own = (Parameter("w", (3, 2, 3, 3), Constant()), Parameter("b", (3,), Constant()))
    output = Node("sigmoid", (Node("conv", (feed,), own, attributes()),))
    store = ParameterStore(own, np.dtype("f4"), [])
    rng = np.random.default_rng(3)
    store.vector[...] = rng.normal(size=store.vector.shape)
    x = rng.normal(size=(75, 60)).astype("f4")
    found = []
    for node in (output, into_blocks([output], 32)[0]):
        plan = lower(Request(32, output=node), store)
        found.append(np.empty((75, *output.shape), "f4"))
        assert plan.plan.map((_core.Source(x),), 75, found[-1])
    assert plan.blocked
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_ops_that_know_no_blocks_refuse_them():
    feed = Node("feed", attrs={"source": 0, "scale": 1.0}, shape=(4,), blocked=True)
    assert "blocked" not in OPS["softmax"]["flags"]
    with pytest.raises(ValueError, match="softmax cannot take"):
        Node("softmax", (feed,))


def test_a_plan_has_whole_blocks():
    feed = Node("feed", attrs={"source": 0, "scale": 1.0}, shape=(4,), blocked=True)
    out = Node("from_blocks", (feed,), shape=(4,))
    store = ParameterStore([Parameter("unused", (1,), Constant())], np.dtype("f4"), [])
    if _core.lanes() > 1:
        with pytest.raises(RuntimeError, match="no whole blocks"):
            lower(Request(_core.lanes() + 1, output=out), store)


def test_memory_of_a_step_is_that_of_its_activations():
    """No matrix of patches: a 7 x 7 kernel over large images would have 49 of them."""
    x = Node("feed", attrs={"source": 0, "scale": 1.0}, shape=(16, 128, 128))
    needed, parameters = math.prod(x.shape), []
    for i in range(4):
        own = (Parameter(f"w{i}", (16, 16, 7, 7), Constant()),)
        parameters += own
        x = Node("conv", (x,), own, attributes(pad=(3, 3, 3, 3)))
        needed += math.prod(x.shape)
        x = Node("relu", (x,))
    target = Node("feed", attrs={"source": 1, "scale": 1.0}, shape=(math.prod(x.shape),))
    loss = Node("squared_error", (x, target), attrs={"factor": 0.5, "mean": 1})
    store = ParameterStore(parameters, np.dtype("f4"), [])
    for results in ([loss], into_blocks([loss], 64)):
        plan = lower(
            Request(
                64,
                results=results,
                training=True,
                backward=True,
                optimizer=bp.optim.SGD(0.1).kernel(),
                sources=2,
            ),
            store,
        )
        assert plan.act_bytes <= 2 * 64 * 4 * (needed + math.prod(target.shape))
        assert plan.plan.scratch_bytes < 2**20
