"""A refused call: the right exception, a message that helps, an untouched model."""

import numpy as np
import pytest

import pybp as bp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4))
CLASSES = RNG.integers(0, 3, size=20)


def classifier(dtype="float32"):
    """4-5-3 with dropout and Adam: weights, moments and random numbers could be disturbed."""
    model = bp.Sequential(
        [
            bp.Input(4),
            bp.Dense(5, activation="tanh"),
            bp.Dropout(0.2),
            bp.Dense(3, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=bp.optim.Adam(0.01),
        loss="cross_entropy",
        metrics=["accuracy"],
        dtype=dtype,
        seed=1,
    )
    return model


def regressor(loss="mse", last=None, outputs=3):
    model = bp.Sequential([bp.Input(4), bp.Dense(outputs, activation=last)])
    model.compile(optimizer=bp.optim.SGD(0.01, momentum=0.9), loss=loss, seed=1)
    return model


TARGETS = {
    "cross_entropy": CLASSES,
    "binary_cross_entropy": np.eye(3)[CLASSES],
    "mse": np.eye(3)[CLASSES],
}


def state(model):
    return {name: view.tobytes() for name, view in model.parameters.items()}


def refused(call, exception, *words, build=classifier, y=CLASSES):
    """call(model) raises; its message has every word; the model goes on to the bits of its twin."""
    model, twin = build(), build()
    for each in (model, twin):
        each.fit(X, y, epochs=1, batch_size=8, verbose=0)
    with pytest.raises(exception) as caught:
        call(model)
    says(caught, *words)
    assert state(model) == state(twin), "the refused call changed the parameters"
    for each in (model, twin):
        each.fit(X, y, epochs=2, batch_size=8, verbose=0)
    assert state(model) == state(twin), "the refused call changed the optimiser or its seed"


def says(caught, *words):
    """The message contains every word (any case), or one of several given as a tuple."""
    message = str(caught.value).lower()
    for word in words:
        options = word if isinstance(word, tuple) else (word,)
        assert any(option.lower() in message for option in options), (word, str(caught.value))
