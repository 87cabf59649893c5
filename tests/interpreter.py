"""A fresh Python, for what cannot be measured or risked in this one: memory, signals, forks."""

import os
import subprocess
import sys
import textwrap


def python(code, *arguments, timeout=100):
    """Standard output of a new interpreter that finds the modules this one finds."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stderr}"
    return done.stdout
