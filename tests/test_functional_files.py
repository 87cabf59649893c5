"""Model files of functional models: equal models, the same bits, and no crash by a forged graph."""

import json

import numpy as np
import pytest
from refusal import says
from test_functional import NETS, X, Y, autoencoder, compiled, skipping

import pybp as bp
from pybp import io
from pybp.errors import ModelFileError


@pytest.mark.parametrize("net", NETS)
def test_a_loaded_model_is_equal_and_goes_on_to_the_same_bits(net, tmp_path):
    model = compiled(*net(), "float32", metrics=["mae"])
    model.fit(X, Y, epochs=2, batch_size=16, verbose=0)
    model.save(tmp_path / "m.safetensors")
    other = bp.load(tmp_path / "m.safetensors")
    assert type(other) is bp.Model and repr(other) == repr(model)
    assert other.summary() == model.summary()
    assert other.predict(X).tobytes() == model.predict(X).tobytes()
    histories = [m.fit(X, Y, epochs=2, batch_size=16, verbose=0).history for m in (model, other)]
    assert histories[0] == histories[1]
    assert [v.tobytes() for v in model.tensors().values()] == [
        v.tobytes() for v in other.tensors().values()
    ]


def test_sub_models_are_saved_with_the_model(tmp_path):
    _, coder = autoencoder()
    coder.compile(loss="mse", seed=8)
    a, b = bp.Input(6), bp.Input(6)
    model = compiled([a, b], bp.subtract([coder(a), coder(b)]), "float32")
    model.fit([X, X[::-1]], Y @ np.ones((2, 3)), epochs=1, verbose=0)
    model.save(tmp_path / "m.safetensors")
    other = bp.load(tmp_path / "m.safetensors")
    assert other.predict([X, X[::-1]]).tobytes() == model.predict([X, X[::-1]]).tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"calls": []},
        {"calls": None},
        {"calls": [[0, []], [1, [1]], [2, [1, 0]], [3, [2]]]},  # on itself
        {"calls": [[0, []], [1, [-1]], [2, [1, 0]], [3, [2]]]},
        {"calls": [[0, []], [1, [0]], [2, [3, 0]], [3, [2]]]},  # on a later one
        {"calls": [[0, []], [1, [0]], [2, [1, 0]], [9, [2]]]},
        {"calls": [[0, []], [1, [0, 0]], [2, [1, 0]], [3, [2]]]},
        {"calls": [[0, []], [1, []], [2, [1, 0]], [3, [2]]]},
        {"calls": [[0, []], [1, [0]], [2, [1, True]], [3, [2]]]},
        {"inputs": []},
        {"inputs": [1]},
        {"inputs": [0, 0]},
        {"outputs": []},
        {"outputs": [4]},
        {"outputs": [3, 3]},
        {"outputs": "3"},
    ],
)
def test_a_forged_graph_is_refused(change, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    model = compiled(*skipping(), "float32")
    monkeypatch.setattr(io, "_graph", lambda m, kept=io._graph: kept(m) | change)
    model.save(path)
    with pytest.raises(ModelFileError):
        bp.load(path)


def places(tree, path=()):
    yield path
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


def planted(tree, path, value):
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = planted(tree[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize("junk", [None, -1, 0, 2**70, 1.5, True, "x", [], {}, [0], [[0, [0]]]])
def test_junk_in_the_graph_is_a_model_or_an_error(junk, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    model = compiled(*skipping(), "float32")
    graph = io._graph(model)
    monkeypatch.setattr(io, "_checksum", lambda *_: "")
    for place in places(graph):
        if not place or (len(place) > 2 and place[0] == "layers"):
            continue  # tests/test_damaged_files.py
        forged = planted(graph, place, junk)
        monkeypatch.setattr(io, "_graph", lambda _, forged=forged: forged)
        model.save(path)
        try:
            loaded = bp.load(path)
        except ModelFileError:
            continue
        assert np.isfinite(loaded.predict(X)).all()


def test_the_graph_is_plain_data():
    graph = json.loads(json.dumps(io._graph(compiled(*skipping()))))
    assert [layer["kind"] for layer in graph["layers"]] == ["input", "dense", "concat", "dense"]
    assert graph["calls"] == [[0, []], [1, [0]], [2, [1, 0]], [3, [2]]]
    assert (graph["inputs"], graph["outputs"]) == ([0], [3])


def test_arithmetic_with_numbers_and_arrays_goes_into_a_file_and_back(tmp_path):
    x = bp.Input(4)
    h = bp.Dense(3)(x)
    model = bp.Model(x, 2.0 * h[..., ::-1] - np.arange(3.0) * bp.ops.tanh(h))
    model.compile(dtype="float64")
    rows = np.random.default_rng(0).normal(size=(5, 4))
    z = rows @ model.parameters["dense0.weight"].T
    np.testing.assert_allclose(model.predict(rows), 2 * z[:, ::-1] - np.arange(3) * np.tanh(z))
    model.save(tmp_path / "m.safetensors")
    again = bp.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.predict(rows), model.predict(rows))


def one_of_each_fold(x):
    return [getattr(bp.ops, name)(x, 0) for name in ("max", "min", "prod", "argmax", "logsumexp")]


def a_convolution(axes, shape, layout):
    def outputs(x):
        kernel = np.random.default_rng(1).normal(size=(2, shape[layout.index("C")], *axes))
        return getattr(bp.ops, f"conv{len(axes)}d")(x, kernel)

    return outputs


CONVOLUTIONS = [
    ((3, 3), (9, 8, 1), "NHWC"),
    ((3, 3), (9, 8, 2), "NHWC"),
    ((3, 3), (2, 9, 8), "NCHW"),
    ((1, 1), (1, 1, 3), "NHWC"),
    ((3,), (3, 9), "NCL"),
    ((3,), (9, 3), "NLC"),
    ((3,), (9, 1), "NLC"),
]


@pytest.mark.parametrize(
    ("function", "shape", "layout"),
    [
        (one_of_each_fold, (2, 4), None),
        *((a_convolution(axes, s, layout[1:]), s, layout) for axes, s, layout in CONVOLUTIONS),
    ],
)
def test_functions_of_bp_ops_are_called_and_saved_like_layers(function, shape, layout, tmp_path):
    class Inside(bp.Layer):
        def build(self, x, name):
            made = function(x)
            return bp.ops.stack(made, 0) if isinstance(made, list) else made

    rows = np.random.default_rng(0).normal(size=(5, *shape))
    x = bp.Input(shape, layout=layout)
    inside, called = bp.Model(x, Inside()(x)), bp.Model(x, function(x))
    for model in (inside, called):
        model.compile(dtype="float64")
    found = called.predict(rows)
    expected = inside.predict(rows)
    np.testing.assert_array_equal(
        np.stack(found, 1) if isinstance(found, list) else found, expected
    )
    called.save(tmp_path / "m")
    np.testing.assert_array_equal(bp.load(tmp_path / "m").predict(rows), found)


class Kept(bp.Layer):
    def __init__(self, given=None, name=None):
        super().__init__(name)
        self.given = given

    def build(self, x, name):
        return 2 * x


class Hidden(Kept):
    def __init__(self, count, name=None):
        super().__init__(name=name)
        self._count = count


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Kept({1: 2.0}), ["Kept", "given={1: 2.0}", "keys are texts"]),
        (Kept([np.ones(2)]), ["Kept", "given=", "tolist()"]),
        (Kept(np.float32(1)), ["given=np.float32(1.0)"]),
        (Kept(range(3)), ["given=range(0, 3)"]),
        (Hidden(3), ["Hidden", "'count'", "attribute of its name", "config(self)"]),
    ],
)
def test_layers_that_a_file_could_not_make_again_are_refused(layer, words, tmp_path):
    model = bp.Sequential([bp.Input(6), layer, bp.Dense(2)])
    model.compile()
    with pytest.raises(TypeError) as caught:
        model.save(tmp_path / "m")
    says(caught, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", [None, True, 1.5, "text", [1, [2.5, None]], {"a": [1, 2]}])
def test_arguments_that_a_file_holds(given, tmp_path):
    model = bp.Sequential([bp.Input(6), Kept(given), bp.Dense(2)])
    model.compile()
    model.save(tmp_path / "m")
    assert bp.load(tmp_path / "m", custom=[Kept]).layers[1].given == given
