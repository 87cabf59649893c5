"""The benchmark itself: that it measures, that its peers do the same work, that it writes."""

import argparse
import dataclasses
import doctest
import gzip
import importlib
import json
import os
import re
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not (ROOT / "bench").is_dir(), reason="installed without bench/")


@pytest.fixture
def bench(monkeypatch):
    """Import a module of the benchmark, which is no part of the installed package."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    return lambda name: importlib.import_module(f"bench.{name}")


def command(*words):
    """Run ``python -m bench`` and return the finished process."""
    # The parent's pybp must be the workers' too, wherever it was imported from.
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A quick run of two workloads: the finished process and the path of its JSON."""
    path = tmp_path_factory.mktemp("bench") / "results.json"
    words = ("--quick", "--workloads", "T1,T8a", "--peers", "numpy,pybp,pybp_predictor")
    return command(*words, "--json", path), path


def test_quick_run_measures_every_peer(results):
    done, path = results
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["settings"]["quick"] and report["machine"]["cores"] >= 1
    training, prediction = report["entries"]
    assert set(training["peers"]) == {"numpy", "pybp"}
    assert set(prediction["peers"]) == {"numpy", "pybp", "pybp_predictor"}
    for entry in report["entries"]:
        assert entry["gflops"] > 0 and entry["flops"] > 0
        assert not entry["failed"] and not entry["skipped"]
        for peer in entry["peers"].values():
            assert len(peer["wall"]) == len(peer["cpu"]) == report["settings"]["rounds"]
            assert min(peer["wall"]) > 0 and peer["version"]
    assert "best peer / pybp" in done.stdout


def test_peers_do_the_same_work(results):
    training = json.loads(results[1].read_text(encoding="utf-8"))["entries"][0]
    ours, numpy = (training["peers"][name] for name in ("pybp", "numpy"))
    assert ours["loss_start"] == pytest.approx(numpy["loss_start"], rel=1e-6)
    assert ours["loss_first"] == pytest.approx(numpy["loss_first"], rel=0.2)
    assert ours["loss_end"] < ours["loss_first"] < ours["loss_start"]


def test_table_goes_between_the_markers(results, tmp_path):
    readme = tmp_path / "README.md"
    begin, end = "<!-- bench:begin dense -->\n", "\n<!-- bench:end -->\n"
    other = f"{begin.replace('dense', 'images')}kept{end}after\n"
    readme.write_text(f"before\n{begin}old{end}{other}")
    for _ in range(2):  # the second time changes nothing
        done = command("table", results[1], "--write", "dense", "--readme", readme)
        assert done.returncode == 0, done.stderr
        text = readme.read_text(encoding="utf-8")
        assert text.startswith(f"before\n{begin}| workload | threads | pybp |")
        assert text.endswith(f"{end}{other}")
        assert "old" not in text and "A quick run: not for comparison." in text
        assert text.count("| 4-10-3 tanh, batch 16, SGD, 150 rows, per epoch | 1 |") == 1
        prediction = next(r for r in text.splitlines() if r.startswith("| predict 4-10-3"))
        assert prediction.count(" / ") == 2  # both of our set-ups: times and ratios


def test_table_refuses_a_readme_without_markers(bench, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("nothing here")
    with pytest.raises(ValueError, match="bench:begin"):
        bench("report").write(readme, "table", "dense")
    assert readme.read_text() == "nothing here"


def test_ratios_compare_medians_with_the_best_peer(bench):
    report = bench("report")
    walls = {"pybp": [2.0, 1.0, 9.0], "numpy": [8.0, 8.0, 1.0], "jax_scan": [5.0, 5.0, 5.0]}
    entry = {
        "threads": 1,
        "flops": 3e9,
        "gflops": 10.0,
        "peers": {name: {"wall": wall, "cpu": [1.0]} for name, wall in walls.items()},
    }
    assert list(report.times(entry).items()) == [("pybp", 2.0), ("jax_scan", 5.0), ("numpy", 8.0)]
    assert report.ratios(entry) == {"pybp": 2.5}
    assert report.ratios(entry, "cpu") == {"pybp": 1.0}
    assert report.limit(entry) == pytest.approx(0.3)


def test_a_missing_peer_is_skipped_with_the_reason(bench, monkeypatch):
    peers, workload = bench("peers"), bench("workloads").WORKLOADS["T1"]
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "bench.peers.jax_peer", raising=False)
    with pytest.raises(peers.UnavailableError, match=r"not installed .*jax"):
        peers.load("jax_scan", workload)


