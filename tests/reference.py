"""A plain NumPy network in float64, one line per equation: what the fast one must agree with.

N samples, I inputs, O outputs: x [N, I], weight [O, I], bias [O],
z = x weight' + bias and a = f(z) [N, O].
"""

from dataclasses import dataclass, field

import numpy as np


def sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# name -> (f(z), f'(z) written with a = f(z))
ACTIVATIONS = {
    None: (lambda z: z, lambda a: np.ones_like(a)),
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0) * 1.0),
    "tanh": (np.tanh, lambda a: 1 - a * a),
    "sigmoid": (sigmoid, lambda a: a * (1 - a)),
    "softmax": (softmax, None),  # only as the last layer, under cross_entropy
}


def one_hot(labels, classes):
    return np.eye(classes)[np.asarray(labels).astype(int).ravel()]


def squared(scale):
    """loss = scale(y.shape) * sum((a - y)^2) and its gradient by a."""
    return (
        lambda a, y: scale(y.shape) * np.sum((a - y) ** 2),
        lambda a, y: 2 * scale(y.shape) * (a - y),
    )


SQUARED = {
    "half_sse": squared(lambda shape: 0.5),
    "sse": squared(lambda shape: 1.0),
    "mse": squared(lambda shape: 1.0 / np.prod(shape)),
}
MEAN_LOSSES = ("mse", "cross_entropy", "binary_cross_entropy")


@dataclass
class Layer:
    weight: np.ndarray
    bias: np.ndarray | None
    activation: str | None


@dataclass
class Net:
    """Dense layers and a loss; `scale` multiplies the inputs."""

    layers: list
    loss: str = "half_sse"
    scale: float = 1.0

    @classmethod
    def like(cls, model, activations, loss, scale=1.0):
        """The same network with copies of the parameters of a pybp model of dense layers."""
        layers = []
        for i, activation in enumerate(activations):
            weight = np.array(model.parameters[f"dense{i}.weight"], dtype=np.float64)
            bias = model.parameters.get(f"dense{i}.bias")
            bias = None if bias is None else np.array(bias, dtype=np.float64)
            layers.append(Layer(weight, bias, activation))
        return cls(layers, loss, scale)

    @property
    def parameters(self):
        named = {}
        for i, layer in enumerate(self.layers):
            named[f"dense{i}.weight"] = layer.weight
            if layer.bias is not None:
                named[f"dense{i}.bias"] = layer.bias
        return named

    def forward(self, x):
        """[(z, a)] of every layer."""
        a, trace = np.asarray(x, dtype=np.float64).reshape(len(x), -1) * self.scale, []
        for layer in self.layers:
            z = a @ layer.weight.T + (0 if layer.bias is None else layer.bias)
            a = ACTIVATIONS[layer.activation][0](z)
            trace.append((z, a))
        return trace

    def predict(self, x):
        return self.forward(x)[-1][1]

    def targets(self, y):
        outputs = len(self.layers[-1].weight)
        y = np.asarray(y)
        if self.loss == "cross_entropy" and y.size == len(y):
            return one_hot(y, outputs)
        return y.astype(np.float64).reshape(len(y), outputs)

    def value(self, x, y):
        """The loss of a batch."""
        (z, a), y = self.forward(x)[-1], self.targets(y)
        if self.loss == "cross_entropy":
            return -np.mean(np.sum(y * np.log(softmax(z)), axis=1))
        if self.loss == "binary_cross_entropy":
            return np.mean(np.logaddexp(0, z) - y * z)
        return SQUARED[self.loss][0](a, y)

    def backward(self, x, y):
        """(gradients by name, deltas dE/dz layer by layer)."""
        trace, y = self.forward(x), self.targets(y)
        inputs = [np.asarray(x, dtype=np.float64).reshape(len(x), -1) * self.scale]
        inputs += [a for _, a in trace[:-1]]
        z, a = trace[-1]
        if self.loss == "cross_entropy":
            delta = (softmax(z) - y) / len(y)
        elif self.loss == "binary_cross_entropy":
            delta = (sigmoid(z) - y) / y.size
        else:
            delta = SQUARED[self.loss][1](a, y) * ACTIVATIONS[self.layers[-1].activation][1](a)
        gradients, deltas = {}, [None] * len(self.layers)
        for i in reversed(range(len(self.layers))):
            deltas[i] = delta
            gradients[f"dense{i}.weight"] = delta.T @ inputs[i]
            if self.layers[i].bias is not None:
                gradients[f"dense{i}.bias"] = delta.sum(axis=0)
            if i:
                slope = ACTIVATIONS[self.layers[i - 1].activation][1](trace[i - 1][1])
                delta = (delta @ self.layers[i].weight) * slope
        return gradients, deltas

    def step(self, x, y, optimizer):
        """One update in place; the loss before it."""
        value = self.value(x, y)
        optimizer.step(self.parameters, self.backward(x, y)[0])
        return value

    def fit(self, x, y, epochs, batch_size, optimizer):
        """Epochs in file order; one loss per epoch, as History reports it."""
        losses = []
        for _ in range(epochs):
            total = 0.0
            for start in range(0, len(x), batch_size):
                xb, yb = x[start : start + batch_size], y[start : start + batch_size]
                weight = len(xb) / len(x) if self.loss in MEAN_LOSSES else 1
                total += weight * self.step(xb, yb, optimizer)
            losses.append(total)
        return losses


