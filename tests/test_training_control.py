"""EarlyStopping and ReduceLROnPlateau: when they act, and what the model is afterwards."""

import numpy as np
import pytest
from refusal import CLASSES, X, classifier, refused

import pybp as bp
from pybp.callbacks import Callback, EarlyStopping, ReduceLROnPlateau, TerminateOnNaN, TimeLimit


class Script(Callback):
    """Makes "val_mae" take the given values: the network is one weight, its input 1, its target 0,
    and the learning rate too small to move it."""

    def __init__(self, values):
        self.values, self.rates = values, []
        self.model = bp.Sequential([bp.Input(1), bp.Dense(1, use_bias=False)])
        self.model.compile(bp.optim.SGD(1e-30), loss="mse", metrics=["mae"], dtype="float64")

    def on_epoch_begin(self, epoch):
        self.rates.append(self.model.learning_rate / 1e-30)
        self.model.parameters["dense0.weight"][...] = self.values[epoch]

    def fit(self, *callbacks):
        one = np.ones((1, 1))
        data = {"validation_data": (one, 0 * one), "epochs": len(self.values), "verbose": 0}
        return self.model.fit(one, 0 * one, callbacks=[self, *callbacks], **data)

    @property
    def weight(self):
        return self.model.parameters["dense0.weight"].item()


def fit(model, epochs=4, **settings):
    data = {"epochs": epochs, "batch_size": 8, "verbose": 0, "validation_data": (X, CLASSES)}
    return model.fit(X, CLASSES, **data | settings)


def whole_state(model):
    tensors = {name: view.tobytes() for name, view in model.tensors().items()}
    return tensors, model.progress.state()


# -- early stopping --------------------------------------------------------------------------------

FALL_AND_RISE = [5.0, 3.0, 4.0, 2.0, 2.5, 2.2, 2.1, 1.0, 1.5]


@pytest.mark.parametrize(
    "settings, stopped, best",
    [
        ({"patience": 1}, 2, 1),
        ({"patience": 2}, 5, 3),
        ({"patience": 3}, 6, 3),
        ({"patience": 4}, -1, 7),
        ({"patience": 1, "mode": "max"}, 1, 0),
        ({"patience": 2, "min_delta": 1.9}, 3, 1),
        ({"patience": 2, "min_delta": 2.0}, 2, 0),
        ({"patience": 9, "target": 2.0}, 3, 3),
        ({"patience": 9, "target": 0.5}, -1, 7),
        ({"patience": 9, "target": 5.0, "mode": "max"}, 0, 0),
    ],
)
def test_when_it_stops_and_what_it_keeps(settings, stopped, best):
    script, stop = Script(FALL_AND_RISE), EarlyStopping("val_mae", **settings)
    history = script.fit(stop)
    assert (stop.stopped_epoch, stop.best_epoch, stop.best) == (stopped, best, FALL_AND_RISE[best])
    assert history.history["val_mae"] == FALL_AND_RISE[: stopped + 1 or None]
    assert history.ending == ("finished" if stopped < 0 else "stopped")
    assert script.weight == FALL_AND_RISE[best]


def test_who_comes_later_in_the_list_finds_the_best_model_at_the_end():
    script, found = Script(FALL_AND_RISE), []
    last = bp.callbacks.LambdaCallback(on_train_end=lambda history: found.append(script.weight))
    script.fit(last, EarlyStopping("val_mae", patience=3), last)
    assert found == [FALL_AND_RISE[6], FALL_AND_RISE[3]]


def test_without_restoring_the_model_is_the_last():
    script = Script(FALL_AND_RISE)
    script.fit(EarlyStopping("val_mae", patience=3, restore_best=False))
    assert script.weight == FALL_AND_RISE[6]


@pytest.mark.parametrize(
    "name, rising",
    [
        ("val_accuracy", True),
        ("accuracy", True),
        ("val_f1", True),
        ("val_auc", True),
        ("top2", True),
        ("val_loss", False),
        ("loss", False),
    ],
)
def test_auto_knows_which_way_is_better(name, rising):
    """As the metric says, whatever it is called."""
    model, metrics = classifier(), ["accuracy", "f1", "auc", bp.metrics.TopKAccuracy(2, "top2")]
    model.compile("adam", "cross_entropy", metrics)
    stop, most, least = (EarlyStopping(name, mode=mode) for mode in ("auto", "max", "min"))
    fit(model, 2, callbacks=[stop, most, least])
    assert (stop.rising, most.rising, least.rising) == (rising, True, False)


