"""Every function of `bp.ops`: against NumPy, its gradient against autograd and against differences,
alone and on batches of rows, in both precisions."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

import pybp as bp
from pybp import _core
from pybp import ops as o
from pybp.graph import Node, Parameter
from pybp.init import Constant
from pybp.lower import lower
from pybp.request import Request
from pybp.store import ParameterStore
from pybp.testing import check_grad

erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def logsumexp(x, axis=None, keepdims=False):
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


def conv2d(x, w, stride, dilation, groups):
    """Window by window."""
    share, deep = len(w) // groups, w.shape[1]
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, w.shape[2:], strict=True)]
    size = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:], spans, stride, strict=True)]
    y = np.zeros((len(w), *size))
    for o_, i, j in np.ndindex(*y.shape):
        top, left, first = i * stride[0], j * stride[1], o_ // share * deep
        part = x[first : first + deep, top : top + spans[0], left : left + spans[1]]
        y[o_, i, j] = (part[:, :: dilation[0], :: dilation[1]] * w[o_]).sum()
    return y


def normal(*shapes, seed=0):
    """Values farther from whole numbers, the functions' kinks, than differences reach."""
    rng = np.random.default_rng(seed)
    found = [rng.normal(size=s) for s in shapes]
    return [np.where(np.abs(x - np.round(x)) < 0.01, np.round(x) + 0.05, x) for x in found]


def within(low, high):
    return lambda *shapes, seed=0: [
        np.random.default_rng(seed).uniform(low, high, s) for s in shapes
    ]


def quotients(*shapes, seed=0):
    """Pairs whose quotient is far from whole numbers."""
    rng = np.random.default_rng(seed)
    bounds = [(3.1, 3.4), (1.2, 1.4)]
    return [rng.uniform(*b, s) for b, s in zip(bounds, shapes, strict=True)]


UNARY = {
    "negative": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "sqrt": (np.sqrt, within(0.2, 3)),
    "rsqrt": (lambda x: 1 / np.sqrt(x), within(0.2, 3)),
    "square": np.square,
    "reciprocal": (lambda x: 1 / x, within(0.2, 3)),
    "exp": np.exp,
    "expm1": np.expm1,
    "log": (np.log, within(0.2, 3)),
    "log1p": (np.log1p, within(-0.8, 3)),
    "log2": (np.log2, within(0.2, 3)),
    "log10": (np.log10, within(0.2, 3)),
    "exp2": np.exp2,
    "sin": np.sin,
    "cos": np.cos,
    "tan": (np.tan, within(-1, 1)),
    "arcsin": (np.arcsin, within(-0.9, 0.9)),
    "arccos": (np.arccos, within(-0.9, 0.9)),
    "arctan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "arcsinh": np.arcsinh,
    "arccosh": (np.arccosh, within(1.2, 3)),
    "arctanh": (np.arctanh, within(-0.9, 0.9)),
    "erf": erf,
    "sigmoid": sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "step": lambda x: np.heaviside(x, 1.0),
    "logical_not": lambda x: (x == 0) * 1.0,
    "stop_gradient": lambda x: x,
}
BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": (np.power, within(0.3, 2)),
    "floor_divide": (np.floor_divide, quotients),
    "remainder": (np.remainder, quotients),
    "arctan2": np.arctan2,
    "hypot": np.hypot,
    "logaddexp": np.logaddexp,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}
SPREADS = [((7,), (7,)), ((3, 5), (5,)), ((3, 1), (1, 5)), ((), (4,)), ((2, 3, 4), (2, 1, 4))]

