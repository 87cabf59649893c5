"""Callbacks hear what they ask for, change nothing by listening, and can end the training."""

import sys
import threading
import time

import numpy as np
import pytest
from interpreter import python
from refusal import CLASSES, X, classifier, refused, says, state

import pybp as bp
from pybp.callbacks import Callback, LambdaCallback, TerminateOnNaN, TimeLimit


def fit(model, epochs=4, **settings):
    return model.fit(X, CLASSES, **{"epochs": epochs, "batch_size": 8, "verbose": 0} | settings)


def whole_state(model):
    """Every tensor and the place in training, bit by bit."""
    tensors = {name: view.tobytes() for name, view in model.tensors().items()}
    return tensors, model.progress.state()


class Diary(Callback):
    """Writes down every call."""

    def __init__(self):
        self.calls = []

    def on_train_begin(self):
        self.calls.append(("train_begin", tuple(self.names)))

    def on_train_end(self, history):
        self.calls.append(("train_end", history.ending, history.epochs))

    def on_epoch_begin(self, epoch):
        self.calls.append(("epoch_begin", epoch))

    def on_epoch_end(self, epoch, logs):
        self.calls.append(("epoch_end", epoch, dict(logs)))

    def on_batch_end(self, batch, logs):
        self.calls.append(("batch_end", batch, dict(logs)))

    def named(self, name):
        return [call[1:] for call in self.calls if call[0] == name]


# -- what is heard ---------------------------------------------------------------------------------


def test_the_order_of_the_calls():
    diary, model = Diary(), classifier()
    history = fit(model, 2, validation_data=(X, CLASSES), callbacks=[diary])
    steps = ["epoch_begin", *3 * ["batch_end"], "epoch_end"]
    assert [call[0] for call in diary.calls] == ["train_begin", *2 * steps, "train_end"]
    assert diary.named("train_begin") == [(("loss", "accuracy", "val_loss", "val_accuracy"),)]
    assert diary.named("train_end") == [("finished", 2)]
    assert [batch for batch, _ in diary.named("batch_end")] == [0, 1, 2, 0, 1, 2]
    for epoch, logs in diary.named("epoch_end"):
        assert logs == {name: column[epoch] for name, column in history.history.items()}


def test_a_batch_hears_the_means_over_the_epoch_so_far():
    diary, model, twin = Diary(), classifier(), classifier()
    history = fit(model, 1, shuffle=False, callbacks=[diary])
    of_batches = [twin.train_on_batch(X[i : i + 8], CLASSES[i : i + 8])["loss"] for i in (0, 8, 16)]
    rows = np.array([8, 8, 4])
    means = np.cumsum(of_batches * rows) / np.cumsum(rows)
    assert [logs["loss"] for _, logs in diary.named("batch_end")] == pytest.approx(means, rel=1e-6)
    assert diary.named("batch_end")[-1][1] == history.last()


WATCHERS = {
    "nobody": list,
    "epochs": lambda: [lambda epoch, logs: None],
    "batches": lambda: [LambdaCallback(on_batch_end=lambda batch, logs: None)],
    "pauses": lambda: [TimeLimit(100)],
    "the end": lambda: [LambdaCallback(on_train_end=lambda history: None)],
    "divergence": lambda: [TerminateOnNaN()],
}


def tiny():
    """Without dropout, and so small that its samples are computed side by side."""
    model = bp.Sequential([bp.Input(4), bp.Dense(5, activation="tanh"), bp.Dense(3)])
    model.compile(bp.optim.SGD(0.1), loss="cross_entropy", metrics=["accuracy"], seed=1)
    return model


def accumulating():
    model = classifier()
    optimizer = bp.optim.Adam(0.01, accumulate=2, average=bp.optim.EMA(decay=0.9))
    model.compile(optimizer, loss="cross_entropy", metrics=["accuracy"], seed=1)
    return model


@pytest.mark.parametrize("build", [classifier, tiny, accumulating])
@pytest.mark.parametrize("validation", [{}, {"validation_split": 0.2}])
@pytest.mark.parametrize("watchers", WATCHERS)
def test_listening_changes_no_bit(watchers, validation, build):
    model, twin = build(), build()
    history = fit(model, callbacks=WATCHERS[watchers](), **validation)
    alone = fit(twin, **validation)
    assert whole_state(model) == whole_state(twin)
    assert history.history == alone.history and history.learning_rate == alone.learning_rate


