"""What is said of neurons, layers and error signals, as statements that hold for a network.

Derivations are written out unit by unit beside the library, which works on whole batches.
"""

import itertools
import math

import numpy as np
import pytest
from reference import ACTIVATIONS, Net
from test_worked_examples import loss_of, net, small_net, weights

import pybp as bp

SMOOTH = ("sigmoid", "tanh", None)


def random_net(sizes, activations, loss="half_sse", seed=0, **more):
    """Dense layers of these sizes, with weights and biases of about 1."""
    rng = np.random.default_rng(seed)
    layers = [
        (rng.normal(size=(units, inputs)), rng.normal(size=units), activation)
        for (inputs, units), activation in zip(itertools.pairwise(sizes), activations, strict=True)
    ]
    return net(layers, loss=loss, **more)


# -- neuron, layer, network ------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["identity", "step", "sigmoid", "tanh", "relu", "softplus"])
def test_a_neuron_is_an_activation_of_a_weighted_sum(activation):
    """f(w_1 a_1 + ... + w_n a_n + b): products and sums, and then f."""
    w, b, a = [0.4, -1.2, 0.7], 0.25, [0.5, 0.3, -0.8]
    z = b
    for w_i, a_i in zip(w, a, strict=True):
        z += w_i * a_i
    f = {
        "identity": z,
        "step": float(z >= 0),
        "sigmoid": 1 / (1 + math.exp(-z)),
        "tanh": math.tanh(z),
        "relu": max(z, 0.0),
        "softplus": math.log(1 + math.exp(z)),
    }
    neuron = bp.Sequential([bp.Input(3), bp.Dense(1, activation=activation, trainable=False)])
    model = bp.Sequential([*neuron.layers, bp.Dense(1, weight_init=1.0)])
    model.compile(loss="mse", dtype="float64")
    model.parameters["dense0.weight"][...] = w
    model.parameters["dense0.bias"][...] = b
    found = model.activations(np.array([a]))["dense0"]
    assert found.item() == pytest.approx(f[activation], rel=0, abs=1e-12)


def test_a_layer_is_its_neurons_side_by_side_and_a_network_its_layers_in_turn():
    """All activations that are in between, to 1e-12 of a loop over units and inputs."""
    model = random_net((3, 4, 5, 2), ("tanh", "sigmoid", None))
    x = np.random.default_rng(1).normal(size=(6, 3))
    found = model.activations(x)
    assert list(found) == ["input0", "dense0", "dense1", "dense2"]
    functions = (math.tanh, lambda z: 1 / (1 + math.exp(-z)), lambda z: z)
    for n, row in enumerate(x):
        a = row.tolist()
        for i, f in enumerate(functions):
            weight, bias = (model.parameters[f"dense{i}.{part}"] for part in ("weight", "bias"))
            a = [
                f(sum(w * a_k for w, a_k in zip(unit, a, strict=True)) + b)
                for unit, b in zip(weight.tolist(), bias.tolist(), strict=True)
            ]
            assert found[f"dense{i}"][n] == pytest.approx(a, rel=0, abs=1e-12)
    assert np.array_equal(found["dense2"], model.predict(x))


def test_linear_layers_are_one_layer():
    """W3 (W2 (W1 x + b1) + b2) + b3 = W x + b, to 1e-12."""
    model = random_net((5, 7, 6, 3), (None, None, None))
    w = np.eye(5)
    b = np.zeros(5)
    for i in range(3):
        weight = model.parameters[f"dense{i}.weight"]
        w, b = weight @ w, weight @ b + model.parameters[f"dense{i}.bias"]
    single = net([(w, b, None)])
    x = np.random.default_rng(2).normal(size=(50, 5))
    scale = np.abs(single.predict(x)).max()
    np.testing.assert_allclose(model.predict(x), single.predict(x), rtol=0, atol=1e-12 * scale)
    bent = random_net((5, 7, 6, 3), ("tanh", "tanh", None))  # the same weights
    assert np.abs(bent.predict(x) - single.predict(x)).max() > 0.1 * scale


