"""What happens to gradients and parameters besides the optimiser's own arithmetic: penalties,
decay, clipping, accumulation, limits of norms, frozen layers, averages."""

import numpy as np
import pytest

import pybp as bp
from pybp import lanes, training

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(60, 6)), RNG.normal(size=(60, 3))


def net(optimizer=None, dtype="float64", seed=5, hidden=None, out=None, **compiled):
    """6-7-5-3; `hidden` are arguments of dense0 and dense1, `out` of dense2."""
    hidden, out = hidden or {}, out or {}
    model = bp.Sequential(
        [
            bp.Input(6),
            bp.Dense(7, activation="tanh", **hidden),
            bp.Dense(5, activation="tanh", **hidden),
            bp.Dense(3, **out),
        ]
    )
    optimizer = optimizer or bp.optim.SGD(0.1)
    model.compile(optimizer=optimizer, loss="mse", dtype=dtype, seed=seed, **compiled)
    return model


def values(model):
    return {name: view.copy() for name, view in model.parameters.items()}


def assert_same_bits(one, other):
    """Parameters, optimiser state, averages and place in training."""
    first, second = one.tensors(), other.tensors()
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert np.array_equal(tensor, second[name]), name
    assert one.state()["cursor"] == other.state()["cursor"]


@pytest.fixture(params=["lanes", "fused", "whole gradient"])
def way(request, monkeypatch):
    """Updates inside of backward, of tiny nets and of others, and after it."""
    if request.param != "lanes":
        monkeypatch.setattr(lanes, "MOST_ROWS", 0)
    if request.param == "whole gradient":
        monkeypatch.setattr(training, "BRIEF_FLOPS", 0)
    return request.param


# --- penalties, decay, factors -------------------------------------------------------------------

