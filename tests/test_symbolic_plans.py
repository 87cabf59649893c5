"""What plans are made of functions of `bp.ops`: what is merged, and what C refuses."""

from __future__ import annotations

import numpy as np
import pytest

import pybp as bp
from pybp import _core
from pybp import ops as o
from pybp.fuse import decode, encode
from pybp.graph import Node, Parameter
from pybp.init import Constant
from pybp.lower import lower
from pybp.request import Request
from pybp.store import ParameterStore

STORE = ParameterStore([Parameter("w", (10,), Constant())], np.float64)


def feed(*shape, source=0):
    return Node("feed", attrs={"source": source, "scale": 1.0}, shape=shape)


def names(node, **how):
    return [k["op"] for k in lower(Request(4, keep=[node], **how), STORE).instructions]


def test_a_chain_is_one_instruction_and_a_value_that_others_read_ends_it():
    x = feed(10)
    y = o.exp(-(x**2)) * o.sin(3 * x) + o.tanh(x) / (1 + x**2)
    assert names(y) == ["feed", "expression"]
    assert names(o.sum(y) * o.max(y)) == ["feed", "expression", "sum", "fold", "expression"]


def test_what_broadcasts_without_a_gradient_is_read_where_it_lies():
    x = feed(3, 10)
    w = Node("parameter", parameters=(STORE.parameters["w"],))
    y = o.tanh(x * w + o.mean(x, -1, keepdims=True) - np.arange(10.0))
    assert "broadcast" not in names(y)


def test_programs_are_read_as_they_were_written():
    steps = [("constant", (0.1,)), ("leaky_relu", (0, 1)), ("where", (2, 0, 1)), ("sin", (3,))]
    assert decode(encode(steps)) == steps


BATCH = [((3, 4), True), ((3, 4), True)]


@pytest.mark.parametrize(
    ("op", "attrs", "inputs"),
    [
        ("expression", {"program": ()}, BATCH),
        ("expression", {"program": (1, 0, 0)}, BATCH),
        ("expression", {"program": (999, 0, 0, 0)}, BATCH),
        ("expression", {"program": (-1, 0, 0, 0)}, BATCH),
        ("expression", {"program": encode([("add", (0, 2))])}, BATCH),
        ("expression", {"program": encode([("add", (0, -1))])}, BATCH),
        ("expression", {"program": encode([("constant", (1.0,))])}, BATCH),
        ("expression", {"program": encode([("elu", (0, 1))])}, BATCH),
        ("expression", {"program": encode([("sin", (0,))] * 65)}, BATCH),
        ("expression", {"program": encode([("add", (0, 1))])}, [((3, 4), True), ((3,), True)]),
        (
            "expression",
            {"program": encode([("add", (0, 1))])},
            [((2, 3, 4), True), ((2, 1, 4), True)],
        ),
        ("view", {"dims": (12,), "strides": (2,), "offset": 0}, BATCH[:1]),
        ("view", {"dims": (4,), "strides": (-1,), "offset": 2}, BATCH[:1]),
        ("view", {"dims": (4,), "strides": (1, 1), "offset": 0}, BATCH[:1]),
        ("view", {"dims": (0,), "strides": (1,), "offset": 0}, BATCH[:1]),
        ("view", {"dims": (1,), "strides": (1,), "offset": -1}, BATCH[:1]),
        ("sum", {"axes": (1, 0), "keep": 0}, BATCH[:1]),
        ("sum", {"axes": (2,), "keep": 0}, BATCH[:1]),
        ("broadcast", {"dims": (4,), "batched": 1}, BATCH[:1]),
        ("broadcast", {"dims": (3, 5), "batched": 1}, BATCH[:1]),
        ("broadcast", {"dims": (3, 4), "batched": 0}, BATCH[:1]),
        ("constant", {"values": (1, 2, 3), "dims": (2,)}, []),
        ("constant", {"values": (), "dims": (0,)}, []),
        ("fold", {"how": 5}, BATCH[:1]),
        ("scan", {"product": 2}, BATCH[:1]),
        ("take", {}, [((), True), ((2,), True)]),
        ("matmul", {"transpose_a": 1, "transpose_b": 1}, [((4, 3), True), ((3, 4), True)]),
        ("matmul", {"transpose_a": 0, "transpose_b": 0}, BATCH),
        ("matmul", {"transpose_a": 0, "transpose_b": 2}, [((3, 4), True), ((4, 3), True)]),
        ("row_value", {"mean": 0}, [((2,), True)]),
    ],
)
def test_what_makes_no_sense_is_refused(op, attrs, inputs):
    assert _core.infer(op, attrs, [(*given, False) for given in inputs]) is None


def test_a_parameter_that_is_read_in_many_ways_has_the_sum_of_the_gradients():
    class Tied(bp.TrainedLayer):
        def build(self, x, name):
            w = self.weight(f"{name}.weight", (x.shape[-1], x.shape[-1]))
            return o.tanh(x @ w.T) @ w + w[0] * o.sum(w) + x @ w

    net = bp.Sequential([bp.Input(5), Tied(), bp.Dense(2)])
    net.compile(loss="mse", dtype="float64")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 5)), rng.normal(size=(20, 2))
    assert bp.testing.gradcheck(net, x, y).error < 1e-6
    before = net.evaluate(x, y)["loss"]
    net.fit(x, y, epochs=20, verbose=0)
    assert net.evaluate(x, y)["loss"] < before
