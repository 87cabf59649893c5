"""`pybp predict` and `pybp info`: what a saved model says, and what it holds."""

import csv
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from command import QUICK, a_plane, process

import pybp as bp


def rows_of(text):
    return list(csv.reader(text.splitlines()))


def test_predict_with_and_without_the_target(run, clouds):
    model, x = clouds
    whole = run("predict", "pybp-clouds.safetensors", "clouds.csv")
    head, *answers = rows_of(whole.stdout)
    assert head == ["predicted", "far", "near"]
    outputs = model.predict(x)
    assert [row[0] for row in answers] == [head[1:][i] for i in outputs.argmax(axis=1)]
    np.testing.assert_allclose([[float(v) for v in row[1:]] for row in answers], outputs, atol=1e-5)
    assert re.search(r"accuracy 0\.\d+: \d+ of 120 rows", whole.stderr)

    lines = [line.rsplit(",", 1)[0] for line in Path("clouds.csv").read_text().splitlines()]
    Path("bare.csv").write_text("\n".join(lines))
    bare = run("predict", "pybp-clouds.safetensors", "bare.csv")
    assert bare.stdout == whole.stdout
    assert bare.stderr == ""


def test_predict_finds_columns_by_name_in_any_order(run, clouds):
    whole = run("predict", "pybp-clouds.safetensors", "clouds.csv").stdout
    rows = rows_of(Path("clouds.csv").read_text())
    with Path("mixed.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([row[2], "note", *row[1::-1]] for row in rows)
    assert run("predict", "pybp-clouds.safetensors", "mixed.csv").stdout == whole


def test_predict_takes_columns_by_place_where_there_are_no_names(run, clouds):
    _, x = clouds
    whole = run("predict", "pybp-clouds.safetensors", "clouds.csv").stdout
    np.savetxt("plain.csv", x, delimiter=";", fmt="%.17g")
    assert run("predict", "pybp-clouds.safetensors", "plain.csv").stdout == whole
    lines = Path("clouds.csv").read_text().splitlines()[1:]
    Path("nameless.csv").write_text("\n".join(lines))
    result = run("predict", "pybp-clouds.safetensors", "nameless.csv")
    assert result.stdout == whole
    assert "accuracy" in result.stderr


def test_predict_rows_whose_truth_is_unknown(run, clouds):
    lines = Path("clouds.csv").read_text().splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0] + ","
    Path("gap.csv").write_text("\n".join(lines))
    result = run("predict", "pybp-clouds.safetensors", "gap.csv")
    assert len(rows_of(result.stdout)) == 121
    assert "of 119 rows" in result.stderr


def test_predict_arrays_into_files(run, clouds):
    model, x = clouds
    np.save("rows.npy", x)
    result = run("predict", "pybp-clouds.safetensors", "rows.npy", "--out", "answers.npy")
    assert result.stdout == ""
    np.testing.assert_array_equal(np.load("answers.npy"), model.predict(x))
    run("predict", "pybp-clouds.safetensors", "rows.npy", "--out", "answers.csv")
    assert len(rows_of(Path("answers.csv").read_text())) == 121


def test_predict_values(run):
    x, y = a_plane(Path("plane.csv"))
    run("train", "--data", "plane.csv", "--target", "price", "-q", *QUICK)
    result = run("predict", "pybp-plane.safetensors", "plane.csv")
    head, *answers = rows_of(result.stdout)
    assert head == ["predicted price"]
    said = bp.load("pybp-plane.safetensors").predict(x)[:, 0]
    np.testing.assert_allclose([float(row[0]) for row in answers], said, rtol=1e-6)
    rmse = float(re.search(r"RMSE ([\d.,]+), ", result.stderr)[1].replace(",", ""))
    assert rmse == pytest.approx(np.sqrt(((said - y) ** 2).mean()), rel=1e-3)