# -- what the summary says -------------------------------------------------------------------------


def table(model):
    """Rows of the summary by layer: their cells by title."""
    lines = [line for line in model.summary().splitlines() if not line.startswith("-")]
    titles, *rows = [[cell for cell in line.split("  ") if cell.strip()] for line in lines]
    cells = [[cell.strip() for cell in row] for row in rows[:-1]]
    return {row[0]: dict(zip([t.strip() for t in titles], row, strict=True)) for row in cells}


def test_the_summary_counts_multiplications_and_additions():
    """A neuron with I inputs: I products, I sums (the bias is one) and one activation."""
    rows = table(random_net((784, 128, 10), ("sigmoid", None)))
    assert rows["dense0"]["FLOPs/row"] == f"{128 * (2 * 784 + 1):,}"
    assert rows["dense1"]["FLOPs/row"] == f"{10 * 2 * 128:,}"
    assert rows["dense0"]["parameters"] == f"{128 * (784 + 1):,}"


def roles(*layers):
    return [row["role"] for row in table(bp.Sequential(layers)).values()]


def test_the_summary_tells_input_hidden_and_output_layers_apart():
    one, two, three = (bp.Dense(4, activation="relu") for _ in range(3))
    assert roles(bp.Input(3), one) == ["input", "output"]
    assert roles(bp.Input(3), one, two, three) == ["input", "hidden", "hidden", "output"]
    assert roles(bp.Input(3), one, bp.Dropout(0.5), two) == ["input", "hidden", "hidden", "output"]
    behind = [bp.Maxout(2), bp.Activation("softmax")]
    before = [bp.Input(3), bp.MinMaxScaler(), bp.Dropout(0.1)]
    assert roles(*before, one, *behind) == 3 * ["input"] + ["hidden"] + 2 * ["output"]
    assert roles(bp.Input(3), bp.Activation("tanh")) == ["input", "output"]  # no units at all


# -- the delta rule and its generalisation ---------------------------------------------------------


@pytest.fixture(scope="module")
def adaline(data_root):
    """Setosa -1 and versicolor 1 by the lengths of sepal and petal, in centimetres."""
    path = data_root / "iris" / "iris.csv"
    if not path.is_file():
        pytest.skip(f"no real data: {path} does not exist")
    rows = bp.datasets.load_csv(path, -1)
    return rows.x[:100, [0, 2]], np.where(rows.y[:100] == 0, -1.0, 1.0)


def delta_rule(x, y, rate, epochs):
    """Widrow and Hoff's rule for all rows at once: costs sum (y - z)^2 / 2, and the weights."""
    w, b, costs = np.zeros(x.shape[1]), 0.0, []
    for _ in range(epochs):
        error = y - (x @ w + b)
        costs.append((error**2).sum() / 2)
        w, b = w + rate * x.T @ error, b + rate * error.sum()
    return costs, np.append(b, w)


def train_without_hidden_layer(x, y, rate, epochs):
    model = bp.Sequential([bp.Input(2), bp.Dense(1, weight_init=0.0)])
    model.compile(bp.optim.SGD(rate), loss="half_sse", dtype="float64")
    history = model.fit(x, y, epochs=epochs, batch_size=len(x), shuffle=False, verbose=0)
    return history.history["loss"], model


def parameters(model):
    return np.append(model.parameters["dense0.bias"], model.parameters["dense0.weight"])


def test_without_hidden_layers_backpropagation_is_adalines_delta_rule(adaline):
    """Raschka, "Python machine learning", chapter 2: standardised columns, rate 0.01, 15 epochs."""
    x, y = adaline
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    losses, model = train_without_hidden_layer(x, y, 0.01, 15)
    costs, w = delta_rule(x, y, 0.01, 15)
    assert losses == pytest.approx(costs, rel=0, abs=1e-9)
    assert [losses[i] for i in (0, 1, 2)] == pytest.approx([50, 33.82691, 23.15305], abs=5e-6)
    assert losses[-1] == pytest.approx(2.57687665, rel=0, abs=1e-8)
    np.testing.assert_allclose(parameters(model), w, rtol=0, atol=1e-12)
    np.testing.assert_allclose(parameters(model), [0, -0.126256159, 1.10479201], rtol=0, atol=1e-8)
    assert (np.sign(model.predict(x)[:, 0]) == y).all()


