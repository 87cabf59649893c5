"""Fixtures of the suite: the real data, the number of threads, hypothesis without deadlines."""

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import pybp as bp

settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(autouse=True)
def threads_restored():
    """A test may set any number of threads; the next one finds the number it started with."""
    before = bp.get_num_threads()
    yield
    bp.set_num_threads(before)


@pytest.fixture
def still_open(tmp_path):
    """Names of the files below tmp_path that this process holds open; none where Linux is not."""

    def names():
        found = {os.path.realpath(link) for link in Path("/proc/self/fd").glob("*")}
        return sorted(path for path in found if path.startswith(os.path.realpath(tmp_path)))

    return names


@pytest.fixture(scope="session")
def data_root():
    """Folder of the real data sets: $PYBP_TEST_DATA, or ../shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("PYBP_TEST_DATA", beside))
    if not root.is_dir():
        pytest.skip(f"no real data: set PYBP_TEST_DATA to their folder ({root} does not exist)")
    return root


def _need(path):
    if not path.is_file():
        pytest.skip(f"no real data: {path} does not exist")
    return path


def _idx(path):
    """An array of bytes in LeCun's idx format: 0, 0, type, dimensions, big-endian sizes, values."""
    raw = gzip.decompress(_need(path).read_bytes())
    shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def _csv(path):
    with _need(path).open(newline="") as lines:
        rows = [row for row in csv.reader(lines) if row]
    classes = sorted({row[-1] for row in rows})
    x = np.array([row[:-1] for row in rows], dtype=np.float64)
    return x, np.array([classes.index(row[-1]) for row in rows])


@pytest.fixture(scope="session")
def mnist_train(data_root):
    """60000 x 28 x 28 bytes and their labels."""
    folder = data_root / "mnist"
    return (
        _idx(folder / "train-images-idx3-ubyte.gz"),
        _idx(folder / "train-labels-idx1-ubyte.gz"),
    )


@pytest.fixture(scope="session")
def mnist_test(data_root):
    """10000 x 28 x 28 bytes and their labels."""
    folder = data_root / "mnist"
    return (
        _idx(folder / "t10k-images-idx3-ubyte.gz"),
        _idx(folder / "t10k-labels-idx1-ubyte.gz"),
    )


@pytest.fixture(scope="session")
def iris(data_root):
    """150 x 4 floats, standardised, and 3 classes."""
    x, y = _csv(data_root / "iris" / "iris.csv")
    return (x - x.mean(axis=0)) / x.std(axis=0), y


@pytest.fixture(scope="session")
def wheat(data_root):
    """210 x 7 floats, standardised, and 3 classes."""
    x, y = _csv(data_root / "wheat-seeds" / "wheat-seeds.csv")
    return (x - x.mean(axis=0)) / x.std(axis=0), y
