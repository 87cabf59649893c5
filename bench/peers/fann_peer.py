"""FANN's C library through ctypes, on its own data structures.

FANN has neither softmax nor minibatches, so its work is the nearest that it offers: sigmoid
outputs with squared error, and an update after every sample where the workload has
minibatches, or one per epoch where it uses the full batch.
"""

import ctypes
import ctypes.util
from ctypes import POINTER, c_float, c_int, c_uint, c_void_p

import numpy as np

from bench.peers import UnavailableError

_INCREMENTAL, _BATCH = 0, 1
_ERROR_LINEAR = 0
_SIGMOID, _TANH = 3, 5
_TINY = (4, 10, 3), (2, 2, 1)


class _Data(ctypes.Structure):
    """The head of struct fann_train_data."""

    _fields_ = [
        ("errno_f", c_int),
        ("error_log", c_void_p),
        ("errstr", c_void_p),
        ("num_data", c_uint),
        ("num_input", c_uint),
        ("num_output", c_uint),
        ("input", POINTER(POINTER(c_float))),
        ("output", POINTER(POINTER(c_float))),
    ]


def _library():
    name = ctypes.util.find_library("floatfann") or ctypes.util.find_library("fann")
    if name is None:
        raise UnavailableError("not installed (no libfloatfann on this machine)")
    fann = ctypes.CDLL(name)
    fann.fann_create_standard_array.restype = c_void_p
    fann.fann_create_standard_array.argtypes = [c_uint, POINTER(c_uint)]
    fann.fann_create_train.restype = POINTER(_Data)
    fann.fann_run.restype = POINTER(c_float)
    fann.fann_test_data.restype = c_float
    fann.fann_set_learning_rate.argtypes = [c_void_p, c_float]
    fann.fann_set_learning_momentum.argtypes = [c_void_p, c_float]
    fann.fann_set_weight.argtypes = [c_void_p, c_uint, c_uint, c_float]
    fann.fann_set_activation_steepness_hidden.argtypes = [c_void_p, c_float]
    fann.fann_set_activation_steepness_output.argtypes = [c_void_p, c_float]
    fann.fann_train_on_data.argtypes = [c_void_p, POINTER(_Data), c_uint, c_uint, c_float]
    return fann


def _network(fann, workload):
    if workload.layers not in _TINY:
        raise UnavailableError("trains and runs sample by sample; only on the tiny networks")
    sizes = (c_uint * len(workload.layers))(*workload.layers)
    ann = c_void_p(fann.fann_create_standard_array(len(sizes), sizes))
    hidden = {"tanh": _TANH, "sigmoid": _SIGMOID}[workload.activation]
    fann.fann_set_activation_function_hidden(ann, hidden)
    fann.fann_set_activation_function_output(ann, _SIGMOID)
    # FANN has 1/(1 + exp(-2·s·z)) and tanh(s·z): these steepnesses s give the usual functions.
    fann.fann_set_activation_steepness_hidden(ann, 0.5 if hidden == _SIGMOID else 1.0)
    fann.fann_set_activation_steepness_output(ann, 0.5)
    return ann


def _set_weights(fann, ann, weights):
    """Set every connection; FANN numbers all units in a row, each layer's bias unit last."""
    start = 0
    for w, b in weights:
        target = start + len(w) + 1
        for k, row in enumerate([*w, b]):
            for j, value in enumerate(row):
                fann.fann_set_weight(ann, start + k, target + j, float(value))
        start = target


class Trainer:
    """`fann_shuffle_train_data` and `fann_train_epoch`; all full-batch steps in one call."""

    version = "2"
    note = "squared error, sigmoid outputs; where others have minibatches, an update per sample"

    def __init__(self, workload, x, y, threads, seed):
        self.fann, self.workload = _library(), workload
        self.ann = _network(self.fann, workload)
        outputs = workload.layers[-1]
        targets = y[:, None] if outputs == 1 else np.eye(outputs)[y]
        self.data = self.fann.fann_create_train(len(x), x.shape[1], outputs)
        for k in range(len(x)):
            for j, value in enumerate(x[k]):
                self.data.contents.input[k][j] = float(value)
            for j, value in enumerate(targets[k]):
                self.data.contents.output[k][j] = float(value)
        algorithm = _INCREMENTAL if workload.shuffles else _BATCH
        self.fann.fann_set_training_algorithm(self.ann, algorithm)
        self.fann.fann_set_train_error_function(self.ann, _ERROR_LINEAR)
        # The gradient of the squared error is taken without its factor 2.
        self.fann.fann_set_learning_rate(self.ann, 2 * workload.learning_rate)
        self.fann.fann_set_learning_momentum(self.ann, 0.0)

    def set_weights(self, weights):
        _set_weights(self.fann, self.ann, weights)

    def loss(self):
        """The mean squared error over the data."""
        return float(self.fann.fann_test_data(self.ann, self.data))

    def train(self, epochs):
        if self.workload.shuffles:
            for _ in range(epochs):
                self.fann.fann_shuffle_train_data(self.data)
                self.fann.fann_train_epoch(self.ann, self.data)
        else:
            self.fann.fann_train_on_data(self.ann, self.data, epochs, 0, -1.0)


class Predictor:
    """`fann_run` on a C array; the result is an array on FANN's own output buffer."""

    version = "2"
    exact = False
    note = "C array in, FANN's own buffer out; sigmoid outputs in place of softmax"

    def __init__(self, workload, weights, x, threads):
        self.fann = _library()
        self.ann = _network(self.fann, workload)
        _set_weights(self.fann, self.ann, weights)
        self.x = (c_float * x.shape[1])(*x[0].tolist())
        output = self.fann.fann_run(self.ann, self.x)
        self.out = np.ctypeslib.as_array(output, (workload.layers[-1],))
        self.run = self.fann.fann_run
        self.run.argtypes, self.run.restype = [c_void_p, c_void_p], None

    def call(self, x):
        self.run(self.ann, x)
        return self.out
