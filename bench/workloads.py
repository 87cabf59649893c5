"""What is measured: one row of `WORKLOADS` states one workload completely.

A training workload is counted per epoch or per step and covers the gather of the shuffled
minibatch, forward, loss, backward and update. An inference workload is counted per call.
"""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Workload:
    """One network, its data and the work that is timed.

    Attributes:
        key: short name, as given to ``--workloads``.
        layers: units of the input and of every dense layer.
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
    """

    key: str
    layers: tuple[int, ...]
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
        return bool(self.decay or self.dropout or self.smoothing)

    @property
    def flops(self) -> int:
        """Floating point operations of the matrix products of one unit.

        Forward and weight gradient cost 2·I·O per row and layer, the input gradient as much
        again for every layer but the first.

        >>> WORKLOADS["T1"].flops
        51000
        """
        products = [2 * i * o for i, o in pairwise(self.layers)]
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
        words = [f"{'-'.join(map(str, self.layers))} {self.activation}"]
        if self.batch == self.rows and self.trains:
            words.append("full batch")
        else:
            words.append(f"batch {self.batch}")
        if self.trains:
            words.append({"sgd": "SGD", "adam": "Adam"}[self.optimizer])
            if self.decay:
                epochs = f"{self.decay} epoch{'s' * (self.decay > 1)}"
                words.append(f"rate {self.learning_rate:g} falling over {epochs}")
            if self.dropout:
                words.append(f"dropout {self.dropout:g}")
            if self.smoothing:
                words.append(f"labels smoothed by {self.smoothing:g}")
            words.append(f"{self.rows} rows")
        if self.dtype != "float32":
            words.append(self.dtype)
        return ", ".join(words) if self.trains else "predict " + ", ".join(words)


def _mnist(key, optimizer, learning_rate, **more):
    return Workload(key, (784, 128, 10), "relu", 32, 60000, optimizer, learning_rate, **more)


def _infer(key, layers, activation, batch, data, **more):
    return Workload(key, layers, activation, batch, batch, data=data, unit="call", **more)


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
)  # fmt: skip

WORKLOADS = {w.key: w for w in _ALL}
