"""Real data to learn from: MNIST, scikit-learn's handwritten digits, and tables in CSV files.

Nothing heavy is imported until it is needed, and nothing is downloaded but MNIST.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pybp._csv import Table, csv_cells, csv_columns, load_csv

__all__ = ["Table", "csv_cells", "csv_columns", "digits", "load_csv", "mnist"]

Split = tuple[NDArray[Any], NDArray[Any]]


class _Published(NamedTuple):
    size: int
    sha256: str


_MNIST = {
    "train-images-idx3-ubyte": _Published(
        9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte": _Published(
        28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte": _Published(
        1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte": _Published(
        4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}
_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_TIMEOUT = 30.0  # seconds without a byte before the next mirror is tried
_CHUNK = 1 << 20


def mnist(root: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """The MNIST handwritten digits, ``((x, y), (x_test, y_test))``.

    ``x`` is (60000, 28, 28) uint8, ``y`` (60000,) uint8 with the classes 0..9; the test set has
    10000 of each. The four idx files, gzipped or not, are taken from the folder `root`; without
    it from ``$PYBP_DATA/mnist``, or else from the user's cache, which is filled by download where
    the network allows (11 MB, SHA-256 checked). Other data in MNIST's format load from `root` too.

    Raises FileNotFoundError with the names and the folder when the files are neither there nor
    can be downloaded, ValueError when one is damaged.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits.
    """
    if root is not None:
        folder = Path(root)
        missing = [name for name in _MNIST if _find(folder, name) is None]
        if missing:
            raise FileNotFoundError(
                f"mnist: no {_listed(missing)} in {folder.absolute()}: put the idx files there "
                "(.gz or not), or leave the folder out to use the cache or the download"
            )
    else:
        folder = _default_folder()
    splits = []
    for part in ("train", "t10k"):
        images = _read_idx(_found(folder, f"{part}-images-idx3-ubyte"), dims=3)
        labels_path = _found(folder, f"{part}-labels-idx1-ubyte")
        labels = _read_idx(labels_path, dims=1)
        _check_pair(images, labels, labels_path)
        splits.append((images, labels))
    return splits[0], splits[1]


def digits() -> tuple[Split, Split]:
    """Scikit-learn's handwritten digits, ``((x, y), (x_test, y_test))``.

    ``x`` is (N, 8, 8) uint8 with the values 0..16, ``y`` (N,) uint8 with the classes 0..9. The
    1797 images are split once and for all, 1433 to train on and a fifth of each class, 364, to
    test on. They come with scikit-learn: without it, ModuleNotFoundError names what to install.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (UCI), test part.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'digits: the images come with scikit-learn: pip install "pybp[cli]"', name=error.name
        ) from None
    bunch = load_digits()
    x, y = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    # The legacy generator is frozen: the same split under every version of NumPy.
    order = np.random.RandomState(0).permutation(len(x))
    x, y = x[order], y[order]
    test = np.zeros(len(x), dtype=bool)
    for label in range(10):
        test[np.flatnonzero(y == label)[::5]] = True
    return (x[~test], y[~test]), (x[test], y[test])


