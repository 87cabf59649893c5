"""Models that are pickled or copied: equal, independent, at the same place in their training."""

import copy
import pickle
import threading

import numpy as np
import pytest
from interpreter import python
from test_functional import NETS, X, Y, autoencoder, compiled

import pybp as bp
from pybp.errors import NotCompiledError


def pickled(model):
    return pickle.loads(pickle.dumps(model))


WAYS = pytest.mark.parametrize("copied", [pickled, copy.deepcopy, copy.copy])


class Doubled(bp.TrainedLayer):
    """A layer of a user's own."""

    def build(self, x, name):
        return 2 * x @ self.weight(f"{name}.weight", (x.shape[-1], 2))


def quartic(y_true, y_pred):
    return (y_pred - y_true) ** 4


def largest_miss(y_true, y_pred):
    return float(np.abs(y_true - y_pred).max())


def one_of_everything():
    model = bp.Sequential(
        [
            bp.Input(6),
            bp.Dense(8, "tanh", weight_regularizer=bp.regularizers.L2(1e-3)),
            bp.BatchNorm(),
            bp.Dropout(0.2),
            bp.Dense(6, "relu", learning_rate_factor=0.5),
            Doubled(),
        ]
    )
    optimizer = bp.optim.Adam(bp.schedules.Cosine(0.01, steps=40), average=bp.optim.EMA(0.9))
    model.compile(optimizer, quartic, ["mae", largest_miss], "float32", seed=5)
    model.freeze("dense1")
    model.metadata["of"] = "a test"
    return model


def trained(model, epochs=1):
    return model.fit(X, Y, epochs=epochs, batch_size=16, verbose=0).history


def bits(model):
    return {name: view.tobytes() for name, view in model.tensors().items()}


@WAYS
@pytest.mark.parametrize(
    "make", [one_of_everything, *(lambda net=net: compiled(*net(), "float32") for net in NETS)]
)
def test_a_copy_is_equal_and_goes_on_to_the_same_bits(make, copied):
    model = make()
    trained(model)
    other = copied(model)
    assert type(other) is type(model) and repr(other) == repr(model)
    assert other.metadata == model.metadata
    assert other.progress.state() == model.progress.state()
    assert bits(other) == bits(model)
    assert other.predict(X).tobytes() == model.predict(X).tobytes()
    assert other.evaluate(X, Y) == model.evaluate(X, Y)
    assert trained(other, 2) == trained(model, 2)
    assert bits(other) == bits(model)


@WAYS
def test_a_copy_shares_nothing_that_changes(copied):
    model = one_of_everything()
    other = copied(model)
    before = bits(model), model.progress.state()
    trained(other)
    other.unfreeze("dense1")
    other.learning_rate = 1.0
    other.metadata["of"] = "another"
    assert (bits(model), model.progress.state()) == before
    assert model.metadata == {"of": "a test"}
    assert model.state()["frozen"] == ["dense1"]


@WAYS
def test_models_that_are_not_compiled(copied):
    model = bp.Sequential([bp.Input(6), bp.Dense(3, trainable=False), bp.Dense(2)])
    other = copied(model)
    assert not other.compiled and repr(other) == repr(model)
    for each in (model, other):
        each.compile("adam", "mse", seed=2)
    assert trained(other) == trained(model) and bits(other) == bits(model)
    assert other.state()["frozen"] == ["dense0"]


@WAYS
def test_layers_out_of_trained_models(copied):
    _, coder = autoencoder()
    coder.compile(loss="mse", seed=8)
    x = bp.Input(6)
    model = bp.Model(x, bp.Dense(2)(coder(x)))
    with pytest.raises(NotCompiledError, match=r"layers from compiled models.*model\.compile"):
        copied(model)
    model.compile(loss="mse", seed=1)
    assert copied(model).predict(X).tobytes() == model.predict(X).tobytes()


@WAYS
def test_while_the_model_trains(copied):
    model = compiled(*NETS[0](), "float32")
    kept, refused = [], []

    def another_thread():
        with pytest.raises(RuntimeError, match="being trained"):
            copied(model)
        refused.append(True)

    def at_the_end_of_an_epoch(epoch, logs):
        kept.append(copied(model))
        thread = threading.Thread(target=another_thread)
        thread.start()
        thread.join()

    model.fit(X, Y, epochs=2, batch_size=16, verbose=0, callbacks=[at_the_end_of_an_epoch])
    assert refused == [True, True]
    assert bits(kept[1]) == bits(model)
    trained(kept[0])
    assert bits(kept[0]) == bits(model)


def test_another_process_predicts_the_same(tmp_path):
    model = compiled(*NETS[1](), "float32")
    trained(model)
    (tmp_path / "sent").write_bytes(pickle.dumps((model, X)))
    code = """
    import pathlib, pickle, sys
    model, x = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
    print(model.predict(x).tobytes().hex())
    """
    assert python(code, tmp_path / "sent").strip() == model.predict(X).tobytes().hex()
