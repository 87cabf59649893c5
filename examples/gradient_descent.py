"""Gradient descent as a picture: the slope where one stands, steps against it, the lowest point.

The first picture is a parabola f(w) = w^2 / 2, one weight being the whole network; descent goes
down at every step for learning rates below 2 (over the curvature, 1) and away from the minimum
above. The second is a cut through the loss of a real network before it was trained, along the line
to where training leads, with the steps of that training on it.

    python examples/gradient_descent.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

import pybp as bp


def parabola(rate, steps=8):
    """w after every step of descent from w = 1, and the model, back at w = 1."""
    model = bp.Sequential([bp.Input(1), bp.Dense(1, use_bias=False, weight_init=1.0)])
    model.compile(bp.optim.SGD(rate), loss="half_sse", dtype="float64")
    weight, seen = model.parameters["dense0.weight"], [1.0]
    watch = [lambda epoch, logs: seen.append(weight.item())]
    model.fit([[1.0]], [[0.0]], epochs=steps, callbacks=watch, verbose=0)
    weight[...] = 1.0
    return np.array(seen), model


def training(x, y, epochs=30):
    """A model before its training; the direction to where that leads; its epochs' places along."""
    model = bp.Sequential([bp.Input(2), bp.Dense(16, activation="tanh"), bp.Dense(2)])
    model.compile(bp.optim.SGD(0.1, momentum=0.9), loss="cross_entropy", seed=0)
    passed = [{name: view.copy() for name, view in model.parameters.items()}]

    def watch(epoch, logs):
        passed.append({name: view.copy() for name, view in model.parameters.items()})

    model.fit(x, y, epochs=epochs, callbacks=[watch], verbose=0)
    start, end = passed[0], passed[-1]
    direction = {name: end[name] - start[name] for name in start}
    length = sum(float(np.sum(step**2)) for step in direction.values())
    along = [
        sum(float(np.sum((at[name] - start[name]) * direction[name])) for name in start) / length
        for at in passed
    ]
    for name, view in model.parameters.items():
        view[...] = start[name]
    return model, direction, np.array(along)


def two_moons(rows=200):
    """Two half circles that interlock, (rows, 2), and which one each point belongs to."""
    rng = np.random.default_rng(0)
    y = np.arange(rows) % 2
    angle = rng.uniform(0, np.pi, rows) + np.pi * y
    x = np.c_[np.cos(angle) + y - 0.5, np.sin(angle) + 0.5 * y - 0.25]
    return x + rng.normal(0, 0.1, x.shape), y


def main(folder):
    """Write the two pictures."""
    seen, model = parabola(rate=0.3)
    line = {"dense0.weight": [[1.0]]}
    path = folder / "parabola.png"
    bp.plots.loss_landscape(model, [[1.0]], [[0.0]], line, 2, visited=seen - 1, path=path)
    for rate in (0.1, 1.0, 1.9, 2.1):
        print(f"rate {rate}: w = " + ", ".join(f"{w:.3f}" for w in parabola(rate, 5)[0]))

    x, y = two_moons()
    model, direction, along = training(x, y)
    span = 1.2 * max(1.0, float(np.abs(along).max()))
    path = folder / "network.png"
    bp.plots.loss_landscape(model, x, y, direction, span, visited=along, path=path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
