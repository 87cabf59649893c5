"""The child process that runs one peer on one workload.

It answers one JSON line on its standard output for each JSON line on its standard input;
whatever the libraries print goes to standard error.

    {"do": "open", ...}   make the peer      -> {"version", "note"} or {"skip"}
    {"do": "first"}       one untimed call   -> {"loss_start", "loss_first", "repeats"}
    {"do": "round"}       repeated calls     -> {"wall", "cpu"} seconds per unit, or {"gflops"}
    {"do": "finish"}                         -> {"loss_end"}
    {"do": "epoch"}       train one epoch    -> {"seconds", "accuracy"}
"""

import json
import os
import sys
from importlib import metadata
from itertools import repeat
from pathlib import Path
from time import perf_counter, process_time

from bench import peers
from bench.workloads import Workload

# NumPy and all that needs it is imported late: a BLAS sizes its thread pool by the cores that
# it finds when it loads, hence after `pin`.


def pin(threads):
    """Keep this process on its last `threads` permitted cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


class Session:
    """One peer, and the clock around it."""

    def open(self, peer, workload, threads, folder, seed, min_round, shared_start):
        """Make the peer; `shared_start` gives it the starting weights that all peers get."""
        import numpy as np

        from bench import data, reference

        layers = workload["layers"]  # JSON has made lists of the tuples
        workload["layers"] = tuple(tuple(n) if isinstance(n, list) else n for n in layers)
        self.workload, self.reference = Workload(**workload), reference
        self.min_round, self.repeats = min_round, 1
        kind = peers.load(peer, self.workload)
        if self.workload.tuned and not getattr(kind, "tunes", False):
            raise peers.UnavailableError(
                "no falling learning rate, dropout, label smoothing or augmentation here"
            )
        self.x, self.y, *self.test = (
            self.shaped(np.load(path))
            for name in ("x", "y", "x_test", "y_test")
            if (path := Path(folder, f"{name}.npy")).exists()
        )
        weights = data.starting_weights(self.workload, seed)
        if self.workload.trains:
            self.peer = kind(self.workload, self.x, self.y, threads, seed)
            if shared_start or not getattr(kind, "own_start", False):
                self.peer.set_weights(weights)
        else:
            self.peer = kind(self.workload, weights, self.x, threads)
            self.check(weights)
        version = getattr(kind, "version", None) or metadata.version(kind.package)
        return {"version": version, "note": getattr(kind, "note", "")}

    def shaped(self, array):
        """Return rows as images where the workload has them: MNIST's come flat."""
        if self.workload.images and array.ndim > 1:
            return array.reshape(len(array), *self.workload.layers[0])
        return array

    def check(self, weights):
        """Raise unless a predictor computes what the reference computes."""
        if not getattr(self.peer, "exact", True):
            return
        wanted = self.reference.forward(self.workload, weights, self.x)
        error = abs(wanted - self.peer.call(self.peer.x)).max()
        if not error < 1e-4:
            raise ArithmeticError(f"the output differs from the reference by {error:.1e}")

    def loss(self):
        """Return the loss of the peer's present weights, judged alike for all peers."""
        if hasattr(self.peer, "loss"):
            return self.peer.loss()
        weights = self.peer.get_weights()
        return self.reference.loss(self.workload, weights, self.x, self.y)

    def call(self, times):
        """Do the timed work `times` times."""
        if self.workload.trains:
            for _ in repeat(None, times):
                self.peer.train(self.workload.epochs)
        else:
            call, x = self.peer.call, self.peer.x
            for _ in repeat(None, times):
                call(x)

    def first(self):
        """Run one call untimed, judge it, then learn how many calls fill a round."""
        answer = {}
        if self.workload.trains:
            answer["loss_start"] = self.loss()
        self.call(1)
        if self.workload.trains:
            answer["loss_first"] = self.loss()
        times, spent = 1, 0.0
        while spent < self.min_round / 4:
            start = perf_counter()
            self.call(times)
            spent = perf_counter() - start
            self.repeats = max(1, round(times * self.min_round / spent))
            times *= 2
        return {**answer, "repeats": self.repeats}

    def round(self):
        """Time `repeats` calls."""
        cpu, wall = process_time(), perf_counter()
        self.call(self.repeats)
        wall, cpu = perf_counter() - wall, process_time() - cpu
        units = self.repeats * self.workload.epochs
        return {"wall": wall / units, "cpu": cpu / units}

    def finish(self):
        """Return what the training came to."""
        return {"loss_end": self.loss()} if self.workload.trains else {}

    def epoch(self):
        """Train one epoch and judge it on the test rows."""
        start = perf_counter()
        self.peer.train(1)
        seconds = perf_counter() - start
        accuracy = self.reference.accuracy(self.workload, self.peer.get_weights(), *self.test)
        return {"seconds": seconds, "accuracy": accuracy}


class Roofline:
    """The matrix product that bounds every peer, under the same clock and cores."""

    def open(self, workload, **_):
        """Make the matrices."""
        from bench.peers.gemm import Gemm

        self.gemm = Gemm(workload["dtype"])
        return {"version": "", "note": ""}

    def first(self):
        """Warm up."""
        self.gemm.measure()
        return {}

    def round(self):
        """Measure once more."""
        return {"gflops": self.gemm.measure()}

    def finish(self):
        """Return nothing: products do not learn."""
        return {}


def main():
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    session = None
    for line in sys.stdin:
        request = json.loads(line)
        action = request.pop("do")
        if action == "open":
            pin(request["threads"])
            session = Roofline() if request["peer"] == peers.GEMM else Session()
        try:
            answer = getattr(session, action)(**request)
        except peers.UnavailableError as reason:
            answer = {"skip": str(reason)}
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            answer = {"error": text[:500]}
        print(json.dumps(answer), file=answers)
