"""Examples worked by hand elsewhere, or in exact arithmetic: the network finds the same digits.

Weights are set through the views in `model.parameters`; the rest is public calls too.
"""

import random

import numpy as np
import pytest
from reference import sigmoid

import pybp as bp

F64 = {"abs": 1e-10, "rel": 0}
F32 = {"abs": 1e-6, "rel": 0}


def net(layers, loss="half_sse", optimizer=None, dtype="float64"):
    """A compiled model of dense layers from [(weight [out, in], bias or None, activation)]."""
    stack = [bp.Input(np.shape(layers[0][0])[1])]
    for weight, bias, activation in layers:
        stack.append(bp.Dense(len(weight), activation=activation, use_bias=bias is not None))
    model = bp.Sequential(stack)
    model.compile(optimizer=optimizer or bp.optim.SGD(0.01), loss=loss, dtype=dtype, seed=0)
    for i, (weight, bias, _) in enumerate(layers):
        model.parameters[f"dense{i}.weight"][...] = weight
        if bias is not None:
            model.parameters[f"dense{i}.bias"][...] = bias
    return model


def weights(model):
    return [np.array(model.parameters[f"dense{i}.weight"]) for i in range(len(model.layers) - 1)]


def loss_of(model, x, y):
    return model.evaluate(x, y)["loss"]


# -- Mazur, "A step by step backpropagation example": 2-2-2 sigmoid, biases not trained ------------


class TestMazur:
    X, T = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])
    PRECISIONS = pytest.mark.parametrize("dtype, digits", [("float64", F64), ("float32", F32)])

    @staticmethod
    def model(dtype="float64"):
        hidden = [[0.15, 0.20], [0.25, 0.30]], [0.35, 0.35], "sigmoid"
        output = [[0.40, 0.45], [0.50, 0.55]], [0.60, 0.60], "sigmoid"
        return net([hidden, output], optimizer=bp.optim.SGD(learning_rate=0.5), dtype=dtype)

    def train_with_frozen_biases(self, model, steps):
        for _ in range(steps):
            model.train_on_batch(self.X, self.T)
            model.parameters["dense0.bias"][...] = 0.35
            model.parameters["dense1.bias"][...] = 0.60

    @PRECISIONS
    def test_forward(self, dtype, digits):
        model = self.model(dtype)
        hidden, output = list(model.activations(self.X).values())[-2:]
        assert hidden[0] == pytest.approx([0.593269992107, 0.596884378260], **digits)
        assert output[0] == pytest.approx([0.751365069552, 0.772928465321], **digits)
        assert loss_of(model, self.X, self.T) == pytest.approx(0.298371108760, **digits)

    @PRECISIONS
    def test_one_step(self, dtype, digits):
        model = self.model(dtype)
        self.train_with_frozen_biases(model, 1)
        hidden, output = weights(model)
        assert hidden.ravel() == pytest.approx(
            [0.149780716133, 0.199561432266, 0.249751143632, 0.299502287265], **digits
        )
        assert output.ravel() == pytest.approx(
            [0.358916479718, 0.408666186076, 0.511301270239, 0.561370121108], **digits
        )
        assert loss_of(model, self.X, self.T) == pytest.approx(0.291027773694, **digits)

    def test_hidden_deltas_use_the_output_weights_from_before_the_step(self):
        """The page prints 0.291027924, which comes from output weights updated too early."""
        model = self.model()
        self.train_with_frozen_biases(model, 1)
        error = loss_of(model, self.X, self.T)
        assert error == pytest.approx(0.291027924, abs=2e-7)
        assert error != pytest.approx(0.291027924, abs=1e-7)

    @PRECISIONS
    def test_ten_thousand_steps(self, dtype, digits):
        model, done = self.model(dtype), 0
        for steps, error in [
            (10, 0.220918592054),
            (100, 0.0200468282494),
            (1000, 0.00111434945373),
            (10_000, 3.51018778298e-05),
        ]:
            self.train_with_frozen_biases(model, steps - done)
            done = steps
            assert loss_of(model, self.X, self.T) == pytest.approx(error, **digits), steps
        if dtype == "float64":
            output = model.predict(self.X)[0]
            assert output == pytest.approx([0.015913620444, 0.984064273515], **digits)
            assert output == pytest.approx([0.015912196, 0.984065734], abs=2e-6)  # the page

    def test_trained_biases(self):
        model = self.model()
        history = model.fit(self.X, self.T, epochs=10_000, batch_size=1, verbose=0)
        losses = history.history["loss"]
        assert losses[0] == pytest.approx(0.298371108760, **F64)
        assert losses[1] == pytest.approx(0.280471446791, **F64)
        assert loss_of(model, self.X, self.T) == pytest.approx(2.44756223593e-06, abs=1e-16)


