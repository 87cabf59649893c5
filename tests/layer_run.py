"""One layer on its own: its output, and the gradients of <v, y> by its input and its parameters."""

from __future__ import annotations

import math

import pybp as bp
from pybp import _core
from pybp.blocks import into_blocks
from pybp.graph import Node, Parameter, topological
from pybp.init import Constant
from pybp.layouts import as_given
from pybp.lower import capacity_for, lower
from pybp.request import Request
from pybp.store import ParameterStore


def run(layer, x, layout, parameters, y, v, blocked=False):
    """(y, dx, [dparameter]) of a layer for x [N, ...], with these parameter values, in x's
    precision. `y` is what is expected: backward starts from v + (the layer's output - y)."""
    dtype, rows = x.dtype, len(x)
    feed = bp.Input(x.shape[1:], layout=layout).build(None, "input")
    entry = Node("identity", (feed,))  # whose gradient can be asked for in blocks too
    out = as_given(layer.build(entry, "layer"))
    own = [p for node in topological([out]) for p in node.parameters]
    store = ParameterStore(own or [Parameter("none", (1,), Constant())], dtype)
    for parameter, value in zip(own, parameters, strict=True):
        store.view(parameter.name)[...] = value.reshape(parameter.shape)
    width = math.prod(out.shape)
    target = Node("feed", attrs={"source": 1, "scale": 1.0}, shape=(width,))
    loss = Node("squared_error", (out, target), attrs={"factor": 0.5, "mean": 0})
    capacity = capacity_for(max(rows, _core.lanes())) if blocked else rows
    if blocked:
        loss, out = into_blocks([loss, out], capacity)
    gradient = store.new_vector()
    request = Request(
        capacity,
        results=[loss],
        keep=[out],
        wrt=[entry],
        backward=True,
        gradient=gradient,
        sources=2,
    )
    plan = lower(request, store)
    flat = [a.reshape(rows, -1) for a in (x, (y - v).astype(dtype))]
    wanted = [plan.value(out), plan.gradients[id(entry)]]
    found, dx = plan.plan.once(tuple(_core.Source(a) for a in flat), rows, wanted)
    slopes = [store.view(p.name, gradient).copy() for p in own]
    return found.reshape(rows, *out.shape), dx.reshape(x.shape), slopes
