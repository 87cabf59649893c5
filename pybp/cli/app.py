"""The commands and their options; the work is in the modules beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import pybp as bp
from pybp.cli import options, screen

app = typer.Typer(
    cls=screen.Group,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train neural networks on the CPU, ask them, and look at them.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"pybp {bp.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
@screen.command
def train(
    data: options.Data = "digits",
    target: options.Target = None,
    data_root: options.DataRoot = None,
    drop: options.Drop = "",
    task: options.Task = None,
    header: options.Header = None,
    hidden: options.Hidden = None,
    activation: options.Activation = "relu",
    dropout: options.Dropout = None,
    epochs: options.Epochs = None,
    patience: options.Patience = None,
    time_limit: options.TimeLimit = None,
    batch_size: options.BatchSize = None,
    optimizer: options.Optimizer = "adam",
    learning_rate: options.LearningRate = None,
    schedule: options.Schedule = "cosine",
    loss: options.Loss = None,
    validation_fraction: options.ValidationFraction = 0.1,
    test_fraction: options.TestFraction = 0.2,
    seed: options.Seed = 0,
    threads: options.Threads = None,
    dtype: options.Dtype = "float32",
    out: options.Out = Path(),
    log: options.Log = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a network, say how good it is, and save it with a picture.

    Without options it learns scikit-learn's handwritten digits.
    """
    from pybp.cli import train
    from pybp.cli.problem import Source

    fractions = validation_fraction, test_fraction
    source = Source(data, data_root, target, _task(task), _names(drop), header, *fractions, seed)
    given = {
        "hidden": _sizes(hidden),
        "activation": activation,
        "dropout": dropout,
        "epochs": epochs,
        "patience": patience,
        "time_limit": time_limit,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "loss": loss,
        "seed": seed,
        "dtype": dtype,
        "out": out,
        "log": log,
        "quiet": quiet,
    }
    train.run(source, given, threads)


def _task(name: str | None) -> str | None:
    if name not in (None, "classification", "regression"):
        raise screen.Usage(f"{name!r} is neither classification nor regression", "--task")
    return name


def _names(text: str) -> tuple[str, ...]:
    """ "a, b" as ("a", "b")."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _sizes(text: str | None) -> tuple[int, ...] | None:
    """ "128,64" as (128, 64)."""
    if text is None:
        return None
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1:
        raise screen.Usage(f"{text!r} is not a list of sizes such as 128,64, nor none", "--hidden")
    return sizes


@app.command()
@screen.command
def predict(
    model: Annotated[Path, typer.Argument(help="File that pybp train or model.save wrote.")],
    file: Annotated[Path, typer.Argument(help="CSV file, with or without the target, or .npy.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write: CSV, or raw outputs as .npy.", show_default="screen"),
    ] = None,
    header: options.Header = None,
) -> None:
    """Ask a model: its answer to every row of a file."""
    from pybp.cli import predict

    predict.run(model, file, out, header)


@app.command()
@screen.command
def info(model: Annotated[Path, typer.Argument(help="A model file.")]) -> None:
    """Show what a model file holds."""
    from pybp.cli import info

    info.run(model)
