"""`pybp train`: learns, says how well, and saves what it says."""

import csv
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from command import QUICK, a_plane, process, two_clouds

import pybp as bp

PNG = b"\x89PNG\r\n\x1a\n"


def accuracy_of(text):
    """Percent of the test rows that are right, as the table has it."""
    return float(re.search(r"^ *test .* ([\d.]+) %", text, re.MULTILINE)[1])


# -- train -----------------------------------------------------------------------------------------


def test_train_learns_digits_and_says_how_well(run):
    pytest.importorskip("sklearn")
    out = run("train").stdout
    for word in ("digits", "8 x 8", "50,826", "40 epochs", "samples/s", "training", "validation"):
        assert word in out
    assert accuracy_of(out) >= 97
    assert "pybp-digits.safetensors" in out
    assert "pybp-digits.png" in out
    assert Path("pybp-digits.png").read_bytes().startswith(PNG)
    (_, _), (x, y) = bp.datasets.digits()
    model = bp.load("pybp-digits.safetensors")
    right = (model.predict(x).argmax(axis=1) == y).mean()
    assert 100 * right == pytest.approx(accuracy_of(out), abs=0.01)
    assert sorted(os.listdir()) == ["pybp-digits.png", "pybp-digits.safetensors"]


def test_train_as_a_module_in_a_process_of_its_own(tmp_path):
    pytest.importorskip("sklearn")
    with process("train", "--epochs", 3, "--out", "made/here", cwd=tmp_path) as started:
        out, complaint = started.communicate(timeout=100)
    assert started.returncode == 0, complaint
    assert "test" in out
    assert complaint == "", "no progress bar in a pipe"
    assert sorted(path.suffix for path in (tmp_path / "made" / "here").iterdir()) == [
        ".png",
        ".safetensors",
    ]


def test_train_mnist_from_a_folder(run, data_root):
    out = run("train", "--data", "mnist", "--data-root", data_root / "mnist", *QUICK).stdout
    assert "28 x 28" in out
    assert accuracy_of(out) > 85
    assert Path("pybp-mnist.png").is_file()


@pytest.mark.parametrize(
    ("loss", "dtype"),
    [
        ("cross_entropy", "float64"),
        ("binary_cross_entropy", "float32"),
        ("mse", "float32"),
        ("half_sse", "float64"),
        ("focal", "float32"),
        ("hinge", "float32"),
    ],
)
def test_train_classes_of_a_table(run, loss, dtype):
    x, far = two_clouds(Path("clouds.csv"))
    out = run(
        "train", "--data", "clouds.csv", "--target", "where", "--loss", loss, "--dtype", dtype,
        "--hidden", "16", "--learning-rate", "0.003",
    ).stdout  # fmt: skip
    assert accuracy_of(out) >= 90
    assert "2 classes" in out
    model = bp.load("pybp-clouds.safetensors")
    assert model.dtype == dtype
    outputs = model.predict(x)
    said = outputs[:, 0] > 0.5 if outputs.shape[1] == 1 else outputs.argmax(axis=1) == 0
    assert (said != far if outputs.shape[1] == 1 else said == far).mean() > 0.9
    assert json.loads(model.metadata["class_names"]) == ["far", "near"]
    assert json.loads(model.metadata["feature_names"]) == ["a", "b", "constant"]
    assert model.metadata["target_name"] == "where"


def test_train_values_of_a_table(run):
    x, y = a_plane(Path("plane.csv"))
    out = run("train", "--data", "plane.csv", "--target", -1, "--activation", "tanh").stdout
    assert "RMSE" in out
    assert "the value of 'price'" in out
    errors = bp.load("pybp-plane.safetensors").predict(x)[:, 0] - y
    assert np.sqrt((errors**2).mean()) < 0.1 * y.std()


def test_the_saved_model_takes_raw_columns(run):
    """What the table says of the test rows is what the file's model does on the raw ones."""
    two_clouds(Path("clouds.csv"))
    run("train", "--data", "clouds.csv", "--target", "where", *QUICK)
    result = run("predict", "pybp-clouds.safetensors", "clouds.csv")
    accuracy = float(re.search(r"accuracy ([\d.]+)", result.stderr)[1])
    table = bp.datasets.load_csv("clouds.csv", "where")
    model = bp.load("pybp-clouds.safetensors")
    assert accuracy == pytest.approx(model.evaluate(table.x, table.y)["accuracy"], abs=1e-4)
    assert np.all(model.parameters["dense0.weight"][:, 2] == 0), "the constant column"