def test_epochs_that_nobody_watches_stay_in_native_code():
    """Nor does a callback for the end or for pauses bring them out of it."""
    calls = []
    pause = LambdaCallback(on_pause=lambda: calls.append(1))
    fit(classifier(), 500, callbacks=[pause, LambdaCallback(on_train_end=lambda history: None)])
    assert 1 <= len(calls) < 50
    calls.clear()
    fit(classifier(), 500, callbacks=[pause, lambda epoch, logs: None])
    assert len(calls) >= 500


def test_epochs_count_over_the_life_of_the_model():
    diary, model = Diary(), classifier()
    fit(model, 2)
    fit(model, 2, callbacks=[diary])
    assert diary.named("epoch_begin") == [(2,), (3,)]


# -- what a callback may do ------------------------------------------------------------------------


def test_a_callback_may_save_predict_and_write_parameters(tmp_path):
    model, seen = classifier(), []

    def each(epoch, logs):
        model.save(tmp_path / f"{epoch}.safetensors")
        seen.append(model.predict(X).shape)
        model.parameters["dense0.bias"][...] = 0

    fit(model, 3, callbacks=[each])
    assert seen == [(20, 3)] * 3
    assert not model.parameters["dense0.bias"].any()
    assert bp.load(tmp_path / "1.safetensors").progress.epoch == 2


@pytest.mark.parametrize("split", [0.0, 0.2])
def test_a_model_saved_by_a_callback_goes_on_to_the_same_bits(tmp_path, split):
    model, path = classifier(), tmp_path / "m.safetensors"
    fit(model, 5, validation_split=split, callbacks=[lambda epoch, logs: epoch or model.save(path)])
    loaded = bp.load(path)
    fit(loaded, 4, validation_split=split)
    assert whole_state(loaded) == whole_state(model)


@pytest.mark.parametrize("method", ["fit", "compile", "initialize", "train_on_batch"])
def test_a_callback_may_not_train_or_rebuild_its_model(method):
    model, arguments = classifier(), {"fit": (X, CLASSES), "train_on_batch": (X, CLASSES)}

    def each(epoch, logs):
        getattr(model, method)(*arguments.get(method, ()))

    with pytest.raises(RuntimeError, match="being trained"):
        fit(model, callbacks=[each])


def test_another_thread_may_not_save_a_model_in_training(tmp_path):
    model, caught = classifier(), []

    def save():
        try:
            model.save(tmp_path / "m.safetensors")
        except RuntimeError as error:
            caught.append(error)

    def each(epoch, logs):
        thread = threading.Thread(target=save)
        thread.start()
        thread.join()

    fit(model, 1, callbacks=[each])
    says(pytest.ExceptionInfo.from_exception(caught[0]), "save", "being trained")


# -- stopping --------------------------------------------------------------------------------------


def stop_at(model, wanted, hook):
    def stop(number, logs):
        if number == wanted:
            model.stop_training = True

    return LambdaCallback(**{hook: stop})


def test_stopping_after_an_epoch():
    model, twin = classifier(), classifier()
    history = fit(model, 9, callbacks=[stop_at(model, 2, "on_epoch_end")])
    assert (history.epochs, history.ending) == (3, "stopped")
    fit(twin, 3)
    assert whole_state(model) == whole_state(twin)
    assert fit(model, 2).ending == "finished"  # the wish to stop is not kept


def test_stopping_inside_an_epoch_and_going_on():
    """After batch 1 of 3; the next fit does the third batch, then the epochs that are missing."""
    model, twin = classifier(), classifier()
    history = fit(model, 9, callbacks=[stop_at(model, 1, "on_batch_end")])
    assert (history.epochs, history.ending, model.progress.row) == (0, "stopped", 16)
    rest, whole = fit(model, 3), fit(twin, 3)
    assert whole_state(model) == whole_state(twin)
    assert rest.history == whole.history


def test_a_stop_before_the_first_step():
    model, twin = classifier(), classifier()

    def begin():
        model.stop_training = True

    history = fit(model, callbacks=[LambdaCallback(on_train_begin=begin)])
    assert (history.epochs, history.ending) == (0, "stopped")
    assert state(model) == state(twin)


def test_everybody_hears_of_the_epoch_in_which_one_stops():
    model, diary = classifier(), Diary()
    fit(model, 9, callbacks=[stop_at(model, 1, "on_epoch_end"), diary])
    assert len(diary.named("epoch_end")) == 2


