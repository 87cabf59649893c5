"""The progress line appears where somebody sees it, and nowhere else."""

import io
import os
import subprocess
import sys

import pytest

from pybp.progress import Progress


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


class Broken(Terminal):
    def write(self, text):
        raise BrokenPipeError("gone")


def clock(*seconds):
    times = iter(seconds)
    return lambda: next(times)


def never():
    raise AssertionError("a quiet progress has no business with the clock")


def screen_after(stream):
    """What a terminal shows: every carriage return begins to write over the line."""
    shown = ""
    for piece in stream.getvalue().rstrip("\n").split("\r"):
        shown = piece + shown[len(piece) :]
    return shown.rstrip()


@pytest.mark.parametrize("verbose", [0, False])
def test_quiet_when_told_so(verbose):
    stream = Terminal()
    progress = Progress(10, 1, verbose, stream=stream, clock=never)
    progress.update(5, 0, {"loss": 1.0})
    progress.close()
    assert stream.getvalue() == ""


def test_quiet_in_a_pipe():
    stream = io.StringIO()
    progress = Progress(10, 1, stream=stream, clock=never)
    progress.update(5, 0, {"loss": 1.0})
    progress.close()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("TERM", "dumb")])
def test_quiet_where_nobody_watches_the_terminal(monkeypatch, name, value):
    for variable in ("CI", "TERM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert Progress(10, 1).visible
    monkeypatch.setenv(name, value)
    assert not Progress(10, 1).visible


def test_quiet_without_a_console(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.delenv("CI", raising=False)
    progress = Progress(10, 1)
    progress.update(1, 0, {})
    progress.close()


def test_quiet_when_the_work_is_short():
    stream = Terminal()
    progress = Progress(10, 1, stream=stream, clock=clock(0.0, 0.2, 0.4))
    progress.update(5, 0, {})
    progress.update(10, 1, {})
    progress.close()
    assert stream.getvalue() == ""


def test_shows_epoch_share_rate_remaining_time_and_values():
    stream = Terminal()
    progress = Progress(1000, 10, stream=stream, clock=clock(0.0, 2.0), columns=120)
    progress.update(250, 2, {"loss": 0.123456, "accuracy": 0.5})
    line = screen_after(stream)
    for part in ("epoch 3/10", "25%", "125 steps/s", "0:06 left", "loss 0.1235", "accuracy 0.5000"):
        assert part in line


def test_writes_ten_times_a_second_at_most():
    stream = Terminal()
    seconds = [i / 100 for i in range(1, 301)]
    progress = Progress(300, 1, stream=stream, clock=clock(0.0, *seconds))
    for step in range(300):
        progress.update(step + 1, 0, {})
    assert 20 <= stream.getvalue().count("\r") <= 26


def test_close_leaves_the_last_state_and_a_new_line():
    stream = Terminal()
    progress = Progress(100, 4, stream=stream, clock=clock(0.0, 1.0, 1.01, 90.0))
    progress.update(40, 1, {"loss": 2.0})
    progress.update(100, 4, {"loss": 1.0})
    progress.close()
    assert stream.getvalue().endswith("\n")
    line = screen_after(stream)
    for part in ("epoch 4/4", "100%", "1:30 in all", "loss 1.0000"):
        assert part in line
    assert "left" not in line, "a shorter line must cover all of a longer one"
    progress.update(100, 4, {})
    progress.close()
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("columns", [5, 20, 40, 60, 80])
def test_never_wraps(columns):
    stream = Terminal()
    progress = Progress(100, 4, stream=stream, clock=clock(0.0, 1.0), columns=columns)
    progress.update(50, 1, {"loss": 0.5, "accuracy": 0.5, "mse": 0.25, "mae": 0.125})
    assert 0 < len(screen_after(stream)) < columns


def test_plain_characters_where_others_cannot_be_written():
    stream = Terminal()
    stream.encoding = "ascii"
    progress = Progress(100, 4, stream=stream, clock=clock(0.0, 1.0), columns=80)
    progress.update(50, 1, {})
    assert "[##########----------]" in stream.getvalue()


@pytest.mark.parametrize("numbers", [(0, 0), (5, 0), (0, 7)])
def test_no_steps_and_more_steps_than_expected(numbers):
    total, done = numbers
    stream = Terminal()
    progress = Progress(total, 1, stream=stream, clock=clock(0.0, 1.0, 2.0), columns=80)
    progress.update(done, 0, {"loss": float("nan")})
    progress.close()
    assert "loss nan" in stream.getvalue()


def test_a_stream_that_breaks_does_not_stop_the_work():
    progress = Progress(10, 1, stream=Broken(), clock=clock(0.0, 1.0, 2.0))
    progress.update(5, 0, {})
    assert not progress.visible
    progress.update(6, 0, {})
    progress.close()


def test_a_closed_stream_does_not_stop_the_work():
    stream = Terminal()
    progress = Progress(10, 1, stream=stream, clock=clock(0.0, 1.0))
    stream.close()
    progress.update(5, 0, {})
    assert not progress.visible


def test_quiet_where_the_stream_is_closed_from_the_start():
    stream = io.StringIO()
    stream.close()
    assert not Progress(10, 1, stream=stream, clock=never).visible


def test_shown_in_a_notebook():
    """Notebooks' streams are no terminals, and show carriage returns all the same."""
    kind = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    stream = kind()
    progress = Progress(100, 4, stream=stream, clock=clock(0.0, 1.0))
    progress.update(50, 1, {"loss": 0.5})
    assert stream.getvalue().startswith("\repoch 2/4")
    assert "loss 0.5" in stream.getvalue()


FIT = """
import numpy as np, pybp as bp
model = bp.Sequential([bp.Input(64), bp.Dense(16, activation="relu"), bp.Dense(10)])
model.compile(loss="cross_entropy")
rng = np.random.default_rng(0)
x, y = rng.normal(size=(2000, 64)), rng.integers(0, 10, 2000)
import time
start, epochs = time.perf_counter(), 4
while time.perf_counter() - start < 1.5:  # one fit that is long enough on any machine
    epochs *= 2
    model.fit(x, y, epochs=epochs, verbose=VERBOSE)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
@pytest.mark.parametrize("verbose", [0, 1])
def test_fit_on_a_real_terminal(verbose):
    import pty

    mine, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "CI"}
    environment |= {
        "TERM": "xterm",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "PYTHONIOENCODING": "utf-8",
    }
    code = FIT.replace("VERBOSE", str(verbose))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(mine, 4096)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not piece:
                break
            seen += piece
    os.close(mine)
    assert process.returncode == 0, seen
    text = seen.decode()
    if verbose:
        assert "steps/s" in text
        assert "loss" in text
        assert " left" in text
        assert " in all" in text
    else:
        assert text == ""
