"""Networks of single units: worked examples to their digits, random graphs against differences and
against recursion, and that they train like other layers."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from neuron_reference import random_edges

import pybp as bp
from pybp import _core
from pybp.described import to_data
from pybp.graph import Node, Parameter
from pybp.init import Constant
from pybp.testing import gradcheck

DIAMOND = [
    ("in", "i", 0.3),
    ("i", "j", -0.2),
    ("i", "k", 0.4),
    ("j", "o", 0.7),
    ("k", "o", -0.6),
]


def model_of(graph, loss="half_sse", dtype="float64", optimizer=None, behind=(), seed=0):
    model = bp.Sequential([bp.Input(len(graph.inputs)), graph, *behind])
    model.compile(optimizer or bp.optim.SGD(0.1), loss=loss, dtype=dtype, seed=seed)
    return model


def random_graph(seed, inputs=4, units=50, share=0.15, names=("sigmoid", "tanh", "silu"), **how):
    rng = np.random.default_rng(seed)
    edges = random_edges(rng, inputs, units, share)
    chosen = {unit: names[rng.integers(len(names))] for unit in range(inputs, units)}
    return bp.NeuronGraph(edges, chosen, name="g", **how)


def data_for(graph, rows, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, len(graph.inputs))), rng.normal(size=(rows, len(graph.outputs)))


# -- the theorem, to its digits --------------------------------------------------------------------


def diamond(edges):
    """By unit: values and deltas; and the gradients in the order of the edges; x = 0.5, y = 1."""
    graph = bp.NeuronGraph(edges, {"o": "identity"}, use_bias=False, name="g")
    model = model_of(graph)
    gradients = model.gradients([[0.5]], [[1.0]], deltas=True)
    values = model.activations([[0.5]])["g.units"][0]
    delta = {unit: gradients["g.delta"][0, graph.column(unit)] for unit in graph.units}
    loss = model.evaluate([[0.5]], [[1.0]])["loss"]
    return dict(zip(graph.units, values, strict=True)), delta, gradients["g.weight"], loss


def test_a_unit_with_two_successors_to_eleven_digits():
    values, delta, gradients, loss = diamond(DIAMOND)
    assert abs(values["o"] - -0.000914136625) < 1e-11
    assert abs(loss - 0.500914554448) < 1e-11
    expected = {"o": -1.000914136625, "j": -0.174655030457, "k": 0.148415824257}
    for unit, value in (expected | {"i": 0.023442224011}).items():
        assert abs(delta[unit] - value) < 1e-11
    by_hand = [0.011721112005, -0.093864826007, 0.079763093477, -0.473586876650, -0.554042976543]
    np.testing.assert_allclose(gradients, by_hand, rtol=0, atol=1e-11)


def test_a_skip_adds_its_path_to_the_error_signal():
    values, delta, gradients, _ = diamond([*DIAMOND, ("i", "o", 0.25)])
    assert abs(values["o"] - 0.133443324711) < 1e-11
    assert abs(delta["i"] - -0.033560819302) < 1e-11
    assert abs(gradients[0] - -0.016780409651) < 1e-11


def test_a_chain_of_one_unit_a_layer_is_the_product_of_its_slopes():
    """z = sigma(w2 sigma(w1 x)): dE/dw1 = (z - y) z (1 - z) w2 a (1 - a) x."""
    w1, w2, x, y = 0.8, -1.3, 0.7, 0.2
    graph = bp.NeuronGraph([("x", "a", w1), ("a", "z", w2)], use_bias=False, name="g")
    gradients = model_of(graph).gradients([[x]], [[y]])["g.weight"]
    a = 1 / (1 + np.exp(-w1 * x))
    z = 1 / (1 + np.exp(-w2 * a))
    slope = (z - y) * z * (1 - z)
    np.testing.assert_allclose(
        gradients, [slope * w2 * a * (1 - a) * x, slope * a], rtol=0, atol=1e-15
    )


def paths(edges, begin, end):
    """All directed paths, as lists of edges."""
    if begin == end:
        yield []
    for edge in edges:
        if edge[0] == begin:
            yield from ([edge, *rest] for rest in paths(edges, edge[1], end))


def test_an_error_signal_is_the_sum_over_all_paths_to_the_outputs():
    """delta_i = sum over paths i -> ... -> o of products of weights and slopes, times dE/dy_o."""
    graph = random_graph(3, inputs=2, units=12, share=0.4, names=("tanh",))
    model = model_of(graph)
    x, y = data_for(graph, 1)
    delta = model.gradients(x, y, deltas=True)["g.delta"][0]
    values = dict(zip(graph.units, model.activations(x)["g.units"][0], strict=True))
    slope = {u: 1.0 if u in graph.inputs else 1 - values[u] ** 2 for u in graph.units}
    weights = model.parameters["g.weight"]
    edges = [(*edge, w) for edge, w in zip(graph.edges, weights, strict=True)]
    counted = 0
    for unit in graph.units:
        total = 0.0
        for k, end in enumerate(graph.outputs):
            for path in paths(edges, unit, end):
                product = np.prod([w * slope[to] for _, to, w in path])
                total += product * slope[unit] * (values[end] - y[0, k])
                counted += 1
        assert abs(delta[graph.column(unit)] - total) < 1e-13
    assert counted > 2 * len(edges)


def test_work_grows_with_edges_not_with_paths():
    """Forty layers of two units, fully connected, have 2^40 paths; and 160 edges."""
    layers = [[f"u{level}_{k}" for k in range(2)] for level in range(40)]
    edges = [(a, b) for i in range(39) for a in layers[i] for b in layers[i + 1]]
    model = model_of(bp.NeuronGraph(edges, "tanh", name="g"))
    node = model._output
    while node.op != "neurons":
        node = node.inputs[0]
    assert node.flops == 2 * len(edges) + 80
    gradcheck(model, [[0.3, -0.8]], [[0.1, 0.2]])


# -- random graphs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_gradients_of_random_graphs_are_differences(seed):
    graph = random_graph(seed, use_bias=seed % 2 == 0)
    model = model_of(graph)
    gradcheck(model, *data_for(graph, 5), entries=12)


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 31, 32, 33, 64, 100, 130])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_those_of_a_recursion(rows, dtype):
    graph = random_graph(7, names=("sigmoid", "tanh", "softsign"))
    model = model_of(graph, dtype=dtype)
    x, y = data_for(graph, rows)
    feeding = {unit: [] for unit in graph.units}
    for edge, weight in zip(graph.edges, model.parameters["g.weight"], strict=True):
        feeding[edge[1]].append((edge[0], weight))
    hidden = graph.units[len(graph.inputs) :]
    bias = dict(zip(hidden, model.parameters["g.bias"], strict=True))
    function = {
        "sigmoid": lambda s: 1 / (1 + np.exp(-s)),
        "tanh": np.tanh,
        "softsign": lambda s: s / (1 + abs(s)),
    }

    @functools.cache
    def value(unit):
        if unit in graph.inputs:
            return x[:, graph.inputs.index(unit)]
        total = bias[unit] + sum(weight * value(source) for source, weight in feeding[unit])
        return function[graph.activations[unit]](total)

    expected = np.stack([value(unit) for unit in graph.units], axis=1)
    bound = {"rtol": 0, "atol": 1e-13 if dtype == "float64" else 2e-5}
    found = model.activations(x)
    np.testing.assert_allclose(found["g.units"], expected, **bound)
    outputs = expected[:, [graph.column(unit) for unit in graph.outputs]]
    np.testing.assert_allclose(found["g"], outputs, **bound)
    np.testing.assert_allclose(model.predict(x), outputs, **bound)
    delta = model.gradients(x, y, deltas=True)["g.delta"]
    assert delta.shape == (rows, len(graph.units))


def test_a_fully_connected_graph_is_a_dense_layer():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5, 3))
    edges = [(f"x{i}", f"y{o}", weight[o, i]) for o in range(5) for i in range(3)]
    graph = model_of(bp.NeuronGraph(edges, "tanh", name="g"))
    dense = bp.Sequential([bp.Input(3), bp.Dense(5, activation="tanh", name="d")])
    dense.compile(bp.optim.SGD(0.1), loss="half_sse", dtype="float64")
    dense.parameters["d.weight"][...] = weight
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 5))
    for model in (graph, dense):
        model.fit(x, y, epochs=20, batch_size=16, verbose=0)
    np.testing.assert_allclose(graph.predict(x), dense.predict(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        graph.parameters["g.weight"], dense.parameters["d.weight"].ravel(), rtol=1e-12
    )


def test_gradients_pass_through_to_layers_in_front():
    graph = random_graph(2, inputs=6, units=20, share=0.3)
    layers = [bp.Input(3), bp.Dense(6, activation="tanh"), graph, bp.Dense(2)]
    model = bp.Sequential(layers)
    model.compile(bp.optim.SGD(0.1), loss="mse", dtype="float64")
    rng = np.random.default_rng(0)
    gradcheck(model, rng.normal(size=(19, 3)), rng.normal(size=(19, 2)), entries=10)


# -- training --------------------------------------------------------------------------------------


def spirals():
    """Lang and Witbrock's two spirals, 97 points each, within the unit circle."""
    at = np.arange(97)
    angle, radius = at * np.pi / 16, (104 - at) / 104
    one = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    return np.concatenate([one, -one]), np.repeat([1.0, 0.0], 97)


