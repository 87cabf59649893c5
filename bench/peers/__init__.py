"""The peers: one module per library, imported only inside that library's own worker.

A module offers up to two kinds of classes. *Trainers* are made by
``Class(workload, x, y, threads, seed)`` and have

* ``set_weights([(weight, bias [O]), ...])`` and ``get_weights()``, the same layout for all: [I, O]
  of a dense layer, [O, C, K, K] of a convolution;
* ``train(epochs)``, the timed call;
* optionally ``loss()``, where the weights do not fit the common layout;
* optionally ``tunes = True``, where they follow the workload's ``decay``, ``dropout`` and
  ``smoothing``, and, where rows are images, its ``augment``.

*Predictors* are made by ``Class(workload, weights, x, threads)`` and have

* ``call`` and ``x``: the timed work is ``call(x)``, which returns the output [N, O];
* optionally ``exact = False``, where the output is not that of the common weights.

Both name their distribution in ``package`` and may explain themselves in ``note``. A class
that cannot do a workload raises `UnavailableError` with the reason.
"""

from importlib import import_module


class UnavailableError(Exception):
    """A peer is absent or does not do this workload; the message is the reason."""


_TRAINERS = {
    "pybp": "pybp_peer:Fit",
    "numpy": "numpy_peer:Trainer",
    "sklearn": "sklearn_peer:Trainer",
    "torch_eager": "torch_peer:Eager",
    "torch_fused": "torch_peer:Fused",
    "torch_channels_last": "torch_peer:ChannelsLast",
    "torch_compile_step": "torch_peer:CompiledStep",
    "torch_compile_channels_last": "torch_peer:CompiledChannelsLast",
    "jax_step": "jax_peer:Step",
    "jax_scan": "jax_peer:Scan",
    "fann": "fann_peer:Trainer",
}

_PREDICTORS = {
    "pybp": "pybp_peer:Predict",
    "pybp_predictor": "pybp_peer:Predictor",
    "numpy": "numpy_peer:Predictor",
    "sklearn": "sklearn_peer:Predictor",
    "torch_eager": "torch_peer:EagerPredictor",
    "torch_jit": "torch_peer:JitPredictor",
    "torch_compile": "torch_peer:CompiledPredictor",
    "jax_jit": "jax_peer:Predictor",
    "onnxruntime": "onnx_peer:Predictor",
    "onnxruntime_bound": "onnx_peer:BoundPredictor",
    "fann": "fann_peer:Predictor",
}

# How the README groups set-ups of one library, and what it calls them.
FAMILIES = {
    "pybp": "pybp",
    "jax": "JAX",
    "torch": "PyTorch",
    "sklearn": "scikit-learn",
    "numpy": "NumPy",
    "fann": "FANN",
    "onnxruntime": "ONNX Runtime",
}

_DENSE_ONLY = {"numpy", "sklearn", "fann"}

GEMM = "gemm"  # pseudo-peer: the fastest matrix product of the run, hence the FLOP limit

NAMES = list(dict.fromkeys([*_TRAINERS, *_PREDICTORS]))

# Left out by --quick.
SLOW_TO_START = {"torch_compile", "torch_compile_step", "torch_compile_channels_last"}


def family(name):
    """Return the library that a set-up belongs to.

    >>> family("torch_compile_step"), family("pybp_predictor")
    ('torch', 'pybp')
    """
    return name.split("_")[0]


def names_for(workload):
    """Return the peers that have a class for this kind of workload."""
    return list(_TRAINERS if workload.trains else _PREDICTORS)


def load(name, workload):
    """Import and return the class that runs `workload` for peer `name`."""
    if workload.images and family(name) in _DENSE_ONLY:
        raise UnavailableError("dense layers only")
    module, attribute = (_TRAINERS if workload.trains else _PREDICTORS)[name].split(":")
    try:
        return getattr(import_module(f"{__name__}.{module}"), attribute)
    except ImportError as error:
        raise UnavailableError(f"not installed ({error})") from error
