"""The command in an empty folder."""

from pathlib import Path

import pytest
from command import QUICK, two_clouds

import pybp as bp


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command in an empty folder; its exit code must be the one expected."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    pytest.importorskip("rich")
    pytest.importorskip("matplotlib")
    runner = pytest.importorskip("typer.testing").CliRunner()
    from pybp.cli.app import app

    def call(*arguments, code=0):
        result = runner.invoke(app, [str(word) for word in arguments])
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return call


@pytest.fixture
def error(run):
    """The one line that a command which fails has to say."""

    def call(*arguments, code):
        result = run(*arguments, code=code)
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        return result.stderr

    return call


@pytest.fixture
def clouds(run):
    """A trained model and its table, in the current folder."""
    x, _ = two_clouds(Path("clouds.csv"))
    run("train", "--data", "clouds.csv", "--target", "where", "-q", *QUICK)
    return bp.load("pybp-clouds.safetensors"), x
