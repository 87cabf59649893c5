"""The parent: starts the workers, takes turns between them, and keeps the raw timings.

All peers of one workload and thread count live at the same time, each in its own process. A
round asks every peer once, and each round starts with another peer, so that a drift of the
machine meets them all alike.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from bench import data, peers

ROOT = Path(__file__).resolve().parents[1]
_SETTLE = 0.2  # seconds between turns: threads of OpenBLAS spin for some 80 ms before they sleep
_POOLS = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")


class WorkerError(Exception):
    """A worker reported an error, died or ran out of time."""


class Worker:
    """One child process; `ask` sends a request and returns the answer."""

    def __init__(self, python, threads, timeout):
        pools = {f"{name}_NUM_THREADS": str(threads) for name in _POOLS}
        # The repository comes last on the path: an installed pybp has precedence; -P keeps the
        # folder that the worker is in off it.
        code = f"import sys; sys.path.append({str(ROOT)!r}); import bench.worker as w; w.main()"
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            [python, "-P", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=tempfile.gettempdir(),
            env={**os.environ, **pools},
        )
        self.timeout = timeout

    def ask(self, action, **more):
        """Return the answer; `peers.UnavailableError` or `WorkerError` where there is none."""
        timer = threading.Timer(self.timeout, self.process.kill)
        timer.start()
        try:
            print(json.dumps({"do": action, **more}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except OSError:  # it died before
            line = ""
        finally:
            timer.cancel()
        if not line:
            self.process.wait()
            self.log.seek(0)
            last = self.log.read().strip().splitlines()[-1:] or ["no message"]
            raise WorkerError(f"worker ended with {self.process.returncode}: {last[0]}")
        answer = json.loads(line)
        if "skip" in answer:
            raise peers.UnavailableError(answer["skip"])
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self):
        """End the process, gently, then firmly; a second call does nothing."""
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


def say(text):
    """Report progress where results are not written."""
    print(text, file=sys.stderr, flush=True)


def store(folder, **arrays):
    """Save arrays where the workers find them."""
    for name, array in arrays.items():
        np.save(Path(folder, name), array)


class Crew:
    """The workers of one workload and thread count."""

    def __init__(self, workload, threads, folder, options, stack):
        self.workload, self.threads, self.folder = workload, threads, str(folder)
        self.options, self.stack = options, stack
        self.workers, self.results = {}, {}
        self.skipped, self.failed = {}, {}

    def attempt(self, name, action, **more):
        """Ask one peer; on failure note the reason and let it go."""
        try:
            return self.workers[name].ask(action, **more)
        except peers.UnavailableError as reason:
            self.skipped[name] = str(reason)
            say(f"    {name}: skipped, {reason}")
        except WorkerError as error:
            self.failed[name] = str(error)
            say(f"    {name}: FAILED, {error}")
        self.workers.pop(name).close()
        self.results.pop(name, None)
        return None

    def open(self, name, seed=0, shared_start=True):
        """Start a peer's worker; return whether it is ready."""
        options = self.options
        ours = peers.family(name) == "pybp"
        python = sys.executable if ours or not options.peer_python else options.peer_python
        self.workers[name] = Worker(python, self.threads, options.timeout)
        self.stack.callback(self.workers[name].close)
        answer = self.attempt(
            name, "open", peer=name, workload=asdict(self.workload), threads=self.threads,
            folder=self.folder, seed=seed, min_round=options.min_round, shared_start=shared_start,
        )  # fmt: skip
        if answer is not None:
            self.results[name] = answer
        return answer is not None

    def turn(self, names, action):
        """Ask peers one after the other; yield (name, answer) of those that answer."""
        for name in names:
            if name in self.workers:
                time.sleep(_SETTLE)
                answer = self.attempt(name, action)
                if answer is not None:
                    yield name, answer


def measure(workload, threads, options):
    """Run every peer on one workload; return its entry of the JSON file."""
    say(f"{workload.key}, {threads} thread{'s' * (threads > 1)}: {workload.title}")
    if options.quick:
        workload = replace(workload, rows=min(workload.rows, 2048))
    x, y, source = data.load(workload, options.data)
    if workload.data == "mnist" and source == "random":
        say("    MNIST not found (--data, $PYBP_DATA): random rows of the same shape")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        store(folder, x=x, y=y)
        crew = Crew(workload, threads, folder, options, stack)
        wanted = [n for n in peers.names_for(workload) if n in options.peers]
        for name in [peers.GEMM, *wanted]:
            if crew.open(name):
                for _, answer in crew.turn([name], "first"):
                    crew.results[name].update(answer, rounds=[])
        for k in range(options.rounds):
            names = list(crew.workers)
            shift = k % max(1, len(names))
            for name, answer in crew.turn(names[shift:] + names[:shift], "round"):
                crew.results[name]["rounds"].append(answer)
        for name, answer in crew.turn(list(crew.workers), "finish"):
            crew.results[name].update(answer)
    return entry(workload, threads, source, crew)


def entry(workload, threads, source, crew):
    """Turn the answers of a crew into plain JSON."""
    results = dict(crew.results)
    products = results.pop(peers.GEMM, {"rounds": []})["rounds"]
    for result in results.values():
        rounds = result.pop("rounds")
        for clock in ("wall", "cpu"):
            result[clock] = [r[clock] for r in rounds]
    return {
        "workload": workload.key,
        "title": workload.title,
        "unit": workload.unit,
        "threads": threads,
        "rows": workload.rows,
        "data": source,
        "flops": workload.flops,
        "gflops": max((r["gflops"] for r in products), default=None),
        "peers": results,
        "skipped": crew.skipped,
        "failed": crew.failed,
    }