def layered(*widths, skips):
    """Edges between layers that follow each other, or from each layer to all later ones."""
    layers = [[f"{level}.{k}" for k in range(width)] for level, width in enumerate(widths)]
    return [
        (a, b)
        for end in range(1, len(layers))
        for begin in (range(end) if skips else [end - 1])
        for a in layers[begin]
        for b in layers[end]
    ]


def test_skips_learn_two_spirals_where_layers_alone_do_not():
    """Lang and Witbrock, 1988: 2-5-5-5-1 with connections from every layer to all later ones."""
    x, y = spirals()
    loss = {}
    for skips in (False, True):
        edges = layered(2, 5, 5, 5, 1, skips=skips)
        tanh = {end: "tanh" for _, end in edges} | {"4.0": "sigmoid"}
        graph = bp.NeuronGraph(edges, tanh)
        found = []
        for seed in range(3):
            adam = bp.optim.Adam(0.02)
            model = model_of(graph, "binary_cross_entropy", "float32", adam, seed=seed)
            model.fit(x, y, epochs=1500, batch_size=194, verbose=0)
            found.append(model.evaluate(x, y)["loss"])
        loss[skips] = np.mean(found)
    assert loss[True] < 0.25 and loss[True] < loss[False] / 2


@functools.cache
def large_edges():
    """10 000 units, about ten edges into each from the four hundred before it."""
    rng = np.random.default_rng(0)
    edges = []
    for unit in range(50, 10_000):
        begin = max(0, unit - 400)
        chosen = rng.choice(unit - begin, size=min(10, unit - begin), replace=False)
        edges += [(begin + int(source), unit) for source in chosen]
    return edges


