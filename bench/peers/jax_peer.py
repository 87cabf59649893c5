"""JAX: one jitted step per minibatch, or every epoch of a call in one jitted scan."""

import os
from functools import partial

import numpy as np

# Read by XLA once, when jaxlib loads.
if os.environ.get("OMP_NUM_THREADS") == "1":
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
        " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    )
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

_ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}


def _layer(layer, x, own):
    """Return a layer's output before its activation; images are [N, H, W, C], as XLA likes them."""
    if layer.kind == "conv":
        w, b = own
        y = jax.lax.conv_general_dilated(
            x, w, (1, 1), [(layer.padding, layer.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=layer.groups,
        )  # fmt: skip
        return y + b
    if layer.kind == "pool":
        window = (1, layer.kernel, layer.kernel, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
    if layer.kind == "mean":
        return x.mean(axis=(1, 2))
    w, b = own
    if x.ndim > 2:
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    return x @ w + b


def _logits(workload, params, x):
    left = list(params)
    for layer in workload.network:
        own = left.pop(0) if layer.weight_shape else None
        x = _layer(layer, x, own)
        if own and left:
            x = _ACTIVATIONS[workload.activation](x)
    return x


def _params(weights):
    """Return the common weights as JAX's, filters as [K, K, C, O]."""
    return [
        (jnp.asarray(w.transpose(2, 3, 1, 0) if w.ndim > 2 else w), jnp.asarray(b))
        for w, b in weights
    ]


def _loss(workload, params, x, y):
    z = _logits(workload, params, x)
    if workload.loss == "mse":
        return jnp.mean((jax.nn.sigmoid(z) - y[:, None]) ** 2)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1))


def _step(workload, state, x, y):
    """Return the state after one step, and the loss."""
    params, m, v, count = state
    loss, grads = jax.value_and_grad(partial(_loss, workload))(params, x, y)
    rate = workload.learning_rate
    if workload.momentum:
        m = jax.tree.map(lambda m, g: workload.momentum * m + g, m, grads)
        grads = m
    if workload.optimizer == "sgd":
        return (jax.tree.map(lambda p, g: p - rate * g, params, grads), m, v, count), loss
    count += 1
    correct1, correct2 = 1 - 0.9**count, 1 - 0.999**count
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
    params = jax.tree.map(
        lambda p, m, v: p - rate * (m / correct1) / (jnp.sqrt(v / correct2) + 1e-8), params, m, v
    )
    return (params, m, v, count), loss


def _take(array, rows):
    """Gather rows that are known to exist."""
    return array.at[rows].get(mode="promise_in_bounds")


class Step:
    """One dispatch per minibatch: gather and step in one jit, state donated."""

    package = "jax"

    def __init__(self, workload, x, y, threads, seed):
        jax.config.update("jax_enable_x64", workload.dtype == "float64")
        self.workload, self.rng = workload, np.random.default_rng(seed)
        self.step = partial(_step, workload)
        self.x = jnp.asarray(x.transpose(0, 2, 3, 1) if workload.images else x)
        self.y = jnp.asarray(y, workload.dtype if workload.loss == "mse" else jnp.int32)
        graph = self.gathered if workload.shuffles else self.full_batch
        self.run = jax.jit(graph, static_argnums=3, donate_argnums=0)

    def set_weights(self, weights):
        params = _params(weights)
        moments = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
        if self.workload.optimizer == "sgd":
            moments = [moments[0] if self.workload.momentum else (), ()]
        self.state = (params, *moments, jnp.zeros((), self.workload.dtype))

    def get_weights(self):
        pairs = [(np.asarray(w), np.asarray(b)) for w, b in self.state[0]]
        return [(w.transpose(3, 2, 0, 1) if w.ndim > 2 else w, b) for w, b in pairs]

    def gathered(self, state, x, y, count, rows):
        """One step on the given rows."""
        return self.step(state, _take(x, rows), _take(y, rows))

    def full_batch(self, state, x, y, count):
        """One step on all rows."""
        return self.step(state, x, y)

    def train(self, epochs):
        rows, batch = self.workload.rows, self.workload.batch
        for _ in range(epochs):
            if not self.workload.shuffles:
                self.state, _ = self.run(self.state, self.x, self.y, 1)
                continue
            order = self.rng.permutation(rows).astype(np.int32)
            for at in range(0, rows, batch):
                self.state, _ = self.run(self.state, self.x, self.y, 1, order[at : at + batch])
        jax.block_until_ready(self.state)


class Scan(Step):
    """One dispatch per call: all its epochs and their steps are scans inside one jit."""

    def gathered(self, state, x, y, count, orders):
        """All steps of the epochs whose orders [E, N] are given."""
        rows, batch = self.workload.rows, self.workload.batch
        whole = rows - rows % batch

        def visit(state, rows):
            return self.step(state, _take(x, rows), _take(y, rows))

        def epoch(state, order):
            state, losses = jax.lax.scan(visit, state, order[:whole].reshape(-1, batch))
            if whole < rows:
                state, _ = visit(state, order[whole:])
            return state, losses.mean()

        return jax.lax.scan(epoch, state, orders)

    def full_batch(self, state, x, y, count):
        """`count` steps on all rows."""
        return jax.lax.scan(lambda s, _: self.step(s, x, y), state, length=count)

    def train(self, epochs):
        orders = ()
        if self.workload.shuffles:
            rows = self.workload.rows
            orders = (np.array([self.rng.permutation(rows) for _ in range(epochs)], np.int32),)
        self.state, _ = self.run(self.state, self.x, self.y, epochs, *orders)
        jax.block_until_ready(self.state)


class Predictor:
    """The jitted forward pass with its weights as constants, from NumPy to NumPy."""

    package = "jax"

    def __init__(self, workload, weights, x, threads):
        params = _params(weights)
        self.x = x

        def run(x):
            x = x.transpose(0, 2, 3, 1) if workload.images else x
            return jax.nn.softmax(_logits(workload, params, x))

        self.run = jax.jit(run)

    def call(self, x):
        return np.asarray(self.run(x))