@dataclass
class SGD:
    """v = momentum v + g, w -= rate v; Nesterov: w -= rate (g + momentum v)."""

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    v: dict = field(default_factory=dict)

    def step(self, parameters, gradients):
        for name, g in gradients.items():
            self.v[name] = v = self.momentum * self.v.get(name, 0) + g
            parameters[name] -= self.learning_rate * (g + self.momentum * v if self.nesterov else v)


@dataclass
class Adam:
    """Kingma and Ba (2015), algorithm 1: bias-corrected moments, eps outside the root."""

    learning_rate: float = 1e-3
    betas: tuple = (0.9, 0.999)
    eps: float = 1e-8
    t: int = 0
    m: dict = field(default_factory=dict)
    v: dict = field(default_factory=dict)

    def step(self, parameters, gradients):
        self.t += 1
        (b1, b2), t = self.betas, self.t
        for name, g in gradients.items():
            self.m[name] = m = b1 * self.m.get(name, 0) + (1 - b1) * g
            self.v[name] = v = b2 * self.v.get(name, 0) + (1 - b2) * g * g
            rate = self.learning_rate / (1 - b1**t)
            parameters[name] -= rate * m / (np.sqrt(v / (1 - b2**t)) + self.eps)


# --- the other optimisers: each the step to subtract, of one parameter's state s, a dict, its
# gradient g and the number of the step t; `o` holds the arguments of the pybp object.


def adagrad(o, s, g, t):
    s["sum"] = s.get("sum", o.initial_accumulator) + g**2
    return g / (np.sqrt(s["sum"]) + o.eps)


def adadelta(o, s, g, t):
    s["sq"] = o.rho * s.get("sq", 0) + (1 - o.rho) * g**2
    d = np.sqrt(s.get("acc", 0) + o.eps) / np.sqrt(s["sq"] + o.eps) * g
    s["acc"] = o.rho * s.get("acc", 0) + (1 - o.rho) * d**2
    return d


def rmsprop(o, s, g, t):
    s["sq"] = o.alpha * s.get("sq", 0) + (1 - o.alpha) * g**2
    s["mean"] = o.alpha * s.get("mean", 0) + (1 - o.alpha) * g
    spread = s["sq"] - s["mean"] ** 2 if o.centered else s["sq"]
    s["b"] = o.momentum * s.get("b", 0) + g / (np.sqrt(spread) + o.eps)
    return s["b"]


def moments(o, s, g):
    (b1, b2) = o.betas
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    return s["m"], s["v"]


def adam(o, s, g, t):
    (b1, b2), (m, v) = o.betas, moments(o, s, g)
    s["top"] = np.maximum(s.get("top", 0), v)
    v = s["top"] if o.amsgrad else v
    return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + o.eps)


def adamax(o, s, g, t):
    m, _ = moments(o, s, g)
    s["u"] = np.maximum(o.betas[1] * s.get("u", 0), np.abs(g) + o.eps)
    return m / (1 - o.betas[0] ** t) / s["u"]


def nadam(o, s, g, t):
    mu = o.betas[0] * (1 - 0.5 * 0.96 ** (np.arange(1, t + 2) * o.momentum_decay))
    m, v = moments(o, s, g)
    own, past = (1 - mu[-2]) / (1 - mu[:-1].prod()), mu[-1] / (1 - mu.prod())
    return (own * g + past * m) / (np.sqrt(v / (1 - o.betas[1] ** t)) + o.eps)


def lion(o, s, g, t):
    (b1, b2), m = o.betas, s.get("m", 0)
    s["m"] = b2 * m + (1 - b2) * g
    return np.sign(b1 * m + (1 - b1) * g)


def rprop(o, s, g, t, worse=False):
    """The step itself: the learning rate is only the first step's size."""
    turn = np.sign(g) * s.get("past", 0)
    d = s.get("d", np.full_like(g, o.learning_rate.rate))
    d = np.where(turn > 0, np.minimum(d * o.etas[1], o.step_sizes[1]), d)
    s["d"] = np.where(turn < 0, np.maximum(d * o.etas[0], o.step_sizes[0]), d)
    forget = o.variant != "rprop-"
    s["past"] = np.where((turn < 0) & forget, 0, np.sign(g))
    step = s["past"] * s["d"]
    if o.variant == "irprop+":
        step = np.where((turn < 0) & worse, -s.get("step", 0), step)
        s["step"] = step
    return step


@dataclass
class Stepper:
    """One of these rules with the arguments of a pybp optimiser."""

    rule: object
    given: object
    states: dict = field(default_factory=dict)
    t: int = 0

    def step(self, parameters, gradients, **extra):
        self.t += 1
        rate = 1 if self.rule is rprop else self.given.learning_rate.rate
        for name, g in gradients.items():
            state = self.states.setdefault(name, {})
            if parameters[name].ndim > 1:
                decay = self.given.learning_rate.rate * self.given.weight_decay
                parameters[name] *= 1 - decay
            parameters[name] -= rate * self.rule(self.given, state, g, self.t, **extra)