def test_adaline_on_raw_centimetres_learns_slowly_or_diverges_aloud(adaline):
    x, y = adaline
    losses, _ = train_without_hidden_layer(x, y, 1e-4, 10)
    assert losses == pytest.approx(delta_rule(x, y, 1e-4, 10)[0], rel=0, abs=1e-9)
    assert [losses[i] for i in (0, 1, 2, 9)] == pytest.approx(
        [50, 48.06916, 46.75625, 40.25209], abs=5e-6
    )
    losses, _ = train_without_hidden_layer(x, y, 0.01, 3)
    assert losses == pytest.approx([50, 2230.854, 3475977.04], rel=1e-6)
    with pytest.raises(bp.errors.DivergenceError, match="smaller learning rate"):
        train_without_hidden_layer(x, y, 0.01, 1000)


# -- derivatives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["half_sse", "mse"])
@pytest.mark.parametrize("hidden", SMOOTH)
def test_every_partial_derivative_by_a_complex_step(hidden, loss):
    """dE/dw = Im E(w + ih) / h, all others constant: no difference, hence exact to rounding."""
    model = random_net((3, 4, 4, 2), (hidden, "tanh", "sigmoid"), loss)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(5, 3)), rng.uniform(size=(5, 2))
    f = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh, None: lambda z: z}

    def error(parameters):
        a = x.astype(complex)
        for i, activation in enumerate((hidden, "tanh", "sigmoid")):
            a = a @ parameters[f"dense{i}.weight"].T + parameters[f"dense{i}.bias"]
            a = f[activation](a)
        return np.sum((a - y) ** 2) * (0.5 if loss == "half_sse" else 1 / y.size)

    at = {name: view.astype(complex) for name, view in model.parameters.items()}
    for name, gradient in model.gradients(x, y).items():
        for index in np.ndindex(gradient.shape):
            at[name][index] += 1e-30j
            assert gradient[index] == pytest.approx(error(at).imag / 1e-30, rel=1e-12, abs=1e-14)
            at[name][index] = at[name][index].real


@pytest.mark.parametrize("loss, last", [("half_sse", "sigmoid"), ("cross_entropy", "softmax")])
def test_the_gradient_by_a_bias_is_the_sum_of_its_units_error_signals(loss, last):
    """dE/db = sum_n delta_n, and plain descent takes b - rate dE/db."""
    model = random_net((4, 5, 3), ("tanh", last), loss, optimizer=bp.optim.SGD(0.1))
    rng = np.random.default_rng(4)
    x = rng.normal(size=(7, 4))
    y = rng.uniform(size=(7, 3)) if loss == "half_sse" else rng.integers(0, 3, 7)
    found = model.gradients(x, y, deltas=True)
    before = {name: np.array(view) for name, view in model.parameters.items()}
    model.train_on_batch(x, y)
    for name in ("dense0", "dense1"):
        gradient = found[f"{name}.bias"]
        delta = found[f"{name}.delta"]
        np.testing.assert_allclose(gradient, delta.sum(axis=0), rtol=1e-12, atol=1e-15)
        stepped = before[f"{name}.bias"] - 0.1 * gradient
        np.testing.assert_allclose(model.parameters[f"{name}.bias"], stepped, rtol=1e-14)


# -- error signals ---------------------------------------------------------------------------------


