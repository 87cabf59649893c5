"""Every optimiser and every option: saved, loaded and gone on, and with any number of threads."""

import numpy as np
import pytest
from test_updates import X, Y, assert_same_bits

import pybp as bp

PENALTY = bp.regularizers.L1L2(1e-3, 1e-2)
SETTINGS = {kind: (bp.optim.KINDS[kind], {}) for kind in bp.optim.KINDS} | {
    "amsgrad": (bp.optim.Adam, {"amsgrad": True}),
    "rmsprop, both": (bp.optim.RMSprop, {"momentum": 0.5, "centered": True}),
    "momentum": (bp.optim.SGD, {"momentum": 0.9}),
    "decay, clipped values": (bp.optim.Adam, {"weight_decay": 0.1, "clip_value": 0.02}),
    "clipped norms": (bp.optim.Adam, {"clip_norm": 0.1, "global_clip_norm": 0.2}),
    "accumulated": (bp.optim.Adam, {"accumulate": 3}),
    "ema": (bp.optim.SGD, {"average": bp.optim.EMA(0.9)}),
    "ema, plain": (bp.optim.SGD, {"average": bp.optim.EMA(0.9, bias_correction=False)}),
    "swa": (bp.optim.SGD, {"average": bp.optim.SWA(2)}),
    "all": (
        bp.optim.Nadam,
        {
            "weight_decay": 0.1,
            "clip_value": 0.05,
            "clip_norm": 0.2,
            "global_clip_norm": 0.3,
            "accumulate": 2,
            "average": bp.optim.SWA(4, every=3, unit="step"),
        },
    ),
}


def setting(name, dtype, units=7):
    kind, options = SETTINGS[name]
    extra = {"weight_regularizer": PENALTY, "max_norm": 0.9, "learning_rate_factor": 0.5}
    model = bp.Sequential(
        [
            bp.Input(6),
            bp.Dense(units, activation="tanh", **(extra if name == "all" else {})),
            bp.Dropout(0.2),
            bp.Dense(3),
        ]
    )
    model.compile(optimizer=kind(**options), loss="mse", dtype=dtype, seed=2)
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SETTINGS)
def test_saved_and_loaded_it_goes_on_to_the_same_bits(name, dtype, tmp_path):
    whole, parts = setting(name, dtype), setting(name, dtype)
    whole.fit(X, Y, epochs=5, batch_size=11, verbose=0)
    parts.fit(X, Y, epochs=2, batch_size=11, verbose=0)
    parts.save(tmp_path / "m")
    parts = bp.load(tmp_path / "m")
    assert repr(parts._optimizer) == repr(whole._optimizer)
    parts.fit(X, Y, epochs=3, batch_size=11, verbose=0)
    assert_same_bits(whole, parts)


@pytest.mark.parametrize("name", ["accumulated", "rprop", "swa", "all"])
def test_stopped_in_an_epoch_saved_and_loaded_it_goes_on_to_the_same_bits(name, tmp_path):
    whole, parts = setting(name, "float64"), setting(name, "float64")
    whole.fit(X, Y, epochs=4, batch_size=7, verbose=0)

    class Stop(bp.callbacks.Callback):
        left = 4

        def on_batch_end(self, batch, logs):
            self.left -= 1
            parts.stop_training = self.left == 0

    parts.fit(X, Y, epochs=4, batch_size=7, callbacks=[Stop()], verbose=0)
    assert 0 < parts.progress.row < 60
    parts.save(tmp_path / "m")
    parts = bp.load(tmp_path / "m")
    parts.fit(X, Y, epochs=4 - parts.progress.epoch, batch_size=7, verbose=0)
    assert_same_bits(whole, parts)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", ["adagrad", "rprop", "lion", "clipped norms", "all", "accumulated"]
)
def test_any_number_of_threads_gives_the_same_bits(name, dtype):
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(300, 6)), rng.normal(size=(300, 3))
    before = bp.get_num_threads()
    models = []
    try:
        for threads in (1, 2, 3, 4):
            bp.set_num_threads(threads)
            model = setting(name, dtype, units=3000)
            model.fit(x, y, epochs=2, batch_size=100, verbose=0)
            models.append(model)
    finally:
        bp.set_num_threads(before)
    for model in models[1:]:
        assert_same_bits(models[0], model)
