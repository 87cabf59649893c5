"""Models that are called as layers: what they bring along, and under which names."""

import numpy as np
import pytest
from test_functional import X, Y, autoencoder, compiled

import pybp as bp


def test_a_model_is_a_layer_that_starts_from_its_trained_values():
    whole, _ = autoencoder()
    whole.compile(loss="mse", dtype="float64", seed=5)
    whole.fit(X, X, epochs=2, verbose=0)
    x = bp.Input(6)
    larger = compiled(x, bp.Dense(2)(whole(bp.Activation("tanh")(x))))
    np.testing.assert_array_equal(larger.parameters["code.weight"], whole.parameters["code.weight"])
    found = larger.activations(X)["dense0"]
    np.testing.assert_allclose(found, whole.predict(np.tanh(X)), rtol=1e-12, atol=1e-15)
    larger.fit(X, Y, epochs=1, verbose=0)
    assert (larger.parameters["code.weight"] != whole.parameters["code.weight"]).any()


def test_values_pass_through_models_in_models():
    _, coder = autoencoder()
    coder.compile(loss="mse", dtype="float64", seed=8)
    a = bp.Input(6)
    middle = bp.Model(a, bp.Dense(4, "relu")(coder(a)))  # never compiled itself
    b = bp.Input(6)
    outer = compiled(b, bp.Dense(2)(middle(b)))
    np.testing.assert_array_equal(outer.parameters["code.weight"], coder.parameters["code.weight"])


def test_a_model_called_twice_shares_its_layers():
    _, coder = autoencoder()
    a, b = bp.Input(6), bp.Input(6)
    model = compiled([a, b], bp.subtract([coder(a), coder(b)]))
    assert list(model.parameters) == ["code.weight", "code.bias"]
    assert not model.predict([X, X]).any()


def test_models_of_equal_names_are_combined(tmp_path):
    """As those of an ensemble are, which one script has trained."""
    members = [autoencoder()[0] for _ in range(3)]
    for seed, member in enumerate(members):
        member.compile(loss="mse", dtype="float64", seed=seed)
    x = bp.Input(6)
    model = compiled(x, bp.average([member(x) for member in members]))
    expected = np.mean([member.predict(X) for member in members], axis=0)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-12)
    layers = [name.partition(".")[0] for name in model.parameters if name.endswith("bias")]
    assert layers == ["code", "dense0", "code_1", "dense1", "code_2", "dense2"]
    model.freeze(members[1])
    assert model.state()["frozen"] == ["code_1", "dense1"]
    model.save(tmp_path / "m.safetensors")
    loaded = bp.load(tmp_path / "m.safetensors")
    assert list(loaded.parameters) == list(model.parameters)
    assert loaded.state()["frozen"] == ["code_1", "dense1"]
    assert loaded.predict(X).tobytes() == model.predict(X).tobytes()
    with pytest.raises(ValueError, match="two layers are named 'code'"):
        bp.Model(x, bp.Dense(3, name="code")(members[0](x)))


def test_what_is_frozen_in_a_model_is_frozen_where_it_is_a_layer():
    x = bp.Input(6)
    inner = bp.Model(x, bp.Dense(6, name="b")(bp.Dense(4, name="a", trainable=False)(x)))
    middle_in = bp.Input(6)
    middle = bp.Model(middle_in, bp.Dense(6, name="c")(inner(middle_in)))
    middle.freeze("c")
    middle.unfreeze("a")
    outer_in = bp.Input(6)
    outer = compiled(outer_in, bp.Dense(2, name="head")(middle(outer_in)))
    assert outer.state()["frozen"] == ["c"]
    before = {name: view.copy() for name, view in outer.parameters.items()}
    outer.fit(X, Y, epochs=1, verbose=0)
    still = [name for name, view in outer.parameters.items() if (view == before[name]).all()]
    assert still == ["c.weight", "c.bias"]


def test_a_frozen_sub_model_stays_and_the_rest_trains():
    _, coder = autoencoder()
    coder.compile(loss="mse", dtype="float64", seed=8)
    x = bp.Input(6)
    model = compiled(x, bp.Dense(2, name="head")(coder(x)))
    model.freeze(coder)
    before = {name: view.copy() for name, view in model.parameters.items()}
    model.fit(X, Y, epochs=2, verbose=0)
    moved = {name for name, view in model.parameters.items() if (view != before[name]).any()}
    assert moved == {"head.weight", "head.bias"}
    model.unfreeze(coder)
    model.fit(X, Y, epochs=1, verbose=0)
    assert (model.parameters["code.weight"] != before["code.weight"]).any()


