"""Models of layers that are called on each other's outputs: branches, merges, shared layers."""

import numpy as np
import pytest
from refusal import says

import pybp as bp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(45, 6))
Y = np.stack([X[:, 0] * X[:, 1], X.sum(axis=1)], axis=1)


def compiled(inputs, outputs, dtype="float64", **how):
    model = bp.Model(inputs, outputs)
    usual = {"optimizer": bp.optim.Adam(0.01), "loss": "mse", "seed": 3, "dtype": dtype}
    model.compile(**usual | how)
    return model


def skipping():
    """A skip around a hidden layer."""
    x = bp.Input(6)
    h = bp.Dense(8, "relu")(x)
    return x, bp.Dense(2)(bp.concat([h, x]))


def residual():
    """Two residual blocks with the activation behind the sum."""
    x = bp.Input(6)
    h = bp.Dense(7, "tanh")(x)
    for _ in range(2):
        h = bp.Activation("relu")(bp.add([h, bp.Dense(7)(bp.Dense(5, "tanh")(h))]))
    return x, bp.Dense(2)(h)


def tied():
    """One layer on two branches, and once more on its own output."""
    x = bp.Input(6)
    shared = bp.Dense(6, "tanh")
    a, b = shared(x), shared(bp.Dense(6, "tanh")(x))
    return x, bp.Dense(2)(bp.multiply([shared(a), b]))


def gated():
    """Every way of merging."""
    x = bp.Input(6)
    a, b, c = (bp.Dense(3, activation)(x) for activation in ("tanh", "sigmoid", "softplus"))
    parts = [
        bp.add([a, b, c]),
        bp.subtract([a, b]),
        bp.multiply([a, b, c]),
        bp.average([b, c]),
        bp.maximum([a, b]),
        bp.minimum([a, c]),
    ]
    return x, bp.Dense(2)(bp.concat([*parts, x, a]))


NETS = [skipping, residual, tied, gated]


@pytest.mark.parametrize("net", NETS)
def test_gradients_are_central_differences(net):
    bp.testing.gradcheck(compiled(*net()), X, Y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("net", NETS)
def test_any_number_of_threads_trains_to_the_same_bits(net, dtype):
    found = []
    for threads in (1, 2, 3):
        bp.set_num_threads(threads)
        model = compiled(*net(), dtype)
        model.fit(X, Y, epochs=3, batch_size=16, verbose=0)
        found.append([p.tobytes() for p in model.parameters.values()])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("net", NETS)
def test_it_learns(net):
    model = compiled(*net(), "float32")
    losses = model.fit(X, Y, epochs=150, batch_size=15, verbose=0).history["loss"]
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("net", NETS)
def test_tiny_nets_train_in_lanes_as_in_rows(net, monkeypatch):
    found = []
    for most in (64, 0):
        monkeypatch.setattr("pybp.lanes.MOST_ROWS", most)
        model = compiled(*net())
        model.fit(X, Y, epochs=3, batch_size=16, verbose=0)
        (plan,) = [plan for key, plan in model._plans.items() if key[0] == "train"]
        assert ("lanes_feed" in plan.describe()) == (most > 0)
        found.append(model.predict(X))
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-12)


def test_an_activation_behind_a_sum_is_fused():
    model = compiled(*residual())
    model.predict(X)
    (plan,) = model._plans.values()
    assert plan.describe().count("add + relu") == 2


def test_outputs_are_numpys():
    model = compiled(*residual())
    p = model.parameters

    def dense(h, k):
        return h @ p[f"dense{k}.weight"].T + p[f"dense{k}.bias"]

    h = np.tanh(dense(X, 0))
    for k in (1, 3):
        h = np.maximum(h + dense(np.tanh(dense(h, k)), k + 1), 0)
    np.testing.assert_allclose(model.predict(X), dense(h, 5), rtol=1e-12)
    assert model.predict(X[:0]).shape == (0, 2)


def test_a_chain_of_calls_is_a_sequential_bit_by_bit():
    x = bp.Input(6)
    ours = compiled(x, bp.Dense(2)(bp.Dropout(0.2)(bp.Dense(9, "tanh")(x))), "float32")
    layers = [bp.Input(6), bp.Dense(9, "tanh"), bp.Dropout(0.2), bp.Dense(2)]
    other = bp.Sequential(layers)
    other.compile(optimizer=bp.optim.Adam(0.01), loss="mse", seed=3)
    found = []
    for model in (ours, other):
        model.fit(X, Y, epochs=3, batch_size=16, verbose=0)
        found.append((model.predict(X).tobytes(), [*model.parameters], model.summary()))
    assert found[0] == found[1]


# -- shared layers ---------------------------------------------------------------------------------


