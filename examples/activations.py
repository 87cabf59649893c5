"""Which activation should the hidden layer have? The same network on MNIST with each of them.

Two epochs at one learning rate show who learns quickly, not who wins in the end; `step` has no
gradient and cannot take part.

    python examples/activations.py [--root FOLDER] [--epochs 2] [--seeds 2]
"""

import argparse
from statistics import mean

import pybp as bp

NAMES = (
    *("identity", "sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "softsign", "softplus"),
    *("relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "mish"),
)


def train(data, activation, epochs, seed):
    """Test accuracy, and rows trained on per second."""
    (x, y), (x_test, y_test) = data
    layer = bp.PReLU() if activation == "prelu" else activation
    model = bp.Sequential(
        [
            bp.Input(784, scale=1 / 255),
            bp.Dense(128, activation=layer),
            bp.Dense(10, activation="softmax"),
        ]
    )
    model.compile(bp.optim.Adam(1e-3), loss="cross_entropy", metrics=["accuracy"], seed=seed)
    history = model.fit(x, y, epochs=epochs, batch_size=32, verbose=0)
    return model.evaluate(x_test, y_test)["accuracy"], epochs * len(x) / history.seconds


def compare(data, names=NAMES, epochs=2, seeds=2):
    """{activation: (mean test accuracy, mean rows per second)}, printed row by row."""
    found = {}
    print("| activation | test accuracy | rows per second |\n| --- | ---: | ---: |")
    for name in names:
        runs = [train(data, name, epochs, seed) for seed in range(seeds)]
        accuracy, speed = map(mean, zip(*runs, strict=True))
        found[name] = accuracy, speed
        print(f"| {name} | {accuracy:.2%} | {speed:,.0f} |", flush=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", help="folder of MNIST's four files; downloaded when left out")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    compare(bp.datasets.mnist(given.root), epochs=given.epochs, seeds=given.seeds)
