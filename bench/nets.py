"""What a workload's layers are: shapes, weights and counted work, for every peer alike.

`Workload.layers` lists the input, its units or its (C, H, W), and then

    120                    dense: weight [I, O], bias [O]
    ("conv", 16, 5, 0)     16 filters of 5x5 with padding 0: weight [O, C, K, K], bias [O]
    ("depthwise", 3, 1)    one 3x3 filter for each channel, padding 1: weight [C, 1, K, K], bias [C]
    ("pool", 2)            the maximum of every 2x2 square
    ("mean",)              the mean of every channel

Strides are 1. The workload's activation follows every convolution and all dense layers but the
last. A dense layer behind an image takes its rows in the order C, H, W.
"""

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Layer:
    """One layer: its kind, the shapes of one row before and behind it, and its window."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kernel: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def weight_shape(self):
        """Shape of the weights, or None where there are none."""
        if self.kind == "dense":
            return (prod(self.inputs), *self.outputs)
        if self.kind == "conv":
            window = (self.kernel, self.kernel)
            return (self.outputs[0], self.inputs[0] // self.groups, *window)
        return None

    @property
    def fan_in(self):
        """Inputs that one output sums up."""
        shape = self.weight_shape
        return shape[0] if self.kind == "dense" else prod(shape[1:])

    @property
    def flops(self):
        """Operations of one row's forward products: 2 for every weight of every output."""
        return 2 * self.fan_in * prod(self.outputs) if self.weight_shape else 0

    @property
    def word(self):
        """How a title tells it.

        >>> [layer.word for layer in network([(3, 8, 8), ("conv", 6, 5, 2), ("pool", 2), 10])]
        ['conv 6@5x5', 'pool', '10']
        """
        if self.kind == "conv":
            count = "depthwise " if self.groups > 1 else f"conv {self.outputs[0]}@"
            return f"{count}{self.kernel}x{self.kernel}"
        return str(self.outputs[0]) if self.kind == "dense" else self.kind


def network(layers):
    """Return the `Layer` records of a workload's `layers`.

    >>> [n.outputs for n in network([(1, 28, 28), ("conv", 6, 5, 2), ("pool", 2), 10])]
    [(6, 28, 28), (6, 14, 14), (10,)]
    >>> network([4, 3])[0].flops
    24
    """
    shape = tuple(layers[0]) if isinstance(layers[0], tuple | list) else (layers[0],)
    records = []
    for entry in layers[1:]:
        records.append(_layer(shape, entry))
        shape = records[-1].outputs
    return records


def _layer(shape, entry):
    if isinstance(entry, int):
        return Layer("dense", shape, (entry,))
    kind, *numbers = entry
    c, h, w = shape
    if kind == "pool":
        (size,) = numbers
        return Layer("pool", shape, (c, h // size, w // size), size)
    if kind == "mean":
        return Layer("mean", shape, (c,))
    filters, kernel, padding = (c, *numbers) if kind == "depthwise" else numbers
    grown = 2 * padding - kernel + 1
    groups = c if kind == "depthwise" else 1
    return Layer("conv", shape, (filters, h + grown, w + grown), kernel, padding, groups)
