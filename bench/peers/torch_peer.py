"""PyTorch: data in tensors, indexing per step; eager, fused optimiser, whole step compiled."""

from itertools import pairwise

import numpy as np
import torch
from torch import nn

from bench.peers import UnavailableError

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def _network(workload):
    modules = []
    for i, o in pairwise(workload.layers):
        modules += [nn.Linear(i, o), _ACTIVATIONS[workload.activation]()]
        if workload.dropout:
            modules.append(nn.Dropout(workload.dropout))
    del modules[len(modules) - 1 - bool(workload.dropout) :]  # what follows the outputs
    last = nn.Sigmoid() if workload.loss == "mse" else nn.Identity()
    return nn.Sequential(*modules, last).to(getattr(torch, workload.dtype))


def _linears(network):
    return [m for m in network if isinstance(m, nn.Linear)]


def _set_weights(network, weights):
    with torch.no_grad():
        for linear, (w, b) in zip(_linears(network), weights, strict=True):
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.copy_(torch.from_numpy(b))


class Eager:
    """The training loop as it is typically written."""

    package = "torch"
    own_start = tunes = True
    fused = False

    def __init__(self, workload, x, y, threads, seed):
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.workload = workload
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        self.network = _network(workload)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=workload.smoothing)
        if workload.loss == "mse":
            self.y, self.criterion = self.y[:, None].to(self.x.dtype), nn.MSELoss()
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[workload.optimizer]
        parameters = self.network.parameters()
        self.optimizer = kind(parameters, lr=workload.learning_rate, fused=self.fused)
        self.scheduler = None
        if workload.decay:
            steps = workload.decay * -(-workload.rows // workload.batch)
            falling = torch.optim.lr_scheduler.LinearLR
            self.scheduler = falling(self.optimizer, 1.0, 0.0, total_iters=steps)

    def set_weights(self, weights):
        _set_weights(self.network, weights)

    def get_weights(self):
        return [
            (m.weight.detach().numpy().T, m.bias.detach().numpy()) for m in _linears(self.network)
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
        self.optimizer.zero_grad()
        loss = self.criterion(self.network(x), y)
        loss.backward()
        self.optimizer.step()
        if self.scheduler:
            self.scheduler.step()


class Fused(Eager):
    """The same loop with a fused optimiser."""

    fused = True


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
                p.sub_(rate * grads[k])
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