# -- hmkcode, "Backpropagation step by step": linear 2-2-1 without biases --------------------------


def test_hmkcode_linear_2_2_1():
    x, t = np.array([[2.0, 3.0]]), np.array([[1.0]])
    model = net(
        [([[0.11, 0.21], [0.12, 0.08]], None, None), ([[0.14, 0.15]], None, None)],
        optimizer=bp.optim.SGD(learning_rate=0.05),
    )
    hidden, prediction = list(model.activations(x).values())[-2:]
    assert hidden[0] == pytest.approx([0.85, 0.48], **F64)
    assert prediction[0] == pytest.approx([0.191], **F64)
    assert loss_of(model, x, t) == pytest.approx(0.3272405, **F64)
    assert deltas(model, x, t)[-1] == pytest.approx([-0.809], **F64)

    model.train_on_batch(x, t)
    first, second = weights(model)
    assert first.T.ravel() == pytest.approx([0.121326, 0.132135, 0.226989, 0.0982025], **F64)
    assert second.ravel() == pytest.approx([0.1743825, 0.169416], **F64)
    assert model.predict(x).item() == pytest.approx(0.2557457808, **F64)
    model.train_on_batch(x, t)
    assert model.predict(x).item() == pytest.approx(0.3323139301, **F64)


# -- Brownlee, "How to code a neural network with backpropagation in Python (from scratch)" --------


class TestBrownlee:
    OUTPUT_WEIGHTS = ([0.2550690257394217], [0.4494910647887381])
    ROWS = np.array(
        [
            (2.7810836, 2.550537003, 0),
            (1.465489372, 2.362125076, 0),
            (3.396561688, 4.400293529, 0),
            (1.38807019, 1.850220317, 0),
            (3.06407232, 3.005305973, 0),
            (7.627531214, 2.759262235, 1),
            (5.332441248, 2.088626775, 1),
            (6.922596716, 1.77106367, 1),
            (8.675418651, -0.242068655, 1),
            (7.673756466, 3.508563011, 1),
        ]
    )

    def fixed(self, output_bias):
        hidden = [[0.13436424411240122, 0.8474337369372327]], [0.763774618976614], "sigmoid"
        return net([hidden, (self.OUTPUT_WEIGHTS, output_bias, "sigmoid")])

    def test_forward(self):
        model = self.fixed([0.49543508709194095, 0.651592972722763])
        output = model.predict(np.array([[1.0, 0.0]]))[0]
        assert output == pytest.approx([0.6629970129852887, 0.7253160725279748], rel=1e-12)

    def test_deltas(self):
        """The article back-propagates from the outputs sigma(bias): the bias here makes them so.

        Its deltas are (t - o) o (1 - o), the negative of dE/dz.
        """
        hidden = sigmoid(np.array(0.13436424411240122 + 0.763774618976614))
        bias = np.array([0.49543508709194095, 0.651592972722763])
        model = self.fixed(bias - np.ravel(self.OUTPUT_WEIGHTS) * hidden)
        x, t = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
        assert model.predict(x)[0] == pytest.approx(
            [0.6213859615555266, 0.6573693455986976], rel=1e-12
        )
        first, last = deltas(model, x, t)
        assert -last == pytest.approx([-0.14619064683582808, 0.0771723774346327], rel=1e-12)
        assert -first == pytest.approx([-0.0005348048046610517], rel=1e-12)

    def test_twenty_epochs_on_ten_rows(self):
        random.seed(1)
        layers = []
        for _ in range(2):
            rows = np.array([[random.random() for _ in range(3)] for _ in range(2)])
            layers.append((rows[:, :2], rows[:, 2], "sigmoid"))
        assert layers[0][0][0, 0] == 0.13436424411240122
        model = net(layers, optimizer=bp.optim.SGD(learning_rate=0.5))
        x, t = self.ROWS[:, :2], np.eye(2)[self.ROWS[:, 2].astype(int)]
        history = model.fit(x, t, epochs=20, batch_size=1, shuffle=False, verbose=0)
        sums = [2 * loss for loss in history.history["loss"]]
        assert [round(sums[0], 3), round(sums[-1], 3)] == [6.350, 1.132]
        for name, published in {
            "dense0.weight": [
                [-1.4688375095432327, 1.850887325439514],
                [0.37711098142462157, -0.0625909894552989],
            ],
            "dense0.bias": [1.0858178629550297, 0.2765123702642716],
            "dense1.weight": [
                [2.515394649397849, -0.3391927502445985],
                [-2.5584149848484263, 1.0036422106209202],
            ],
            "dense1.bias": [-0.9671565426390275, 0.42383086467582715],
        }.items():
            np.testing.assert_allclose(model.parameters[name], published, rtol=0, atol=1e-12)