EINSUMS = [
    ("ij,jk->ik", [(3, 4), (4, 5)]),
    ("ij,jk", [(3, 4), (4, 5)]),
    ("bij,bkj->bik", [(2, 3, 4), (2, 5, 4)]),
    ("bqhd,bkhd->bhqk", [(2, 3, 2, 4), (2, 5, 2, 4)]),
    ("ii->i", [(4, 4)]),
    ("iji->j", [(3, 2, 3)]),
    ("ij->ji", [(3, 4)]),
    ("ba", [(3, 4)]),
    ("ij->", [(3, 4)]),
    ("i,j->ji", [(3,), (4,)]),
    ("i,i->", [(3,), (3,)]),
    ("ij,i->ij", [(3, 4), (3,)]),
    ("ij,kl->il", [(3, 4), (2, 5)]),
    ("ij,jk,kl->il", [(3, 4), (4, 2), (2, 5)]),
    (",ij->i", [(), (3, 4)]),
]
# Name, what is done with m, which is `bp.ops` or NumPy, what NumPy does instead if that is not the
# same, and shapes.
SHAPED = [
    ("where", lambda m, c, x, y: m.where(c > 0, x, y), None, [(3, 4), (4,), (3, 1)]),
    ("clip", lambda m, x: m.clip(x, -0.5, 0.7), None, [(9,)]),
    (
        "power",
        lambda m, x: x**2 + x**3 - x**4 + x**1,
        lambda x: x**2 + x**3 - x**4 + x,
        [(5,)],
    ),
    ("power", lambda m, x: 2.0**x, None, [(5,)]),
    (
        "add",
        lambda m, x: 2 - (1 + x) * 3 / (x**2 + 4) + -x,
        lambda x: 2 - (1 + x) * 3 / (x**2 + 4) - x,
        [(5,)],
    ),
    ("remainder", lambda m, x: x % 0.75 + 3.2 // (x + 9.3), None, [(5,)]),
    (
        "add",
        lambda m, x: np.ones(3) + x + np.arange(3.0) * x,
        lambda x: 1 + x + np.arange(3.0) * x,
        [(2, 3)],
    ),
    ("sum", lambda m, x: m.sum(x), lambda x: x.sum(), [(3, 4)]),
    ("sum", lambda m, x: x.sum((0, 2), keepdims=True), None, [(3, 4, 2)]),
    ("sum", lambda m, x: m.sum(x, -2), lambda x: x.sum(-2), [(3, 40, 70)]),
    ("mean", lambda m, x: m.mean(x, 1), lambda x: x.mean(1), [(3, 4)]),
    ("var", lambda m, x: m.var(x, -1, ddof=1), lambda x: x.var(-1, ddof=1), [(3, 4)]),
    ("std", lambda m, x: m.std(x, 0, keepdims=True), lambda x: x.std(0, keepdims=True), [(3, 4)]),
    ("std", lambda m, x: x.std(0, ddof=1, keepdims=True) + x.var(), None, [(3, 4)]),
    ("round", lambda m, x: round(x) if m is o else np.round(x), None, [(7,)]),
    ("round", lambda m, x: round(x, 1) if m is o else np.round(x, 1), None, [(7,)]),
    ("norm", lambda m, x: m.norm(x, -1), lambda x: np.sqrt((x * x).sum(-1)), [(3, 4)]),
    ("max", lambda m, x: x.max(0), None, [(3, 4)]),
    ("max", lambda m, x: m.max(x), lambda x: x.max(), [(3, 4)]),
    ("min", lambda m, x: x.min((0, 2), True), lambda x: x.min((0, 2), keepdims=True), [(3, 4, 2)]),
    ("prod", lambda m, x: m.prod(x, -1), lambda x: x.prod(-1), [(3, 4)]),
    ("argmax", lambda m, x: m.argmax(x, 0), lambda x: x.argmax(0) * 1.0, [(3, 4)]),
    ("argmin", lambda m, x: m.argmin(x), lambda x: x.argmin() * 1.0, [(3, 4)]),
    ("logsumexp", lambda m, x: m.logsumexp(x, 0), lambda x: logsumexp(x, 0), [(3, 4)]),
    (
        "logsumexp",
        lambda m, x: m.logsumexp(x, keepdims=True),
        lambda x: logsumexp(x, None, True),
        [(3, 4)],
    ),
    ("softmax", lambda m, x: m.softmax(x), lambda x: softmax(x), [(3, 4)]),
    ("softmax", lambda m, x: m.softmax(x, 0), lambda x: softmax(x, 0), [(3, 4)]),
    ("log_softmax", lambda m, x: m.log_softmax(x), lambda x: np.log(softmax(x)), [(3, 4)]),
    ("log_softmax", lambda m, x: m.log_softmax(x, 0), lambda x: np.log(softmax(x, 0)), [(3, 4)]),
    ("cumsum", lambda m, x: m.cumsum(x, 0), lambda x: x.cumsum(0), [(3, 4)]),
    ("cumprod", lambda m, x: m.cumprod(x), lambda x: x.cumprod(-1), [(3, 4)]),
    ("reshape", lambda m, x: m.reshape(x, (-1, 6)) * 2, lambda x: x.reshape(-1, 6) * 2, [(3, 4)]),
    ("reshape", lambda m, x: x.T.reshape(2, 6), None, [(3, 4)]),
    (
        "transpose",
        lambda m, x: m.transpose(x, (1, 2, 0)),
        lambda x: x.transpose(1, 2, 0),
        [(2, 3, 4)],
    ),
    (
        "transpose",
        lambda m, x: m.transpose(x.T[1:], (1, 0, 2)),
        lambda x: x.T[1:].transpose(1, 0, 2),
        [(2, 3, 4)],
    ),
    ("transpose", lambda m, x: x.transpose(1, 0, 2) + x.transpose((1, 0, 2)), None, [(2, 3, 4)]),
    ("transpose", lambda m, x: x.transpose() * 2, None, [(2, 3, 4)]),
    ("swapaxes", lambda m, x: m.swapaxes(x, 0, -1), None, [(2, 3, 4)]),
    ("moveaxis", lambda m, x: m.moveaxis(x, 0, -1), None, [(2, 3, 4)]),
    ("moveaxis", lambda m, x: m.moveaxis(x, 2, 1), None, [(2, 3, 4)]),
    ("repeat", lambda m, x: m.repeat(x, 3, 1), None, [(2, 4)]),
    ("tile", lambda m, x: m.tile(x, (2, 3)), None, [(4,)]),
    ("repeat", lambda m, x: m.repeat(x, 2, 4), None, [(2, 1, 3, 1, 2, 2)]),
    ("tile", lambda m, x: m.tile(x, 2), None, [(2, 4)]),
    ("tile", lambda m, x: m.tile(x, (1, 2, 3, 2, 1, 2)), None, [(2, 1, 3, 1, 2, 2)]),
    ("diff", lambda m, x: m.diff(x), None, [(2, 4)]),
    ("diff", lambda m, x: m.diff(x, 2, axis=0), None, [(3, 4)]),
    ("expand_dims", lambda m, x: m.expand_dims(x, 1), lambda x: x[:, None], [(3, 4)]),
    ("squeeze", lambda m, x: m.squeeze(x, 1), lambda x: x.squeeze(1), [(3, 1, 4)]),
    ("broadcast_to", lambda m, x: m.broadcast_to(x, (2, 3, 4)), None, [(3, 1)]),
    ("flip", lambda m, x: m.flip(x, 1), None, [(3, 4)]),
    ("flip", lambda m, x: m.flip(x), None, [(3, 4)]),
    ("roll", lambda m, x: m.roll(x, 2, 1), None, [(3, 5)]),
    ("roll", lambda m, x: m.roll(x, -7, 1), None, [(3, 5)]),
    ("index", lambda m, x: x[1], None, [(3, 4)]),
    ("index", lambda m, x: x[-1, ::-2], None, [(3, 7)]),
    ("index", lambda m, x: x[..., None, 1:3], None, [(2, 3, 4)]),
    ("index", lambda m, x: x[::2][:, 1:][::-1], None, [(5, 4)]),
    ("index", lambda m, x: x[:, [2, 0, 0]], None, [(3, 4)]),
    ("index", lambda m, x: x[0, np.array([[1, -1]])], None, [(3, 4)]),
    ("index", lambda m, x: x[[0, 2, 2], [1, -1, -1]], None, [(3, 4)]),
    ("index", lambda m, x: x[..., [[0], [1]], [1, 3]], None, [(2, 3, 4)]),
    ("index", lambda m, x: x[:, np.arange(3) % 2, np.arange(3)], None, [(2, 3, 4)]),
    ("index", lambda m, x: x[[True, False, True]], None, [(3, 4)]),
    ("index", lambda m, x: x[1, np.eye(3, 4) > 0], None, [(2, 3, 4)]),
    ("index", lambda m, x: x[np.arange(3), m.argmax(x, 1)], None, [(3, 4)]),
    ("take", lambda m, x: m.take(x, [1, 1, 2]), lambda x: x[[1, 1, 2]], [(3, 4)]),
    ("take", lambda m, x: m.take(x, m.argmax(x[0]), 1), lambda x: x[:, x[0].argmax()], [(3, 4)]),
    ("concatenate", lambda m, x, y: m.concatenate([x, y, x], 1), None, [(2, 3), (2, 1)]),
    (
        "concatenate",
        lambda m, x: m.concatenate([x[i] for i in range(9)]),
        lambda x: x.ravel(),
        [(9, 2)],
    ),
    ("ravel", lambda m, x: m.ravel(x.T), None, [(3, 4)]),
    ("ravel", lambda m, x: x.flatten() / x.size, None, [(2, 3)]),
    ("diagonal", lambda m, x: m.diagonal(x, 1), None, [(3, 4)]),
    ("diagonal", lambda m, x: m.diagonal(x[:, ::-1], -1, 2, 0), None, [(3, 2, 4)]),
    (
        "take_along_axis",
        lambda m, x: m.take_along_axis(x, np.array([[0, -1], [2, 2], [1, 0]]), 1),
        None,
        [(3, 4)],
    ),
    (
        "take_along_axis",
        lambda m, x: m.take_along_axis(x, m.argmax(x, 1, keepdims=True), 1),
        None,
        [(3, 4, 2)],
    ),
    ("stack", lambda m, x, y: m.stack([x, y], -1), None, [(2, 3), (2, 3)]),
    ("split", lambda m, x: m.split(x, 2, 1)[1], None, [(3, 4)]),
    ("split", lambda m, x: m.split(x, [1, 3])[1], None, [(4, 2)]),
    ("matmul", lambda m, x, y: x @ y, None, [(3, 4), (4, 5)]),
    ("matmul", lambda m, x, y: x @ y, None, [(4,), (4, 5)]),
    ("matmul", lambda m, x, y: x @ y, None, [(3, 4), (4,)]),
    ("matmul", lambda m, x, y: x @ y, None, [(4,), (4,)]),
    ("matmul", lambda m, x, y: x @ y, None, [(2, 3, 4), (4, 5)]),
    ("matmul", lambda m, x, y: x @ y, None, [(3, 4), (2, 4, 5)]),
    ("matmul", lambda m, x, y: x @ y, None, [(2, 1, 3, 4), (5, 4, 2)]),
    ("matmul", lambda m, x, y: x @ y.T, None, [(3, 4), (5, 4)]),
    ("matmul", lambda m, x, y: x.T @ y, None, [(4, 3), (4, 5)]),
    ("matmul", lambda m, x, y: x.T @ y.T, None, [(4, 3), (5, 4)]),
    ("matmul", lambda m, x: np.ones((2, 3)) @ x, None, [(3, 4)]),
    ("dot", lambda m, x, y: m.dot(x, y), lambda x, y: x @ y, [(4,), (4,)]),
    ("outer", lambda m, x, y: m.outer(x, y), None, [(4,), (3,)]),
    (
        "one_hot",
        lambda m, x: m.one_hot(m.argmax(x, 1), 4) * x,
        lambda x: np.eye(4)[x.argmax(1)] * x,
        [(3, 4)],
    ),
    ("trace", lambda m, x: m.trace(x, 1), None, [(3, 4)]),
    *(
        ("einsum", partial(lambda said, m, *xs: m.einsum(said, *xs), said), None, shapes)
        for said, shapes in EINSUMS
    ),
    ("tril", lambda m, x: m.tril(x, 1), None, [(3, 4)]),
    ("triu", lambda m, x: m.triu(x), None, [(2, 3, 4)]),
    (
        "pad",
        lambda m, x: m.pad(x, [(1, 0), (2, 3)], 0.5),
        lambda x: np.pad(x, [(1, 0), (2, 3)], constant_values=0.5),
        [(3, 4)],
    ),
    (
        "conv2d",
        lambda m, x, w: m.conv2d(x, w, stride=(2, 1), padding=1, dilation=(1, 2), groups=2),
        lambda x, w: conv2d(np.pad(x, [(0, 0), (1, 1), (1, 1)]), w, (2, 1), (1, 2), 2),
        [(4, 5, 6), (6, 2, 3, 2)],
    ),
    (
        "conv1d",
        lambda m, x, w: m.conv1d(x, w, stride=2, padding=1, dilation=2, groups=2),
        lambda x, w: conv2d(np.pad(x, [(0, 0), (1, 1)])[:, None], w[:, :, None], (1, 2), (1, 2), 2)[
            :, 0
        ],
        [(4, 9), (6, 2, 3)],
    ),
    ("constant", lambda m, x: x * m.constant([[1.0], [2.0]]), lambda x: x * [[1.0], [2.0]], [(3,)]),
]


def both(entry):
    return entry if isinstance(entry, tuple) else (entry, normal)


USES = [
    pytest.param(name, getattr(o, name), *both(entry), [shape], id=f"{name}-{shape}")
    for name, entry in UNARY.items()
    for shape in [(), (7,), (3, 50)]
]
USES += [
    pytest.param(name, getattr(o, name), *both(entry), list(shapes), id=f"{name}-{shapes}")
    for name, entry in BINARY.items()
    for shapes in SPREADS
]
USES += [
    pytest.param(
        name, partial(f, o), other or partial(f, np), normal, shapes, id=f"{name}-shaped{i}"
    )
    for i, (name, f, other, shapes) in enumerate(SHAPED)
]


def test_every_function_is_used_here():
    assert {use.values[0] for use in USES} == set(o.FUNCTIONS)


def run(f, arrays, dtype=np.float64):
    """The value of f at these arguments, which are the same for all rows."""
    parameters = [Parameter(f"x{i}", np.shape(a), Constant()) for i, a in enumerate(arrays)]
    store = ParameterStore(parameters, dtype)
    for p, a in zip(parameters, arrays, strict=True):
        store.view(p.name)[...] = a
    node = f(*(Node("parameter", parameters=(p,)) for p in parameters))
    lowered = lower(Request(1, keep=[node], sources=0), store)
    return lowered.plan.once((), 1, [lowered.value(node)])[0]


def run_rows(f, arrays, wrt=True):
    """Values of f for rows of arguments, and its gradients by them; those of the sum over a row."""
    n = len(arrays[0])
    feeds = [
        Node("feed", attrs={"source": i, "scale": 1.0}, shape=a.shape[1:])
        for i, a in enumerate(arrays)
    ]
    node = f(*feeds)
    loss = Node("row_value", (o.sum(node),), attrs={"mean": 0})
    store = ParameterStore([Parameter("unused", (1,), Constant())], np.float64)
    lowered = lower(
        Request(n, results=[loss], keep=[node], wrt=feeds, backward=True, sources=len(feeds)), store
    )
    sources = tuple(_core.Source(np.ascontiguousarray(a.reshape(n, -1))) for a in arrays)
    wanted = [lowered.value(node)]
    wanted += [lowered.gradients.get(id(feed), -1) for feed in feeds]
    return lowered.plan.once(sources, n, wanted)


@pytest.mark.parametrize(("name", "ours", "numpys", "draw", "shapes"), USES)
def test_values_are_numpys(name, ours, numpys, draw, shapes):
    arrays = draw(*shapes)
    expected = numpys(*arrays)
    found = run(ours, arrays)
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    single = run(ours, arrays, np.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("name", "ours", "numpys", "draw", "shapes"), USES)
def test_gradients_are_differences(name, ours, numpys, draw, shapes):
    if name == "stop_gradient":
        assert not np.any(bp.grad(lambda x: o.sum(ours(x)))(*draw(*shapes)))
        return
    check_grad(lambda *xs: o.sum(o.sin(ours(*xs) * 1.3)), *draw(*shapes), entries=8)


@pytest.mark.parametrize(("name", "ours", "numpys", "draw", "shapes"), USES)
def test_rows_of_a_batch_are_on_their_own(name, ours, numpys, draw, shapes):
    """A batch of 5 rows is five calls, in values and gradients."""
    rows = [draw(*shapes, seed=seed) for seed in range(5)]
    arrays = [np.stack(parts) for parts in zip(*rows, strict=True)]
    y, *slopes = run_rows(ours, arrays)
    every = tuple(range(len(shapes)))
    derive = bp.grad(lambda *xs: o.sum(ours(*xs)), argnums=every)
    for n, row in enumerate(rows):
        np.testing.assert_allclose(y[n], numpys(*row), rtol=1e-12, atol=1e-13)
        for slope, expected in zip(slopes, derive(*row), strict=True):
            np.testing.assert_allclose(slope[n], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "ours", "numpys", "draw", "shapes"), USES)
