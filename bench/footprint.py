"""What pybp costs before it does anything: import time above NumPy's, and sizes on disk."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from bench.harness import ROOT

_CODE = """
import sys, time
sys.path.append({root!r})
import numpy
start = time.perf_counter()
import {name}
print(time.perf_counter() - start)
"""


def arguments(parser):
    """Declare the options."""
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--modules", default="pybp", help="comma-separated, as in pybp,sklearn")
    parser.add_argument("--wheels", type=Path, default=ROOT / "dist", help="folder of wheels")


def import_seconds(name, rounds):
    """Return the median seconds that `import name` takes in a process that has NumPy."""
    code = _CODE.format(root=str(ROOT), name=name)
    seconds = []
    for _ in range(rounds + 1):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
        )
        seconds.append(float(done.stdout))
    return median(seconds[1:])  # the first one read the files from disk


def megabytes(paths):
    """Return the size of files in MB."""
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def run(options):
    """Print import times, the size of the package and of its wheels."""
    for name in options.modules.split(","):
        try:
            seconds = import_seconds(name, options.rounds)
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or ["no message"])[-1]
            print(f"import {name}: skipped, {last}")
            continue
        print(f"import {name}: {1e3 * seconds:.1f} ms above NumPy")
    spec = find_spec("pybp")
    if spec and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0])
        modules = [*folder.rglob("*.so"), *folder.rglob("*.pyd")]
        own = [path for path in modules if "_libs" not in path.parts]
        print(f"extension modules: {megabytes(own):.2f} MB")
        print(f"private libraries: {megabytes((folder / '_libs').glob('*')):.2f} MB")
    for wheel in sorted(options.wheels.glob("*.whl")):
        print(f"{wheel.name}: {megabytes([wheel]):.2f} MB")
    return 0
