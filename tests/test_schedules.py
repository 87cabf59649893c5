"""Learning rates over the steps: PyTorch's where it has them, and what all have in common."""

import numpy as np
import pytest
from refusal import CLASSES, X, classifier

import pybp as bp
from pybp import schedules
from pybp.described import from_data, to_data

STEPS = 60
T = np.arange(STEPS)

# One of each, with arguments of all kinds.
SCHEDULES = {
    "constant": schedules.Constant(0.3),
    "step": schedules.Step(0.3, every=7, factor=0.4),
    "multistep": schedules.MultiStep(0.3, at=[3, 17, 40], factor=0.2),
    "exponential": schedules.Exponential(0.3, factor=0.93),
    "polynomial": schedules.Polynomial(0.3, steps=40, power=2.5),
    "cosine": schedules.Cosine(0.3, steps=45, final=0.02),
    "cosinerestarts": schedules.CosineRestarts(0.3, steps=4, multiplier=2, final=0.02),
    "cyclic": schedules.Cyclic(0.02, 0.3, up=5, down=8, mode="exp_range", gamma=0.97),
    "onecycle": schedules.OneCycle(0.3, steps=50),
    "warmup": schedules.Warmup(schedules.Step(0.3, every=9), steps=12, start=0.1),
    "warmupcosine": schedules.WarmupCosine(0.3, steps=50, warmup=10, final=0.02),
    "sequence": schedules.Sequence(schedules.Cosine(0.3, 10), 12, schedules.Exponential(0.1, 0.9)),
}


def test_every_schedule_is_tried():
    assert SCHEDULES.keys() == schedules.KINDS.keys()
    public = {name for name, kind in vars(schedules).items() if isinstance(kind, type)}
    assert {kind.__name__ for kind in schedules.KINDS.values()} <= public


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_rate_depends_on_its_step_alone(kind):
    """Any steps may be asked for, in any order, at once or one by one."""
    schedule = SCHEDULES[kind]
    rates = schedule.rates(T)
    assert rates.shape == T.shape and rates.dtype == np.float64
    assert np.isfinite(rates).all() and (rates >= 0).all()
    assert [float(schedule.rates(np.array([t]))[0]) for t in T] == rates.tolist()
    assert np.array_equal(schedule.rates(T[::-3]), rates[::-3])
    assert schedule.rates(T[:0]).shape == (0,)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_schedule_survives_a_file(kind, tmp_path):
    schedule = SCHEDULES[kind]
    twin = from_data(schedules.KINDS, to_data(schedule), "schedule")
    assert repr(twin) == repr(schedule)
    assert np.array_equal(twin.rates(T), schedule.rates(T))

    model = classifier()
    model.compile(bp.optim.SGD(schedule, momentum=0.9), loss="cross_entropy", seed=1)
    model.fit(X, CLASSES, epochs=3, batch_size=8, verbose=0)
    model.save(tmp_path / "m.safetensors")
    loaded = bp.load(tmp_path / "m.safetensors")
    for each in (model, loaded):
        history = each.fit(X, CLASSES, epochs=3, batch_size=8, verbose=0)
        assert history.learning_rate == schedule.rates(np.array([11, 14, 17])).tolist()
    for name, view in model.tensors().items():
        assert np.array_equal(view, loaded.tensors()[name]), name


@pytest.mark.parametrize("kind", SCHEDULES)
def test_late_steps_are_as_quick_and_finite(kind):
    rates = SCHEDULES[kind].rates(np.array([2**31, 2**40]))
    assert np.isfinite(rates).all() and (rates >= 0).all()


# -- against PyTorch -------------------------------------------------------------------------------


def in_pytorch(make, rate=0.3, momentum=0.0):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate, momentum=momentum)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in T:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


