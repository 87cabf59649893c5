"""Command line of the benchmarks; see README.md beside this file."""

import argparse
import datetime
import json
import os
import platform
import sys
from pathlib import Path

from bench import accuracy, footprint, harness, ops, peers, report
from bench import threads as python_threads
from bench.workloads import WORKLOADS


def _listed(known):
    """Return a parser of comma-separated names out of `known`."""

    def parse(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def _count(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _counts(text):
    return [_count(word) for word in text.split(",")]


def machine():
    """Return what a reader must know about this computer."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [row for row in info.read_text().splitlines() if row.startswith("model name")]
        cpu = models[0].split(":")[1].strip() if models else cpu
    permitted = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count()))(0)
    return {
        "cpu": cpu,
        "cores": len(permitted),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def run(options):
    """Measure; print the findings, and write JSON and table where asked."""
    if options.quick:
        options.rounds, options.min_round = 2, 0.02
        options.peers = [name for name in options.peers if name not in peers.SLOW_TO_START]
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "settings": {
            "rounds": options.rounds,
            "min_round": options.min_round,
            "clock": options.clock,
            "quick": options.quick,
        },
        "entries": [],
    }
    if (result["machine"]["load"] or 0) > 0.5:
        harness.say(f"this machine is busy (load {result['machine']['load']}): expect noise")
    for key in options.workloads:
        for threads in WORKLOADS[key].threads:
            if options.threads and threads not in options.threads:
                continue
            entry = harness.measure(WORKLOADS[key], threads, options)
            result["entries"].append(entry)
            print(f"{key}, threads {threads}: {entry['title']}")
            print(*report.lines(entry, options.clock), sep="\n", flush=True)
            if options.json:  # after every workload, so that an interrupted run is not lost
                options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.table:
        print(report.table(result, options.clock))
    ours = [f for e in result["entries"] for f in e["failed"] if peers.family(f) == "pybp"]
    return 1 if ours else 0


def table(options):
    """Print the Markdown of a JSON file, or write it into the README."""
    result = json.loads(options.file.read_text(encoding="utf-8"))
    text = report.table(result, options.clock or result["settings"]["clock"])
    if options.write:
        report.write(options.readme, text, options.write)
    else:
        print(text)
    return 0


def _shared(parser):
    parser.add_argument("--data", metavar="ROOT", help="folder with mnist/ (default: $PYBP_DATA)")
    parser.add_argument(
        "--peer-python", metavar="PATH", help="interpreter of the peers (default: this one)"
    )
    parser.add_argument("--timeout", type=float, default=900, help="seconds for any one answer")


def parser():
    """Return the argument parser."""
    top = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)

    p = commands.add_parser("run", help="time the workloads (the default command)")
    p.set_defaults(action=run)
    p.add_argument("--workloads", type=_listed(list(WORKLOADS)), default=list(WORKLOADS))
    p.add_argument("--peers", type=_listed(peers.NAMES), default=peers.NAMES)
    p.add_argument("--threads", type=_counts, help="only these thread counts, as in 1,2")
    p.add_argument("--rounds", type=_count, default=5)
    p.add_argument("--min-round", type=float, default=0.3, help="seconds that a round fills")
    p.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: one thread only")
    p.add_argument("--quick", action="store_true", help="two short rounds on few rows, a test")
    p.add_argument("--json", type=Path, metavar="FILE")
    p.add_argument("--table", action="store_true", help="print the README's table")
    _shared(p)

    p = commands.add_parser("table", help="render the README's table from a JSON file")
    p.set_defaults(action=table)
    p.add_argument("file", type=Path)
    p.add_argument("--clock", choices=("wall", "cpu"))
    p.add_argument("--write", choices=report.TABLES, help="update this table of the README")
    p.add_argument("--readme", type=Path, default=harness.ROOT / "README.md")

    p = commands.add_parser("accuracy", help="MNIST test accuracy against seconds of training")
    p.set_defaults(action=accuracy.run)
    accuracy.arguments(p)
    _shared(p)

    p = commands.add_parser("import", help="import time above NumPy, and sizes on disk")
    p.set_defaults(action=footprint.run)
    footprint.arguments(p)

    p = commands.add_parser("threads", help="predictions per second of several Python threads")
    p.set_defaults(action=python_threads.run)
    python_threads.arguments(p)

    p = commands.add_parser("ops", help="layers and losses written with bp.ops; the reverse sweep")
    p.set_defaults(action=ops.run)
    ops.arguments(p)
    return top


def main(words):
    """Run one command; without one, `run`."""
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["run", *words]
    options = parser().parse_args(words)
    return options.action(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
