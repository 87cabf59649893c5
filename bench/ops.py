"""What differentiation costs: layers and losses written with `bp.ops`, and the reverse sweep."""

import time
from functools import partial
from statistics import median

import numpy as np

UNITS, BATCH, ROWS = (784, 128, 10), 32, 3200  # of the network that is written with ops
WIDTH, DEPTHS = 64, (10, 20, 40)  # of the networks that are swept
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def arguments(parser):
    """Declare the options."""
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.1, help="that one turn of a round lasts")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: one thread only")


def seconds_each(works, options):
    """Return {name: median seconds of one call}; the functions take turns in every round."""
    clock = CLOCKS[options.clock]
    found, times = {name: [] for name in works}, {}
    for name, work in works.items():
        work()
        start = clock()
        work()
        times[name] = max(1, round(options.seconds / max(clock() - start, 1e-9)))
    for k in range(options.rounds):
        names = list(works)
        shift = k % len(names)
        for name in names[shift:] + names[:shift]:
            start = clock()
            for _ in range(times[name]):
                works[name]()
            found[name].append((clock() - start) / times[name])
    return {name: median(each) for name, each in found.items()}


def cross_entropy(y_true, logits):
    """Return -sum(y log softmax(logits)) of every row, as a user writes it with `bp.ops`."""
    import pybp as bp

    shifted = logits - bp.ops.max(logits, axis=-1, keepdims=True)
    total = bp.ops.log(bp.ops.sum(bp.ops.exp(shifted), axis=-1, keepdims=True))
    return bp.ops.sum(y_true * (total - shifted), axis=-1)


def written_dense():
    """Return a class of dense layers whose mathematics is written with `bp.ops`."""
    import pybp as bp
    from pybp.graph import Parameter

    class WrittenDense(bp.Layer):
        """max(x weight + bias, 0), or without the maximum."""

        def __init__(self, units, relu=False, name=None):
            super().__init__(name)
            self.units, self.relu = units, relu

        def build(self, x, name):
            shape = (x.shape[-1], self.units)
            weight = Parameter(f"{name}.weight", shape, bp.init.get("he", "weight"))
            bias = Parameter(f"{name}.bias", (self.units,), bp.init.get(0.0, "bias"))
            y = bp.ops.matmul(x, weight) + bias
            return bp.ops.maximum(y, 0.0) if self.relu else y

    return WrittenDense


def written(layer, loss):
    """Return a compiled classifier whose dense layers or loss are `written` or `built in`."""
    import pybp as bp

    if layer == "written":
        dense = written_dense()
        layers = [dense(UNITS[1], relu=True), dense(UNITS[2])]
    else:
        layers = [bp.Dense(UNITS[1], activation="relu"), bp.Dense(UNITS[2])]
    if loss != "written":
        layers.append(bp.Activation("softmax"))
    model = bp.Sequential([bp.Input(UNITS[0]), *layers])
    model.compile(
        optimizer=bp.optim.SGD(0.01),
        loss=cross_entropy if loss == "written" else "cross_entropy",
        seed=0,
    )
    return model


def composed(options):
    """Return {what is written with ops: its seconds of a training step} for the same network."""
    rng = np.random.default_rng(0)
    x = rng.random((ROWS, UNITS[0]), np.float32)
    y = np.eye(UNITS[2], dtype=np.float32)[rng.integers(0, UNITS[2], ROWS)]
    kinds = {
        "built in": ("built in", "built in"),
        "loss": ("built in", "written"),
        "layers": ("written", "built in"),
        "layers and loss": ("written", "written"),
    }
    works = {
        name: partial(written(*kind).fit, x, y, epochs=1, batch_size=BATCH, verbose=0)
        for name, kind in kinds.items()
    }
    found = seconds_each(works, options)
    return {name: seconds * BATCH / ROWS for name, seconds in found.items()}


def passes(depth):
    """Return two functions for a deep net: its forward pass and loss, and those with the gradient.

    Both are plans of the same training step that run natively in one call over the same batch; they
    differ in the reverse sweep only, which ends in the gradient vector, with no update behind it.
    """
    import pybp as bp
    from pybp.lower import lower
    from pybp.request import Request

    hidden = [bp.Dense(WIDTH, activation="relu") for _ in range(depth)]
    model = bp.Sequential([bp.Input(WIDTH), *hidden])
    model.compile(loss="mse", seed=0)
    x, y = np.random.default_rng(0).random((2, BATCH, WIDTH), np.float32)
    sources, store = model._pair(x, y), model._store
    results = model._results(sources)
    calls = []
    for backward in (False, True):
        request = Request(
            BATCH, results=results.nodes, training=True, backward=backward,
            gradient=store.new_vector() if backward else None, sources=results.sources,
        )  # fmt: skip
        calls.append(partial(lower(request, store).plan.once, sources, BATCH, [], training=True))
    return calls


def sweeps(options):
    """Return {depth: (seconds forward, seconds of the reverse sweep)}."""
    works = {}
    for depth in DEPTHS:
        works[depth, "forward"], works[depth, "both"] = passes(depth)
    found = seconds_each(works, options)
    return {d: (found[d, "forward"], found[d, "both"] - found[d, "forward"]) for d in DEPTHS}


def run(options):
    """Print what ops cost against built-in kernels, and the reverse sweep against the forward."""
    import pybp as bp

    bp.set_num_threads(options.threads)
    print(f"deep nets {WIDTH} wide, batch {BATCH}, medians of {options.rounds} rounds, "
          f"threads {options.threads}, {options.clock} time")  # fmt: skip
    found = sweeps(options)
    base = sum(found[DEPTHS[0]]) / DEPTHS[0]
    for depth, (forward, sweep) in found.items():
        linear = (forward + sweep) / depth / base
        print(f"    {depth:3} layers: forward {forward * 1e6:8.1f} µs, sweep {sweep * 1e6:8.1f} µs"
              f" = {sweep / forward:.2f}x, per layer {linear:.2f}x", flush=True)  # fmt: skip
    print(f"{'-'.join(map(str, UNITS))}, batch {BATCH}, SGD, a step written with bp.ops")
    steps = composed(options)
    for name, seconds in steps.items():
        ratio = seconds / steps["built in"]
        print(f"    {name:16} {seconds * 1e6:8.1f} µs = {ratio:.2f}x", flush=True)
    return 0