def test_a_shared_layer_has_one_set_of_parameters_and_the_sum_of_gradients():
    x = bp.Input(6)
    shared = bp.Dense(6, use_bias=False)
    tied = compiled(x, shared(shared(x)))
    assert list(tied.parameters) == ["dense0.weight"]
    twice = compiled(x, bp.Dense(6, use_bias=False)(bp.Dense(6, use_bias=False)(x)))
    for view in twice.parameters.values():
        view[...] = tied.parameters["dense0.weight"]
    y = X[:, ::-1]
    both = twice.gradients(X, y)
    np.testing.assert_allclose(
        tied.gradients(X, y)["dense0.weight"],
        both["dense0.weight"] + both["dense1.weight"],
        rtol=1e-12,
        atol=1e-15,
    )


@pytest.mark.parametrize("optimizer", [bp.optim.SGD(0.1), bp.optim.Adam(0.01, accumulate=3)])
def test_a_step_of_shared_weights_follows_the_sum_of_gradients(optimizer):
    model = compiled(*tied(), optimizer=optimizer)
    before = model.parameters["dense0.weight"].copy()
    gradient = model.gradients(X, Y)["dense0.weight"].copy()
    model.train_on_batch(X, Y)
    moved = model.parameters["dense0.weight"] - before
    if isinstance(optimizer, bp.optim.SGD):
        np.testing.assert_allclose(moved, -0.1 * gradient, rtol=1e-9, atol=1e-15)
    else:
        assert (np.sign(moved) == -np.sign(gradient)).all()


def test_uses_of_a_shared_layer_are_told_apart():
    model = compiled(*tied())
    assert [*model.activations(X)][1:5] == ["dense0", "dense0[1]", "dense1", "dense0[2]"]
    deltas = [name for name in model.gradients(X, Y, deltas=True) if name.endswith("delta")]
    assert {"dense0.delta", "dense0[1].delta", "dense0[2].delta"} < set(deltas)
    lines = model.summary().splitlines()
    assert [line.split()[-2] for line in lines if line.startswith("dense0")] == ["42", "0", "0"]


def test_a_layer_may_stand_in_two_models_with_parameters_of_each():
    x, layer = bp.Input(6), bp.Dense(2)
    first, second = compiled(x, layer(x)), compiled(x, bp.Activation("tanh")(layer(x)))
    before = first.predict(X)
    second.fit(X, Y, epochs=1, verbose=0)
    np.testing.assert_array_equal(first.predict(X), before)


def autoencoder():
    x = bp.Input(6)
    code = bp.Dense(3, "tanh", name="code")(x)
    whole = bp.Model(x, bp.Dense(6)(code))
    return whole, bp.Model(x, code)


# -- freezing --------------------------------------------------------------------------------------


def test_frozen_branches_and_rates_of_their_own():
    x = bp.Input(6)
    frozen = bp.Dense(4, "tanh", trainable=False)
    slow = bp.Dense(4, "tanh", learning_rate_factor=0.5)
    model = compiled(x, bp.Dense(2)(bp.add([frozen(x), slow(x)])), optimizer=bp.optim.SGD(0.1))
    before = {name: view.copy() for name, view in model.parameters.items()}
    gradient = model.gradients(X, Y)["dense1.weight"].copy()
    model.train_on_batch(X, Y)
    np.testing.assert_array_equal(model.parameters["dense0.weight"], before["dense0.weight"])
    np.testing.assert_allclose(
        model.parameters["dense1.weight"], before["dense1.weight"] - 0.05 * gradient, rtol=1e-12
    )
    model.freeze(slow)
    model.fit(X, Y, epochs=1, verbose=0)
    assert model.state()["frozen"] == ["dense0", "dense1"]


def test_a_model_without_parameters_predicts_and_does_not_train(tmp_path):
    model = bp.Sequential([bp.Input((8, 6, 2), layout="NHWC"), bp.AveragePool2D(2), bp.Flatten()])
    model.compile(loss="mse", dtype="float64")
    x = np.random.default_rng(0).normal(size=(5, 8, 6, 2))
    expected = x.reshape(5, 4, 2, 3, 2, 2).mean((2, 4)).reshape(5, -1)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-12)
    assert model.evaluate(x, expected)["loss"] == pytest.approx(0, abs=1e-30)
    model.save(tmp_path / "m.safetensors")
    loaded = bp.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    for train in (model.fit, model.train_on_batch):
        with pytest.raises(ValueError, match=r"no parameters to train: add a layer"):
            train(x, expected)


# -- looking ---------------------------------------------------------------------------------------


