"""Data arrive whole, or an error says which file is damaged, or where to put it."""

import gzip
import hashlib
import http.server
import struct
import sys
import threading
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybp import datasets

TRAIN, TEST = 30, 20
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(array):
    """An array of bytes in LeCun's format."""
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + bytes(array)
    )


def small():
    """Data in MNIST's shapes, with fewer rows."""
    rng = np.random.default_rng(0)
    splits = []
    for rows in (TRAIN, TEST):
        x = rng.integers(0, 256, (rows, 28, 28)).astype(np.uint8)
        splits.append((x, (np.arange(rows) % 10).astype(np.uint8)))
    return splits


def contents():
    (x, y), (x_test, y_test) = small()
    return dict(zip(FILES, map(idx, (x, y, x_test, y_test)), strict=True))


def write(folder, compressed=True, **changed):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (contents() | changed).items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / name).write_bytes(content)
    return folder


def assert_small(found):
    for (x, y), (x_wanted, y_wanted) in zip(found, small(), strict=True):
        np.testing.assert_array_equal(x, x_wanted)
        np.testing.assert_array_equal(y, y_wanted)
        assert x.dtype == y.dtype == np.uint8
        assert x.flags.writeable


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user without data: no variables, an empty cache, and no network to fall back on."""
    monkeypatch.delenv("PYBP_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "_MIRRORS", ())
    return tmp_path


# -- where MNIST comes from ------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [True, False])
def test_mnist_from_a_folder(tmp_path, compressed):
    write(tmp_path, compressed)
    assert_small(datasets.mnist(tmp_path))
    assert_small(datasets.mnist(str(tmp_path)))


def test_mnist_from_the_data_variable(home, monkeypatch):
    write(home / "data" / "mnist")
    monkeypatch.setenv("PYBP_DATA", str(home / "data"))
    assert_small(datasets.mnist())


def test_mnist_from_the_cache(home, monkeypatch):
    write(home / "cache" / "pybp" / "mnist")
    assert_small(datasets.mnist())
    monkeypatch.setenv("PYBP_DATA", str(home / "nowhere"))
    assert_small(datasets.mnist())


@pytest.mark.parametrize(
    ("platform", "place"),
    [
        ("linux", ".cache/pybp"),
        ("darwin", "Library/Caches/pybp"),
        ("win32", "AppData/Local/pybp/Cache"),
    ],
)
def test_cache_of_the_platform(monkeypatch, platform, place):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    assert datasets.cache_folder() == Path.home() / place


def test_a_folder_without_mnist_names_what_is_missing(home):
    write(home / "half")
    (home / "half" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        datasets.mnist(home / "half")
    assert "t10k-labels-idx1-ubyte" in str(caught.value)
    assert "train-images" not in str(caught.value)
    assert str(home / "half") in str(caught.value)


def test_no_data_and_no_network_names_folder_and_files(home):
    with pytest.raises(FileNotFoundError) as caught:
        datasets.mnist()
    message = str(caught.value)
    assert str(home / "cache" / "pybp" / "mnist") in message
    for name in FILES:
        assert f"{name}.gz" in message
    assert "mnist(root)" in message


def test_real_mnist(data_root):
    (x, y), (x_test, y_test) = datasets.mnist(data_root / "mnist")
    assert x.shape == (60000, 28, 28)
    assert x_test.shape == (10000, 28, 28)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y).tolist() == counts
    assert y_test[:5].tolist() == [7, 2, 1, 0, 4]


# -- download --------------------------------------------------------------------------------------


@contextmanager
def mirror(files, status=200):
    """A server on this machine that offers some files."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = files.get(self.path.lstrip("/"))
            self.send_response(404 if content is None else status)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def offered(home, monkeypatch):
    """Files as a mirror has them, their published checksums, and no proxy in between."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    files = {f"{name}.gz": gzip.compress(content, 1) for name, content in contents().items()}
    published = {
        name.removesuffix(".gz"): datasets._Published(len(c), hashlib.sha256(c).hexdigest())
        for name, c in files.items()
    }
    monkeypatch.setattr(datasets, "_MNIST", published)
    return files


def cached(home):
    return sorted(path.name for path in (home / "cache" / "pybp" / "mnist").iterdir())


def test_download_fills_the_cache_and_then_needs_no_network(offered, home, monkeypatch):
    with mirror(offered) as url:
        monkeypatch.setattr(datasets, "_MIRRORS", (url,))
        assert_small(datasets.mnist())
    assert cached(home) == sorted(offered)
    assert_small(datasets.mnist())


def test_download_fetches_only_what_is_missing(offered, home, monkeypatch):
    folder = home / "cache" / "pybp" / "mnist"
    write(folder)
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    only = {"t10k-images-idx3-ubyte.gz": offered["t10k-images-idx3-ubyte.gz"]}
    with mirror(only) as url:
        monkeypatch.setattr(datasets, "_MIRRORS", (url,))
        assert_small(datasets.mnist())


def test_download_goes_on_to_the_next_mirror(offered, home, monkeypatch):
    damaged = {name: content[:-1] + b"x" for name, content in offered.items()}
    truncated = {name: content[:-9] for name, content in offered.items()}
    with (
        mirror({}) as absent,
        mirror(damaged) as wrong,
        mirror(truncated) as short,
        mirror(offered, status=503) as busy,
        mirror(offered) as good,
    ):
        monkeypatch.setattr(datasets, "_MIRRORS", (absent, wrong, short, busy, good))
        assert_small(datasets.mnist())
    assert cached(home) == sorted(offered)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "SHA-256"),
        (lambda content: content[:100], "SHA-256"),
        (lambda content: content * 50, "SHA-256"),
        (lambda _: b"", "SHA-256"),
    ],
)
def test_a_wrong_download_is_never_kept(offered, home, monkeypatch, change, words):
    with mirror({name: change(content) for name, content in offered.items()}) as url:
        monkeypatch.setattr(datasets, "_MIRRORS", (url,))
        with pytest.raises(FileNotFoundError, match=words):
            datasets.mnist()
    assert cached(home) == []


def test_an_unreachable_mirror_is_named(offered, home, monkeypatch):
    with mirror({}) as url:
        pass  # and now nobody listens there
    monkeypatch.setattr(datasets, "_MIRRORS", (url,))
    with pytest.raises(FileNotFoundError) as caught:
        datasets.mnist()
    assert url in str(caught.value)
    assert cached(home) == []


# -- damage ----------------------------------------------------------------------------------------

IMAGES, LABELS = FILES[0], FILES[1]
WHOLE = contents()


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (IMAGES, b"", "truncated"),
        (IMAGES, WHOLE[IMAGES][:10], "truncated"),
        (IMAGES, WHOLE[IMAGES][:-1], "truncated"),
        (IMAGES, WHOLE[IMAGES] + b"!", "more follows"),
        (IMAGES, b"PK\x03\x04" + WHOLE[IMAGES][4:], "50 4b 03 04"),
        (IMAGES, WHOLE[LABELS], "too few|00 00 08 03"),
        (LABELS, WHOLE[IMAGES], "00 00 08 01"),
        (LABELS, b"\0\0\x0d\x01" + WHOLE[LABELS][4:], "00 00 08 01"),
        (LABELS, idx(np.zeros(0, np.uint8)), "no data"),
        (LABELS, idx(np.zeros(TRAIN - 1, np.uint8)), "29 labels for 30 images"),
        (LABELS, idx(np.full(TRAIN, 10, np.uint8)), "label is 10"),
        (IMAGES, idx(np.zeros((TRAIN, 27, 28), np.uint8)), "27, 28"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
)
def test_damaged_files_are_named(tmp_path, still_open, name, content, words, compressed):
    write(tmp_path, compressed, **{name: content})
    with pytest.raises(ValueError, match=words) as caught:
        datasets.mnist(tmp_path)
    assert not still_open()
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("length", [1, 15, 400])
def test_damaged_gzip_is_named(tmp_path, length):
    write(tmp_path)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="gzip") as caught:
        datasets.mnist(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_header_that_promises_too_much_costs_no_memory(tmp_path, compressed):
    promise = b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1)
    write(tmp_path, compressed, **{IMAGES: promise + bytes(1000)})
    tracemalloc.start()
    with pytest.raises(ValueError, match="4294967295 x"):
        datasets.mnist(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@given(
    which=st.sampled_from(FILES),
    place=st.floats(0, 1, exclude_max=True),
    change=st.one_of(
        st.tuples(st.just("flip"), st.integers(1, 255)),
        st.tuples(st.just("cut"), st.just(0)),
        st.tuples(st.just("insert"), st.binary(min_size=1, max_size=40)),
    ),
    compressed=st.booleans(),
)
def test_any_damage_is_an_error_or_other_values(tmp_path_factory, which, place, change, compressed):
    folder = write(tmp_path_factory.mktemp("mnist"), compressed)
    path = folder / (f"{which}.gz" if compressed else which)
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    kind, value = change
    if kind == "flip":
        content[at] ^= value
    elif kind == "cut":
        del content[at:]
    else:
        content[at:at] = value
    path.write_bytes(content)
    try:
        found = datasets.mnist(folder)
    except ValueError as error:
        assert str(folder) in str(error)
    else:
        assert [x.shape for x, _ in found] == [(TRAIN, 28, 28), (TEST, 28, 28)]
        assert all(len(x) == len(y) and y.max() < 10 for x, y in found)


# -- digits ----------------------------------------------------------------------------------------


def test_digits_are_small_whole_numbers_split_by_class():
    pytest.importorskip("sklearn")
    (x, y), (x_test, y_test) = datasets.digits()
    assert x.shape == (1433, 8, 8)
    assert x_test.shape == (364, 8, 8)
    for part in (x, y, x_test, y_test):
        assert part.dtype == np.uint8
    assert x.max() == x_test.max() == 16
    share = np.bincount(y_test) / (np.bincount(y) + np.bincount(y_test))
    assert np.abs(share - 0.2).max() < 0.01


def test_digits_are_split_the_same_way_for_ever():
    datasets_module = pytest.importorskip("sklearn.datasets")
    (x, _), (x_test, y_test) = datasets.digits()
    assert y_test[:12].tolist() == [2, 8, 6, 7, 1, 9, 5, 6, 0, 8, 4, 3]
    everything = np.concatenate([x, x_test]).reshape(-1, 64)
    original = datasets_module.load_digits().data.astype(np.uint8)
    assert sorted(map(bytes, everything)) == sorted(map(bytes, original)), "none lost, none twice"


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "pybp\[cli\]"'):
        datasets.digits()