def test_forward_derivatives_are_the_reverse_ones(name, ours, numpys, draw, shapes):
    """<v, grad> of a sum with random weights, by both accumulations; and once more derived."""
    arrays, v = draw(*shapes), normal(*shapes, seed=1)

    def f(x):
        return o.sum(o.sin(ours(*x) * 1.3))

    _, along = bp.jvp(f)(arrays, v)
    slopes = bp.grad(f)(arrays)
    assert along == pytest.approx(
        sum((s * d).sum() for s, d in zip(slopes, v, strict=True)), rel=1e-9, abs=1e-11
    )


@pytest.mark.parametrize("i", range(len(SHAPED)), ids=lambda i: f"{SHAPED[i][0]}-{i}")
def test_second_derivatives_are_differences_of_first_ones(i):
    _, ours, _, shapes = SHAPED[i]
    arrays, v, h = normal(*shapes), normal(*shapes, seed=1), 1e-5

    def f(x):
        return o.sum(o.sin(ours(o, *x) * 1.3))

    exact, slope = bp.hvp(f)(arrays, v), bp.grad(f)
    ahead, behind = (
        slope([x + s * h * d for x, d in zip(arrays, v, strict=True)]) for s in (1, -1)
    )
    for part, a, b in zip(exact, ahead, behind, strict=True):
        np.testing.assert_allclose(part, (a - b) / (2 * h), rtol=1e-4, atol=1e-5)


