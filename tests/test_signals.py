"""Error signals of fused activations: what writes a gradient last makes them of it."""

from __future__ import annotations

import numpy as np
import pytest

import pybp as bp
from pybp import _core
from pybp.graph import OPS

IMAGE, ROW = (3, 9, 8), (7,)


def conv(filters, size, **how):
    return bp.Conv2D(filters, size, activation="tanh", **how)


def chain(*layers):
    return lambda x: [x := layer(x) for layer in layers][-1]


def residual(x):
    """h has two readers: the last of them to be differentiated sees the whole gradient."""
    h = conv(4, 3, padding="same")(x)
    return bp.add([h, bp.Conv2D(4, 3, padding="same")(h)])


NETS = {
    "dense": (ROW, "dense", lambda: chain(bp.Dense(70, activation="tanh"))),
    "lanes_dense": (ROW, "lanes_dense", lambda: chain(bp.Dense(9, activation="tanh"))),
    "conv": (IMAGE, "conv", lambda: chain(conv(4, 3), bp.Conv2D(5, 2, stride=2))),
    "many groups": (IMAGE, "conv", lambda: chain(conv(4, 3), bp.Conv2D(6, 3, groups=2))),
    "winograd": (IMAGE, "conv", lambda: chain(conv(16, 1), bp.Conv2D(16, 3, padding=1))),
    "pointwise": (IMAGE, "conv", lambda: chain(conv(4, 3), bp.Conv2D(20, 1))),
    "depthwise": (IMAGE, "conv", lambda: chain(conv(4, 3), bp.Conv2D(4, 3, groups=4))),
    "no margin": (IMAGE, "conv", lambda: chain(conv(4, 1), bp.Conv2D(8, 5))),
    "turned": (IMAGE, "conv_transpose", lambda: chain(conv(4, 3), bp.ConvTranspose2D(3, 2))),
    "average_pool": (IMAGE, "average_pool", lambda: chain(conv(4, 3), bp.AveragePool2D(2))),
    "max_pool": (IMAGE, "max_pool", lambda: chain(conv(4, 3), bp.MaxPool2D(2))),
    "from_blocks": (IMAGE, "from_blocks", lambda: chain(conv(4, 3))),
    "residual": (IMAGE, "conv", lambda: residual),
}  # fmt: skip


def trained(shape, body, rows):
    """The instructions of a training step, and the parameters after two."""
    x = bp.Input(shape, layout="NCHW") if len(shape) == 3 else bp.Input(shape)
    h = body(x)
    model = bp.Model(x, bp.Dense(3)(bp.Flatten()(h) if len(shape) == 3 else h))
    model.compile(optimizer=bp.optim.SGD(0.1), loss="mse", seed=1)
    rng = np.random.default_rng(0)
    given, targets = rng.normal(size=(rows, *shape)), rng.normal(size=(rows, 3))
    model.fit(given.astype("f4"), targets.astype("f4"), epochs=2, batch_size=rows, verbose=0)
    (plan,) = [plan for key, plan in model._plans.items() if key[0] == "train"]
    return plan.instructions, {name: np.array(w) for name, w in model.parameters.items()}


@pytest.mark.parametrize("isa", _core.isa_list())
@pytest.mark.parametrize("rows", [5, 32, 37])
@pytest.mark.parametrize("name", NETS)
def test_the_same_bits_as_in_a_pass_of_its_own(name, rows, isa, monkeypatch):
    monkeypatch.setenv("PYBP_CPU", isa)
    shape, op, net = NETS[name]
    fused, found = trained(shape, net(), rows)
    chained = [k["op"] for k in fused if k["phase"] == "backward_in" and k["activation"]]
    monkeypatch.setitem(OPS[op], "flags", OPS[op]["flags"] - {"chains"})
    for threads in (1, 2, 3):
        bp.set_num_threads(threads)
        apart, expected = trained(shape, net(), rows)
        assert all(np.array_equal(found[key], expected[key]) for key in expected)
    if op in {k["op"] for k in fused}:  # no blocks and no lanes for every batch
        assert op in chained
        assert len(apart) == len(fused) + 1
