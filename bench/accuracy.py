"""How well and how fast a library learns MNIST: test accuracy against seconds of training.

Every library starts from its own initialisation where it has one. Only training is on the
clock; the weights are judged by the same float64 NumPy pass for all. Peers take turns epoch
by epoch, each in its own process.
"""

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, stdev

from bench import data, peers
from bench.harness import Crew, say, store
from bench.workloads import Workload

MARKS = (0.97, 0.98, 0.985)  # "seconds to"


def arguments(parser):
    """Declare the options."""
    parser.add_argument("--peers", default="pybp,sklearn,torch_fused", help="comma-separated")
    parser.add_argument("--hidden", default="128", help="units, as in 300,100")
    parser.add_argument("--activation", default="relu", choices=("relu", "tanh", "sigmoid"))
    parser.add_argument("--optimizer", default="adam", choices=("adam", "sgd"))
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")


def reach(curve, mark):
    """Return the seconds after which a curve [(seconds, accuracy), ...] first reaches `mark`.

    >>> reach([(1.0, 0.96), (2.0, 0.975)], 0.97), reach([(1.0, 0.96)], 0.97)
    (2.0, None)
    """
    return next((seconds for seconds, accuracy in curve if accuracy >= mark), None)


def curves(workload, options, folder, seed):
    """Train every peer from one seed; return {peer: [(seconds so far, accuracy), ...]}."""
    found = {}
    options.min_round = 0.0
    with ExitStack() as stack:
        crew = Crew(workload, options.threads, folder, options, stack)
        for name in options.peers.split(","):
            if crew.open(name, seed=seed, shared_start=False):
                found[name] = []
        for _ in range(options.epochs):
            for name, answer in crew.turn(list(crew.workers), "epoch"):
                spent = found[name][-1][0] if found[name] else 0.0
                point = (spent + answer["seconds"], answer["accuracy"])
                found[name].append(point)
                say(f"  seed {seed} {name:<20} {point[0]:7.2f} s  {point[1]:.2%}")
    return {name: curve for name, curve in found.items() if len(curve) == options.epochs}


def row(name, runs):
    """Return the Markdown row of one peer from its curves."""
    ends = [curve[-1][1] for curve in runs]
    spread = f" ± {stdev(ends):.2%}" if len(ends) > 1 else ""
    cells = [name, f"{mean(ends):.2%}{spread}", f"{mean(curve[-1][0] for curve in runs):.2f} s"]
    for mark in MARKS:
        reached = [reach(curve, mark) for curve in runs]
        cells.append("-" if None in reached else f"{mean(reached):.2f} s")
    return "| " + " | ".join(cells) + " |"


def run(options):
    """Print a Markdown table of accuracies and seconds."""
    unknown = [n for n in options.peers.split(",") if n not in peers.NAMES]
    if unknown:
        say(f"unknown peers {', '.join(unknown)}: choose from {', '.join(peers.NAMES)}")
        return 2
    train, test = (data.mnist(options.data, part) for part in ("train", "test"))
    if train is None or test is None:
        say("accuracy needs MNIST: give --data ROOT or set PYBP_DATA to the folder of mnist/")
        return 2
    layers = (784, *map(int, options.hidden.split(",")), 10)
    workload = Workload(
        "accuracy", layers, options.activation, options.batch, len(train[0]),
        options.optimizer, options.learning_rate,
    )  # fmt: skip
    runs = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        store(folder, x=train[0], y=train[1], x_test=test[0], y_test=test[1])
        for seed in range(options.seeds):
            for name, curve in curves(workload, options, folder, seed).items():
                runs.setdefault(name, []).append(curve)
    print(f"{workload.title}, {options.epochs} epochs, {options.seeds} seeds, "
          f"threads {options.threads}\n")  # fmt: skip
    heads = ["peer", "test accuracy", "training", *(f"to {mark:.1%}" for mark in MARKS)]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for name, found in runs.items():
        print(row(name, found))
    if options.json:
        text = json.dumps({"workload": workload.title, "curves": runs}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0