TORCH = {
    "step": lambda lib, o: lib.StepLR(o, step_size=7, gamma=0.4),
    "multistep": lambda lib, o: lib.MultiStepLR(o, milestones=[3, 17, 40], gamma=0.2),
    "exponential": lambda lib, o: lib.ExponentialLR(o, gamma=0.93),
    "polynomial": lambda lib, o: lib.PolynomialLR(o, total_iters=40, power=2.5),
    "cosinerestarts": lambda lib, o: lib.CosineAnnealingWarmRestarts(
        o, T_0=4, T_mult=2, eta_min=0.02
    ),
    "cyclic": lambda lib, o: lib.CyclicLR(
        o,
        base_lr=0.02,
        max_lr=0.3,
        step_size_up=5,
        step_size_down=8,
        mode="exp_range",
        gamma=0.97,
        cycle_momentum=False,
    ),
    "warmup": lambda lib, o: lib.SequentialLR(
        o,
        [lib.LinearLR(o, start_factor=0.1, total_iters=12), lib.StepLR(o, step_size=9)],
        milestones=[12],
    ),
}


@pytest.mark.filterwarnings("ignore")  # what PyTorch warns of is its own
@pytest.mark.parametrize("kind", TORCH)
def test_rates_are_those_of_pytorch(kind):
    assert SCHEDULES[kind].rates(T) == pytest.approx(in_pytorch(TORCH[kind]), rel=1e-9, abs=1e-15)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["triangular", "triangular2"])
def test_cycles_are_those_of_pytorch(mode):
    found = schedules.Cyclic(0.02, 0.3, up=6, mode=mode).rates(T)
    theirs = in_pytorch(
        lambda lib, o: lib.CyclicLR(o, 0.02, 0.3, step_size_up=6, mode=mode, cycle_momentum=False)
    )
    assert found == pytest.approx(theirs, rel=1e-9, abs=1e-15)


@pytest.mark.filterwarnings("ignore")
def test_the_half_cosine_is_that_of_pytorch():
    """Theirs goes up again after its end, ours stays."""
    theirs = in_pytorch(lambda lib, o: lib.CosineAnnealingLR(o, T_max=45, eta_min=0.02))
    assert SCHEDULES["cosine"].rates(T)[:46] == pytest.approx(theirs[:46], rel=1e-9)
    assert set(SCHEDULES["cosine"].rates(T)[45:]) == {0.02}


@pytest.mark.filterwarnings("ignore")
def test_one_cycle_ends_where_pytorchs_does():
    """Their top may lie between two steps; the first, highest and last rates are the same."""
    theirs = in_pytorch(
        lambda lib, o: lib.OneCycleLR(
            o, max_lr=0.3, total_steps=STEPS + 1, cycle_momentum=False, final_div_factor=1e4 / 25
        )
    )
    ours = schedules.OneCycle(0.3, steps=STEPS + 1).rates(np.arange(STEPS + 1))
    assert ours[0] == pytest.approx(theirs[0], rel=1e-9)
    assert ours.max() == pytest.approx(0.3) and max(theirs) == pytest.approx(0.3, rel=1e-2)
    assert np.abs(ours[:-1] - theirs).max() < 0.02


# -- restarts, nesting, functions ------------------------------------------------------------------


@pytest.mark.parametrize("multiplier", [1, 2, 3, 10])
def test_restarts_lie_at_sums_of_powers(multiplier):
    rates = schedules.CosineRestarts(1.0, 3, multiplier).rates(np.arange(4000))
    at, length = 0, 3
    while at < len(rates):
        assert rates[at] == 1.0
        expected = schedules.Cosine(1.0, steps=length).rates(np.arange(length))
        assert np.array_equal(rates[at : at + length], expected[: len(rates) - at])
        at, length = at + length, length * multiplier


def test_warm_up_is_a_line_to_the_first_rate():
    rates = schedules.Warmup(0.5, steps=5).rates(T)
    assert rates.tolist()[:7] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    nested = schedules.Warmup(schedules.Warmup(0.5, steps=5, start=0.2), steps=2)
    assert nested.rates(T).tolist()[:4] == pytest.approx([0, 0.05, 0.1, 0.18])