def test_the_summary_says_what_is_connected_to_what():
    lines = compiled(*skipping()).summary().splitlines()
    assert "connected to" in lines[0]
    (row,) = [line for line in lines if line.startswith("concat0")]
    assert "dense0, input0" in row
    words = {line.split()[0]: line.split()[1] for line in lines if line[0] not in "-lt"}
    assert words == {"input0": "input", "dense0": "hidden", "concat0": "hidden", "dense1": "output"}


def test_the_summary_calls_outputs_what_are_outputs():
    class Affine(bp.TrainedLayer):
        def build(self, x, name):
            return x @ self.weight(f"{name}.weight", (x.shape[-1], 4)) + 1

    x = bp.Input(3)
    h = Affine("h")(x)
    left, right = bp.Dense(4, name="left")(h), bp.Dense(4, name="right")(h)
    both = bp.add([left, right], name="both")
    end = bp.Activation("tanh", name="end")(bp.Dense(2, name="last")(both))
    lines = compiled(x, [both, end]).summary().splitlines()
    words = {line.split()[0]: line.split()[1] for line in lines if line[0] not in "-"}
    assert [words[name] for name in ("input0", "h", "left", "right")] == ["input", *3 * ["hidden"]]
    assert [words[name] for name in ("both", "last", "end")] == 3 * ["output"]


def branching():
    x = bp.Input(4)
    return x, [bp.Dense(2)(x), bp.Dense(3)(x)]


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_plot_names_every_layer(kind, tmp_path):
    pytest.importorskip("matplotlib")
    model = compiled(*tied())
    figure = model.plot(tmp_path / f"graph.{kind}")
    assert (tmp_path / f"graph.{kind}").stat().st_size > 1000
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"input0", "dense0", "dense0[1]", "dense0[2]", "multiply0", "(2)"} <= texts
    boxes = [patch.get_bbox() for patch in figure.axes[0].patches]
    assert len(boxes) == len(model.network.steps)
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:i])


# -- errors ----------------------------------------------------------------------------------------


def branches(a=64, b=32):
    x = bp.Input(6)
    return bp.Dense(a)(x), bp.Dense(b)(x)


def cycle():
    x = bp.Input(6)
    h = bp.Dense(6)(x)
    y = bp.Dense(6)(h)
    object.__setattr__(h.call, "inputs", (y,))
    bp.Model(x, y)


def images(*shapes):
    return [bp.Input(shape) for shape in shapes]


