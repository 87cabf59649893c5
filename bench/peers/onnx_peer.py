"""ONNX Runtime, on a model file that is written here field by field (no onnx package)."""

import numpy as np
import onnxruntime as ort

_FLOATS = {"float32": 1, "float64": 11}  # TensorProto.DataType
_NODES = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


def _varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def _field(number, value):
    """Encode one protobuf field: an integer, or bytes, text or a message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _tensor(name, array):
    dims = b"".join(_field(1, n) for n in array.shape)
    kind = _FLOATS[array.dtype.name]
    return dims + _field(2, kind) + _field(8, name) + _field(9, array.tobytes())


def _value(name, kind, shape):
    dims = b"".join(_field(1, _field(1, n)) for n in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dims)))


def _attribute(name, value):
    """Encode an integer, or a list of integers."""
    if isinstance(value, int):
        return _field(1, name) + _field(3, value) + _field(20, 2)
    return _field(1, name) + b"".join(_field(8, n) for n in value) + _field(20, 7)


def _node(operator, inputs, output, **attributes):
    links = b"".join(_field(1, name) for name in inputs) + _field(2, output)
    marks = b"".join(_field(5, _attribute(name, value)) for name, value in attributes.items())
    return links + _field(4, operator) + marks


class _Graph:
    """Nodes and tensors in a chain; `last` is the name of the latest output."""

    def __init__(self):
        self.nodes, self.tensors, self.last = [], [], "x"

    def add(self, operator, *tensors, **attributes):
        """Append a node that reads the latest output and the given tensors."""
        names = [f"{len(self.nodes)}.{k}" for k in range(len(tensors))]
        self.tensors += [_tensor(*pair) for pair in zip(names, tensors, strict=True)]
        output = f"{len(self.nodes)}.{operator}"
        self.nodes.append(_node(operator, [self.last, *names], output, **attributes))
        self.last = output

    def add_layer(self, layer, own):
        """Append what computes a layer before its activation; `own` are its weight and bias."""
        window = {"kernel_shape": [layer.kernel] * 2}
        if layer.kind == "conv":
            self.add("Conv", *own, pads=[layer.padding] * 4, group=layer.groups, **window)
        elif layer.kind == "pool":
            self.add("MaxPool", strides=[layer.kernel] * 2, **window)
        elif layer.kind == "mean":
            self.add("GlobalAveragePool")
        else:
            if len(layer.inputs) > 1:
                self.add("Flatten")
            self.add("Gemm", *own)


def model(workload, weights):
    """Return the bytes of an ONNX model, from x over all layers to Softmax."""
    graph, left = _Graph(), [(np.ascontiguousarray(w), b) for w, b in weights]
    for layer in workload.network:
        own = left.pop(0) if layer.weight_shape else ()
        graph.add_layer(layer, own)
        if own:
            graph.add(_NODES[workload.activation] if left else "Softmax")
    kind, shape = _FLOATS[workload.dtype], workload.network[0].inputs
    text = b"".join(_field(1, n) for n in graph.nodes) + _field(2, "net")
    text += b"".join(_field(5, t) for t in graph.tensors)
    text += _field(11, _value("x", kind, (workload.batch, *shape)))
    text += _field(12, _value(graph.last, kind, (workload.batch, workload.layers[-1])))
    return _field(1, 8) + _field(7, text) + _field(8, _field(2, 17))


class Predictor:
    """`InferenceSession.run`, from a NumPy array to a NumPy array."""

    package = "onnxruntime"

    def __init__(self, workload, weights, x, threads):
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        providers = ["CPUExecutionProvider"]
        self.session = ort.InferenceSession(model(workload, weights), options, providers)
        self.x = x

    def call(self, x):
        return self.session.run(None, {"x": x})[0]


class BoundPredictor(Predictor):
    """Input and output bound beforehand, as `pybp`'s predictor has its output."""

    def __init__(self, workload, weights, x, threads):
        super().__init__(workload, weights, x, threads)
        self.bound = np.empty_like(x)
        self.out = np.empty((workload.batch, workload.layers[-1]), x.dtype)
        self.binding = self.session.io_binding()
        self.binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(self.bound))
        name = self.session.get_outputs()[0].name
        self.binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(self.out))

    def call(self, x):
        np.copyto(self.bound, x)
        self.session.run_with_iobinding(self.binding)
        return self.out