def cache_folder() -> Path:
    """Where downloads are kept: the platform's cache folder, or ``$XDG_CACHE_HOME``, + pybp."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "pybp"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "pybp" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "pybp"
    return Path.home() / ".cache" / "pybp"


def _default_folder() -> Path:
    """The first folder that holds all four files; the cache, filled by download, if none does."""
    cache = cache_folder() / "mnist"
    folders = [cache]
    if data := os.environ.get("PYBP_DATA"):
        folders.insert(0, Path(data) / "mnist")
    for folder in folders:
        if all(_find(folder, name) for name in _MNIST):
            return folder
    missing = [name for name in _MNIST if _find(cache, name) is None]
    try:
        for name in missing:
            _download(name, cache)
    except OSError as error:
        raise FileNotFoundError(
            f"mnist: not in {' or '.join(map(str, folders))}, and no download ({error}). "
            f"Put {_listed([f'{name}.gz' for name in missing])} into {cache}, "
            "or name their folder: mnist(root)"
        ) from error
    return cache


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def _find(folder: Path, name: str) -> Path | None:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    return None


def _found(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        raise FileNotFoundError(f"mnist: {name} has vanished from {folder}")
    return path


def _download(name: str, folder: Path) -> None:
    """Fetch one file of MNIST, check it, and only then give it its name."""
    import tempfile

    folder.mkdir(parents=True, exist_ok=True)
    published = _MNIST[name]
    failures = []
    for mirror in _MIRRORS:
        handle, temporary = tempfile.mkstemp(prefix=f"{name}.", suffix=".part", dir=folder)
        try:
            with os.fdopen(handle, "wb") as out:
                _fetch(f"{mirror}{name}.gz", published, out)
            Path(temporary).replace(folder / f"{name}.gz")
            return
        except (OSError, ValueError) as error:
            failures.append(f"{mirror}: {error}")
        finally:
            # Gone already when it was renamed.
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
    raise ConnectionError("; ".join(failures))


def _fetch(url: str, published: _Published, out: IO[bytes]) -> None:
    import hashlib
    import http.client
    import urllib.request

    digest, size = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            while size <= published.size and (chunk := response.read(_CHUNK)):
                digest.update(chunk)
                size += out.write(chunk)
    except http.client.HTTPException as error:
        raise ConnectionError(f"broken transfer ({error!r})") from error
    if size != published.size or digest.hexdigest() != published.sha256:
        raise ValueError(f"what came ({size} bytes) is not the published file (wrong SHA-256)")


def _read_idx(path: Path, dims: int) -> NDArray[np.uint8]:
    with contextlib.closing(_chunks(path)) as pieces:
        return _idx(path, dims, pieces)


def _idx(path: Path, dims: int, pieces: Iterator[bytes]) -> NDArray[np.uint8]:
    """An idx file of bytes: 0, 0, type 8, number of axes, their big-endian sizes, the items.

    Nothing is allocated on the header's word: reading stops one byte after what it promises.
    """
    header_size = 4 + 4 * dims
    data = bytearray()
    while len(data) < header_size and (chunk := next(pieces, b"")):
        data += chunk
    if len(data) < header_size:
        raise ValueError(f"{path}: {len(data)} bytes are too few for an idx file: truncated")
    magic, shape = bytes(data[:4]), struct.unpack_from(f">{dims}I", data, 4)
    if magic != bytes([0, 0, 8, dims]):
        raise ValueError(
            f"{path}: starts with {magic.hex(' ')} where an idx file of bytes with {dims} "
            f"{'axis' if dims == 1 else 'axes'} has 00 00 08 {dims:02x}: not MNIST, or damaged"
        )
    expected = header_size
    items = 1
    for length in shape:
        items *= length
    expected += items
    if items == 0:
        raise ValueError(f"{path}: its header says {shape}: no data")
    while len(data) <= expected and (chunk := next(pieces, b"")):
        data += chunk
    if len(data) != expected:
        found = "truncated" if len(data) < expected else "more follows"
        raise ValueError(
            f"{path}: its header says {' x '.join(map(str, shape))} bytes, which is not "
            f"what it holds: {found} after {min(len(data), expected) - header_size}"
        )
    # A bytearray makes a writable array without another copy.
    return np.frombuffer(data, np.uint8, items, header_size).reshape(shape)


def _chunks(path: Path) -> Generator[bytes, None, None]:
    """The bytes of a file, decompressed when it is named .gz; damage is a ValueError.

    The file is open until this is closed.
    """
    import gzip
    import zlib

    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged gzip file ({error})") from error


def _check_pair(images: NDArray[np.uint8], labels: NDArray[np.uint8], path: Path) -> None:
    if images.shape[1:] != (28, 28):
        raise ValueError(f"{path.parent}: images of {images.shape[1:]}, where MNIST has (28, 28)")
    if len(labels) != len(images):
        raise ValueError(f"{path}: {len(labels)} labels for {len(images)} images")
    if labels.max() > 9:
        raise ValueError(f"{path}: a label is {labels.max()}, where MNIST has 0..9: damaged")