def test_an_error_signal_gathers_the_errors_along_all_paths_to_the_outputs():
    """delta_i = sum over paths i -> j -> ... -> o of the product of slopes and weights on the way,
    times the error at o: 4 x 3 x 2 paths for each unit of the first layer."""
    sizes, activations = (3, 5, 4, 3, 2), ("tanh", "sigmoid", "tanh", "sigmoid")
    model = random_net(sizes, activations)
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(1, 3)), rng.uniform(size=(1, 2))
    outputs = [a[0] for name, a in model.activations(x).items() if name != "input0"]
    slopes = [ACTIVATIONS[f][1](a) for f, a in zip(activations, outputs, strict=True)]
    w, error = weights(model), outputs[-1] - y[0]
    found = model.gradients(x, y, deltas=True)
    for i in range(4):
        for unit in range(sizes[i + 1]):
            total, paths = 0.0, itertools.product([unit], *map(range, sizes[i + 2 :]))
            for path in paths:
                along = slopes[i][unit]
                for k, (j, m) in enumerate(itertools.pairwise(path), start=i + 1):
                    along *= w[k][m, j] * slopes[k][m]
                total += along * error[path[-1]]
            delta = found[f"dense{i}.delta"][0, unit]
            assert delta == pytest.approx(total, rel=1e-12, abs=1e-16)


def test_a_hidden_error_signal_is_the_sum_of_what_every_output_sends_back():
    """Targets that are the prediction in all outputs but one leave the error of that one alone."""
    model, x, y = small_net("half_sse", last="sigmoid", outputs=4)
    predicted = model.predict(x)
    whole = model.gradients(x, y, deltas=True)["dense0.delta"]
    parts = []
    for k in range(4):
        only = predicted.copy()
        only[:, k] = y[:, k]
        parts.append(model.gradients(x, only, deltas=True)["dense0.delta"])
        assert np.abs(parts[-1]).max() > 1e-4  # each output has its share
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 4, 32, 200])
@pytest.mark.parametrize("sizes", [(3, 5, 2), (64, 48, 33, 10)])
@pytest.mark.parametrize("dtype, digits", [("float64", 1e-12), ("float32", 2e-5)])
def test_hidden_layers_learn_from_the_output_weights_before_the_step(
    sizes, batch, threads, dtype, digits
):
    """However a step is cut up and fused: all deltas first, then all weights. A rate of 1 makes the
    other order differ by far more than rounding."""
    bp.set_num_threads(threads)
    activations = ("tanh",) * (len(sizes) - 2) + (None,)
    rng = np.random.default_rng(6)
    x = rng.normal(size=(batch, sizes[0])).astype(dtype)
    y = rng.normal(size=(batch, sizes[-1])).astype(dtype)
    model = bp.Sequential(
        [bp.Input(sizes[0])]
        + [bp.Dense(n, activation=f) for n, f in zip(sizes[1:], activations, strict=True)]
    )
    model.compile(bp.optim.SGD(1.0), loss="mse", dtype=dtype, seed=1)
    start = Net.like(model, activations, "mse")
    gradients, deltas = start.backward(x, y)
    model.fit(x, y, batch_size=batch, shuffle=False, verbose=0)
    for name, gradient in gradients.items():
        at_once = start.parameters[name] - gradient
        found = model.parameters[name]
        np.testing.assert_allclose(found, at_once, rtol=0, atol=digits, err_msg=name)
    last = len(sizes) - 2
    late = start.layers[-1].weight - gradients[f"dense{last}.weight"]
    slope = 1 - start.forward(x)[-2][1] ** 2
    in_turn = (deltas[-1] @ late) * slope
    assert np.abs(in_turn - deltas[-2]).max() > 100 * digits * np.abs(deltas[-2]).max()


# -- by hand, and beyond ---------------------------------------------------------------------------


def test_mazurs_step_with_trained_biases_by_hand():
    """b - 0.5 delta, delta being dE/db of one sample: an error of 0.280471446791 after the step."""
    x, t = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])
    model = net(
        [
            ([[0.15, 0.20], [0.25, 0.30]], [0.35, 0.35], "sigmoid"),
            ([[0.40, 0.45], [0.50, 0.55]], [0.60, 0.60], "sigmoid"),
        ],
        optimizer=bp.optim.SGD(0.5),
    )
    deltas = model.gradients(x, t, deltas=True)
    model.train_on_batch(x, t)
    for i, bias in enumerate((0.35, 0.60)):
        stepped = bias - 0.5 * deltas[f"dense{i}.delta"][0]
        np.testing.assert_allclose(model.parameters[f"dense{i}.bias"], stepped, rtol=1e-14)
    assert loss_of(model, x, t) == pytest.approx(0.280471446791, rel=0, abs=1e-10)


