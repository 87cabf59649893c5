"""Tables for the command, and the command in a process of its own."""

import csv
import os
import subprocess
import sys

import numpy as np

QUICK = ("--hidden", "8", "--epochs", "3", "--threads", "1")


def two_clouds(path, rows=120, names=("near", "far"), shift=0.0):
    """Two classes told apart by the sum of two columns; the third one says nothing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3)) * [1.0, 20.0, 0.0] + [shift, -300.0, 5.0]
    far = (x[:, 0] - shift) + (x[:, 1] + 300) / 20 > 0
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["a", "b", "constant", "where"])
        writer.writerows([*row, names[int(is_far)]] for row, is_far in zip(x, far, strict=True))
    return x, far


def a_plane(path, rows=200):
    """y = 1e5 + 3000 a - 2000 b."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, 2)) * [2.0, 0.01] + [50.0, 7.0]
    y = 1e5 + 3000 * (x[:, 0] - 50) - 2e5 * (x[:, 1] - 7)
    np.savetxt(path, np.c_[x, y], delimiter=",", header="a,b,price", comments="", fmt="%.10g")
    return x, y


def process(*arguments, cwd, code=("-m", "pybp"), **options):
    """The command in a process of its own, that finds the modules this one finds."""
    return subprocess.Popen(
        [sys.executable, *code, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **options,
    )
