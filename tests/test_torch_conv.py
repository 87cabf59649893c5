"""PyTorch as an oracle of convolutions, transposed convolutions and pools: a random sweep over
geometry, batch, precision and layout; outputs and the gradients of everything."""

import numpy as np
import pytest
from layer_run import run

import pybp as bp

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional

CHUNK = 25  # configurations of one test
CHUNKS = 26
ROWS, OFTEN = [1, 2, 5, 8, 16, 31, 64, 130], [0.2, 0.2, 0.15, 0.1, 0.15, 0.1, 0.07, 0.03]
BOUND = {np.float32: 3e-5, np.float64: 1e-12}


def some(rng, low, high, axes):
    return tuple(int(n) for n in rng.integers(low, high + 1, axes))


def geometry(rng, axes):
    """Sizes of the input, kernel, stride, padding and dilation that fit together."""
    while True:
        size = some(rng, 1, 14 if axes == 2 else 40, axes)
        kernel, stride = some(rng, 1, 5, axes), some(rng, 1, 3, axes)
        dilation = some(rng, 1, 3, axes) if rng.random() < 0.4 else (1,) * axes
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        pad = tuple(int(rng.integers(0, r)) for r in reach)
        if all(n + 2 * p >= r for n, p, r in zip(size, pad, reach, strict=True)):
            return size, kernel, stride, pad, dilation


def lone(sizes):
    """A size as the layer takes it: a number for sequences."""
    return sizes if len(sizes) == 2 else sizes[0]


def channels(rng):
    """Channels, filters and groups, depthwise among them."""
    groups = int(rng.choice([1, 1, 1, 2, 3, 5]))
    own, filters = some(rng, 1, 5, 2)
    if rng.random() < 0.2:
        own = 1
    return own * groups, filters * groups, groups


def convolution(rng, axes):
    """(layer, PyTorch's function of (x, weight, bias), shape of x, of the weight, has a bias)."""
    size, kernel, stride, pad, dilation = geometry(rng, axes)
    ins, outs, groups = channels(rng)
    bias = bool(rng.random() < 0.7)
    kind = bp.Conv2D if axes == 2 else bp.Conv1D
    layer = kind(outs, lone(kernel), lone(stride), lone(pad), lone(dilation), groups, use_bias=bias)
    theirs = F.conv2d if axes == 2 else F.conv1d
    how = {"stride": stride, "padding": pad, "dilation": dilation, "groups": groups}
    if stride == (1,) * axes and rng.random() < 0.3:
        layer = kind(outs, lone(kernel), 1, "same", lone(dilation), groups, use_bias=bias)
        how["padding"] = "same"
    weight = (outs, ins // groups, *kernel)
    return layer, lambda x, w, b=None: theirs(x, w, b, **how), (ins, *size), weight, bias * outs


def transposed(rng, axes):
    size, kernel, stride, pad, dilation = geometry(rng, axes)
    ins, outs, groups = channels(rng)
    bias = bool(rng.random() < 0.7)
    more = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True))
    full = [
        (n - 1) * s + (k - 1) * d + 1 + m
        for n, s, k, d, m in zip(size, stride, kernel, dilation, more, strict=True)
    ]
    pad = tuple(min(p, (f - 1) // 2) for p, f in zip(pad, full, strict=True))
    kind = bp.ConvTranspose2D if axes == 2 else bp.ConvTranspose1D
    given = [lone(v) for v in (kernel, stride, pad, more, dilation)]
    layer = kind(outs, *given, groups, use_bias=bias)
    theirs = F.conv_transpose2d if axes == 2 else F.conv_transpose1d
    how = {"stride": stride, "padding": pad, "output_padding": more}
    how |= {"groups": groups, "dilation": dilation}
    weight = (ins, outs // groups, *kernel)
    return layer, lambda x, w, b=None: theirs(x, w, b, **how), (ins, *size), weight, bias * outs


def pool(rng, axes):
    size, window, stride, _, _ = geometry(rng, axes)
    window = tuple(min(w, n) for w, n in zip(window, size, strict=True))
    pad = tuple(int(rng.integers(0, w // 2 + 1)) for w in window)
    given = [lone(v) for v in (window, stride, pad)]
    kinds = {
        1: (bp.MaxPool1D, bp.AveragePool1D, F.max_pool1d, F.avg_pool1d),
        2: (bp.MaxPool2D, bp.AveragePool2D, F.max_pool2d, F.avg_pool2d),
    }
    largest, mean, their_largest, their_mean = kinds[axes]
    shape = (int(rng.integers(1, 7)), *size)
    if rng.random() < 0.5:
        return largest(*given), lambda x: their_largest(x, window, stride, pad), shape, None, 0
    count = bool(rng.random() < 0.5)
    theirs = {"padding": pad, "count_include_pad": count}
    layer = mean(*given, count_padding=count)
    return layer, lambda x: their_mean(x, window, stride, **theirs), shape, None, 0


KINDS = [convolution, convolution, transposed, pool]


def checked(seed):
    """One configuration: raises where the two do not agree."""
    rng = np.random.default_rng(seed)
    axes, kind = 1 + int(rng.random() < 0.75), KINDS[seed % len(KINDS)]
    layer, theirs, shape, weight, outs = kind(rng, axes)
    dtype = np.float32 if rng.random() < 0.5 else np.float64
    rows = int(rng.choice(ROWS, p=OFTEN))

    def draw(*dims):
        return rng.normal(size=dims).astype(dtype)

    x, given = draw(rows, *shape), []
    if weight:
        given = [draw(*weight)] + ([draw(outs)] if outs else [])
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, *given)]
    out = theirs(*tensors)
    v = draw(*out.shape)
    out.backward(torch.from_numpy(v))
    y, wanted = out.detach().numpy(), [t.grad.numpy() for t in tensors]
    last = bool(rng.random() < 0.3)  # channels last, to the user
    layout = ("NHWC" if axes == 2 else "NLC") if last else ("NCHW" if axes == 2 else "NCL")
    turn = (lambda a: np.ascontiguousarray(np.moveaxis(a, 1, -1))) if last else (lambda a: a)
    blocked = bool(rng.random() < 0.5)
    found = run(layer, turn(x), layout, given, turn(y), turn(v), blocked)
    what = f"seed {seed}: {layer!r} on {x.shape} {layout} {dtype.__name__} blocked={blocked}"
    compare(found[0], turn(y), dtype, f"{what}: y")
    compare(found[1], turn(wanted[0]), dtype, f"{what}: dx")
    for name, a, b in zip(("weight", "bias"), found[2], wanted[1:], strict=False):
        compare(a.reshape(b.shape), b, dtype, f"{what}: {name}")


def compare(ours, theirs, dtype, what):
    assert ours.shape == theirs.shape, what
    scale = max(1.0, float(np.abs(theirs).max(initial=0.0)))
    error = float(np.abs(ours - theirs).max(initial=0.0)) / scale
    assert error < BOUND[dtype], f"{what}: error {error:.2g}"


@pytest.mark.filterwarnings("ignore:Using padding:UserWarning")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_layers_are_pytorchs(chunk):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
            checked(seed)
    finally:
        torch.set_num_threads(threads)