def test_unknown_workload_names_the_known_ones():
    done = command("--workloads", "T99")
    assert done.returncode == 2 and "'T99' is none of T1, T1b" in done.stderr


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files(bench, tmp_path, packed):
    images, labels = np.arange(2 * 28 * 28, dtype=np.uint8), np.array([7, 2], np.uint8)
    for name, head, body in (
        ("train-images-idx3-ubyte", [2, 28, 28], images),
        ("train-labels-idx1-ubyte", [2], labels),
    ):
        raw = bytes([0, 0, 8, len(head)]) + np.array(head, ">i4").tobytes() + body.tobytes()
        (tmp_path / "mnist").mkdir(exist_ok=True)
        path = tmp_path / "mnist" / (name + ".gz" * packed)
        path.write_bytes(gzip.compress(raw) if packed else raw)
    x, y = bench("data").mnist(tmp_path)
    np.testing.assert_allclose(x, images.reshape(2, 784) / 255, rtol=1e-6)
    assert x.dtype == np.float32 and y.tolist() == [7, 2]
    assert bench("data").mnist(tmp_path, "test") is None


@pytest.mark.parametrize("key", ["T1", "T1b", "T2b", "T2d"])
def test_hand_written_numpy_follows_the_gradient(bench, key):
    workloads, data, reference = bench("workloads"), bench("data"), bench("reference")
    trainer = bench("peers.numpy_peer").Trainer
    # One full-batch SGD step in float64 must be the central difference of the reference's loss.
    known = workloads.WORKLOADS[key]
    workload = dataclasses.replace(
        known, rows=4, batch=4, optimizer="sgd", learning_rate=1.0, dtype="float64"
    )
    x, y, _ = data.load(workload)
    weights = data.starting_weights(workload, seed=3)
    peer = trainer(workload, x, y, 1, 0)
    peer.set_weights(weights)
    peer.train(1)
    for k in range(len(weights)):
        w, step = weights[k][0], weights[k][0] - peer.get_weights()[k][0]
        at = np.unravel_index(np.argmax(abs(step)), step.shape)
        value, losses = w[at], []
        for shift in (1e-6, -1e-6):
            w[at] = value + shift
            losses.append(reference.loss(workload, weights, x, y))
        w[at] = value
        assert step[at] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("peer", ["pybp", "sklearn", "torch_fused"])
def test_peers_follow_the_recipe_of_a_mark(bench, peer):
    """The rate falls from its start to zero within the recipe's epochs, and the loss with it."""
    accuracy, peers, reference = bench("accuracy"), bench("peers"), bench("reference")
    known = accuracy.RECIPES[0.985]
    assert known.tuned and known.dropout and known.smoothing
    workload = dataclasses.replace(known, layers=(12, 20, 10), rows=640)
    try:
        kind = peers.load(peer, workload)
    except peers.UnavailableError as reason:
        pytest.skip(str(reason))
    x, y, _ = bench("data").load(dataclasses.replace(workload, data="random"))
    trainer = kind(workload, x, y, 1, 0)
    losses = []
    for _ in range(workload.decay):
        trainer.train(1)
        losses.append(reference.loss(workload, trainer.get_weights(), x, y))
    assert losses == sorted(losses, reverse=True)
    end = trainer.get_weights()[0][0].copy()
    trainer.train(1)
    assert np.array_equal(trainer.get_weights()[0][0], end)