def test_of_a_metric_that_is_a_function_the_direction_must_be_said():
    def gap(y_true, y_pred):
        return float((y_pred.argmax(axis=1) != y_true).mean())

    model = classifier()
    model.compile("adam", "cross_entropy", [gap])
    with pytest.raises(ValueError, match=r"'val_gap', a function of yours.*mode='max'"):
        fit(model, callbacks=[EarlyStopping("val_gap")])
    assert model.progress.step == 0
    stop = EarlyStopping("val_gap", mode="min")
    history = fit(model, callbacks=[stop])
    assert stop.best == min(history.history["val_gap"])


@pytest.mark.parametrize(
    "optimizer",
    [
        "adam",
        bp.optim.SGD(0.05, momentum=0.9),
        bp.optim.Adam(0.01, average=bp.optim.EMA(decay=0.8)),
        bp.optim.SGD(0.05, momentum=0.9, accumulate=2),
    ],
    ids=repr,
)
def test_the_best_model_comes_back_bitwise_with_its_place_in_training(optimizer):
    """As if training had ended after the best epoch: also for what is trained afterwards."""
    model, twin = classifier(), classifier()
    for each in (model, twin):
        each.compile(optimizer, loss="cross_entropy", metrics=["accuracy"], seed=3)
    stop = EarlyStopping(patience=4)
    held_out = (X[::-1].copy(), CLASSES)  # inputs of other rows: the loss soon rises
    history = fit(model, 200, validation_data=held_out, callbacks=[stop])
    assert history.ending == "stopped"
    done = stop.best_epoch + 1
    assert history.epochs == done + 4
    assert stop.best == min(history.history["val_loss"]) == model.evaluate(*held_out)["loss"]
    fit(twin, done, validation_data=held_out)
    assert whole_state(model) == whole_state(twin)
    again = fit(model, 3)
    assert again.history == fit(twin, 3).history
    assert whole_state(model) == whole_state(twin)


@pytest.mark.parametrize("optimizer", ["LBFGS", "ConjugateGradient"])
def test_the_best_model_of_an_optimiser_for_full_batches(optimizer):
    def build():
        model = bp.Sequential([bp.Input(4), bp.Dense(9, activation="tanh"), bp.Dense(3)])
        model.compile(optimizer, loss="cross_entropy", dtype="float64", seed=2)
        return model

    model, twin, stop = build(), build(), EarlyStopping(patience=3)
    settings = {"batch_size": 20, "validation_data": (X[::-1].copy(), CLASSES)}
    history = fit(model, 60, callbacks=[stop], **settings)
    assert history.ending == "stopped" and history.epochs == stop.best_epoch + 4
    fit(twin, stop.best_epoch + 1, **settings)
    assert whole_state(model) == whole_state(twin)
    assert fit(model, 2, **settings).history == fit(twin, 2, **settings).history
    assert whole_state(model) == whole_state(twin)


def test_training_on_after_a_stop_without_restoring_is_training_without_a_stop():
    model, twin = classifier(), classifier()
    stop = EarlyStopping("val_mae", patience=1, restore_best=False)
    with pytest.raises(ValueError, match="val_mae"):
        fit(model, callbacks=[stop])
    stop = EarlyStopping("val_loss", patience=1, min_delta=9, restore_best=False)
    assert fit(model, 9, callbacks=[stop]).epochs == 2
    assert fit(model, 9, callbacks=[stop]).epochs == 2  # counts anew
    fit(twin, 4)
    assert whole_state(model) == whole_state(twin)


def test_ctrl_c_leaves_the_model_where_it_stands():
    model, twin = classifier(), classifier()

    def press(batch, logs):
        if model.progress.epoch == 2 and batch == 1:
            raise KeyboardInterrupt

    class Press(Callback):
        on_batch_end = staticmethod(press)

    stop = EarlyStopping("loss", min_delta=9)
    with pytest.raises(KeyboardInterrupt):
        fit(model, callbacks=[stop, Press()])
    assert model.progress.row == 16
    fit(model, 2)
    fit(twin, 4)
    assert whole_state(model) == whole_state(twin)


def test_early_stopping_with_a_divergence_that_was_taken():
    model = bp.Sequential([bp.Input(4), bp.Dense(6), bp.Dense(1)])
    model.compile(bp.optim.SGD(0.3, momentum=0.9), loss="mse", seed=0)
    stop = EarlyStopping("loss", patience=1000)
    settings = {"epochs": 1000, "batch_size": 8, "verbose": 0}
    history = model.fit(X, X[:, 0] * 9, callbacks=[stop, TerminateOnNaN()], **settings)
    assert history.ending == "diverged"
    assert model.progress.epoch == stop.best_epoch + 1


