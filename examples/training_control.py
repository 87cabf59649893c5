"""A training that looks after itself: a learning rate that is found, a warm-up, a checkpoint of the
best model, an early stop, a log, and a second training that goes on where the first one ended.

    python examples/training_control.py [FOLDER]
"""

import sys
from pathlib import Path

import pybp as bp
from pybp.callbacks import EarlyStopping, JSONLogger, ModelCheckpoint, ReduceLROnPlateau


def network():
    """64-64-10 for the handwritten digits."""
    model = bp.Sequential(
        [
            bp.Input(64, scale=1 / 16),
            bp.Dense(64, activation="relu"),
            bp.Dropout(0.2),
            bp.Dense(10, activation="softmax"),
        ]
    )
    model.compile(bp.optim.Adam(), loss="cross_entropy", metrics=["accuracy"], seed=0)
    return model


def main(folder):
    """Train, stop, go on; returns the test accuracies of both trainings."""
    (x, y), (x_test, y_test) = bp.datasets.digits()
    model = network()

    search = bp.find_learning_rate(model, x, y)
    search.plot(folder / "rates.png")
    print(search)
    batches = -(-int(0.8 * len(x)) // 32)
    model.learning_rate = bp.schedules.Warmup(search.suggestion, steps=2 * batches)

    best = folder / "best.safetensors"
    history = model.fit(
        x,
        y,
        epochs=200,
        validation_split=0.2,
        callbacks=[
            ReduceLROnPlateau(factor=0.3, patience=3),
            EarlyStopping(patience=8),
            ModelCheckpoint(best, save_best_only=True),
            JSONLogger(folder / "log.jsonl"),
        ],
        verbose=0,
    )
    history.plot(folder / "history.png")
    first = model.evaluate(x_test, y_test)["accuracy"]
    print(f"{history}: {history.ending} after {history.seconds:.2f} s, test accuracy {first:.2%}")

    # A warm restart of the best model: a new schedule, the optimiser's state kept.
    model = bp.load(best)
    model.learning_rate = bp.schedules.CosineRestarts(search.suggestion / 10, 5 * batches)
    model.fit(x, y, epochs=10, callbacks=[JSONLogger(folder / "log.jsonl", append=True)], verbose=0)
    second = model.evaluate(x_test, y_test)["accuracy"]
    print(f"after ten epochs more, on all rows: {second:.2%}")
    return first, second


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