@pytest.mark.parametrize("watched", [True, False])
def test_another_thread_stops_the_training(watched):
    model = classifier()

    def stop():
        while not model.progress.step:
            time.sleep(0.001)
        model.stop_training = True

    thread = threading.Thread(target=stop)
    thread.start()
    history = fit(model, 10**9, callbacks=[lambda epoch, logs: None] if watched else [])
    thread.join()
    assert history.ending == "stopped"


def test_a_time_limit_is_heard_within_an_epoch():
    """Which lasts a second or more, even on a fast machine."""
    rng = np.random.default_rng(0)
    x, y = np.tile(rng.normal(size=(100, 64)), (2000, 1)), np.tile(np.arange(100) % 10, 2000)
    model = bp.Sequential([bp.Input(64), bp.Dense(2048, activation="relu"), bp.Dense(10)])
    model.compile(loss="cross_entropy")
    limit = TimeLimit(0.15)
    history = model.fit(x, y, epochs=100, batch_size=8, callbacks=[limit], verbose=0)
    assert (history.ending, history.epochs) == ("stopped", 0)
    assert 0 < model.progress.row < len(x)
    assert history.seconds >= 0.15


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_epoch_end"])
def test_an_exception_in_a_callback_comes_out_and_leaves_a_sound_model(hook):
    model, twin, diary = classifier(), classifier(), Diary()

    def fails(*arguments):
        if not arguments or arguments[0] == 1:
            raise ZeroDivisionError("of the user's own")

    with pytest.raises(ZeroDivisionError, match="of the user's own"):
        fit(model, 5, callbacks=[diary, LambdaCallback(**{hook: fails})])
    assert [ending for ending, _ in diary.named("train_end")] == (
        [""] if hook == "on_train_begin" else ["failed"]
    )
    done = model.progress.epoch
    assert done == {"on_train_begin": 0, "on_epoch_begin": 1, "on_epoch_end": 2}[hook]
    fit(model, 5 - done)
    fit(twin, 5)
    assert whole_state(model) == whole_state(twin)


def test_an_exception_in_the_middle_of_an_epoch():
    model, twin = classifier(), classifier()

    def fails(batch, logs):
        if batch == 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(model, 5, callbacks=[LambdaCallback(on_batch_end=fails)])
    assert model.progress.row == 16
    fit(model, 2)
    fit(twin, 2)
    assert whole_state(model) == whole_state(twin)


def test_all_that_began_hear_of_the_end_even_if_one_fails_there():
    def fails(history):
        raise ZeroDivisionError

    first, last = Diary(), Diary()
    with pytest.raises(ZeroDivisionError):
        fit(classifier(), callbacks=[first, LambdaCallback(on_train_end=fails), last])
    assert first.named("train_end") == last.named("train_end") == [("finished", 4)]


def test_ctrl_c_calls_the_end_of_training():
    diary, model, twin = Diary(), classifier(), classifier()

    def press(epoch, logs):
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, 9, validation_split=0.2, callbacks=[diary, press])
    assert diary.named("train_end") == [("interrupted", 2)]
    fit(model, 2, validation_split=0.2)
    fit(twin, 4, validation_split=0.2)
    assert whole_state(model) == whole_state(twin)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("watched", [True, False])
def test_a_real_ctrl_c_calls_the_end_of_training(watched):
    """Callbacks hear "interrupted"; early stopping leaves the model where it stands, and what goes
    on is what was not interrupted."""
    python(f"""
        import os, signal, threading, time
        import numpy as np
        import pybp as bp
        from pybp.callbacks import EarlyStopping, LambdaCallback, TimeLimit
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(2000, 8)), rng.integers(0, 3, size=2000)
        def build():
            model = bp.Sequential([bp.Input(8), bp.Dense(16, activation="relu"), bp.Dropout(0.2),
                                   bp.Dense(3)])
            model.compile(loss="cross_entropy")
            return model
        model, twin, endings = build(), build(), []
        callbacks = [LambdaCallback(on_train_end=lambda history: endings.append(history.ending))]
        callbacks += [EarlyStopping("loss", patience=10**6)] if {watched} else [TimeLimit(1000)]
        def press():
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=press).start()
        try:
            model.fit(x, y, epochs=10**6, callbacks=callbacks, verbose=0)
        except KeyboardInterrupt:
            assert endings == ["interrupted"], endings
        else:
            raise AssertionError("nothing was interrupted")
        epochs = model.progress.epoch + 2
        model.fit(x, y, epochs=2, verbose=0)
        twin.fit(x, y, epochs=epochs, verbose=0)
        for name, view in model.tensors().items():
            assert np.array_equal(view, twin.tensors()[name]), name
        """)