# -- reduction on a plateau ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, rates",
    [
        ({"patience": 1}, [1, 1, 1, 0.1, 0.1, 0.01, 0.001, 0.0001, 0.0001]),
        ({"patience": 2, "factor": 0.5}, [1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5]),
        (
            {"patience": 1, "factor": 0.5, "cooldown": 1},
            [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125],
        ),
        ({"patience": 1, "min_rate": 5e-32}, [1, 1, 1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]),
        ({"patience": 3, "mode": "max"}, [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ({"patience": 2, "min_delta": 1.5}, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01]),
    ],
)
def test_when_the_rate_falls(settings, rates):
    script = Script(FALL_AND_RISE)
    history = script.fit(ReduceLROnPlateau("val_mae", **settings))
    assert script.rates == pytest.approx(rates)
    assert history.learning_rate == pytest.approx([1e-30 * rate for rate in rates])


@pytest.mark.parametrize("patience, cooldown", [(1, 0), (2, 0), (3, 2), (1, 3)])
def test_the_rate_falls_as_in_pytorch(patience, cooldown):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(patience).uniform(1, 3, 40).tolist()
    script = Script(values)
    script.fit(ReduceLROnPlateau("val_mae", 0.7, patience, min_delta=0.05, cooldown=cooldown))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=0.7,
        patience=patience - 1,  # the epochs that it tolerates
        threshold=0.05,
        threshold_mode="abs",
        cooldown=cooldown,
        eps=0,
    )
    for value, rate in zip(values, script.rates, strict=True):
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        scheduler.step(value)


def test_the_reduced_rate_multiplies_the_schedule_and_is_saved(tmp_path):
    model = classifier()
    model.compile(bp.optim.SGD(bp.schedules.Cosine(0.1, steps=60)), loss="cross_entropy")
    plateau = ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=9)
    fit(model, 4, callbacks=[plateau])  # 12 steps; reduced after epochs 1, 2 and 3
    rate = float(bp.schedules.Cosine(0.1, steps=60).rates(np.array(12))) / 8
    assert model.learning_rate == pytest.approx(rate, rel=1e-12)
    model.save(tmp_path / "m.safetensors")
    loaded = bp.load(tmp_path / "m.safetensors")
    assert loaded.learning_rate == model.learning_rate
    for each in (model, loaded):
        fit(each, 4)
    assert whole_state(model) == whole_state(loaded)


def test_reduced_to_the_given_rate_exactly_as_trained_with_it():
    """The factor acts on every step from then on, and on nothing else."""
    model, twin = classifier(), classifier()
    for each in (model, twin):
        each.compile(bp.optim.SGD(0.5, momentum=0.9), loss="cross_entropy", seed=1)
    fit(model, 5, callbacks=[ReduceLROnPlateau("loss", factor=0.5, patience=2, min_delta=9)])
    fit(twin, 3)
    twin.learning_rate = 0.25
    fit(twin, 2)
    assert whole_state(model)[0] == whole_state(twin)[0]


def test_a_schedule_at_zero_is_left_alone():
    model = classifier()
    model.compile(bp.optim.SGD(bp.schedules.Cosine(0.1, steps=3)), loss="cross_entropy")
    fit(model, 4, callbacks=[ReduceLROnPlateau("loss", patience=1, min_delta=9)])
    assert model.learning_rate == 0


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [EarlyStopping, ReduceLROnPlateau])
@pytest.mark.parametrize(
    "monitor, words",
    [
        ("val_los", ("val_los", "did you mean 'val_loss'", "val_accuracy")),
        ("mse", ("mse", "Known: ", "accuracy")),
    ],
)
def test_an_unknown_name_is_refused_before_training(kind, monitor, words):
    refused(lambda model: fit(model, callbacks=[kind(monitor)]), ValueError, kind.__name__, *words)


@pytest.mark.parametrize("kind", [EarlyStopping, ReduceLROnPlateau])
def test_monitoring_validation_without_validation(kind):
    refused(
        lambda model: fit(model, validation_data=None, callbacks=[kind()]),
        ValueError,
        *(kind.__name__, "val_loss", "validation_data", "validation_split", "loss, accuracy"),
    )


@pytest.mark.parametrize(
    "make, exception, words",
    [
        (lambda: EarlyStopping(patience=0), ValueError, "patience"),
        (lambda: EarlyStopping(patience=2.5), TypeError, "patience"),
        (lambda: EarlyStopping(min_delta=-1), ValueError, "min_delta"),
        (lambda: EarlyStopping(mode="up"), ValueError, "Known: auto, max, min"),
        (lambda: EarlyStopping(monitor=3), TypeError, "monitor"),
        (lambda: EarlyStopping(restore_best=1), TypeError, "restore_best"),
        (lambda: EarlyStopping(target=float("nan")), ValueError, "target"),
        (lambda: ReduceLROnPlateau(factor=1.0), ValueError, "factor"),
        (lambda: ReduceLROnPlateau(factor=0), ValueError, "factor"),
        (lambda: ReduceLROnPlateau(patience=0), ValueError, "patience"),
        (lambda: ReduceLROnPlateau(cooldown=-1), ValueError, "cooldown"),
        (lambda: ReduceLROnPlateau(min_rate=-1), ValueError, "min_rate"),
        (lambda: TimeLimit(float("inf")), ValueError, "seconds"),
    ],
)
def test_bad_settings(make, exception, words):
    with pytest.raises(exception, match=words):
        make()