def test_who_misses_a_mark_trains_again_for_longer(bench, monkeypatch):
    """The reported trial is the first one in which every seed passes, or the longest."""
    accuracy = bench("accuracy")
    needed = {"quick": 2, "slow": 7, "never": 100}
    trials = []

    def trained(workload, epochs, names, options, folder):
        trials.append((epochs, list(names)))
        return {
            name: [[(1.0, 0.5), (float(epochs), 0.99 if epochs >= needed[name] else 0.9)]]
            for name in names
        }

    monkeypatch.setattr(accuracy, "trained", trained)
    options = types.SimpleNamespace(peers="quick,slow,never")
    found = accuracy.until(0.98, options, None)
    assert trials == [
        (2, ["quick", "slow", "never"]),
        (4, ["slow", "never"]),
        (8, ["slow", "never"]),
        (16, ["never"]),
    ]
    assert {name: epochs for name, (epochs, _) in found.items()} == {
        "quick": 2,
        "slow": 8,
        "never": 16,
    }
    assert accuracy.seconds_to(0.98, found["slow"][1]) == "8.00 s"
    assert accuracy.seconds_to(0.98, found["never"][1]) == "-"


TINY_IMAGES = ((2, 8, 8), ("conv", 3, 3, 1), ("pool", 2), ("depthwise", 3, 0), ("conv", 5, 1, 0))


def tiny_images(bench, tail=(6, 4), **more):
    """A small workload with every kind of layer that images have, and its data."""
    known = bench("workloads").WORKLOADS["C1"]
    workload = dataclasses.replace(
        known, layers=(*TINY_IMAGES, *tail), rows=12, batch=12, data="random", name="", **more
    )
    x, y, _ = bench("data").load(workload)
    return workload, x, y


def test_layers_of_images_are_counted(bench):
    """LeNet-5 as by hand: every output of a product costs two operations per weight it sums."""
    known = bench("workloads").WORKLOADS
    lenet = known["C1"].network
    assert [layer.outputs for layer in lenet] == [
        (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,),
    ]  # fmt: skip
    first = 2 * 25 * 6 * 28 * 28
    forward = first + 2 * 150 * 16 * 10 * 10 + 2 * (400 * 120 + 120 * 84 + 84 * 10)
    assert known["C8a"].flops == forward and known["C8e"].flops == 1000 * forward
    assert known["C1"].flops == 10000 * (3 * forward - first)
    depthwise, pointwise, *_ = known["C3"].network
    assert depthwise.flops == 2 * 9 * 64 * 28 * 28 and depthwise.weight_shape == (64, 1, 3, 3)
    assert pointwise.flops == 2 * 64 * 128 * 28 * 28
    assert [layer.outputs for layer in known["C2"].network][-4:] == [
        (64, 16, 16), (64, 8, 8), (128,), (10,),
    ]  # fmt: skip
    parameters = sum(w.size + b.size for w, b in bench("data").starting_weights(known["C1"]))
    assert parameters == 61706


def test_the_judge_convolves(bench):
    """Against the sum over taps as it is defined, of a window that hangs over the edge."""
    convolve, rng = bench("reference").convolve, np.random.default_rng(0)
    x, w, b = rng.normal(size=(2, 3, 5, 6)), rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    y, padded = convolve(x, w, b, 1), np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    assert y.shape == (2, 4, 5, 6)
    assert y[1, 2, 0, 5] == pytest.approx(np.sum(padded[1, :, 0:3, 5:8] * w[2]) + b[2])
    single = convolve(x, w[:3, :1], b[:3], 0)
    assert single[0, 1, 2, 3] == pytest.approx(np.sum(x[0, 1, 2:5, 3:6] * w[1, 0]) + b[1])


@pytest.mark.parametrize("tail", [(6, 4), (("mean",), 4)])
@pytest.mark.parametrize("peer", ["pybp", "torch_fused", "torch_channels_last", "jax_scan"])
def test_peers_train_images_alike(bench, peer, tail):
    """Two full steps with momentum, from and to the same weights as eager PyTorch's."""
    peers, data = bench("peers"), bench("data")
    workload, x, y = tiny_images(bench, tail)
    weights = data.starting_weights(workload, seed=3)
    ends = []
    for name in ("torch_eager", peer):
        try:
            trainer = peers.load(name, workload)(workload, x, y, 1, 0)
        except peers.UnavailableError as reason:
            pytest.skip(str(reason))
        trainer.set_weights(weights)
        trainer.train(2)
        ends.append([array.copy() for pair in trainer.get_weights() for array in pair])
    assert not np.array_equal(ends[0][0], weights[0][0])
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "peer", ["pybp", "pybp_predictor", "torch_jit", "jax_jit", "onnxruntime", "onnxruntime_bound"]
)
def test_predictors_of_images_agree_with_the_judge(bench, peer):
    peers, reference = bench("peers"), bench("reference")
    workload, x, _ = tiny_images(bench, optimizer=None)
    weights = bench("data").starting_weights(workload, seed=3)
    try:
        predictor = peers.load(peer, workload)(workload, weights, x, 1)
    except peers.UnavailableError as reason:
        pytest.skip(str(reason))
    wanted = reference.forward(workload, weights, x)
    np.testing.assert_allclose(predictor.call(predictor.x), wanted, atol=1e-6)