def test_standardisation_knows_the_rows_trained_on_only(run, monkeypatch):
    """An outlier among the test rows changes neither the split nor the model."""
    from pybp.cli.problem import Source, load

    two_clouds(Path("clouds.csv"))
    source = Source("clouds.csv", None, "where", None, (), None, 0.1, 0.2, 0)
    row = load(source).test.x[0]
    lines = Path("clouds.csv").read_text().splitlines()
    at = next(i for i, line in enumerate(lines[1:], 1) if float(line.split(",")[0]) == row[0])
    lines[at] = "1e6,1e6,1e6," + lines[at].split(",")[3]
    Path("outlier.csv").write_text("\n".join(lines))
    models = []
    for name in ("clouds", "outlier"):
        run("train", "--data", f"{name}.csv", "--target", "where", *QUICK)
        models.append(bp.load(f"pybp-{name}.safetensors"))
    for name, view in models[0].parameters.items():
        np.testing.assert_array_equal(view, models[1].parameters[name])


def test_a_column_far_from_zero_is_remarked_on(run):
    two_clouds(Path("far.csv"), shift=1e9)
    result = run("train", "--data", "far.csv", "--target", "where", *QUICK)
    assert "--dtype float64" in result.stderr
    result = run("train", "--data", "far.csv", "--target", "where", "--dtype", "float64", *QUICK)
    assert result.stderr == ""


def test_same_seed_same_model(run):
    two_clouds(Path("clouds.csv"))
    found = []
    for seed in (0, 0, 1):
        run("train", "--data", "clouds.csv", "--target", "where", "--seed", seed, *QUICK)
        found.append(bp.load("pybp-clouds.safetensors").parameters["dense0.weight"].tobytes())
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "momentum", "nesterov"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle"])
def test_optimizers_and_schedules(run, optimizer, schedule):
    two_clouds(Path("clouds.csv"))
    run(
        "train", "--data", "clouds.csv", "--target", "where", "--optimizer", optimizer,
        "--schedule", schedule, *QUICK,
    )  # fmt: skip
    info = run("info", "pybp-clouds.safetensors").stdout
    assert schedule in info
    assert ("adam" if optimizer == "adam" else "sgd") in info


def test_options_reach_the_network(run):
    two_clouds(Path("clouds.csv"))
    out = run(
        "train", "--data", "clouds.csv", "--target", "where", "--hidden", "7, 5", "--dropout",
        "0.25", "--activation", "sigmoid", "--batch-size", "9", "--epochs", "2",
    ).stdout  # fmt: skip
    assert "3 - 7 sigmoid (dropout 0.25) - 5 sigmoid (dropout 0.25) - 2 softmax" in out
    assert "batches of 9" in out
    out = run("train", "--data", "clouds.csv", "--target", "where", "--hidden", "none").stdout
    assert "3 - 2 softmax" in out


def test_no_validation_and_no_test_rows(run):
    two_clouds(Path("clouds.csv"))
    out = run(
        "train", "--data", "clouds.csv", "--target", "where", "--validation-fraction", "0",
        "--test-fraction", "0", *QUICK,
    ).stdout  # fmt: skip
    assert "training" in out
    assert "validation" not in out
    assert Path("pybp-clouds.png").is_file()


def test_four_rows_are_enough(run):
    Path("xor.csv").write_text("0,0,0\n0,1,1\n1,0,1\n1,1,0\n")
    out = run("train", "--data", "xor.csv", "--target", "3", "--activation", "tanh").stdout
    assert re.search(r"training +4 .* 100.00 %", out)


def test_patience_stops_early_and_keeps_the_best(run):
    two_clouds(Path("clouds.csv"))
    result = run(
        "train", "--data", "clouds.csv", "--target", "where", "--epochs", 5000, "--patience", 3,
        "--log", "log.csv", "--validation-fraction", "0.3",
    )  # fmt: skip
    losses = [row["val_loss"] for row in read_log("log.csv")]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 3 < 5000
    assert f"{len(losses)} epochs in" in result.stdout
    assert f"that after {best} epochs" in " ".join(result.stdout.split())
    assert bp.load("pybp-clouds.safetensors").metadata["epochs"] == str(best)
    assert re.search(r"^log +log.csv", result.stdout, re.MULTILINE)


def read_log(path):
    with open(path, newline="") as lines:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(lines)]