def test_a_function_of_the_step():
    asked = []

    def rate(step):
        asked.append(step)
        return 0.5 if step < 4 else 0.125

    model, twin = classifier(), classifier()
    model.compile(bp.optim.SGD(schedules.Function(rate)), loss="cross_entropy", seed=1)
    twin.compile(
        bp.optim.SGD(schedules.MultiStep(0.5, at=[4], factor=0.25)), loss="cross_entropy", seed=1
    )
    for each in (model, twin):
        each.fit(X, CLASSES, epochs=3, batch_size=8, verbose=0)
    assert asked == list(range(9)) and all(type(step) is int for step in asked)
    for name, view in model.parameters.items():
        assert np.array_equal(view, twin.parameters[name])


@pytest.mark.parametrize(
    "value, exception",
    [(-1, ValueError), (np.nan, ValueError), (np.inf, ValueError), (None, TypeError)],
)
def test_a_function_that_gives_no_rate(value, exception):
    model = classifier()
    model.compile(
        bp.optim.SGD(schedules.Function(lambda t: 0.1 if t < 5 else value)), loss="cross_entropy"
    )
    before = {name: view.copy() for name, view in model.parameters.items()}
    with pytest.raises(exception, match=r"Function\(.*at step 5"):
        model.fit(X, CLASSES, epochs=3, batch_size=8, verbose=0)
    for name, view in model.parameters.items():
        assert np.array_equal(view, before[name])
    assert model.progress.step == 0


def test_code_cannot_be_saved(tmp_path):
    class Mine(schedules.Schedule):
        def rates(self, steps):
            return 0.1 / np.sqrt(1.0 + steps)

    for schedule in (
        Mine(),
        schedules.Function(lambda step: 0.1),
        schedules.Warmup(schedules.Function(lambda step: 0.1), 5),
    ):
        model = classifier()
        model.compile(bp.optim.SGD(schedule), loss="cross_entropy")
        model.fit(X, CLASSES, verbose=0)
        with pytest.raises(TypeError, match=r"Python code.*model\.learning_rate = "):
            model.save(tmp_path / "m.safetensors")
        assert not list(tmp_path.iterdir())
        model.learning_rate = schedules.Constant(0.1)
        model.save(tmp_path / "m.safetensors")
        (tmp_path / "m.safetensors").unlink()


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, exception, words",
    [
        (lambda: schedules.Step(0.1, every=0), ValueError, "Step: every"),
        (lambda: schedules.Step(0.1, every=2, factor=0), ValueError, "Step: factor"),
        (lambda: schedules.Step(0, every=2), ValueError, "learning_rate"),
        (lambda: schedules.MultiStep(0.1, at=3), TypeError, "MultiStep: at"),
        (lambda: schedules.MultiStep(0.1, at=[5, 3]), ValueError, "increasing"),
        (lambda: schedules.MultiStep(0.1, at=[2.5]), TypeError, "MultiStep: at"),
        (lambda: schedules.Exponential(0.1, factor=-1), ValueError, "Exponential: factor"),
        (lambda: schedules.Polynomial(0.1, steps=4, power=0), ValueError, "Polynomial: power"),
        (lambda: schedules.CosineRestarts(0.1, 4, multiplier=1.5), TypeError, "multiplier"),
        (lambda: schedules.Cyclic(0.3, 0.1, up=4), ValueError, "Cyclic: high"),
        (lambda: schedules.Cyclic(0.1, 0.3, up=4, mode="square"), ValueError, "triangular2"),
        (lambda: schedules.Cyclic(0.1, 0.3, up=4, gamma=1.5), ValueError, "gamma"),
        (lambda: schedules.Warmup("fast", steps=4), TypeError, "learning_rate"),
        (lambda: schedules.Warmup(0.1, steps=4, start=2), ValueError, "Warmup: start"),
        (lambda: schedules.WarmupCosine(0.1, steps=4, warmup=4), ValueError, "warmup"),
        (lambda: schedules.Function(0.1), TypeError, "Function"),
        (lambda: bp.optim.SGD(lambda step: 0.1), TypeError, r"schedules\.Function"),
    ],
)
def test_bad_settings(make, exception, words):
    with pytest.raises(exception, match=words):
        make()