# -- Hours of sleep and study: 2-3-1 sigmoid without biases, whole batch ---------------------------


def test_test_scores_2_3_1():
    x = np.array([[2.0, 9.0], [1.0, 5.0], [3.0, 6.0]])
    x, y = x / x.max(axis=0), np.array([[0.92], [0.86], [0.89]])
    normal = np.random.RandomState(0)
    first, second = normal.randn(2, 3), normal.randn(3, 1)
    model = net(
        [(first.T, None, "sigmoid"), (second.T, None, "sigmoid")],
        optimizer=bp.optim.SGD(learning_rate=1.0),
    )
    history = model.fit(x, y, epochs=10_001, batch_size=3, shuffle=False, verbose=0)
    mse = [2 * loss / 3 for loss in history.history["loss"]]
    assert [mse[i] for i in (0, 1, 10, 100, 1000, 10_000)] == pytest.approx(
        [
            0.04864408482,
            0.02741649905,
            0.002246317742,
            0.0002531163225,
            0.0002145472013,
            3.668135099e-05,
        ],
        rel=1e-9,
    )


# -- Identities of the gradient --------------------------------------------------------------------


def deltas(model, x, y):
    """Error signals dE/dz of every dense layer, first layer first, for one sample."""
    found = model.gradients(x, y, deltas=True)
    return [found[f"dense{i}.delta"][0] for i in range(len(model.layers) - 1)]


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_chain_of_single_units_by_hand_and_by_differences(depth):
    """dE/dw_k = (a_L - y) (prod_(j>k) s_j w_j) s_k a_(k-1), where s_k = a_k (1 - a_k)."""
    w = np.random.default_rng(depth).normal(size=depth)
    x, y = 0.7, 0.2
    model = net([([[wk]], None, "sigmoid") for wk in w])

    a = [x]
    for wk in w:
        a.append(1 / (1 + np.exp(-wk * a[-1])))
    error, by_hand = a[-1] - y, np.empty(depth)
    for k in reversed(range(depth)):
        error *= a[k + 1] * (1 - a[k + 1])
        by_hand[k] = error * a[k]
        error *= w[k]

    found = model.gradients([[x]], [[y]])
    gradient = np.array([found[f"dense{k}.weight"].item() for k in range(depth)])
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-12)
    h = 1e-5
    for k in range(depth):
        view = model.parameters[f"dense{k}.weight"]
        view[...] = w[k] + h
        above = loss_of(model, [[x]], [[y]])
        view[...] = w[k] - h
        below = loss_of(model, [[x]], [[y]])
        view[...] = w[k]
        assert gradient[k] == pytest.approx((above - below) / (2 * h), abs=1e-8)