def test_a_random_graph_of_ten_thousand_units_trains():
    graph = bp.NeuronGraph(large_edges(), "tanh")
    assert len(graph.units) > 9990 and len(graph.edges) > 99_000
    model = model_of(graph, "mse", "float32", bp.optim.Adam(1e-3), behind=[bp.Dense(1)])
    rng = np.random.default_rng(1)
    x = rng.normal(size=(128, len(graph.inputs)))
    y = np.sin(x[:, :3].sum(axis=1))
    history = model.fit(x, y, epochs=15, batch_size=32, verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]


def test_any_number_of_threads_trains_to_the_same_bits():
    found = []
    for threads in (1, 2, 3, 4):
        bp.set_num_threads(threads)
        graph = bp.NeuronGraph(large_edges()[:40_000], "tanh", name="g")
        model = model_of(graph, "mse", "float32", bp.optim.Adam(1e-3), behind=[bp.Dense(1)])
        rng = np.random.default_rng(1)
        x = rng.normal(size=(75, len(graph.inputs)))
        model.fit(x, x[:, 0], epochs=2, batch_size=50, verbose=0)
        found.append(model.parameters["g.weight"].tobytes() + model.predict(x).tobytes())
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"weight_init": "he", "bias_init": 0.5, "outputs": [49, 30]},
        {"bias_init": {20: 0.25, 49: -1}, "learning_rate_factor": 0.5},
    ],
)
def test_a_saved_training_goes_on_to_the_same_bits(tmp_path, how):
    edges = [(i, i + step) for step in (1, 2, 7) for i in range(50 - step)]
    graph = bp.NeuronGraph(edges, {3: bp.Activation("elu", alpha=0.5), 49: "identity"}, **how)
    model = model_of(graph, optimizer=bp.optim.Adam(0.01))
    x, y = data_for(graph, 40)
    model.fit(x, y, epochs=2, batch_size=16, verbose=0)
    model.save(tmp_path / "graph.safetensors")
    again = bp.load(tmp_path / "graph.safetensors")
    assert again.layers[1].units == graph.units and to_data(again.layers[1]) == to_data(graph)
    for each in (model, again):
        each.fit(x, y, epochs=2, batch_size=16, verbose=0)
    assert np.array_equal(model.predict(x), again.predict(x))
    for name, view in model.parameters.items():
        assert np.array_equal(view, again.parameters[name])


