"""Classes at every place of images, sequences and other rows of several axes."""

import numpy as np
import pytest
from loss_reference import log_softmax

import pybp as bp

RNG = np.random.default_rng(0)
N, CLASSES = 13, 4
SHAPES = {"NCHW": (3, 5, 6), "NHWC": (5, 6, 3), "NCL": (3, 7), "NLC": (7, 3), "": (7, 3)}
WEIGHTS = RNG.uniform(size=N)


class Pointwise(bp.TrainedLayer):
    """A dense layer along the last axis of rows without a layout."""

    def build(self, x, name):
        return x @ self.weight(f"{name}.weight", (x.shape[-1], CLASSES), "glorot")


def net(layout, activation):
    layers = [bp.Input(SHAPES[layout], layout=layout or None)]
    if layout:
        kind = bp.Conv2D if "H" in layout else bp.Conv1D
        return [*layers, kind(CLASSES, 1, activation=activation, use_bias=False, name="last")]
    return [*layers, Pointwise(name="last"), *([bp.Activation(activation)] if activation else [])]


def axis_of(layout):
    return layout.index("C") if layout else -1


def rows(layout):
    """x, and x with channels last."""
    x = RNG.normal(size=(N, *SHAPES[layout]))
    return x, np.moveaxis(x, axis_of(layout), -1)


def weight_of(model, layout):
    """[inputs, classes] of the last layer."""
    weight = model.parameters["last.weight"]
    return weight.reshape(CLASSES, -1).T if layout else weight


def compiled(layout, activation, loss, **how):
    model = bp.Sequential(net(layout, activation))
    model.compile(bp.optim.SGD(0.5), loss, dtype="float64", seed=1, **how)
    return model


@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("activation", [None, "softmax", "log_softmax"])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
def test_cross_entropy_is_a_mean_over_places(layout, activation, kind):
    """Value, accuracy and a step of gradient descent, weighed, against NumPy."""
    x, last = rows(layout)
    labels = RNG.integers(0, CLASSES, last.shape[:-1])
    masses = RNG.dirichlet(np.ones(CLASSES), size=labels.shape)
    if kind == "labels":
        masses, y = np.eye(CLASSES)[labels], labels
    else:
        y = np.moveaxis(masses, -1, axis_of(layout))
    model = compiled(layout, activation, "cross_entropy", metrics=["accuracy"])
    weight = weight_of(model, layout).copy()
    scores = last @ weight
    apart = tuple(range(1, labels.ndim))
    value = -(masses * log_softmax(scores)).sum(-1).mean(apart)
    right = (scores.argmax(-1) == masses.argmax(-1)).mean(apart)
    found = model.evaluate(x, y, sample_weight=WEIGHTS)
    assert found["loss"] == pytest.approx(np.average(value, weights=WEIGHTS), rel=1e-12)
    assert found["accuracy"] == pytest.approx(np.average(right, weights=WEIGHTS), rel=1e-12)

    model.fit(x, y, epochs=1, batch_size=N, sample_weight=WEIGHTS, verbose=0)
    error = np.exp(log_softmax(scores)) - masses
    share = WEIGHTS / WEIGHTS.sum() / np.prod(labels.shape[1:])
    error *= share.reshape(N, *[1] * (error.ndim - 1))
    slope = last.reshape(-1, 3).T @ error.reshape(-1, CLASSES)
    np.testing.assert_allclose(weight_of(model, layout), weight - 0.5 * slope, rtol=1e-9)


@pytest.mark.parametrize("layout", ["NCHW", "NLC"])
def test_metrics_of_all_predictions_count_places(layout):
    x, last = rows(layout)
    labels = RNG.integers(0, CLASSES, last.shape[:-1])
    seen = {}

    def mine(y_true, y_pred):
        seen.update(true=y_true.shape, pred=y_pred.shape)
        return 1.0

    model = compiled(layout, None, "cross_entropy", metrics=["f1", "auc", mine])
    flat = bp.Sequential([bp.Input(3), bp.Dense(CLASSES, use_bias=False, name="last")])
    flat.compile(loss="cross_entropy", dtype="float64", metrics=["f1", "auc"])
    flat.parameters["last.weight"][...] = weight_of(model, layout).T
    found = model.evaluate(x, labels)
    wanted = flat.evaluate(last.reshape(-1, 3), labels.reshape(-1))
    for name in ("loss", "f1", "auc"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-12)
    assert seen == {"true": labels.shape, "pred": model.predict(x).shape}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_masks(layout, activation):
    """One channel of probabilities: the loss takes the logits, however they are moved."""
    x, last = rows(layout)
    kind = bp.Conv2D(1, 1, activation=activation, name="last")
    model = bp.Sequential([bp.Input(SHAPES[layout], layout=layout), kind])
    model.compile(loss="binary_cross_entropy", dtype="float64", seed=2, metrics=["accuracy", "f1"])
    y = RNG.integers(0, 2, last.shape[:-1])
    scores = last @ model.parameters["last.weight"].reshape(-1)
    found = model.evaluate(x, y)
    assert found["loss"] == pytest.approx((np.logaddexp(0, scores) - y * scores).mean(), rel=1e-12)
    assert found["accuracy"] == pytest.approx(((scores > 0) == y).mean(), rel=1e-12)
    true = (scores > 0) & (y == 1)
    assert found["f1"] == pytest.approx(2 * true.sum() / (y.sum() + (scores > 0).sum()), rel=1e-12)