def test_a_network_of_ten_million_parameters_trains():
    """Three steps of plain descent on one batch: the loss falls at each."""
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(32, 784)).astype(np.float32), rng.integers(0, 10, 32)
    hidden = [bp.Dense(2800, activation="relu") for _ in range(2)]
    model = bp.Sequential([bp.Input(784), *hidden, bp.Dense(10, activation="softmax")])
    model.compile(bp.optim.SGD(0.01), loss="cross_entropy")
    assert sum(view.size for view in model.parameters.values()) > 10_000_000
    losses = [model.train_on_batch(x, y)["loss"] for _ in range(4)]
    assert all(after < before for before, after in itertools.pairwise(losses))


# -- gradients by the inputs -----------------------------------------------------------------------


def numeric(model, x, y, spots, step=1e-6):
    """Differences of the loss by the inputs at these places."""
    found = []
    for spot in spots:
        moved = [x.copy(), x.copy()]
        moved[0][spot] += step
        moved[1][spot] -= step
        more, less = (model.evaluate(each, y)["loss"] for each in moved)
        found.append((more - less) / (2 * step))
    return found


@pytest.mark.parametrize(
    "layout, shape", [("NCHW", (3, 8, 9)), ("NHWC", (8, 9, 3)), ("NHWC", (8, 9, 1))]
)
def test_gradients_by_images_are_differences(layout, shape):
    layers = [
        bp.Input(shape, layout=layout, scale=0.5),
        bp.Dropout(0.3),
        bp.Conv2D(4, 3, activation="tanh"),
        bp.BatchNorm(),
        bp.MaxPool2D(2),
        bp.Flatten(),
        bp.Dense(2),
    ]
    model = bp.Sequential(layers)
    model.compile(loss="mse", dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, *shape)), rng.normal(size=(5, 2))
    found = model.gradients(x, y, inputs=True)
    assert found["input0"].shape == x.shape
    spots = [tuple(rng.integers(n) for n in x.shape) for _ in range(20)]
    wanted = numeric(model, x, y, spots)
    np.testing.assert_allclose([found["input0"][s] for s in spots], wanted, atol=1e-8)
    plain = model.gradients(x, y)
    for name, value in plain.items():
        np.testing.assert_array_equal(found[name], value)


def test_gradients_by_several_inputs():
    a, b = bp.Input(3, name="a"), bp.Input(4, name="b")
    model = bp.Model([a, b], [bp.Dense(2)(bp.concat([a, b])), bp.Dense(1)(a)])
    model.compile(loss=["sse", "sse"], loss_weights=[1.0, 2.0], dtype="float64", seed=0)
    x = [np.ones((2, 3)), np.ones((2, 4))]
    y = [np.zeros((2, 2)), np.zeros((2, 1))]
    found = model.gradients(x, y, inputs=True)
    (w, v), (first, second) = (
        [model.parameters[f"dense{i}.weight"] for i in (0, 1)],
        model.predict(x),
    )
    by_a = 2 * first @ w[:, :3] + 4 * second @ v
    np.testing.assert_allclose(found["a"], by_a, rtol=1e-12)
    np.testing.assert_allclose(found["b"], 2 * first @ w[:, 3:], rtol=1e-12)


def test_inputs_that_have_no_gradient():
    model = bp.Sequential([bp.Input(4), bp.Embedding(10, 3), bp.Flatten(), bp.Dense(1)])
    model.compile(loss="mse")
    with pytest.raises(ValueError, match=r"embedding has no derivative"):
        model.gradients(np.ones((2, 4), int), np.zeros(2), inputs=True)