def test_a_frozen_graph_passes_gradients_on_and_stays():
    graph = random_graph(2, inputs=6, units=20, share=0.3)
    model = bp.Sequential([bp.Input(3), bp.Dense(6), graph])
    model.compile(bp.optim.SGD(0.1), loss="mse")
    model.freeze("g")
    before = {name: np.array(view) for name, view in model.parameters.items()}
    x = np.random.default_rng(0).normal(size=(20, 3))
    model.fit(x, np.zeros((20, len(graph.outputs))), verbose=0)
    moved = {name: not np.array_equal(v, before[name]) for name, v in model.parameters.items()}
    assert moved == {"dense0.weight": True, "dense0.bias": True, "g.weight": False, "g.bias": False}


# -- what is given ---------------------------------------------------------------------------------


def test_units_are_ordered_by_number_and_by_level():
    graph = bp.NeuronGraph([("x10", "b"), ("x2", "a"), ("a", "b"), ("x2", "b"), ("a", "y2")])
    assert graph.inputs == ["x2", "x10"] and graph.outputs == ["b", "y2"]
    assert graph.units == ("x2", "x10", "a", "b", "y2")
    assert [graph.column(unit) for unit in graph.units] == [0, 1, 2, 3, 4]
    turned = bp.NeuronGraph(graph.edges, inputs=["x10", "x2"], outputs=["y2", "b"])
    x = np.random.default_rng(0).normal(size=(3, 2))
    models = [model_of(g) for g in (graph, turned)]
    models[1].parameters["neurongraph0.weight"][...] = models[0].parameters["neurongraph0.weight"]
    np.testing.assert_array_equal(models[0].predict(x), models[1].predict(x[:, ::-1])[:, ::-1])


def test_weights_and_biases_start_as_they_are_given():
    edges = [(0, 2, 0.5), (1, 2), (2, 3, -2), (1, 3)]
    graph = bp.NeuronGraph(edges, weight_init=0.125, bias_init={3: 1.5}, name="g")
    model = model_of(graph)
    assert model.parameters["g.weight"].tolist() == [0.5, 0.125, -2, 0.125]
    assert model.parameters["g.bias"].tolist() == [0, 1.5]


def test_drawn_weights_have_the_variance_of_their_fans():
    edges = [(i, 100 + j) for i in range(100) for j in range(300)]
    for name, variance in [("tanh", 2 / 400), ("relu", 2 / 100), ("selu", 1 / 100)]:
        weights = model_of(bp.NeuronGraph(edges, name, name="g")).parameters["g.weight"]
        assert abs(weights.var() / variance - 1) < 0.05 and abs(weights.mean()) < 1e-3


def test_outputs_that_feed_others_are_both():
    graph = bp.NeuronGraph([("x", "a", 2.0), ("a", "b", 3.0)], "tanh", outputs=["a", "b"])
    out = model_of(graph).predict([[0.3]])[0]
    np.testing.assert_allclose(out, [np.tanh(0.6), np.tanh(3 * np.tanh(0.6))], rtol=1e-12)


@pytest.mark.parametrize(
    ("edges", "how", "words"),
    [
        ([], {}, ["1 to", "got 0"]),
        ([(0, 0)], {}, ["edges[0]", "0 feeds itself"]),
        ([("a", "b"), ("a", "b")], {}, ["edges[1]", "'a' to 'b'", "edges[0]"]),
        ([("a",)], {}, ["edges[0]", "(from, to, weight)"]),
        ([(0, 1, float("nan"))], {}, ["edges[0]", "weight", "finite"]),
        (
            [("x", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "y")],
            {},
            ["cycle", "'a' -> 'b' -> 'c' -> 'a'"],
        ),
        ([("a", "b"), ("b", "a")], {}, ["'a' -> 'b' -> 'a'"]),
        ([(0, 1)], {"activations": "rleu"}, ["did you mean 'relu'"]),
        ([(0, 1)], {"activations": {1: "softmax"}}, ["unit 1", "softmax", "behind the graph"]),
        ([(0, 1)], {"activations": "step"}, ["step", "derivative"]),
        ([(0, 1)], {"activations": {7: "tanh"}}, ["activations", "unit 7", "Known: 0, 1"]),
        ([(0, 1)], {"outputs": [5]}, ["outputs", "unit 5"]),
        ([(0, 1)], {"outputs": [1, 1]}, ["outputs", "1 is named twice"]),
        ([(0, 1), (1, 2), (1, 3)], {"outputs": [3]}, ["unit 2 reaches none of the outputs"]),
        ([(0, 2), (1, 2)], {"inputs": [0]}, ["no edge leads to unit 1"]),
        ([(0, 2), (1, 2)], {"inputs": [0, 1, 2]}, ["unit 2 is fed by 0"]),
        ([(0, 1)], {"bias_init": {0: 1.0}}, ["bias_init", "unit 0", "input"]),
    ],
)
def test_what_is_no_graph_is_refused(edges, how, words):
    with pytest.raises(ValueError) as caught:
        bp.NeuronGraph(edges, **how)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edges_with_weights_may_be_rows_of_an_array(dtype):
    graph = bp.NeuronGraph(np.array([(0, 2, 0.5), (1, 2, -2.0)], dtype))
    assert graph.edges == [(0, 2, 0.5), (1, 2, -2.0)] and graph.units == (0, 1, 2)
    assert all(type(unit) is int for unit in graph.units)


