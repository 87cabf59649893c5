"""The options of the commands: their types, bounds and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_HELD_OUT = {"min": 0, "max": 0.9}

# What to learn.
Data = Annotated[str, typer.Option(help="digits, mnist, or a CSV file.")]
Target = Annotated[
    str | None,
    typer.Option(help="Column of the CSV file to learn: name or number, -1 is the last."),
]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder of MNIST's four files.", show_default=False)
]
Drop = Annotated[str, typer.Option(help="Columns of the CSV file to leave out, comma-separated.")]
Task = Annotated[
    str | None, typer.Option(help="classification or regression; found out when left out.")
]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether line 1 of a CSV file holds names; found out when left out.",
        show_default=False,
    ),
]
ValidationFraction = Annotated[
    float, typer.Option(**_HELD_OUT, help="Of the rows to train on, held out to watch.")
]
TestFraction = Annotated[
    float, typer.Option(**_HELD_OUT, help="Of a CSV file, held out for the end.")
]

# The network.
Hidden = Annotated[
    str | None,
    typer.Option(help='Sizes of the hidden layers, such as "128,64"; "none" for no such layer.'),
]
Activation = Annotated[str, typer.Option(help="Of the hidden layers.")]
Dropout = Annotated[
    float | None, typer.Option(help="After each hidden layer: share of values, 0 to 1.")
]
Loss = Annotated[
    str | None,
    typer.Option(help="cross_entropy for classes and mse for values when left out."),
]
Dtype = Annotated[str, typer.Option(help="float32 or float64.")]

# Its training.
Epochs = Annotated[int | None, typer.Option(min=1)]
Patience = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Stop after so many epochs without a better validation loss, and keep the best model.",
    ),
]
TimeLimit = Annotated[
    float | None, typer.Option(help="Stop after so many seconds, and keep the model so far.")
]
BatchSize = Annotated[int | None, typer.Option(min=1)]
Optimizer = Annotated[str, typer.Option(help="adam, sgd, momentum or nesterov.")]
LearningRate = Annotated[float | None, typer.Option(help="At its highest.")]
Schedule = Annotated[str, typer.Option(help="Of the learning rate: cosine, constant or onecycle.")]
Seed = Annotated[int, typer.Option(min=0)]
Threads = Annotated[int | None, typer.Option(min=1)]

# What comes out.
Out = Annotated[Path, typer.Option(help="Folder of the model and the picture.")]
Log = Annotated[
    Path | None,
    typer.Option(help="File of a line per epoch, .csv or .jsonl.", show_default=False),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")]
