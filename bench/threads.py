"""Predictions per second of one model that several Python threads ask at once."""

import sys
import threading
import time
from statistics import median

import numpy as np

# Inputs, hidden units, outputs; rows of one question.
CASES = [((4, 10, 3), 1), ((784, 128, 10), 1), ((784, 128, 10), 32), ((784, 128, 10), 1000)]


def arguments(parser):
    """Declare the options."""
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=0.5, help="of one round")
    parser.add_argument("--rounds", type=int, default=5)


def network(units):
    """Return a compiled classifier."""
    import pybp as bp

    hidden = [bp.Dense(n, activation="relu") for n in units[1:-1]]
    model = bp.Sequential([bp.Input(units[0]), *hidden, bp.Dense(units[-1], activation="softmax")])
    model.compile(loss="cross_entropy", seed=0)
    return model


def rate(ask, threads, seconds):
    """Return how many questions a second `threads` threads have answered, and on how many cores;
    `ask(i)` makes the i-th thread's function."""
    counts, begin, stop = [0] * threads, threading.Barrier(threads + 1), threading.Event()

    def serve(i):
        question, count = ask(i), 0
        begin.wait()
        while not stop.is_set():
            for _ in range(20):
                question()
            count += 20
        counts[i] = count

    workers = [threading.Thread(target=serve, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    begin.wait()
    start, work = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    stop.set()
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - start
    return sum(counts) / elapsed, (time.process_time() - work) / elapsed


def asking(model, way, x):
    """Return the maker of a thread's question."""
    if way == "predict":
        return lambda _: lambda: model.predict(x)

    def bound(_):
        predictor = model.predictor(batch_size=len(x))
        return lambda: predictor(x)

    return bound


def run(options):
    """Print a line per case; the model has one native thread, so all scaling is Python's."""
    import pybp as bp

    bp.set_num_threads(1)
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"rows per second on cores, medians of {options.rounds}; global lock: {locked}")
    for units, rows in CASES:
        model = network(units)
        x = np.random.default_rng(0).random((rows, units[0]), np.float32)
        for way in ("predict", "predictor"):
            ask = asking(model, way, x)
            found = {n: [] for n in options.threads}
            for _ in range(options.rounds):  # in turns, so that a busy minute is everybody's
                for n in options.threads:
                    found[n].append(rate(ask, n, options.seconds))
            cells = []
            for n, pairs in found.items():
                speed, cores = (median(column) for column in zip(*pairs, strict=True))
                cells.append(f"{n}: {rows * speed:12,.0f} on {cores:.2f}")
            net = "-".join(map(str, units))
            print(f"{net:12} {rows:5} rows  {way:9}  {'   '.join(cells)}", flush=True)
    return 0