@pytest.mark.parametrize(
    ("edges", "how"),
    [
        ("ab", {}),
        ([(0, 1.5)], {}),
        ([(True, 1)], {}),
        ([("", 1)], {}),
        ([(0, 1)], {"outputs": "1"}),
        ([(0, 1)], {"use_bias": 1}),
        ([(0, 1, "w")], {}),
        (np.array([[0, 1.5, 0.5]]), {}),
        (np.array([[0, np.nan, 0.5]]), {}),
    ],
)
def test_what_is_of_a_wrong_type_is_refused(edges, how):
    with pytest.raises(TypeError):
        bp.NeuronGraph(edges, **how)


def test_rows_must_have_a_value_for_every_input():
    graph = bp.NeuronGraph([("a", "y"), ("b", "y")], name="g")
    with pytest.raises(ValueError, match=r"'g': the graph has 2 input units \(a, b\).*'input0'.*3"):
        bp.Sequential([bp.Input(3), graph])


def test_outputs_of_mixed_kinds_are_no_logits():
    graph = bp.NeuronGraph([(0, 1), (0, 2)], {1: "tanh", 2: "identity"})
    with pytest.raises(ValueError, match="cross_entropy"):
        model_of(graph, "cross_entropy")


# -- forged plans ----------------------------------------------------------------------------------


def forged(key, index, value):
    """Whether C takes a graph's lists with one number replaced."""
    graph = bp.NeuronGraph([(0, 2), (1, 2), (2, 3), (0, 3), (3, 4), (2, 4)])
    attrs = graph._attrs(graph._functions)
    attrs[key] = np.array(attrs[key])
    attrs[key][index] = value
    return _core.infer("neurons", attrs, [((2,), True, False), ((6,), False, False)]) is not None


def test_seal_takes_no_list_with_a_wrong_number():
    """Every number of every list, replaced by all small numbers and the extremes."""
    graph = bp.NeuronGraph([(0, 2), (1, 2), (2, 3), (0, 3), (3, 4), (2, 4)])
    attrs = graph._attrs(graph._functions)
    tried = 0
    for key in ("runs", "incoming", "outgoing", "ends"):
        for index, now in enumerate(attrs[key]):
            for value in [*range(-2, 9), 2**31 - 1, -(2**31)]:
                harmless = key == "runs" and index % 2 == 1 and value in (0, 1)  # the other f
                if value != now and not harmless:
                    assert not forged(key, index, value), (key, index, value)
                    tried += 1
    assert tried > 500
    for value in (-1, 10_000, bp.graph.OPS["dense"]["number"], bp.graph.OPS["step"]["number"]):
        assert not forged("functions", 0, value)


@pytest.mark.parametrize("key", ["runs", "functions", "incoming", "outgoing", "ends"])
def test_seal_takes_no_list_of_another_length(key):
    graph = bp.NeuronGraph([(0, 1), (1, 2)])
    attrs = graph._attrs(graph._functions)
    for numbers in (attrs[key][:-1], attrs[key][:0], np.append(attrs[key], 0)):
        given = attrs | {key: numbers}
        assert _core.infer("neurons", given, [((1,), True, False), ((2,), False, False)]) is None


def test_seal_takes_no_unit_outside_the_values():
    feed = Node("feed", attrs={"source": 0, "scale": 1.0}, shape=(3,))
    with pytest.raises(ValueError, match="neurons_rows"):
        Node("neurons_rows", (feed,), (), {"units": [0, 3]}, layer="g")
    weight = Parameter("w", (5,), Constant())
    graph = bp.NeuronGraph([(0, 1), (1, 2)])
    with pytest.raises(ValueError, match="neurons"):
        Node("neurons", (feed,), (weight,), graph._attrs(graph._functions), layer="g")