AUTOGRAD = [
    ("tanh", lambda m, x, y: m.sum(m.tanh(m.matmul(x, y)) ** 2)),
    ("softmax", lambda m, x, y: m.sum(m.exp(x) / m.sum(m.exp(x), 1, keepdims=True) * x)),
    ("trigonometric", lambda m, x, y: m.mean(m.sin(x) * m.cos(x) + m.arctan(x))),
    (
        "extremes",
        lambda m, x, y: m.max(x) - m.min(y) + m.sum(m.maximum(x, 0.3) * m.minimum(x, 0.1)),
    ),
    ("where", lambda m, x, y: m.sum(m.where(x > 0, x**3, -m.sinh(x)))),
    ("shapes", lambda m, x, y: m.sum(m.reshape(x.T[::-1], (-1,)) ** 2 * m.reshape(x, (-1,)))),
    ("indices", lambda m, x, y: m.sum(x[:, 1:] * x[:, :-1]) + m.prod(x[0])),
    ("cumulative", lambda m, x, y: m.sum(m.cumsum(x, 1) ** 2) + m.var(y)),
    ("sides", lambda m, x, y: m.sum(m.concatenate([x, 2 * x], 1) ** 3)),
    ("outer", lambda m, x, y: m.sum(m.outer(x[0], y[:, 0]) ** 2) + m.sum(m.dot(x, y))),
]


@pytest.mark.parametrize(("name", "f"), AUTOGRAD)
def test_gradients_are_autograds(name, f):
    autograd = pytest.importorskip("autograd")
    anp = pytest.importorskip("autograd.numpy")
    x, y = normal((3, 4), (4, 5))
    found = bp.grad(lambda x, y: f(o, x, y), (0, 1))(x, y)
    for k in (0, 1):
        expected = autograd.grad(lambda x, y: f(anp, x, y) + 0 * anp.sum(x) + 0 * anp.sum(y), k)(
            x, y
        )
        np.testing.assert_allclose(found[k], expected, rtol=1e-12, atol=1e-13)