MISTAKES = {
    "shapes differ": (
        lambda: bp.add([*branches()]),
        ValueError,
        ["add", "(64,)", "'dense0'", "(32,)", "'dense1'"],
    ),
    "other axes differ": (
        lambda: bp.concat(images((2, 3), (2, 4)), axis=0),
        ValueError,
        ["Concat", "axis 0", "(2, 3)", "'input0'", "(2, 4)", "'input1'"],
    ),
    "other dimensions": (
        lambda: bp.concat(images((2, 3), (6,))),
        ValueError,
        ["Concat", "(2, 3)", "(6,)"],
    ),
    "no such axis": (
        lambda: bp.concat(images((3,), (3,)), axis=1),
        ValueError,
        ["axis 1", "(3,)", "batch"],
    ),
    "an axis that is no number": (
        lambda: bp.concat(images((3,), (3,)), axis="last"),
        TypeError,
        ["axis", "last"],
    ),
    "a model of several outputs in a list": (
        lambda: bp.Sequential([bp.Input(4), bp.Model(*branching())]),
        ValueError,
        ["layers[1]", "1 inputs and 2 outputs", "call it"],
    ),
    "nothing to join": (lambda: bp.concat([]), ValueError, ["Concat", "empty list"]),
    "nothing to add": (lambda: bp.add([]), ValueError, ["Add", "empty list"]),
    "inputs that are no list": (lambda: bp.add(*branches()), TypeError, ["positional"]),
    "two inputs that are no list": (
        lambda: bp.concat(*branches()),
        TypeError,
        ["bp.concat([a, b])"],
    ),
    "one input to merge": (lambda: bp.add([bp.Input(3)]), ValueError, ["Add", "two inputs"]),
    "several inputs": (
        lambda: bp.Dense(3)(list(branches())),
        ValueError,
        ["Dense", "one input", "2", "bp.concat"],
    ),
    "an array": (lambda: bp.Dense(3)(X), TypeError, ["Dense", "array", "bp.Input"]),
    "a number": (lambda: bp.Dense(3)(4), TypeError, ["Dense", "output of a layer", "4"]),
    "a layer": (
        lambda: bp.Dense(3)(bp.Dense(4)),
        TypeError,
        ["Dense", "not called", "(x)"],
    ),
    "a model": (lambda: bp.Dense(3)(autoencoder()[0]), TypeError, ["model", "call it"]),
    "an input that is called": (lambda: bp.Input(3)(bp.Input(3)), TypeError, ["Input", "called"]),
    "an output that is no node": (
        lambda: bp.Model(bp.Input(3), X),
        TypeError,
        ["outputs[0]", "output of a layer"],
    ),
    "an output that is a layer": (
        lambda: bp.Model(bp.Input(3), bp.Dense(2)),
        TypeError,
        ["outputs[0]", "Dense"],
    ),
    "an output that is an input": (
        lambda: (lambda x: bp.Model(x, x))(bp.Input(3)),
        ValueError,
        ["outputs[0]", "'input0'", "layer"],
    ),
    "an input that is a layer's output": (
        lambda: (lambda h: bp.Model(h, bp.Dense(1)(h)))(branches()[0]),
        ValueError,
        ["inputs[0]", "bp.Input"],
    ),
    "the same input twice": (
        lambda: (lambda x: bp.Model([x, x], bp.Dense(2)(x)))(bp.Input(3)),
        ValueError,
        ["inputs[1]", "'input0'", "second time"],
    ),
    "the same output twice": (
        lambda: (lambda x, y: bp.Model(x, [y, y]))(*skipping()),
        ValueError,
        ["outputs[1]", "'dense1'", "second time"],
    ),
    "an input that nothing depends on": (
        lambda: (lambda x, y: bp.Model([x, bp.Input(3, name="spare")], y))(*skipping()),
        ValueError,
        ["'spare'", "depends"],
    ),
    "an input that is not listed": (
        lambda: (lambda a, b: bp.Model(a, bp.Dense(1, name="out")(bp.add([a, b]))))(
            bp.Input(3), bp.Input(3, name="other")
        ),
        ValueError,
        ["'out'", "'other'", "not among"],
    ),
    "no inputs": (lambda: bp.Model([], branches()[0]), ValueError, ["at least one input"]),
    "too many inputs": (
        lambda: (lambda parts: bp.Model(parts, bp.add(parts)))(images(*[(3,)] * 20)),
        ValueError,
        ["20", "at most"],
    ),
    "two layers of one name": (
        lambda: (lambda x: bp.Model(x, bp.Dense(2, name="a")(bp.Dense(3, name="a")(x))))(
            bp.Input(3)
        ),
        ValueError,
        ["'a'", "differ"],
    ),
    "a shared layer on other shapes": (
        lambda: (lambda x, d: bp.Model(x, d(d(x))))(bp.Input(3), bp.Dense(4)),
        ValueError,
        ["'dense0'", "(3,)", "(4,)", "dense0.weight", "(4, 3)", "(4, 4)"],
    ),
    "a cycle": (cycle, ValueError, ["cycle", "depends on itself", "dense"]),
    "a sub-model on another shape": (
        lambda: autoencoder()[0](branches(5)[0]),
        ValueError,
        ["'input0'", "(6,)", "(5,)"],
    ),
    "a sub-model on too many inputs": (
        lambda: autoencoder()[0](branches(6, 6)),
        ValueError,
        ["takes 1", "got 2"],
    ),
    "a sub-model whose input scales": (
        lambda: bp.Sequential([bp.Input(6, scale=0.5), bp.Dense(2)])(bp.Input(6)),
        ValueError,
        ["'input0'", "0.5", "scale"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake):
    make, exception, words = MISTAKES[mistake]
    with pytest.raises(exception) as caught:
        make()
    says(caught, *words)


def test_a_thousand_layers_deep():
    """Depth is no limit: the graph is walked without recursion."""
    x = h = bp.Input(3)
    for _ in range(1000):
        h = bp.add([h, bp.Activation("tanh")(h)])
    model = bp.Model(x, bp.Dense(1)(h))
    assert len(model.network.steps) == 2002


def test_a_node_of_many_paths_prints_shortly():
    h = bp.Input(3).node
    for _ in range(60):
        h = bp.add([h, h])
    assert len(repr(h)) < 500


def test_more_inputs_than_an_op_takes():
    x = bp.Input(6)
    parts = [bp.Dense(3)(x) for _ in range(14)]
    merged = [f(parts) for f in (bp.add, bp.average, bp.subtract, bp.maximum, bp.concat)]
    model = compiled(x, bp.Dense(2)(bp.concat(merged)))
    found = model.activations(X)
    values = np.stack([found[f"dense{i}"] for i in range(14)])
    np.testing.assert_allclose(found["add0"], values.sum(0), rtol=1e-12)
    np.testing.assert_allclose(found["average0"], values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found["subtract0"], values[0] - values[1:].sum(0), rtol=1e-12)
    np.testing.assert_array_equal(found["maximum0"], values.max(0))
    np.testing.assert_array_equal(found["concat0"], np.concatenate(values, axis=1))
    bp.testing.gradcheck(model, X, Y, entries=5)