@pytest.mark.parametrize("trained_before", [False, True])
def test_a_sub_model_of_a_sub_model_is_frozen(trained_before):
    x = bp.Input(6)
    inner = bp.Model(x, bp.Dense(6, name="b")(bp.Dense(4, name="a")(x)))
    middle_in = bp.Input(6)
    middle = bp.Model(middle_in, bp.Dense(6, name="c")(inner(middle_in)))
    for part in (inner, middle) if trained_before else ():
        part.compile(loss="mse", dtype="float64", seed=1)
    outer_in = bp.Input(6)
    outer = compiled(outer_in, bp.Dense(2, name="d")(middle(outer_in)))
    outer.freeze(inner)
    assert outer.state()["frozen"] == ["a", "b"]
    outer.unfreeze(middle)
    assert outer.state()["frozen"] == []
    outer.freeze(middle, "d")
    assert outer.state()["frozen"] == ["a", "b", "c", "d"]
    outer.unfreeze(inner, "c")
    before = {name: view.copy() for name, view in outer.parameters.items()}
    outer.fit(X, Y, epochs=1, verbose=0)
    still = {name for name, view in outer.parameters.items() if (view == before[name]).all()}
    assert still == {"d.weight", "d.bias"}
    with pytest.raises(ValueError, match="the model has no Model like that in it"):
        inner.freeze(outer)
    with pytest.raises(ValueError, match=r"the model has no layer Dense\(.*in it"):
        inner.freeze(bp.Dense(3))


def test_models_stand_in_a_list(tmp_path):
    x = bp.Input(6)
    inner = bp.Model(x, bp.add([bp.Dense(6, "tanh", name="code")(x), x]))
    inner.compile(loss="mse", dtype="float64", seed=3)
    behind = bp.Sequential([bp.Input(6), bp.Dense(4, name="code")])
    model = bp.Sequential([bp.Input(6), bp.Dense(6), inner, behind, bp.Dense(2)])
    model.compile(loss="mse", dtype="float64", seed=1)
    names = ["dense0", "code", "code_1", "dense1"]
    assert [name.partition(".")[0] for name in model.parameters if "bias" in name] == names
    np.testing.assert_array_equal(model.parameters["code.weight"], inner.parameters["code.weight"])
    model.freeze(inner)
    model.fit(X, Y, epochs=1, verbose=0)
    np.testing.assert_array_equal(model.parameters["code.weight"], inner.parameters["code.weight"])
    model.save(tmp_path / "m.safetensors")
    loaded = bp.load(tmp_path / "m.safetensors")
    assert loaded.predict(X).tobytes() == model.predict(X).tobytes()
    assert "Sequential" not in repr(model)  # which is no list of layers


@pytest.mark.parametrize("loaded", [False, True])
def test_a_part_of_a_model_is_a_model(loaded, tmp_path):
    one, two = bp.Input(6, name="one"), bp.Input(3, name="two")
    code = bp.Dense(4, "tanh", name="code", trainable=False)(one)
    side = bp.Dense(4, name="side")(two) * np.array([1.0, 2.0, 3.0, 4.0])
    whole = compiled([one, two], bp.Dense(2)(bp.add([code, side], name="both")))
    x = [X, X[:, :3]]
    whole.fit(x, Y, epochs=1, verbose=0)
    if loaded:
        whole.save(tmp_path / "m.safetensors")
        whole = bp.load(tmp_path / "m.safetensors")
    values = whole.activations(x)
    encoder = whole.part("code")
    encoder.compile(loss="mse", dtype="float64")
    np.testing.assert_array_equal(encoder.predict(X), values["code"])
    assert list(encoder.parameters) == ["code.weight", "code.bias"]
    assert encoder.state()["frozen"] == ["code"]
    several = whole.part("both", "code")
    several.compile(loss=["mse", "mse"], dtype="float64")
    for found, name in zip(several.predict(x), ("both", "code"), strict=True):
        np.testing.assert_array_equal(found, values[name])
    before = whole.parameters["code.weight"].copy()
    encoder.parameters["code.weight"][...] = 0
    np.testing.assert_array_equal(whole.parameters["code.weight"], before)
    with pytest.raises(ValueError, match="unknown layer of the model 'cod': did you mean 'code'"):
        whole.part("cod")
    with pytest.raises(ValueError, match="input 'one' itself"):
        whole.part("one")
    with pytest.raises(TypeError, match="part needs the name"):
        whole.part()


def test_what_was_written_down_without_layers_goes_along():
    """Constants among it too."""
    x = bp.Input(6)
    scale = bp.ops.constant(np.arange(6.0))
    inner = compiled(x, bp.Dense(2)(bp.ops.tanh(x * scale) + scale[::-1]))
    outer_in = bp.Input(6)
    outer = bp.Model(outer_in, inner(outer_in))
    outer.compile(loss="mse", dtype="float64")
    np.testing.assert_array_equal(outer.predict(X), inner.predict(X))