def test_a_time_limit(run):
    two_clouds(Path("clouds.csv"))
    arguments = ("train", "--data", "clouds.csv", "--target", "where", "--hidden", 8)
    run(*arguments, "--epochs", 10**8, "--time-limit", 0.3, "--log", "log.jsonl")
    records = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert 0.2 < records[-1]["seconds"] < 30
    assert Path("pybp-clouds.png").is_file()


def test_a_time_that_ends_before_the_first_epoch_leaves_a_model(run, data_root):
    mnist = ("--data", "mnist", "--data-root", data_root / "mnist", "--hidden", 512)
    result = run("train", *mnist, "--time-limit", 0.001)
    assert "No picture" in result.stderr
    assert "0 epochs in" in result.stdout
    assert bp.load("pybp-mnist.safetensors").progress.row > 0


def test_quiet_is_quiet(run):
    two_clouds(Path("clouds.csv"))
    result = run("train", "--data", "clouds.csv", "--target", "where", "-q", *QUICK)
    assert result.output == ""
    assert Path("pybp-clouds.safetensors").is_file()


def test_without_matplotlib_there_is_a_model_and_a_remark(run, monkeypatch):
    two_clouds(Path("clouds.csv"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    bp.plots._figure_class.cache_clear()
    try:
        result = run("train", "--data", "clouds.csv", "--target", "where", *QUICK)
    finally:
        bp.plots._figure_class.cache_clear()
    assert 'pip install "pybp[plot]"' in result.stderr
    assert "picture" not in result.stdout
    assert sorted(os.listdir()) == ["clouds.csv", "pybp-clouds.safetensors"]


@pytest.mark.parametrize(
    ("name", "target", "least"),
    [("iris/iris.csv", "-1", 85), ("wheat-seeds/wheat-seeds.csv", "8", 85)],
)
def test_real_tables(run, data_root, name, target, least):
    path = data_root / name
    if not path.is_file():
        pytest.skip(f"no real data: {path} does not exist")
    out = run("train", "--data", path, "--target", target).stdout
    assert accuracy_of(out) >= least
    result = run("predict", f"pybp-{path.stem}.safetensors", path)
    assert float(re.search(r"accuracy ([\d.]+)", result.stderr)[1]) > 0.9


# -- Ctrl-C ----------------------------------------------------------------------------------------


PRESSED = """
import os, signal, threading
import pybp as bp, pybp.cli

def fit_and_press(*args, **options):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    return fit(*args, **options)

fit, bp.Sequential.fit = bp.Sequential.fit, fit_and_press
pybp.cli.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupted_training_says_what_it_keeps(run, tmp_path):
    two_clouds(tmp_path / "clouds.csv")
    run("train", "--data", "clouds.csv", "--target", "where", "-q", *QUICK)
    finished = Path("pybp-clouds.safetensors").read_bytes()
    endless = ("--epochs", 10**8, "--validation-fraction", 0)
    arguments = ("train", "--data", "clouds.csv", "--target", "where", *endless)
    with process(*arguments, cwd=tmp_path, code=("-c", PRESSED)) as started:
        out, complaint = started.communicate(timeout=60)
    assert started.returncode == 130, complaint
    assert out == ""
    assert re.search(r"Interrupted after \d+ of 100000000 epochs", complaint)
    assert "pybp-clouds-interrupted.safetensors" in complaint
    assert complaint.count("\n") == 1
    assert Path("pybp-clouds.safetensors").read_bytes() == finished, "the finished one stays"
    kept = bp.load("pybp-clouds-interrupted.safetensors")
    assert "of 100000000 epochs" in kept.metadata["interrupted"]
    result = run("predict", "pybp-clouds-interrupted.safetensors", "clouds.csv")
    assert float(re.search(r"accuracy ([\d.]+)", result.stderr)[1]) > 0.9
    assert not list(tmp_path.glob("*.part"))


def test_an_interrupt_before_the_training_saves_nothing(run, monkeypatch):
    two_clouds(Path("clouds.csv"))

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(bp.datasets, "load_csv", interrupted)
    result = run("train", "--data", "clouds.csv", "--target", "where", *QUICK, code=130)
    assert result.stderr == "Interrupted: nothing was saved.\n"
    assert os.listdir() == ["clouds.csv"]


def test_an_interrupt_while_drawing_names_the_model_it_keeps(run, monkeypatch):
    two_clouds(Path("clouds.csv"))

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(bp.plots, "report", interrupted)
    result = run("train", "--data", "clouds.csv", "--target", "where", *QUICK, code=130)
    assert "Kept: pybp-clouds.safetensors" in result.stderr
    assert sorted(os.listdir()) == ["clouds.csv", "pybp-clouds.safetensors"]
