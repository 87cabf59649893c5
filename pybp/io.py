"""Model files: safetensors holding the parameters, the optimiser's state, and a description.

The description is JSON: the layers, which of them is called on the outputs of which, how the model
was compiled, and the cursor of its training. A checksum over it and over every tensor makes damage
an error instead of a wrong answer. Nothing in a file is ever executed.
"""

from __future__ import annotations

import json
import os
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pybp import layers
from pybp.described import from_data, in_one_file, known, to_data
from pybp.errors import MissingCustomError, ModelFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pybp.model import Model

FORMAT = 2


def save(model: Model, path: str | PathLike) -> None:
    """Write the model; an existing file is replaced in one step, or not at all."""
    import contextlib
    import secrets

    import safetensors.numpy

    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: folder {path.parent} does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"cannot save to {path}: it is a folder; name a file in it")
    tensors = model.tensors()
    content = safetensors.numpy.save(tensors, {"pybp": _describe(model, tensors)})
    temporary = path.parent / f".pybp-{secrets.token_hex(8)}"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def load(path: str | PathLike, custom: Mapping[str, Any] | Iterable[Any] = ()) -> Model:
    """The model of a file that `Model.save` wrote: graph, weights, optimiser state and the place in
    its training, so that going on gives the same bits as never having stopped.

    Parameters
    ----------
    custom : list of classes and functions, or dict by their names
        The layers, losses and activations of the model that are not pybp's own: a file holds their
        names and arguments, and never code.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ModelFileError
        The file is damaged, or no pybp model.
    MissingCustomError
        The model has a layer or a function that is neither pybp's nor in `custom`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no model file at {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a model file")
    try:
        with known(custom):
            return _build(*_read(path))
    except OSError:
        raise
    except MissingCustomError as error:
        raise MissingCustomError(f"cannot load {path}: {error}") from None
    except Exception as error:  # whatever a forged description leads to
        raise ModelFileError(
            f"cannot load {path}: {error}. The file is damaged or no pybp model: save the model "
            "again or restore a backup"
        ) from error


def _describe(model: Model, tensors: dict[str, np.ndarray]) -> str:
    """The one entry of the header: the model as JSON, with the checksum of all there is."""
    with in_one_file():
        data = {
            "format": FORMAT,
            **_graph(model),
            "metadata": dict(model.metadata),
            **model.state(),
        }
    return json.dumps({"checksum": _checksum(data, tensors), "model": data}, sort_keys=True)


def _graph(model: Model) -> dict[str, Any]:
    """The layers and, unless they are a list, the calls: [layer, [call, ...]], on calls before."""
    network = model.network
    described: dict[str, Any] = {"layers": [to_data(layer) for layer in model.layers]}
    from_models = any(step.origin for step in network.steps)  # which may have equal names
    if type(model).__name__ == "Sequential" and not from_models:
        return described
    ends = {"inputs": list(network.inputs), "outputs": list(network.outputs)}
    return described | {"calls": network.calls} | ends


def _checksum(data: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    import hashlib

    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the tensors, whole and unharmed."""
    import safetensors

    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if "pybp" not in metadata:
        raise ValueError("it is a safetensors file, but not one that model.save wrote")
    content = json.loads(metadata["pybp"])
    description = content["model"]
    if content["checksum"] != _checksum(description, tensors):
        raise ValueError("its checksum does not match")
    if description["format"] != FORMAT:
        raise ValueError(f"its format is {description['format']!r}, this pybp reads {FORMAT}")
    return description, tensors


def _build(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> Model:
    from pybp.model import Model
    from pybp.network import restored
    from pybp.sequential import Sequential
    from pybp.state import restore

    kinds = layers.kinds()
    made = [from_data(kinds, data, "layer") for data in description["layers"]]
    if "calls" in description:
        model = Model.__new__(Model)
        ends = description["inputs"], description["outputs"]
        model._begin(restored(made, description["calls"], *ends))
    else:
        model = Sequential(made)
    model.metadata.update(description["metadata"])
    restore(model, description, tensors)
    return model
