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


def _node(operator, inputs, output):
    links = b"".join(_field(1, name) for name in inputs) + _field(2, output)
    return links + _field(4, operator)


def model(workload, weights):
    """Return the bytes of an ONNX model: Gemm, activation, ..., Gemm, Softmax."""
    nodes, tensors, last = [], [], "x"
    for k, (w, b) in enumerate(weights):
        tensors += [_tensor(f"w{k}", np.ascontiguousarray(w)), _tensor(f"b{k}", b)]
        nodes.append(_node("Gemm", [last, f"w{k}", f"b{k}"], f"z{k}"))
        final = k == len(weights) - 1
        last = "out" if final else f"h{k}"
        nodes.append(_node("Softmax" if final else _NODES[workload.activation], [f"z{k}"], last))
    kind, ends = _FLOATS[workload.dtype], (workload.layers[0], workload.layers[-1])
    graph = b"".join(_field(1, n) for n in nodes) + _field(2, "net")
    graph += b"".join(_field(5, t) for t in tensors)
    graph += _field(11, _value("x", kind, (workload.batch, ends[0])))
    graph += _field(12, _value("out", kind, (workload.batch, ends[1])))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 17))


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
        self.binding.bind_ortvalue_output("out", ort.OrtValue.ortvalue_from_numpy(self.out))

    def call(self, x):
        np.copyto(self.bound, x)
        self.session.run_with_iobinding(self.binding)
        return self.out
