"""PyTorch: data in tensors, indexing per step; eager, fused optimiser, whole step compiled."""

import math

import numpy as np
import torch
from torch import nn

from bench.peers import UnavailableError

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def _module(layer):
    if layer.kind == "dense":
        return nn.Linear(math.prod(layer.inputs), layer.outputs[0])
    if layer.kind == "conv":
        return nn.Conv2d(
            layer.inputs[0], layer.outputs[0], layer.kernel,
            padding=layer.padding, groups=layer.groups,
        )  # fmt: skip
    if layer.kind == "pool":
        return nn.MaxPool2d(layer.kernel)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _network(workload):
    modules, last = [], workload.network[-1]
    for layer in workload.network:
        if layer.kind == "dense" and len(layer.inputs) > 1:
            modules.append(nn.Flatten())
        modules.append(_module(layer))
        if layer.weight_shape and layer is not last:
            modules.append(_ACTIVATIONS[workload.activation]())
            if workload.dropout and layer.kind == "dense":
                modules.append(nn.Dropout(workload.dropout))
    modules.append(nn.Sigmoid() if workload.loss == "mse" else nn.Identity())
    return nn.Sequential(*modules).to(getattr(torch, workload.dtype))


def _weighted(network):
    return [m for m in network if isinstance(m, nn.Linear | nn.Conv2d)]


def _common(module, weight):
    """Turn a weight between PyTorch's layout and the common one."""
    return weight.T if isinstance(module, nn.Linear) else weight


def _set_weights(network, weights):
    with torch.no_grad():
        for module, (w, b) in zip(_weighted(network), weights, strict=True):
            module.weight.copy_(torch.from_numpy(_common(module, w)))
            module.bias.copy_(torch.from_numpy(b))


def _images_only(workload):
    if not workload.images:
        raise UnavailableError("channels last is a layout of images")


def moved(x, augment):
    """Return images x [N, C, H, W], each moved by a random map, as `bp.Augment` would move them.

    ``augment`` holds arguments of `bp.Augment`: ``shift``, ``rotation``, ``scale``, ``shear`` and
    ``elastic`` with ``elastic_sigma``.
    """
    n, _, h, w = x.shape

    def draw(name, unit=1.0):
        return (torch.rand(n) * 2 - 1) * (augment.get(name, 0.0) * unit)

    degree = math.pi / 180
    turn, lean = draw("rotation", degree), torch.tan(draw("shear", degree))
    size = (1 + augment.get("scale", 0.0)) ** (torch.rand(n) * 2 - 1)
    cos, sin = torch.cos(turn) / size, torch.sin(turn) / size
    rows = [
        [cos - lean * sin, sin + lean * cos, draw("shift", 2 / w)],
        [-sin, cos, draw("shift", 2 / h)],
    ]
    theta = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    if augment.get("elastic"):
        grid += _bent(n, h, w, augment["elastic"], augment.get("elastic_sigma", 4.0))
    return nn.functional.grid_sample(x, grid, align_corners=False)


def _bent(n, h, w, alpha, sigma):
    """Return smooth random displacements [N, H, W, 2] in units of the half image.

    They are cubic between points that lie 2 sigma apart, and alpha / (sqrt(12 pi) sigma) pixels in
    the root mean square, as those of Simard, Steinkraus and Platt are.
    """
    size = (round(h / (2 * sigma)) + 1, round(w / (2 * sigma)) + 1)
    d = nn.functional.interpolate(torch.randn(n, 2, *size), (h, w), mode="bicubic")
    d *= alpha / (math.sqrt(12 * math.pi) * sigma) / d.std()
    return d.permute(0, 2, 3, 1) * torch.tensor([2 / w, 2 / h])