@pytest.mark.parametrize(
    "given, exception, words",
    [
        (lambda epoch, logs: None, TypeError, ("list", "callbacks=[")),
        (TimeLimit(1), TypeError, ("list", "callbacks=[")),
        (None, TypeError, ("list", "None")),
        ("early", TypeError, ("early",)),
        ([None], TypeError, ("callbacks", "None")),
        ([TimeLimit], TypeError, ("TimeLimit", "class", "TimeLimit(")),
        ([3], TypeError, ("callbacks", "3")),
    ],
)
def test_what_is_no_callback(given, exception, words):
    refused(lambda model: fit(model, callbacks=given), exception, *words)


def test_a_function_for_an_unknown_moment():
    with pytest.raises(ValueError, match="did you mean 'on_epoch_end'"):
        LambdaCallback(on_epoch_ends=print)
    with pytest.raises(TypeError, match="on_pause"):
        LambdaCallback(on_pause=3)


@pytest.mark.parametrize(
    "seconds, exception", [(0, ValueError), (-1, ValueError), ("1", TypeError)]
)
def test_a_bad_time_limit(seconds, exception):
    with pytest.raises(exception, match="TimeLimit: seconds"):
        TimeLimit(seconds)


# -- divergence ------------------------------------------------------------------------------------


def explodes():
    """A regression whose loss is beyond float32 after some epochs."""
    model = bp.Sequential([bp.Input(4), bp.Dense(6), bp.Dense(1)])
    model.compile(optimizer=bp.optim.SGD(0.3, momentum=0.9), loss="mse", seed=0)
    return model


def test_terminate_on_nan_ends_quietly_with_the_model_from_before_the_epoch():
    y, model, twin, diary = X[:, 0] * 9, explodes(), explodes(), Diary()
    settings = {"batch_size": 8, "verbose": 0}
    with pytest.raises(bp.errors.DivergenceError):
        twin.fit(X, y, epochs=200, **settings)
    history = model.fit(X, y, epochs=200, callbacks=[TerminateOnNaN(), diary], **settings)
    assert history.ending == "diverged" and 0 < history.epochs < 200
    assert np.isfinite(history.history["loss"]).all()
    assert diary.named("train_end") == [("diverged", history.epochs)]

    done, fresh = model.progress.epoch, explodes()
    assert done in (history.epochs, history.epochs - 1)
    fresh.fit(X, y, epochs=done, **settings)
    assert whole_state(model) == whole_state(fresh)


# -- validation split ------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction, kept", [(0.25, 15), (0.1, 18), (0.95, 1), (0.049, 19)])
def test_validation_split_holds_out_the_last_rows_before_shuffling(fraction, kept):
    model, twin = classifier(), classifier()
    history = fit(model, validation_split=fraction)
    data = {"epochs": 4, "batch_size": 8, "verbose": 0}
    last = (X[kept:], CLASSES[kept:])
    expected = twin.fit(X[:kept], CLASSES[:kept], validation_data=last, **data)
    assert whole_state(model) == whole_state(twin)
    assert history.history == expected.history


@pytest.mark.parametrize(
    "settings, exception, words",
    [
        ({"validation_split": 1.0}, ValueError, ("validation_split", "< 1")),
        ({"validation_split": -0.1}, ValueError, ("validation_split", "-0.1")),
        ({"validation_split": float("nan")}, ValueError, ("validation_split", "nan")),
        ({"validation_split": "0.2"}, TypeError, ("validation_split", "0.2")),
        ({"validation_split": True}, TypeError, ("validation_split", "True")),
        ({"validation_split": 0.99}, ValueError, ("validation_split", "20 rows", "leaves 0")),
        (
            {"validation_split": 0.2, "validation_data": (X, CLASSES)},
            ValueError,
            ("validation_split", "validation_data"),
        ),
    ],
)
def test_a_bad_validation_split(settings, exception, words):
    refused(lambda model: fit(model, **settings), exception, *words)