def small_net(loss, optimizer=None, rows=7, outputs=3, last=None):
    rng = np.random.default_rng(3)
    model = net(
        [
            (rng.normal(size=(5, 4)), rng.normal(size=5), "tanh"),
            (rng.normal(size=(outputs, 5)), rng.normal(size=outputs), last),
        ],
        loss=loss,
        optimizer=optimizer,
    )
    return model, rng.normal(size=(rows, 4)), rng.uniform(size=(rows, outputs))


def test_the_three_squared_errors_differ_by_2_and_by_n():
    """half_sse = 1/2 sum, sse = sum, mse = sum / (samples x outputs)."""
    gradients, losses = {}, {}
    for loss in ("half_sse", "sse", "mse"):
        model, x, y = small_net(loss)
        gradients[loss], losses[loss] = model.gradients(x, y), loss_of(model, x, y)
    n = y.size
    assert losses["sse"] == pytest.approx(2 * losses["half_sse"], rel=1e-14)
    assert losses["sse"] == pytest.approx(n * losses["mse"], rel=1e-14)
    assert losses["sse"] == pytest.approx(np.sum((model.predict(x) - y) ** 2), rel=1e-13)
    for name, half in gradients["half_sse"].items():
        np.testing.assert_allclose(gradients["sse"][name], 2 * half, rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(gradients["mse"][name], 2 * half / n, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    "loss, last",
    [("mse", None), ("cross_entropy", "softmax"), ("binary_cross_entropy", "sigmoid")],
)
def test_batch_gradient_is_the_mean_of_the_samples_gradients(loss, last):
    model, x, y = small_net(loss, last=last)
    y = {"cross_entropy": y.argmax(axis=1), "binary_cross_entropy": y.round()}.get(loss, y)
    samples = [model.gradients(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    for name, batch in model.gradients(x, y).items():
        mean = np.mean([sample[name] for sample in samples], axis=0)
        np.testing.assert_allclose(mean, batch, rtol=0, atol=1e-12)


def test_batch_gradient_of_a_sum_is_the_sum_of_the_samples_gradients():
    model, x, y = small_net("half_sse")
    samples = [model.gradients(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    for name, batch in model.gradients(x, y).items():
        total = np.sum([sample[name] for sample in samples], axis=0)
        np.testing.assert_allclose(total, batch, rtol=0, atol=1e-12)


def test_gradients_do_not_depend_on_the_optimiser_and_change_nothing():
    """Backpropagation finds the gradient; what an optimiser makes of it is another matter."""
    reference = None
    for optimizer in (bp.optim.SGD(0.1), bp.optim.SGD(0.1, momentum=0.9), bp.optim.Adam(0.1)):
        model, x, y = small_net("half_sse", optimizer)
        before = {name: view.copy() for name, view in model.parameters.items()}
        gradients = model.gradients(x, y)
        for name, view in model.parameters.items():
            assert np.array_equal(view, before[name])
        reference = reference or gradients
        assert gradients.keys() == reference.keys() == before.keys()
        for name, gradient in gradients.items():
            assert np.array_equal(gradient, reference[name])


def test_plain_descent_takes_exactly_the_gradient():
    model, x, y = small_net("half_sse", bp.optim.SGD(learning_rate=0.25))
    before = {name: view.copy() for name, view in model.parameters.items()}
    gradients = model.gradients(x, y)
    model.train_on_batch(x, y)
    for name, view in model.parameters.items():
        np.testing.assert_allclose(view, before[name] - 0.25 * gradients[name], rtol=1e-14)