def test_predict_with_a_model_of_the_users_own(run):
    """One that knows no names: its outputs as they are."""
    model = bp.Sequential([bp.Input(2), bp.Dense(3)])
    model.compile(loss="mse", seed=0)
    model.save("own.safetensors")
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.savetxt("rows.csv", x, delimiter=",")
    head, *answers = rows_of(run("predict", "own.safetensors", "rows.csv").stdout)
    assert head == ["output 1", "output 2", "output 3"]
    np.testing.assert_allclose([[float(v) for v in r] for r in answers], model.predict(x), 1e-6)
    assert "Dense" in run("info", "own.safetensors").stdout


@pytest.mark.skipif(sys.platform == "win32", reason="broken pipes are POSIX's")
def test_predict_stops_when_nobody_reads_on(run, clouds):
    _, x = clouds
    np.save("many.npy", np.repeat(x, 500, axis=0))
    with process("predict", "pybp-clouds.safetensors", "many.npy", cwd=".") as started:
        started.stdout.readline()
        started.stdout.close()
        complaint = started.stderr.read()
    assert "Traceback" not in complaint
    assert "Exception" not in complaint


def test_forged_names_in_a_model_file_do_no_harm(run, clouds):
    model, _ = clouds
    for names in ("[", "7", '["one"]', '{"a": 1}'):
        model.metadata["class_names"] = names
        model.save("forged.safetensors")
        head, *_ = rows_of(run("predict", "forged.safetensors", "clouds.csv").stdout)
        assert head == ["output 1", "output 2"]
        run("info", "forged.safetensors")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n", "'constant'"),
        ("1,2\n", "2 columns; the model needs 3"),
        ("1,2,3,4,5\n", "5 columns; the model needs 3"),
        ("a,b,constant\n1,x,3\n", "line 2, column 2 ('b'): 'x'"),
        ("", "empty"),
    ],
)
def test_tables_that_do_not_fit_the_model(error, clouds, content, words):
    Path("odd.csv").write_text(content)
    assert words in error("predict", "pybp-clouds.safetensors", "odd.csv", code=1)


def test_arrays_that_do_not_fit_the_model(error, clouds):
    np.save("odd.npy", np.zeros((3, 4)))
    assert "(N, 3)" in error("predict", "pybp-clouds.safetensors", "odd.npy", code=1)
    Path("odd.npy").write_bytes(b"\x93NUMPY\x01")
    assert "odd.npy" in error("predict", "pybp-clouds.safetensors", "odd.npy", code=1)
    np.save("odd.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "odd.npy" in error("predict", "pybp-clouds.safetensors", "odd.npy", code=1)


# -- info ------------------------------------------------------------------------------------------


def test_info_shows_layers_training_and_names(run, clouds):
    out = run("info", "pybp-clouds.safetensors").stdout
    for word in ("dense0", "Dense relu", "adam", "cosine", "cross_entropy", "float32"):
        assert word in out
    assert re.search(r"class names +far, near", out)
    assert re.search(r"feature names +a, b, constant", out)
    assert re.search(r"epochs +3", out)


def test_help_and_version(run):
    assert bp.__version__ in run("--version").stdout
    assert "train" in run().stdout
    assert "--learning-rate" in run("train", "--help").stdout


def test_models_of_several_inputs_and_outputs(run, error):
    a, b = bp.Input(2, name="left"), bp.Input(2, name="right")
    h = bp.add([a, b])
    model = bp.Model([a, b], [bp.Dense(1, name="near")(h), bp.Dense(3, name="far")(h)])
    model.compile(loss={"near": "mae", "far": "cross_entropy"}, loss_weights={"near": 0.5})
    model.save("two.safetensors")
    out = run("info", "two.safetensors").stdout
    for words in ("connected to", "left, right", r"loss of near +0\.5 mae", "loss of far +cross"):
        assert re.search(words, out)
    Path("t.csv").write_text("1,2\n3,4\n")
    message = error("predict", "two.safetensors", "t.csv", code=1)
    assert "two.safetensors" in message and "2 and 2" in message
