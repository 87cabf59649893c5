"""Which digit does every pixel belong to? A U-net on pages of four MNIST digits with noise.

Each pixel has a class: the digit whose ink it is, or 10 for the paper. The network goes down to a
quarter of the size and up again, and puts what it saw on the way down beside what it makes on the
way up. Ronneberger, Fischer and Brox, "U-Net: Convolutional networks for biomedical image
segmentation", MICCAI 2015.

    python examples/segmentation.py
"""

import numpy as np

import pybp as bp

PAPER = 10


class Double(bp.Layer):
    """Two convolutions, with relu and batch normalisation."""

    def __init__(self, filters, name=None):
        super().__init__(name)
        self.filters = filters

    def build(self, x, name):
        for _ in range(2):
            x = bp.BatchNorm()(bp.Conv2D(self.filters, 3, padding="same", activation="relu")(x))
        return x


def unet(filters=12):
    """Scores of the 11 classes at every pixel of pages (1, 56, 56)."""
    page = bp.Input((1, 56, 56), layout="NCHW", scale=1 / 255)
    fine = Double(filters)(page)
    middle = Double(2 * filters)(bp.MaxPool2D(2)(fine))
    coarse = Double(4 * filters)(bp.MaxPool2D(2)(middle))
    up = bp.ConvTranspose2D(2 * filters, 2, stride=2)(coarse)
    up = Double(2 * filters)(bp.concat([up, middle], axis=0))
    up = bp.ConvTranspose2D(filters, 2, stride=2)(up)
    up = Double(filters)(bp.concat([up, fine], axis=0))
    return bp.Model(page, bp.Conv2D(PAPER + 1, 1)(up))


def pages(images, labels, count, seed):
    """Pages of two by two digits with noise, (count, 56, 56) bytes, and the pixels' classes."""
    rng = np.random.default_rng(seed)
    which = rng.integers(len(images), size=(count, 2, 2))
    digits = images[which].transpose(0, 1, 3, 2, 4).reshape(count, 56, 56)
    names = labels[which].repeat(28, axis=1).repeat(28, axis=2)
    noise = rng.integers(0, 120, digits.shape)
    return np.maximum(digits, noise).astype(np.uint8), np.where(digits > 127, names, PAPER)


def main(data, count=6000, epochs=6):
    """The share of the ink that is read right, of pages of digits that were not trained on."""
    (images, labels), (test_images, test_labels) = data
    x, y = pages(images, labels, count, seed=0)
    x_test, y_test = pages(test_images, test_labels, max(count // 10, 1), seed=1)
    model = unet()
    rates = bp.schedules.OneCycle(1e-2, epochs * -(-count // 32))
    model.compile(bp.optim.Adam(rates), "cross_entropy", ["accuracy"], seed=0)
    history = model.fit(x, y, epochs=epochs, batch_size=32, verbose=0)
    read = model.predict(x_test).argmax(axis=1)
    ink = y_test != PAPER
    right = (read == y_test)[ink].mean()
    print(f"of all pixels {(read == y_test).mean():.2%}, of the ink {right:.2%} are read right")
    print(f"after {history.seconds:.0f} s of training")
    return right


if __name__ == "__main__":
    main(bp.datasets.mnist())
