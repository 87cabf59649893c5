"""Model files: safetensors holding the parameters, the optimiser's state, and a description.

The description is JSON: the layers, how the model was compiled, and the cursor of its training. A
checksum over it and over every tensor makes damage an error instead of a wrong answer. Nothing in a
file is ever executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pybp import layers
from pybp.described import from_data, to_data
from pybp.errors import ModelFileError

if TYPE_CHECKING:
    from pybp.model import Model

FORMAT = 1


def save(model: Model, path: str | PathLike) -> None:
    """Write the model; an existing file is replaced in one step, or not at all."""
    import safetensors.numpy

    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: folder {path.parent} does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"cannot save to {path}: it is a folder; name a file in it")
    tensors = {name: np.ascontiguousarray(view) for name, view in model.tensors().items()}
    description = json.dumps(_describe(model), sort_keys=True)
    metadata = {"pybp": description, "checksum": _checksum(description, tensors)}
    content = safetensors.numpy.save(tensors, metadata)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def load(path: str | PathLike) -> Model:
    """The model of a file that `Model.save` wrote: graph, weights, optimiser state and the place in
    its training, so that going on gives the same bits as never having stopped.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ModelFileError
        The file is damaged, or no pybp model.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no model file at {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a model file")
    description, tensors = _read(path)
    try:
        return _build(description, tensors)
    except ModelFileError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ModelFileError(
            f"{path} describes a model that cannot be built: {error}"
        ) from error


def _describe(model: Model) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "layers": [to_data(layer) for layer in model.layers],
        "metadata": dict(model.metadata),
        **model.state(),
    }


def _checksum(description: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(tensors[name].data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the tensors, whole and unharmed."""
    import safetensors

    remedy = "the file is damaged or no pybp model; save the model again or restore a backup"
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except PermissionError:
        raise
    except Exception as error:  # safetensors raises its own, and KeyError for unknown dtypes
        raise ModelFileError(f"cannot read {path}: {remedy} ({error})") from error
    if "pybp" not in metadata:
        raise ModelFileError(
            f"{path} is a safetensors file but holds no pybp model: only files that "
            "model.save wrote can be loaded"
        )
    if metadata.get("checksum") != _checksum(metadata["pybp"], tensors):
        raise ModelFileError(f"cannot read {path}: its checksum does not match; {remedy}")
    description = json.loads(metadata["pybp"])
    if description.get("format") != FORMAT:
        raise ModelFileError(
            f"{path} has format {description.get('format')!r}, this version of pybp reads {FORMAT}"
        )
    return description, tensors


def _build(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> Model:
    from pybp.model import Sequential

    model = Sequential(
        [from_data(layers.KINDS, data, "layer") for data in description["layers"]]
    )
    model.metadata.update(description["metadata"])
    model.restore(description, tensors)
    return model
