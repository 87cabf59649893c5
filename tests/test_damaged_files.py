"""Model files that are cut, flipped, forged or foreign: ModelFileError, never a crash."""

import contextlib
import json
import os
import pickle
import sys

import numpy as np
import pytest
from interpreter import python
from refusal import CLASSES, X, classifier, refused, says, state

import pybp as bp
import pybp.io
from pybp.errors import DivergenceError, ModelFileError

HASH = "a checksum that always fits"
JUNK = [None, True, -1, 0, 1.5, 2**70, 1e308, "", "x", [], [[]], {}, {"x": 1}, [1, "a"]]


@pytest.fixture
def saved(tmp_path):
    """(path, bytes) of a trained model's file."""
    model = classifier()
    model.fit(X, CLASSES, epochs=2, batch_size=8, verbose=0)
    path = tmp_path / "m.safetensors"
    model.save(path)
    return path, path.read_bytes()


@pytest.fixture
def forger(monkeypatch):
    """From here on every checksum fits: the checks behind it have to hold by themselves."""
    monkeypatch.setattr(pybp.io, "_checksum", lambda *_: HASH)


def split(raw):
    """The JSON header and the tensors' bytes: u64 length, header, data."""
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def join(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def load(path, raw):
    path.write_bytes(raw)
    return bp.load(path)


def damaged(path, raw, *words):
    with pytest.raises(ModelFileError) as caught:
        load(path, raw)
    says(caught, path.name, *words)
    return str(caught.value)


def damaged_or_sound(path, raw):
    """Either refused, or a model that works; nothing in between."""
    try:
        model = load(path, raw)
    except ModelFileError:
        return
    for view in model.parameters.values():
        assert np.isfinite(view).all()
    with contextlib.suppress(DivergenceError):  # wrong but possible numbers: a huge learning rate
        model.predict(X)
        model.fit(X, CLASSES, batch_size=8, verbose=0)
        model.evaluate(X, CLASSES)


def test_the_file_is_sound_before_it_is_damaged(saved):
    path, raw = saved
    header, data = split(raw)
    assert state(load(path, join(header, data))) == state(load(path, raw))


def test_cut_short(saved):
    path, raw = saved
    inside = range(16, len(raw) - 16, 5)
    for length in (*range(16), *inside, *range(len(raw) - 16, len(raw))):
        damaged(path, raw[:length])


def test_longer_than_it_says(saved):
    path, raw = saved
    for more in (b"\0", b"\0" * 4096):
        damaged(path, raw + more)


def test_one_flipped_bit(saved):
    path, raw = saved
    for i in (*range(16), *range(16, len(raw), 3)):
        flipped = bytearray(raw)
        flipped[i] ^= 1 << (i % 8)
        damaged_or_sound(path, bytes(flipped))


def test_a_flipped_bit_in_a_tensor_is_always_found(saved):
    path, raw = saved
    for i in range(len(raw) - len(split(raw)[1]), len(raw), 17):
        flipped = bytearray(raw)
        flipped[i] ^= 1
        damaged(path, bytes(flipped), "checksum")


def test_a_flipped_bit_that_no_checksum_finds(forger, saved):
    path, raw = saved
    for i in range(8, len(raw), 3):
        flipped = bytearray(raw)
        flipped[i] ^= 1 << (i % 7)
        damaged_or_sound(path, bytes(flipped))


def test_flipped_bytes_many_at_once(forger, saved):
    path, raw = saved
    rng = np.random.default_rng(0)
    for _ in range(300):
        flipped = np.frombuffer(raw, "u1").copy()
        where = rng.integers(0, len(raw), size=rng.integers(1, 30))
        flipped[where] = rng.integers(0, 256, size=len(where))
        damaged_or_sound(path, flipped.tobytes())


@pytest.mark.parametrize("length", [0, 1, 7, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_header_length_that_lies(saved, length):
    path, raw = saved
    damaged(path, length.to_bytes(8, "little") + raw[8:])


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b'"x"',
        b"\xff\xfe{}",
        b"{}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
    ids=["empty", "open", "list", "null", "number", "text", "no UTF-8", "bare", "deep", "deeper"],
)
def test_header_that_is_no_models(saved, header):
    path, raw = saved
    damaged(path, join(header, split(raw)[1]))


def test_foreign_file_of_the_same_format(tmp_path):
    numpy_files = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "foreign.safetensors"
    numpy_files.save_file({"layer.weight": np.zeros((3, 4), "f4")}, path)
    with pytest.raises(ModelFileError) as caught:
        bp.load(path)
    says(caught, path.name, "pybp")


def tensors(header):
    return sorted(name for name in header if name != "__metadata__")


def test_a_missing_tensor(forger, saved):
    """Each in turn taken out, with its bytes, so that only its absence is wrong."""
    path, raw = saved
    header, data = split(raw)
    for name in tensors(header):
        kept = {key: dict(value) for key, value in header.items() if key != name}
        start, end = header[name]["data_offsets"]
        for key in tensors(kept):
            first, last = kept[key]["data_offsets"]
            if first >= end:
                kept[key]["data_offsets"] = [first - (end - start), last - (end - start)]
        damaged(path, join(kept, data[:start] + data[end:]), name)


def test_a_tensor_too_many(forger, saved):
    path, raw = saved
    header, data = split(raw)
    end = len(data)
    header["dense9.weight"] = {"dtype": "F32", "shape": [2, 1], "data_offsets": [end, end + 8]}
    damaged(path, join(header, data + bytes(8)), "dense9.weight")


def test_a_tensor_of_another_shape(forger, saved):
    path, raw = saved
    header, data = split(raw)
    for name in tensors(header):
        forged = json.loads(json.dumps(header))
        forged[name]["shape"] = [*reversed(forged[name]["shape"]), 1]
        damaged(path, join(forged, data), name)


@pytest.mark.parametrize("dtype", ["I32", "U32", "F16"])
def test_a_tensor_of_another_type(forger, saved, dtype):
    path, raw = saved
    header, data = split(raw)
    for name in tensors(header):
        if header[name]["dtype"] != "F32":
            continue
        forged = json.loads(json.dumps(header))
        forged[name]["dtype"] = dtype
        if dtype == "F16":  # twice as many halves fill the same bytes
            forged[name]["shape"][-1] *= 2
        damaged(path, join(forged, data), name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(forger, saved, value):
    path, raw = saved
    header, data = split(raw)
    for name in [name for name in tensors(header) if name.startswith("dense")]:
        start = header[name]["data_offsets"][0]
        bad = data[:start] + np.array(value, "f4").tobytes() + data[start + 4 :]
        damaged(path, join(header, bad), name, ("nan", "inf", "finite"))


def leaves(tree, path=()):
    """Paths to everything inside a JSON value."""
    yield path
    if isinstance(tree, dict):
        items = tree.items()
    else:
        items = enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))


def planted(tree, path, value):
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = planted(tree[path[0]], path[1:], value)
    return copy


def test_every_field_of_the_description_replaced_by_junk(forger, saved):
    path, raw = saved
    header, data = split(raw)
    for key, text in header["__metadata__"].items():
        for junk in ("", "x", "{}", "[]", "null", "-1"):
            damaged_or_sound(path, join(planted(header, ("__metadata__", key), junk), data))
        try:
            described = json.loads(text)
        except ValueError:
            continue
        for place in leaves(described):
            for junk in JUNK:
                forged = json.dumps(planted(described, place, junk))
                damaged_or_sound(path, join(planted(header, ("__metadata__", key), forged), data))


def test_every_field_of_the_tensor_table_replaced_by_junk(forger, saved):
    path, raw = saved
    header, data = split(raw)
    for name in tensors(header):
        for place in leaves(header[name]):
            for junk in JUNK:
                forged = planted(header, (name, *place), junk)
                damaged_or_sound(path, join(forged, data))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
@pytest.mark.parametrize("units", [10**9, 2**40, 2**62, 2**70])
def test_forged_sizes_are_refused_before_memory_is_asked_for_them(saved, units):
    """Within 3 GB of address space: the tensors in the file are what the sizes have to fit."""
    path, raw = saved
    header, data = split(raw)
    described = json.loads(header["__metadata__"]["pybp"])
    forged = planted(described, ("model", "layers", 1, "units"), units)
    header["__metadata__"]["pybp"] = json.dumps(forged)
    path.write_bytes(join(header, data))
    code = """
        import resource, sys
        import pybp as bp
        import pybp.io
        from pybp.errors import ModelFileError
        pybp.io._checksum = lambda *_: sys.argv[2]
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
        try:
            bp.load(sys.argv[1])
        except ModelFileError:
            sys.exit()
        sys.exit("loaded")
        """
    python(code, path, described["checksum"])


class Bomb:
    """A pickle that would leave a file behind if anything unpickled it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_is_refused_and_not_run(tmp_path):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        damaged(tmp_path / "m.pkl", pickle.dumps(Bomb(tmp_path / "ran"), protocol))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "raw", [b"", b"\0", b"PK\3\4" + bytes(64), b"\x93NUMPY\1\0v\0{", b"x" * 999]
)
def test_other_files(raw, tmp_path):
    damaged(tmp_path / "m.safetensors", raw)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        bp.load(tmp_path / "absent.safetensors")
    says(caught, "absent.safetensors")


def test_a_folder(tmp_path):
    with pytest.raises((ModelFileError, IsADirectoryError)) as caught:
        bp.load(tmp_path)
    says(caught, tmp_path.name)


@pytest.mark.parametrize("path", [None, 3, 2.5, ["m.safetensors"]])
def test_a_path_that_is_no_path(path):
    with pytest.raises(TypeError, match="PathLike"):
        bp.load(path)
    refused(lambda model: model.save(path), TypeError, "PathLike")


# -- saving ----------------------------------------------------------------------------------------


def test_saving_to_a_missing_folder(tmp_path):
    path = tmp_path / "absent" / "m.safetensors"
    refused(lambda model: model.save(path), FileNotFoundError, "absent")


def test_saving_to_a_folder(tmp_path):
    refused(lambda model: model.save(tmp_path), OSError, tmp_path.name)
    assert not list(tmp_path.iterdir())


def test_saving_below_a_file(tmp_path):
    (tmp_path / "file").write_text("kept")
    refused(lambda model: model.save(tmp_path / "file" / "m.safetensors"), OSError, "file")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_saving_to_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    refused(lambda model: model.save(tmp_path / "m.safetensors"), PermissionError, "m.safetensors")
    tmp_path.chmod(0o700)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_full_disk_keeps_the_file_that_was_there(saved):
    """Files are limited to 300 bytes: saving fails half-way and leaves the old model alone."""
    path, raw = saved
    code = """
        import resource, signal, sys
        import pybp as bp
        model = bp.load(sys.argv[1])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
        try:
            model.save(sys.argv[1])
        except OSError:
            model.predict([[0, 0, 0, 0]])
        else:
            sys.exit("saved more than fits")
        """
    python(code, path)
    assert path.read_bytes() == raw
    assert list(path.parent.iterdir()) == [path]


def test_saving_over_a_file_replaces_it_whole(saved):
    path, _ = saved
    model = bp.Sequential([bp.Input(2), bp.Dense(1)])
    model.compile(optimizer=bp.optim.SGD(0.1), loss="mse", seed=0)
    model.save(path)
    assert state(bp.load(path)) == state(model)
    assert list(path.parent.iterdir()) == [path]