# -- the learning rate -----------------------------------------------------------------------------


def test_a_rate_set_between_trainings_acts_from_the_next_step():
    model, twin = classifier(), classifier()
    model.compile(bp.optim.SGD(0.25), loss="cross_entropy", seed=1)
    twin.compile(bp.optim.SGD(0.5), loss="cross_entropy", seed=1)
    model.learning_rate = 0.5
    assert model.learning_rate == 0.5
    assert fit(model).history == fit(twin).history
    assert whole_state(model)[0] == whole_state(twin)[0]


@pytest.mark.parametrize("hook", ["on_batch_end", "on_epoch_end"])
def test_a_rate_set_by_a_callback_acts_from_the_next_step(hook):
    """Halving after every step, or every epoch of three steps, is what Step does."""
    model, twin = classifier(), classifier()
    every = 1 if hook == "on_batch_end" else 3
    model.compile(bp.optim.SGD(0.5), loss="cross_entropy", seed=1)
    steps = bp.schedules.Exponential(0.5, factor=0.5)
    if every == 3:
        steps = bp.schedules.Step(0.5, every=3, factor=0.5)
    twin.compile(bp.optim.SGD(steps), loss="cross_entropy", seed=1)

    def halve(number, logs):
        model.learning_rate /= 2

    history = fit(model, callbacks=[bp.callbacks.LambdaCallback(**{hook: halve})])
    assert history.history == fit(twin).history
    assert whole_state(model)[0] == whole_state(twin)[0]


def test_a_new_schedule_begins_now_and_keeps_the_optimisers_state(tmp_path):
    """Warm restarts: a cosine that is set again after it ended is CosineRestarts."""
    cosine = bp.schedules.Cosine(0.1, steps=6)
    model, twin = classifier(), classifier()
    optimizer = bp.optim.SGD(cosine, momentum=0.9)
    model.compile(optimizer, loss="cross_entropy", seed=1)
    restarts = bp.schedules.CosineRestarts(0.1, steps=6)
    twin.compile(bp.optim.SGD(restarts, momentum=0.9), loss="cross_entropy", seed=1)
    fit(model, 2)
    model.learning_rate = cosine
    assert model.learning_rate == 0.1
    model.save(tmp_path / "m.safetensors")
    loaded = bp.load(tmp_path / "m.safetensors")
    for each in (model, loaded):
        fit(each, 2)
    fit(twin, 4)
    assert whole_state(model)[0] == whole_state(loaded)[0] == whole_state(twin)[0]


def test_a_schedule_set_on_one_model_does_not_reach_another():
    optimizer = bp.optim.SGD(0.1)
    first, second = classifier(), classifier()
    for each in (first, second):
        each.compile(optimizer, loss="cross_entropy")
    first.learning_rate = bp.schedules.Constant(0.7)
    assert (first.learning_rate, second.learning_rate) == (0.7, 0.1)


@pytest.mark.parametrize(
    "value, exception", [(0, ValueError), (-1, ValueError), (np.nan, ValueError), ("1", TypeError)]
)
def test_a_bad_rate(value, exception):
    refused(lambda model: setattr(model, "learning_rate", value), exception, "learning_rate")


def test_a_schedule_at_zero_cannot_be_scaled():
    model = classifier()
    model.compile(bp.optim.SGD(bp.schedules.Cosine(0.1, steps=3)), loss="cross_entropy")
    fit(model, 1)
    with pytest.raises(ValueError, match=r"Cosine.*Constant\(0.2\)"):
        model.learning_rate = 0.2


def test_a_model_that_was_not_compiled_has_no_rate():
    model = bp.Sequential([bp.Input(1), bp.Dense(1)])
    with pytest.raises(bp.errors.NotCompiledError, match="learning_rate"):
        _ = model.learning_rate
    with pytest.raises(bp.errors.NotCompiledError, match="learning_rate"):
        model.learning_rate = 0.1


def test_the_history_knows_rates_and_seconds():
    model = classifier()
    model.compile(bp.optim.SGD(bp.schedules.Cosine(0.1, steps=12)), loss="cross_entropy")
    history = fit(model, 4)
    expected = bp.schedules.Cosine(0.1, steps=12).rates(np.array([2, 5, 8, 11]))
    assert history.learning_rate == expected.tolist()
    assert 0 < history.seconds < 60 and history.ending == "finished"
