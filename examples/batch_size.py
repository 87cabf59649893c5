"""How large should a minibatch be? The same network on MNIST, for the same number of epochs.

Small batches take more steps per epoch and learn more from it; large ones compute faster, until
too few steps are left to learn anything. 16 and 32 are hard to beat at equal epochs.

    python examples/batch_size.py [--root FOLDER] [--epochs 3] [--seeds 2] [--sizes 8 16 32]
"""

import argparse
from statistics import mean

import pybp as bp

SIZES = (8, 16, 32, 64, 128, 256, 512)


def train(data, batch_size, epochs, seed):
    """Test accuracy, and rows trained on per second."""
    (x, y), (x_test, y_test) = data
    model = bp.Sequential(
        [
            bp.Input(784, scale=1 / 255),
            bp.Dense(128, activation="relu"),
            bp.Dense(10, activation="softmax"),
        ]
    )
    model.compile(bp.optim.Adam(1e-3), loss="cross_entropy", metrics=["accuracy"], seed=seed)
    history = model.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=0)
    return model.evaluate(x_test, y_test)["accuracy"], epochs * len(x) / history.seconds


def sweep(data, sizes=SIZES, epochs=3, seeds=2):
    """{batch size: (mean test accuracy, mean rows per second)}, printed row by row."""
    found = {}
    print("| batch size | test accuracy | rows per second |\n| ---: | ---: | ---: |")
    for size in sizes:
        runs = [train(data, size, epochs, seed) for seed in range(seeds)]
        accuracy, speed = map(mean, zip(*runs, strict=True))
        found[size] = accuracy, speed
        print(f"| {size} | {accuracy:.2%} | {speed:,.0f} |", flush=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", help="folder of MNIST's four files; downloaded when left out")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    given = parser.parse_args()
    sweep(bp.datasets.mnist(given.root), given.sizes, given.epochs, given.seeds)
