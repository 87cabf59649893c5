"""NumPy written by hand: preallocated buffers, one flat vector for all parameters.

The optimiser walks the flat vector in chunks that stay in the cache; every array operation
writes into a buffer that exists already.
"""

from itertools import pairwise

import numpy as np

_CHUNK = 131072  # parameters per optimiser pass


def _views(flat, layers):
    """Return [(W [I, O], b [O]), ...] as views of the flat vector."""
    views, start = [], 0
    for i, o in pairwise(layers):
        middle, stop = start + i * o, start + i * o + o
        views.append((flat[start:middle].reshape(i, o), flat[middle:stop]))
        start = stop
    return views


def _activate(name, z):
    if name == "relu":
        np.maximum(z, 0, out=z)
    elif name == "tanh":
        np.tanh(z, out=z)
    else:
        np.negative(z, out=z)
        np.exp(z, out=z)
        z += 1
        np.reciprocal(z, out=z)


def _softmax(z):
    z -= np.maximum.reduce(z, axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= np.add.reduce(z, axis=1, keepdims=True)


class _Buffers:
    """The arrays of one step over `rows` rows."""

    def __init__(self, workload, rows):
        dtype, layers = workload.dtype, workload.layers
        self.x = np.empty((rows, layers[0]), dtype)
        self.y = np.empty(rows, np.int64)
        self.rows = np.arange(rows)
        self.ones = np.ones(rows, dtype)
        self.h = [np.empty((rows, o), dtype) for o in layers[1:]]
        self.dh = [np.empty_like(h) for h in self.h]
        self.slope = [np.empty_like(h) for h in self.h]


class Trainer:
    """Minibatch training, every step in a dozen array operations per layer."""

    package = "numpy"

    def __init__(self, workload, x, y, threads, seed):
        self.workload, self.x, self.y = workload, x, y
        self.rng = np.random.default_rng(seed)
        sizes = pairwise(workload.layers)
        count = sum(i * o + o for i, o in sizes)
        self.flat, self.grad, self.m, self.v = np.zeros((4, count), workload.dtype)
        self.params = _views(self.flat, workload.layers)
        self.grads = _views(self.grad, workload.layers)
        scratch = np.empty(min(count, _CHUNK), workload.dtype)
        self.chunks = []
        for at in range(0, count, _CHUNK):
            parts = [a[at : at + _CHUNK] for a in (self.flat, self.grad, self.m, self.v)]
            self.chunks.append((*parts, scratch[: len(parts[0])]))
        self.buffers = {}
        self.steps = 0
        self.update = self.adam if workload.optimizer == "adam" else self.sgd

    def set_weights(self, weights):
        for own, given in zip(self.params, weights, strict=True):
            own[0][...], own[1][...] = given

    def get_weights(self):
        return self.params

    def train(self, epochs):
        rows, batch = self.workload.rows, self.workload.batch
        for _ in range(epochs):
            order = self.rng.permutation(rows) if self.workload.shuffles else None
            total = 0.0
            for at in range(0, rows, batch):
                stop = min(at + batch, rows)
                b = self.buffers.get(stop - at)
                if b is None:
                    b = self.buffers[stop - at] = _Buffers(self.workload, stop - at)
                if order is None:
                    x, y = self.x[at:stop], self.y[at:stop]
                else:
                    x = np.take(self.x, order[at:stop], axis=0, out=b.x, mode="clip")
                    y = np.take(self.y, order[at:stop], out=b.y, mode="clip")
                total += self.step(b, x, y)
            self.mean_loss = total / rows

    def step(self, b, x, y):
        """One step; returns the summed loss."""
        h = x
        for k, (w, bias) in enumerate(self.params):
            z = np.dot(h, w, out=b.h[k])
            z += bias
            h = z
            if k < len(self.params) - 1:
                _activate(self.workload.activation, z)
        loss = self.mse(b, y) if self.workload.loss == "mse" else self.cross_entropy(b, y)
        for k in reversed(range(len(self.params))):
            dh, (dw, dbias) = b.dh[k], self.grads[k]
            np.dot((b.h[k - 1] if k else x).T, dh, out=dw)
            np.dot(b.ones, dh, out=dbias)
            if k:
                np.dot(dh, self.params[k][0].T, out=b.dh[k - 1])
                self.chain(b.h[k - 1], b.dh[k - 1], b.slope[k - 1])
        self.update()
        return loss

    def chain(self, h, dh, slope):
        """Multiply dh by the activation's derivative, given its output h."""
        if self.workload.activation == "relu":
            np.sign(h, out=slope)
        elif self.workload.activation == "tanh":
            np.multiply(h, h, out=slope)
            np.subtract(1, slope, out=slope)
        else:
            np.subtract(1, h, out=slope)
            slope *= h
        dh *= slope

    def cross_entropy(self, b, y):
        p, dz = b.h[-1], b.dh[-1]
        _softmax(p)
        loss = -np.add.reduce(np.log(p[b.rows, y]))
        dz[...] = p
        dz[b.rows, y] -= 1
        dz *= 1 / len(y)
        return loss

    def mse(self, b, y):
        a, dz, slope = b.h[-1], b.dh[-1], b.slope[-1]
        _activate("sigmoid", a)
        np.subtract(a, y[:, None], out=dz, casting="same_kind")
        loss = np.vdot(dz, dz)
        np.subtract(1, a, out=slope)
        slope *= a
        dz *= slope
        dz *= 2 / len(y)
        return loss

    def sgd(self):
        for p, g, _, _, t in self.chunks:
            np.multiply(g, self.workload.learning_rate, out=t)
            p -= t

    def adam(self, beta1=0.9, beta2=0.999, eps=1e-8):
        """Adam with m/(1-beta1) and v/(1-beta2) as state, which saves two passes."""
        self.steps += 1
        correct2 = np.sqrt((1 - beta2**self.steps) / (1 - beta2))
        rate = self.workload.learning_rate * correct2 * (1 - beta1) / (1 - beta1**self.steps)
        for p, g, m, v, t in self.chunks:
            m *= beta1
            m += g
            v *= beta2
            np.multiply(g, g, out=t)
            v += t
            np.sqrt(v, out=t)
            t += eps * correct2
            np.divide(m, t, out=t)
            t *= rate
            p -= t


class Predictor:
    """One forward pass into preallocated buffers; one row takes matrix-vector products."""

    package = "numpy"

    def __init__(self, workload, weights, x, threads):
        self.activation = workload.activation
        one = workload.batch == 1
        self.x = x
        shape = (lambda o: o) if one else (lambda o: (workload.batch, o))
        self.layers = [(w, b, np.empty(shape(len(b)), x.dtype)) for w, b in weights]
        self.call = self.one_row if one else self.many_rows

    def many_rows(self, x):
        for w, b, z in self.layers[:-1]:
            x = np.dot(x, w, out=z)
            x += b
            _activate(self.activation, x)
        w, b, z = self.layers[-1]
        np.dot(x, w, out=z)
        z += b
        _softmax(z)
        return z

    def one_row(self, x):
        x = x[0]
        for w, b, z in self.layers[:-1]:
            x = np.dot(x, w, out=z)
            x += b
            _activate(self.activation, x)
        w, b, z = self.layers[-1]
        np.dot(x, w, out=z)
        z += b
        z -= np.maximum.reduce(z)
        np.exp(z, out=z)
        z /= np.add.reduce(z)
        return z
