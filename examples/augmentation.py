"""A hidden layer of 800 sigmoid units on MNIST: without variations of the images, with affine ones,
and with elastic ones besides. The same net in all three; only what it sees in training differs.

Affine ones bring it to 99.2 % in 30 epochs. Elastic ones are harder to learn, and take longer.

    python examples/augmentation.py
"""

import pybp as bp

EPOCHS = 30
AFFINE = {"shift": 1, "rotation": 12, "scale": 0.12, "stretch": 0.08, "shear": 10}
ELASTIC = {"shift": 1, "rotation": 8, "scale": 0.08, "shear": 5, "elastic": 30, "elastic_sigma": 4}
VARIATIONS = {"none": {}, "affine": AFFINE, "elastic": ELASTIC}


def train(data, amounts, epochs=EPOCHS, seed=0, batch_size=128, rate=1e-2):
    """The model, its accuracy on the test images, and the seconds that its training took."""
    (x, y), (x_test, y_test) = data
    model = bp.Sequential(
        [
            bp.Input(784, scale=1 / 255),
            bp.Augment(**amounts, image_shape=(28, 28)),
            bp.Dense(800, activation="sigmoid"),
            bp.Dense(10, activation="softmax"),
        ]
    )
    steps = epochs * -(-len(x) // batch_size)
    rates = bp.schedules.OneCycle(rate, steps)
    model.compile(bp.optim.Adam(rates), "cross_entropy", ["accuracy"], seed=seed)
    history = model.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=0)
    return model, model.evaluate(x_test, y_test)["accuracy"], history.seconds


def main(data, **how):
    """{variations: accuracy on the test images}, printed row by row; `how` is of `train`."""
    found = {}
    print("| variations | test accuracy | seconds |\n| --- | ---: | ---: |")
    for name, amounts in VARIATIONS.items():
        _, found[name], seconds = train(data, amounts, **how)
        print(f"| {name} | {found[name]:.2%} | {seconds:.0f} |", flush=True)
    return found


if __name__ == "__main__":
    main(bp.datasets.mnist())
