"""What is measured: one row of `WORKLOADS` states one workload completely.

A training workload is counted per epoch or per step and covers the gather of the shuffled
minibatch, forward, loss, backward and update. An inference workload is counted per call.
"""

from dataclasses import dataclass
from functools import cached_property

from bench.nets import network


@dataclass(frozen=True)
class Workload:
    """One network, its data and the work that is timed.

    Attributes:
        key: short name, as given to ``--workloads``.
        layers: the input and every layer, as `bench.nets` reads them.
        activation: of the hidden layers. The last layer is softmax under ``cross_entropy``
            and sigmoid under ``mse`` (mean over samples and outputs).
        batch: rows per step; full batches need no shuffle and no gather.
        rows: rows of the data set, hence of one epoch.
        epochs: epochs that one timed call of a peer trains.
        data: name of the data set in `bench.data`.
        unit: what a time is counted per: ``epoch``, ``step`` or ``call``.
        decay: epochs over which the learning rate falls along a line to zero; 0: it is constant.
        dropout: share of hidden units left out of a step.
        smoothing: share of every target that goes to all classes alike.
        momentum: of SGD.
        augment: how far images are moved at random, as arguments of `bp.Augment`: ``shift`` in
            pixels, ``rotation`` in degrees, ``scale`` and ``shear`` as shares.
        name: what a title calls the network; else its layers are listed.
    """

    key: str
    layers: tuple
    activation: str
    batch: int
    rows: int
    optimizer: str | None = None
    learning_rate: float = 0.0
    loss: str = "cross_entropy"
    epochs: int = 1
    dtype: str = "float32"
    data: str = "mnist"
    unit: str = "epoch"
    threads: tuple[int, ...] = (1,)
    decay: int = 0
    dropout: float = 0.0
    smoothing: float = 0.0
    momentum: float = 0.0
    augment: dict[str, float] | None = None
    name: str = ""

    @cached_property
    def network(self):
        """The layers as `bench.nets.Layer` records."""
        return network(self.layers)

    @property
    def images(self) -> bool:
        """Whether the rows are images (C, H, W)."""
        return not isinstance(self.layers[0], int)

    @property
    def trains(self) -> bool:
        """Whether this is a training workload."""
        return self.optimizer is not None

    @property
    def shuffles(self) -> bool:
        """Whether an epoch visits its rows in a new random order."""
        return self.trains and self.batch < self.rows

    @property
    def tuned(self) -> bool:
        """Whether it takes more than the plain loop that every peer has."""
        return bool(self.decay or self.dropout or self.smoothing or self.augment)

    @property
    def flops(self) -> int:
        """Floating point operations of the products of one unit, convolutions counted directly.

        Forward and weight gradient cost 2·I·O per row and dense layer, and 2·C·K² per output of
        a convolution; the input gradient as much again for every layer but the first.

        >>> WORKLOADS["T1"].flops, WORKLOADS["C8a"].flops
        (51000, 833040)
        """
        products = [layer.flops for layer in self.network]
        forward = sum(products)
        if not self.trains:
            return self.batch * forward
        return self.rows * (2 * forward + sum(products[1:]))

    @property
    def title(self) -> str:
        """One phrase that tells a reader what runs.

        >>> WORKLOADS["T2d"].title
        '784-128-10 relu, batch 32, Adam, 60000 rows, float64'
        """
        words = [f"{self.name or '-'.join(map(str, self.layers))} {self.activation}"]
        if self.batch == self.rows and self.trains:
            words.append("full batch")
        else:
            words.append(f"batch {self.batch}")
        if self.trains:
            momentum = f" with momentum {self.momentum:g}" * bool(self.momentum)
            words.append({"sgd": "SGD", "adam": "Adam"}[self.optimizer] + momentum)
            if self.decay:
                epochs = f"{self.decay} epoch{'s' * (self.decay > 1)}"
                words.append(f"rate {self.learning_rate:g} falling over {epochs}")
            if self.dropout:
                words.append(f"dropout {self.dropout:g}")
            if self.smoothing:
                words.append(f"labels smoothed by {self.smoothing:g}")
            if self.augment:
                words += [f"{what} {value:g}" for what, value in self.augment.items()]
            words.append(f"{self.rows} rows")
        if self.dtype != "float32":
            words.append(self.dtype)
        return ", ".join(words) if self.trains else "predict " + ", ".join(words)


def _mnist(key, optimizer, learning_rate, **more):
    return Workload(key, (784, 128, 10), "relu", 32, 60000, optimizer, learning_rate, **more)


def _infer(key, layers, activation, batch, data, **more):
    return Workload(key, layers, activation, batch, batch, data=data, unit="call", **more)


LENET = ((1, 28, 28), ("conv", 6, 5, 2), ("pool", 2), ("conv", 16, 5, 0), ("pool", 2), 120, 84, 10)
_PAIR = {n: (("conv", n, 3, 1), ("conv", n, 3, 1), ("pool", 2)) for n in (32, 64)}
_VGG = ((3, 32, 32), *_PAIR[32], *_PAIR[64], 128, 10)
_SEPARABLE = ((64, 28, 28), ("depthwise", 3, 1), ("conv", 128, 1, 0), ("mean",), 10)
_LENET_NAME = "LeNet-5 on 1x28x28"

_ALL = (
    Workload("T1", (4, 10, 3), "tanh", 16, 150, "sgd", 0.1, epochs=40, data="iris"),
    Workload(
        "T1b", (2, 2, 1), "sigmoid", 4, 4, "sgd", 2.0,
        loss="mse", epochs=500, data="xor", unit="step",
    ),
    _mnist("T2a", "sgd", 0.1),
    _mnist("T2b", "adam", 1e-3, threads=(1, 2)),
    _mnist("T2d", "adam", 1e-3, dtype="float64"),
    Workload("T3", (784, 512, 512, 10), "relu", 128, 20000, "adam", 1e-3, threads=(1, 2)),
    Workload(
        "T4", (2048, 2048, 2048, 10), "relu", 1024, 8192, "sgd", 0.02,
        data="random", threads=(1, 2),
    ),
    Workload(
        "T5", (784, 2800, 2800, 10), "relu", 128, 128, "adam", 1e-4,
        epochs=2, unit="step", threads=(1, 2),
    ),
    _infer("T8a", (4, 10, 3), "tanh", 1, "iris"),
    _infer("T8b", (784, 128, 10), "relu", 1, "mnist"),
    _infer("T8e", (784, 128, 10), "relu", 1000, "mnist", threads=(1, 2)),
    Workload(
        "C1", LENET, "relu", 64, 10000, "sgd", 0.02, momentum=0.9, threads=(1, 2),
        name=_LENET_NAME,
    ),
    Workload(
        "C2", _VGG, "relu", 64, 2048, "adam", 1e-3, data="random", threads=(1, 2),
        name="small VGG on 3x32x32",
    ),
    Workload(
        "C3", _SEPARABLE, "relu", 32, 32, "sgd", 0.05, data="random", epochs=10, unit="step",
        threads=(1, 2), name="depthwise-separable block 64-128 on 28x28",
    ),
    _infer("C8a", LENET, "relu", 1, "mnist", threads=(1, 2), name=_LENET_NAME),
    _infer("C8e", LENET, "relu", 1000, "mnist", threads=(1, 2), name=_LENET_NAME),
)  # fmt: skip

WORKLOADS = {w.key: w for w in _ALL}