class Eager:
    """The training loop as it is typically written."""

    package = "torch"
    own_start = tunes = True
    fused = False
    layout = torch.contiguous_format

    def __init__(self, workload, x, y, threads, seed):
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.workload = workload
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        self.network = _network(workload)
        if workload.images:
            self.x = self.x.contiguous(memory_format=self.layout)
            self.network.to(memory_format=self.layout)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=workload.smoothing)
        if workload.loss == "mse":
            self.y, self.criterion = self.y[:, None].to(self.x.dtype), nn.MSELoss()
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[workload.optimizer]
        parameters = self.network.parameters()
        more = {"momentum": workload.momentum} if workload.momentum else {}
        self.optimizer = kind(parameters, lr=workload.learning_rate, fused=self.fused, **more)
        self.scheduler = None
        if workload.decay:
            steps = workload.decay * -(-workload.rows // workload.batch)
            falling = torch.optim.lr_scheduler.LinearLR
            self.scheduler = falling(self.optimizer, 1.0, 0.0, total_iters=steps)

    def set_weights(self, weights):
        _set_weights(self.network, weights)

    def get_weights(self):
        return [
            (_common(m, m.weight.detach().numpy()), m.bias.detach().numpy())
            for m in _weighted(self.network)
        ]

    def batches(self):
        """Yield the index tensors of one shuffled epoch."""
        return torch.randperm(self.workload.rows).split(self.workload.batch)

    def train(self, epochs):
        for _ in range(epochs):
            if not self.workload.shuffles:
                self.step(self.x, self.y)
                continue
            for rows in self.batches():
                self.step(self.x[rows], self.y[rows])

    def step(self, x, y):
        if self.workload.augment:
            x = moved(x, self.workload.augment)
        self.optimizer.zero_grad()
        loss = self.criterion(self.network(x), y)
        loss.backward()
        self.optimizer.step()
        if self.scheduler:
            self.scheduler.step()


class Fused(Eager):
    """The same loop with a fused optimiser."""

    fused = True


class ChannelsLast(Fused):
    """The fused loop on images whose channels lie innermost."""

    layout = torch.channels_last

    def __init__(self, workload, x, y, threads, seed):
        _images_only(workload)
        super().__init__(workload, x, y, threads, seed)


class CompiledStep(Eager):
    """Gather, forward, loss, gradient and update as one compiled graph."""

    tunes = False

    def __init__(self, workload, x, y, threads, seed):
        super().__init__(workload, x, y, threads, seed)
        self.params = dict(self.network.named_parameters())
        self.params = {k: p.detach() for k, p in self.params.items()}
        self.state = {k: (torch.zeros_like(p), torch.zeros_like(p)) for k, p in self.params.items()}
        # One element, not none: the compiler takes a 0-d float64 tensor for a constant.
        self.power1, self.power2 = torch.ones((2, 1), dtype=self.x.dtype)
        self.compiled = torch.compile(self.graph, fullgraph=True, dynamic=False)

    def graph(self, rows):
        """One step over the given rows, written with pure functions and in-place updates."""
        x, y = (self.x, self.y) if rows is None else (self.x[rows], self.y[rows])

        def loss(params):
            return self.criterion(torch.func.functional_call(self.network, params, (x,)), y)

        grads, value = torch.func.grad_and_value(loss)(self.params)
        rate = self.workload.learning_rate
        if self.workload.optimizer == "sgd":
            for k, p in self.params.items():
                step = grads[k]
                if self.workload.momentum:
                    step = self.state[k][0].mul_(self.workload.momentum).add_(step)
                p.sub_(rate * step)
            return value
        self.power1.mul_(0.9)
        self.power2.mul_(0.999)
        rate, scale = rate / (1 - self.power1), torch.rsqrt(1 - self.power2)
        for k, p in self.params.items():
            m, v = self.state[k]
            m.lerp_(grads[k], 0.1)
            v.mul_(0.999).addcmul_(grads[k], grads[k], value=0.001)
            p.sub_(rate * m / (v.sqrt() * scale + 1e-8))
        return value

    def train(self, epochs):
        with torch.no_grad():
            for _ in range(epochs):
                for rows in self.batches() if self.workload.shuffles else (None,):
                    self.compiled(rows)


class CompiledChannelsLast(CompiledStep):
    """The compiled step on images whose channels lie innermost."""

    layout = torch.channels_last

    def __init__(self, workload, x, y, threads, seed):
        _images_only(workload)
        super().__init__(workload, x, y, threads, seed)


class EagerPredictor:
    """The module called in inference mode, from a NumPy array to a NumPy array."""

    package = "torch"

    def __init__(self, workload, weights, x, threads):
        torch.set_num_threads(threads)
        self.x = x
        network = _network(workload)
        _set_weights(network, weights)
        self.network = nn.Sequential(*network[:-1], nn.Softmax(dim=1)).eval()

    def call(self, x):
        with torch.inference_mode():
            return self.network(torch.from_numpy(x)).numpy()


class JitPredictor(EagerPredictor):
    """The module traced and frozen."""

    def __init__(self, workload, weights, x, threads):
        super().__init__(workload, weights, x, threads)
        if not hasattr(torch, "jit"):
            raise UnavailableError("this PyTorch has no torch.jit")
        with torch.no_grad():
            traced = torch.jit.trace(self.network, torch.from_numpy(np.copy(x)))
            self.network = torch.jit.optimize_for_inference(torch.jit.freeze(traced))


class CompiledPredictor(EagerPredictor):
    """The module compiled, its weights as constants."""

    def __init__(self, workload, weights, x, threads):
        super().__init__(workload, weights, x, threads)
        self.network.requires_grad_(False)
        self.network = torch.compile(
            self.network, fullgraph=True, dynamic=False, options={"freezing": True}
        )

    def call(self, x):
        with torch.no_grad():
            return self.network(torch.from_numpy(x)).numpy()