def test_a_small_segmentation_is_learnt(tmp_path):
    """Which of the three brightnesses a blurred pixel had."""
    y = RNG.integers(0, 3, (200, 8, 8)).repeat(2, axis=1).repeat(2, axis=2)
    x = (y + RNG.normal(scale=0.4, size=y.shape)).astype(np.float32)
    layers = [
        bp.Conv2D(8, 3, padding="same", activation="relu"),
        bp.MaxPool2D(2),
        bp.Conv2D(16, 3, padding="same", activation="relu"),
        bp.ConvTranspose2D(8, 2, stride=2, activation="relu"),
        bp.Conv2D(3, 1, activation="softmax"),
    ]
    model = bp.Sequential([bp.Input((1, 16, 16), layout="NCHW"), *layers])
    model.compile(bp.optim.Adam(0.01), loss="cross_entropy", metrics=["accuracy"], seed=0)
    model.fit(x, y, epochs=8, batch_size=16, validation_data=(x[:20], y[:20]), verbose=0)
    assert model.evaluate(x, y)["accuracy"] > 0.95
    assert model.predict(x).shape == (200, 3, 16, 16)
    np.testing.assert_allclose(model.predict(x[:3]).sum(axis=1), 1, rtol=1e-5)
    model.save(tmp_path / "model")
    assert bp.load(tmp_path / "model").evaluate(x, y) == model.evaluate(x, y)


def test_bad_targets():
    x, last = rows("NCHW")
    labels = RNG.integers(0, CLASSES, last.shape[:-1])
    model = compiled("NCHW", None, "cross_entropy")
    bad = labels.copy()
    bad[2, 3, 4] = CLASSES
    with pytest.raises(ValueError, match=r"y\[2, 3, 4\] is 4: with 4 outputs.*0 to 3"):
        model.fit(x, bad, verbose=0)
    said = r"class numbers \(N, 5, 6\) or one column for each of the 4 outputs.*\(N, 4, 5, 6\)"
    for y in (labels[:, 0, 0], labels[:, :4], np.eye(CLASSES)[labels]):
        with pytest.raises(ValueError, match=said):
            model.fit(x, y, verbose=0)
    masses = np.moveaxis(np.eye(CLASSES)[labels], -1, 1)
    masses[1, :, 0, 2] = 0.5
    with pytest.raises(ValueError, match=r"y\[1, 0, 2\] is \[0.5 0.5 0.5 0.5\].*sums to 2"):
        model.fit(x, masses, verbose=0)
    with pytest.raises(ValueError, match=r"class_weight.*'last' tells classes at 30 places"):
        model.fit(x, labels, class_weight={0: 2.0}, verbose=0)


def test_a_softmax_over_another_axis_is_refused():
    layers = [bp.Input((4, 5)), bp.Activation("softmax"), bp.Permute((1, 0))]
    with pytest.raises(ValueError, match=r"softmax of layer 'activation0' is over another one"):
        bp.Sequential(layers).compile(loss="cross_entropy")


def test_accuracy_of_images_needs_classes():
    layers = [bp.Input((3, 5, 6), layout="NCHW"), bp.Conv2D(2, 1)]
    with pytest.raises(ValueError, match=r"metric 'accuracy' of outputs \(2, 5, 6\)"):
        model = bp.Sequential(layers)
        model.compile(loss="mse", metrics=["accuracy"])
        model.evaluate(np.zeros((1, 3, 5, 6)), np.zeros((1, 2, 5, 6)))
