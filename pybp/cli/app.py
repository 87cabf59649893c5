"""The commands and their options; the work is in the modules beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import pybp as bp
from pybp.cli import screen

app = typer.Typer(
    cls=screen.Group,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train neural networks on the CPU, ask them, and look at them.",
)

HeaderOption = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether line 1 of a CSV file holds names; found out when left out.",
        show_default=False,
    ),
]


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
    data: Annotated[str, typer.Option(help="digits, mnist, or a CSV file.")] = "digits",
    target: Annotated[
        str | None,
        typer.Option(help="Column of the CSV file to learn: name or number, -1 is the last."),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of MNIST's four files.", show_default=False)
    ] = None,
    drop: Annotated[
        str, typer.Option(help="Columns of the CSV file to leave out, comma-separated.")
    ] = "",
    task: Annotated[
        str | None,
        typer.Option(help="classification or regression; found out when left out."),
    ] = None,
    header: HeaderOption = None,
    hidden: Annotated[
        str | None,
        typer.Option(
            help='Sizes of the hidden layers, such as "128,64"; "none" for no such layer.'
        ),
    ] = None,
    activation: Annotated[str, typer.Option(help="Of the hidden layers.")] = "relu",
    dropout: Annotated[
        float | None, typer.Option(help="After each hidden layer: share of values, 0 to 1.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(min=1)] = None,
    optimizer: Annotated[str, typer.Option(help="adam, sgd, momentum or nesterov.")] = "adam",
    learning_rate: Annotated[float | None, typer.Option(help="At its highest.")] = None,
    schedule: Annotated[
        str, typer.Option(help="Of the learning rate: cosine, constant or onecycle.")
    ] = "cosine",
    loss: Annotated[
        str | None,
        typer.Option(help="cross_entropy for classes and mse for values when left out."),
    ] = None,
    validation_fraction: Annotated[
        float, typer.Option(min=0, max=0.9, help="Of the rows to train on, held out to watch.")
    ] = 0.1,
    test_fraction: Annotated[
        float, typer.Option(min=0, max=0.9, help="Of a CSV file, held out for the end.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    out: Annotated[Path, typer.Option(help="Folder of the model and the picture.")] = Path(),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")] = False,
) -> None:
    """Train a network, say how good it is, and save it with a picture.

    Without options it learns scikit-learn's handwritten digits.
    """
    from pybp.cli import train
    from pybp.cli.problem import Source

    if task not in (None, "classification", "regression"):
        raise screen.Usage(f"{task!r} is neither classification nor regression", "--task")
    dropped = tuple(name.strip() for name in drop.split(",") if name.strip())
    source = Source(
        data, data_root, target, task, dropped, header, validation_fraction, test_fraction, seed
    )
    given = {
        "hidden": _sizes(hidden),
        "activation": activation,
        "dropout": dropout,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "loss": loss,
        "seed": seed,
        "dtype": dtype,
        "out": out,
        "quiet": quiet,
    }
    train.run(source, given, threads)


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
    header: HeaderOption = None,
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
