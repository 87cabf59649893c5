"""Settings of the process: threads and what pybp runs on."""

from __future__ import annotations

import os
import platform
import sys

import numpy as np

from pybp import _core
from pybp._version import __version__
from pybp.checks import whole

# More threads than this gain nothing on the networks that pybp is for, unless asked for.
_DEFAULT_LIMIT = 8


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_num_threads(n: int) -> None:
    """Use at most `n` threads. Results are the same to the bit for any number; small work runs on
    one thread whatever the setting."""
    _core.set_num_threads(whole(n, "set_num_threads: n"))


def get_num_threads() -> int:
    """The most threads that a call may use. The default is the number of cores, up to 8, or
    `$PYBP_NUM_THREADS`."""
    return _core.get_num_threads()


def show_config() -> None:
    """Print versions, instruction set, BLAS and threads, as a bug report needs them."""
    rows = {
        "pybp": __version__,
        "python": f"{sys.version.split()[0]} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "instruction set": f"{_core.isa()} (of: {', '.join(_core.isa_list())})",
        "blas": _core.blas_name(),
        "threads": f"{get_num_threads()} of {available_cores()} cores",
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")


def _start() -> None:
    wanted = os.environ.get("PYBP_NUM_THREADS", "")
    if wanted and not (wanted.isdigit() and int(wanted) > 0):
        raise ImportError(f"PYBP_NUM_THREADS must be a whole number >= 1, got {wanted!r}")
    _core.set_num_threads(int(wanted) if wanted else min(available_cores(), _DEFAULT_LIMIT))


_start()