def test_peers_without_images_say_so(bench):
    peers, workload = bench("peers"), bench("workloads").WORKLOADS["C1"]
    for name in ("numpy", "sklearn", "fann"):
        with pytest.raises(peers.UnavailableError, match="dense layers only"):
            peers.load(name, workload)


def test_pytorch_moves_images_as_it_is_told(bench):
    """Nothing moves an image by nothing; a shift keeps what stays inside; bends differ by image."""
    try:
        moved, torch = bench("peers.torch_peer").moved, importlib.import_module("torch")
    except ImportError:
        pytest.skip("no PyTorch")
    torch.manual_seed(0)
    x = torch.zeros(8, 1, 28, 28)
    x[:, :, 12:16, 12:16] = 1
    np.testing.assert_allclose(moved(x, {}), x, atol=1e-5)
    shifted = moved(x, {"shift": 3.0})
    np.testing.assert_allclose(shifted.sum((1, 2, 3)), x.sum((1, 2, 3)), rtol=1e-4)
    rows = (shifted.sum((1, 3)) * torch.arange(28.0)).sum(1) / shifted.sum((1, 2, 3))
    assert 0.5 < abs(rows - 13.5).max() < 3.001
    bent = moved(x, {"elastic": 34.0})
    assert not torch.allclose(bent[0], x[0]) and not torch.allclose(bent[0], bent[1])


def test_differentiation_is_timed(bench):
    """The reverse sweep takes time, and the plan with it yields the gradient without an update."""
    ops = bench("ops")
    options = argparse.Namespace(rounds=1, seconds=1e-3, clock="wall", threads=1)
    calls = []
    found = ops.seconds_each(
        {"a": lambda: calls.append("a"), "b": lambda: time.sleep(0.002)}, options
    )
    assert found["b"] > 0.002 > found["a"] > 0 and len(calls) > 2
    ratios = ops.sweeps(options)
    assert list(ratios) == list(ops.DEPTHS)
    assert all(forward > 0 for forward, _ in ratios.values())


def test_marks_are_chosen_by_percent(bench):
    accuracy = bench("accuracy")
    parser = argparse.ArgumentParser()
    accuracy.arguments(parser)
    assert parser.parse_args(["--marks"]).marks == list(accuracy.RECIPES)
    assert parser.parse_args(["--marks", "99,98.5"]).marks == [0.99, 0.985]
    assert not parser.parse_args([]).marks
    with pytest.raises(SystemExit):
        parser.parse_args(["--marks", "12"])
    lenet = accuracy.RECIPES[0.992]
    parameters = sum(w.size + b.size for w, b in bench("data").starting_weights(lenet))
    assert parameters <= 120_000 and lenet.augment


@pytest.mark.parametrize("name", ["accuracy", "nets", "peers", "report", "workloads"])
def test_examples_in_docstrings(bench, name):
    tested = doctest.testmod(bench(name))
    assert tested.attempted and not tested.failed


def test_threads_are_counted(bench, capsys):
    """A line for every case, with rows per second of one thread and of two."""
    threads = bench("threads")
    options = argparse.Namespace(threads=[1, 2], seconds=0.02, rounds=1)
    assert threads.run(options) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 2 * len(threads.CASES)
    for line in lines:
        speeds = re.findall(r"[12]: +([\d,]+) on (\d+\.\d+)", line)
        assert len(speeds) == 2 and all(int(speed.replace(",", "")) > 0 for speed, _ in speeds)
