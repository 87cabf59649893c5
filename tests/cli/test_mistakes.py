"""Mistakes with the command: one line with the remedy, and nothing saved."""

from pathlib import Path

import pytest
from command import process

LEARN = ("train", "--data", "t.csv", "--target", "kind")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["tarin"], "train"),
        (["train", "--epohcs", "3"], "--epochs"),
        (["train", "extra"], "extra"),
        (["train", "--epochs", "0"], "--epochs"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--batch-size", "-1"], "--batch-size"),
        (["train", "--threads", "0"], "--threads"),
        (["train", "--seed", "-1"], "--seed"),
        (["train", "--validation-fraction", "1"], "--validation-fraction"),
        (["train", "--hidden", "12,x"], "--hidden"),
        (["train", "--patience", "0"], "--patience"),
        ([*LEARN, "--patience", "2", "--validation-fraction", "0"], "--validation-fraction"),
        ([*LEARN, "--time-limit", "0"], "> 0"),
        ([*LEARN, "--log", "log.txt"], ".jsonl"),
        (["train", "--hidden", "12,-3"], "--hidden"),
        (["train", "--task", "clustering"], "--task"),
        (["train", "--data", "nowhere"], "neither digits, mnist nor a file"),
        (["train", "--data", "t.csv"], "it has a, b, kind"),
        ([*LEARN, "--data-root", "."], "--data-root"),
        (["train", "--target", "kind"], "--target"),
        (["train", "--no-header"], "--header"),
        (["train", "--data-root", "."], "--data-root"),
        ([*LEARN, "--out", "t.csv"], "--out"),
        ([*LEARN, "--activation", "rleu"], "'relu'"),
        ([*LEARN, "--optimizer", "adm"], "'adam'"),
        ([*LEARN, "--schedule", "cosin"], "'cosine'"),
        ([*LEARN, "--loss", "mes"], "'mse'"),
        ([*LEARN, "--dtype", "float16"], "float32"),
        ([*LEARN, "--dropout", "1"], "Dropout"),
        ([*LEARN, "--learning-rate", "0"], "> 0"),
        (["train", "--data", "v.csv", "--target", "b", "--loss", "cross_entropy"], "for classes"),
        (["train", "--data", "k3.csv", "--target", "2", "--loss", "mae"], "for values"),
        (["train", "--data", "k3.csv", "--target", "2", "--loss", "binary_cross_entropy"], "are 3"),
        (["predict"], "model"),
        (["predict", "m.safetensors"], "file"),
        (["info"], "model"),
    ],
)
def test_wrong_usage(error, arguments, word):
    write_tables()
    message = error(*arguments, code=2)
    assert word.lower() in message.lower()
    assert "--help" in message


def write_tables():
    Path("t.csv").write_text("a,b,kind\n" + "0.5,1,x\n1.5,2,y\n" * 6)
    Path("k3.csv").write_text("1,x\n2,y\n3,z\n" * 5)
    Path("v.csv").write_text("a,b\n1,0.5\n2,1.5\n3,2.5\n")
    Path("gap.csv").write_text("a,b,kind\n1,2,x\n,2,y\n")
    Path("not.safetensors").write_text("not a model")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--data", "nowhere.csv", "--target", "1"], ["nowhere.csv", "no such file"]),
        (["train", "--data", ".", "--target", "1"], ["."]),
        (["train", "--data", "t.csv", "--target", "knid"], ["did you mean 'kind'"]),
        (["train", "--data", "t.csv", "--target", "9"], ["count from 1 to 3"]),
        ([*LEARN, "--drop", "c"], ["'c'"]),
        (["train", "--data", "gap.csv", "--target", "kind"], ["line 3", "'a'", "missing"]),
        (["train", "--data", "mnist", "--data-root", "."], ["train-images-idx3-ubyte"]),
        (
            [
                "train",
                "--data",
                "t.csv",
                "--target",
                "kind",
                "--optimizer",
                "sgd",
                "--learning-rate",
                "1e30",
            ],
            ["diverged", "smaller learning rate"],
        ),
        (["predict", "nowhere.safetensors", "t.csv"], ["nowhere.safetensors"]),
        (["predict", "not.safetensors", "t.csv"], ["not.safetensors"]),
        (["info", "not.safetensors"], ["not.safetensors"]),
        (["info", "."], ["folder"]),
    ],
)
def test_failures(error, arguments, words):
    write_tables()
    message = error(*arguments, code=1)
    for word in words:
        assert word in message
    assert not list(Path().glob("pybp-*")), "nothing is saved by what failed"


@pytest.mark.parametrize("missing", ["rich", "typer"])
def test_without_the_extra_the_remedy_is_one_line(tmp_path, missing):
    pytest.importorskip("rich")
    code = f"import sys; sys.modules[{missing!r}] = None; import pybp.cli; pybp.cli.main()"
    with process("train", cwd=tmp_path, code=("-c", code)) as started:
        _, complaint = started.communicate(timeout=60)
    assert started.returncode == 1
    assert complaint == f'error: the command pybp needs {missing}: pip install "pybp[cli]"\n'