PENALTIES = {
    "l1": (bp.regularizers.L1(0.03), lambda w: 0.03 * np.sign(w)),
    "l2": (bp.regularizers.L2(0.2), lambda w: 0.2 * w),
    "both": (bp.regularizers.L1L2(0.01, 0.3), lambda w: 0.01 * np.sign(w) + 0.3 * w),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_adds_its_gradient(name, way):
    penalty, slope = PENALTIES[name]
    model = net(out={"weight_regularizer": penalty}, hidden={"bias_regularizer": penalty})
    expected, gradients = values(model), model.gradients(X, Y)
    for parameter, g in gradients.items():
        w = expected[parameter]
        penalised = parameter in ("dense2.weight", "dense0.bias", "dense1.bias")
        expected[parameter] = w - 0.1 * (g + (slope(w) if penalised else 0))
    reported = model.train_on_batch(X, Y)["loss"]
    for parameter, view in model.parameters.items():
        np.testing.assert_allclose(view, expected[parameter], rtol=1e-12, atol=1e-15)
    assert reported == pytest.approx(net().evaluate(X, Y)["loss"])  # the data's loss alone


def test_every_layer_with_parameters_has_penalties_factors_and_can_be_frozen(way):
    penalty = bp.regularizers.L2(0.3)
    trained = {"weight_regularizer": penalty, "bias_regularizer": penalty}
    layers = [
        bp.Dense(6, **trained),
        bp.LayerNorm(**trained),
        bp.PReLU(**trained),
        bp.Maxout(5, **trained),
        bp.RMSNorm(weight_regularizer=penalty),
        bp.Dense(3, learning_rate_factor=0.5, **trained),
    ]
    model = bp.Sequential([bp.Input(6), *layers])
    model.compile(optimizer=bp.optim.SGD(0.1), loss="mse", dtype="float64", seed=3)
    expected, gradients = values(model), model.gradients(X, Y)
    for name, w in expected.items():
        rate = 0.05 if name.startswith("dense1") else 0.1
        expected[name] = w - rate * (gradients[name] + 0.3 * w)
    model.train_on_batch(X, Y)
    for name, view in model.parameters.items():
        np.testing.assert_allclose(view, expected[name], rtol=1e-11, atol=1e-14)
    owners = list(dict.fromkeys(name.split(".")[0] for name in expected))
    assert len(owners) == len(layers)
    for frozen in owners:
        model.freeze(frozen)
        before = values(model)
        model.train_on_batch(X, Y)
        for name, view in model.parameters.items():
            assert np.array_equal(view, before[name]) == name.startswith(f"{frozen}."), name
        model.unfreeze(frozen)


def test_l2_of_plain_descent_is_decay_and_l1_leaves_zeros(way):
    penalised = net(out={"weight_regularizer": bp.regularizers.L2(0.3)})
    expected = values(penalised)["dense2.weight"] * (1 - 0.1 * 0.3)
    expected -= 0.1 * penalised.gradients(X, Y)["dense2.weight"]
    penalised.train_on_batch(X, Y)
    np.testing.assert_allclose(penalised.parameters["dense2.weight"], expected, rtol=1e-12)
    model = bp.Sequential([bp.Input(6), bp.Dense(1, weight_regularizer=bp.regularizers.L1(0.2))])
    model.compile(optimizer=bp.optim.SGD(0.05), loss="mse", dtype="float64", seed=0)
    model.fit(X, X[:, 0], epochs=300, batch_size=60, verbose=0)
    weight = np.abs(model.parameters["dense0.weight"][0])
    assert weight[0] > 0.5 and np.all(weight[1:] < 0.02)


@pytest.mark.parametrize("kind", ["sgd", "adam", "rmsprop"])
def test_weight_decay_shrinks_weights_before_the_step_and_spares_biases(kind, way):
    make = type(bp.optim.get(kind))
    decaying, plain = net(make(0.05, weight_decay=0.4)), net(make(0.05))
    before = values(plain)
    decaying.train_on_batch(X, Y), plain.train_on_batch(X, Y)
    for name, view in decaying.parameters.items():
        shrunk = 0.05 * 0.4 * before[name] if name.endswith("weight") else 0
        np.testing.assert_allclose(view, plain.parameters[name] - shrunk, rtol=1e-11, atol=1e-14)


def test_a_learning_rate_factor_multiplies_rate_and_decay(way):
    slow = net(bp.optim.SGD(0.1, weight_decay=0.2), hidden={"learning_rate_factor": 0.25})
    reference = {0.1: net(bp.optim.SGD(0.1, weight_decay=0.2))}
    reference[0.025] = net(bp.optim.SGD(0.025, weight_decay=0.2))
    for model in (slow, *reference.values()):
        model.train_on_batch(X, Y)
    for name, view in slow.parameters.items():
        rate = 0.1 if name.startswith("dense2") else 0.025
        np.testing.assert_array_equal(view, reference[rate].parameters[name])


def test_max_norm_bounds_the_incoming_weights_of_every_unit(way):
    model = net(bp.optim.SGD(2.0), hidden={"max_norm": 0.7})
    free = net(bp.optim.SGD(2.0))
    model.train_on_batch(X, Y), free.train_on_batch(X, Y)
    for name in ("dense0.weight", "dense1.weight"):
        norms = np.linalg.norm(model.parameters[name], axis=1)
        before = free.parameters[name]
        length = np.linalg.norm(before, axis=1)
        assert np.any(length > 0.7) and np.all(norms <= 0.7 * (1 + 1e-12))
        expected = before * np.minimum(1, 0.7 / length)[:, None]
        np.testing.assert_allclose(model.parameters[name], expected, rtol=1e-12)
    for name in ("dense2.weight", "dense0.bias"):
        np.testing.assert_array_equal(model.parameters[name], free.parameters[name])


@pytest.mark.parametrize("kind", [bp.Conv2D, bp.ConvTranspose2D])
def test_max_norm_of_convolutions_bounds_filters_or_what_a_channel_is_multiplied_by(kind, way):
    x = RNG.normal(size=(8, 3, 5, 5))
    layers = [bp.Input((3, 5, 5), layout="NCHW"), kind(4, 2, max_norm=0.3, name="c")]
    model = bp.Sequential([*layers, bp.Flatten(), bp.Dense(2)])
    model.compile(optimizer=bp.optim.SGD(0.5), loss="mse", dtype="float64", seed=0)
    model.train_on_batch(x, RNG.normal(size=(8, 2)))
    weight = model.parameters["c.weight"]
    norms = np.linalg.norm(weight.reshape(len(weight), -1), axis=1)
    assert len(norms) == (4 if kind is bp.Conv2D else 3)  # its filters, or the input's channels
    np.testing.assert_allclose(norms, 0.3, rtol=1e-12)


# --- clipping ------------------------------------------------------------------------------------


def test_values_are_clipped(way):
    model = net(bp.optim.SGD(0.1, clip_value=0.01))
    before, gradients = values(model), model.gradients(X, Y)
    assert max(np.abs(g).max() for g in gradients.values()) > 0.01
    model.train_on_batch(X, Y)
    for name, g in gradients.items():
        expected = before[name] - 0.1 * np.clip(g, -0.01, 0.01)
        np.testing.assert_allclose(model.parameters[name], expected, rtol=1e-13)


def test_norms_are_clipped_each_and_all_together():
    options = {"clip_norm": 0.3, "global_clip_norm": 0.5}
    penalty = bp.regularizers.L2(0.5)
    model = net(bp.optim.SGD(0.1, **options), out={"weight_regularizer": penalty})
    before, gradients = values(model), model.gradients(X, Y)
    gradients["dense2.weight"] = gradients["dense2.weight"] + 0.5 * before["dense2.weight"]
    norms = {name: np.linalg.norm(g) for name, g in gradients.items()}
    assert min(norms.values()) < 0.3 < max(norms.values())
    clipped = {name: g * min(1, 0.3 / (norms[name] + 1e-6)) for name, g in gradients.items()}
    total = np.sqrt(sum(np.sum(g**2) for g in clipped.values()))
    assert total > 0.5
    model.train_on_batch(X, Y)
    for name, g in clipped.items():
        expected = before[name] - 0.1 * g * 0.5 / (total + 1e-6)
        np.testing.assert_allclose(model.parameters[name], expected, rtol=1e-12)


def test_clipping_that_never_bites_changes_nothing():
    for options in ({"clip_norm": 1e6}, {"global_clip_norm": 1e6}, {"clip_value": 1e6}):
        free, bound = net(bp.optim.Adam(0.01)), net(bp.optim.Adam(0.01, **options))
        for model in (free, bound):
            model.fit(X, Y, epochs=3, batch_size=7, verbose=0)
        for name, view in free.parameters.items():
            np.testing.assert_allclose(view, bound.parameters[name], rtol=1e-11, atol=1e-14)


# --- accumulation --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "sse"])
@pytest.mark.parametrize(("batch", "accumulate"), [(5, 4), (7, 3), (16, 2), (60, 3)])
def test_accumulated_batches_are_one_batch_of_all_their_rows(loss, batch, accumulate):
    """60 rows: the last group of an epoch has fewer rows, and its last batch too."""
    rate = 0.05 if loss == "mse" else 2e-4
    small, large = (
        net(bp.optim.SGD(rate, momentum=0.9, accumulate=k), metrics=["mae"])
        for k in (accumulate, 1)
    )
    for model in (small, large):
        model.compile(optimizer=model._optimizer, loss=loss, dtype="float64", metrics=["mae"])
    first = small.fit(X, Y, epochs=4, batch_size=batch, verbose=0)
    second = large.fit(X, Y, epochs=4, batch_size=batch * accumulate, verbose=0)
    for name, column in first.history.items():
        np.testing.assert_allclose(column, second.history[name], rtol=1e-10)
    for name, view in small.parameters.items():
        np.testing.assert_allclose(view, large.parameters[name], rtol=1e-9, atol=1e-12)
    assert small.progress.step == large.progress.step


def test_accumulated_batches_weigh_their_rows_together():
    weight = np.random.default_rng(7).integers(0, 3, len(X)).astype(float)
    trained = []
    for accumulate in (1, 3):
        model = net(bp.optim.SGD(0.1, accumulate=accumulate))
        model.fit(X, Y, epochs=3, batch_size=21 // accumulate, sample_weight=weight, verbose=0)
        trained.append(values(model))
    for name, view in trained[0].items():
        np.testing.assert_allclose(view, trained[1][name], rtol=1e-11, atol=1e-13)


def test_accumulated_batches_have_masks_of_their_own():
    """Two batches of the same rows: the same masks would give the same two losses."""
    x = np.tile(X[:20], (2, 1))
    model = bp.Sequential([bp.Input(6), bp.Dropout(0.5), bp.Dense(1)])
    model.compile(optimizer=bp.optim.SGD(1e-9, accumulate=2), loss="mse", dtype="float64")
    both = model.fit(x, x[:, 0], epochs=1, batch_size=20, shuffle=False, verbose=0)
    model.initialize()
    model.compile(optimizer=bp.optim.SGD(1e-9), loss="mse", dtype="float64")
    model.initialize()
    first = model.train_on_batch(X[:20], X[:20, 0])["loss"]
    assert both.history["loss"][0] != pytest.approx(first, rel=1e-6)


# --- frozen layers -------------------------------------------------------------------------------


def plan_of(model):
    (key,) = [key for key in model._plans if key[0] == "train"]
    return model._plans[key].describe()


def test_frozen_layers_stay_and_nothing_is_computed_below_them(way):
    model = net(bp.optim.Adam(0.01), hidden={"trainable": False})
    before = values(model)
    model.fit(X, Y, epochs=2, batch_size=20, verbose=0)
    for name, view in model.parameters.items():
        assert np.array_equal(view, before[name]) == (not name.startswith("dense2"))
    assert plan_of(model).count("backward_param") == 1
    assert "backward_in    dense1" not in plan_of(model)
    assert "delta" not in plan_of(model)


def test_freezing_keeps_the_optimiser_state_and_unfreezing_goes_on_with_it():
    model = net(bp.optim.SGD(0.05, momentum=0.9))
    model.fit(X, Y, epochs=2, batch_size=20, verbose=0)
    before = {name: tensor.copy() for name, tensor in model.tensors().items()}
    model.freeze("dense1")
    model.fit(X, Y, epochs=1, batch_size=20, verbose=0)
    for name, tensor in model.tensors().items():
        assert np.array_equal(tensor, before[name]) == name.startswith("dense1")
    model.unfreeze("dense1")
    model.fit(X, Y, epochs=1, batch_size=20, verbose=0)
    assert not np.array_equal(model.parameters["dense1.weight"], before["dense1.weight"])


def test_frozen_is_saved(tmp_path):
    model = net(hidden={"trainable": False})
    model.unfreeze("dense0")
    model.freeze("dense2")
    model.save(tmp_path / "m")
    loaded = bp.load(tmp_path / "m")
    for m in (model, loaded):
        m.fit(X, Y, epochs=1, verbose=0)
    assert_same_bits(model, loaded)
    assert np.array_equal(loaded.parameters["dense2.bias"], np.zeros(3))
    assert not np.array_equal(loaded.parameters["dense0.bias"], np.zeros(7))


def test_a_callback_unfreezes_between_epochs():
    model = net(hidden={"trainable": False})

    def thaw(epoch, logs):
        if epoch == 1:
            model.unfreeze("dense0", "dense1")

    before = values(model)
    model.fit(X, Y, epochs=2, callbacks=[thaw], verbose=0)
    assert np.array_equal(model.parameters["dense0.weight"], before["dense0.weight"])
    model.fit(X, Y, epochs=1, callbacks=[thaw], verbose=0)
    assert not np.array_equal(model.parameters["dense0.weight"], before["dense0.weight"])


def test_what_cannot_be_frozen_is_said():
    model = net()
    with pytest.raises(ValueError, match="did you mean 'dense1'"):
        model.freeze("dense1x")
    with pytest.raises(TypeError, match="name of a layer"):
        model.freeze()
    model.freeze("dense0", "dense1", "dense2")
    with pytest.raises(ValueError, match="every layer is frozen"):
        model.fit(X, Y, verbose=0)
    assert set(model.gradients(X, Y)) == set(model.parameters)
    with pytest.raises(ValueError, match="no weight matrix"):
        bp.BatchNorm(max_norm=1.0)


# --- averages ------------------------------------------------------------------------------------


def path(model, steps):
    """Parameters after each step on the whole data."""
    trace = []
    for _ in range(steps):
        model.train_on_batch(X, Y)
        trace.append(values(model)["dense0.weight"])
    return trace


@pytest.mark.parametrize("corrected", [True, False])
def test_exponential_average(corrected, way):
    average = bp.optim.EMA(0.8, bias_correction=corrected)
    model = net(bp.optim.SGD(0.2, average=average))
    start = values(model)["dense0.weight"]
    trace = path(model, 6)
    expected = np.zeros_like(start) if corrected else start
    for w in trace:
        expected = 0.8 * expected + 0.2 * w
    expected = expected / (1 - 0.8**6) if corrected else expected
    model.use_averaged_parameters()
    np.testing.assert_allclose(model.parameters["dense0.weight"], expected, rtol=1e-12)
    model.use_averaged_parameters(False)
    np.testing.assert_array_equal(model.parameters["dense0.weight"], trace[-1])


def test_stochastic_weight_averaging_of_steps():
    model = net(bp.optim.SGD(0.2, average=bp.optim.SWA(3, every=2, unit="step")))
    trace = path(model, 8)
    model.use_averaged_parameters()
    expected = np.mean([trace[2], trace[4], trace[6]], axis=0)
    np.testing.assert_allclose(model.parameters["dense0.weight"], expected, rtol=1e-12)


def test_stochastic_weight_averaging_of_epochs():
    model = net(bp.optim.SGD(0.2, average=bp.optim.SWA(2)))
    ends = []
    for _ in range(4):
        model.fit(X, Y, epochs=1, batch_size=25, verbose=0)
        ends.append(values(model)["dense1.weight"])
    whole = net(bp.optim.SGD(0.2, average=bp.optim.SWA(2)))
    whole.fit(X, Y, epochs=4, batch_size=25, verbose=0)
    assert_same_bits(model, whole)
    model.use_averaged_parameters()
    np.testing.assert_allclose(
        model.parameters["dense1.weight"], np.mean(ends[1:], axis=0), rtol=1e-12
    )


def test_averaged_parameters_are_for_use_and_not_for_training(tmp_path):
    model = net(bp.optim.SGD(0.1, average=bp.optim.EMA(0.9)))
    with pytest.raises(RuntimeError, match="nothing has gone into the average"):
        model.use_averaged_parameters()
    with pytest.raises(RuntimeError, match="no average is kept"):
        net().use_averaged_parameters()
    model.fit(X, Y, epochs=3, verbose=0)
    trained = model.evaluate(X, Y)
    model.use_averaged_parameters()
    model.use_averaged_parameters()  # twice is once
    averaged = model.evaluate(X, Y)
    assert averaged != trained
    with pytest.raises(RuntimeError, match=r"use_averaged_parameters\(False\)"):
        model.fit(X, Y, verbose=0)
    model.save(tmp_path / "m")
    loaded = bp.load(tmp_path / "m")
    assert loaded.evaluate(X, Y) == averaged
    loaded.use_averaged_parameters(False)
    assert loaded.evaluate(X, Y) == trained
