"""Build the C test driver from the same sources and flags as the extension, and run it.

    python -m buildtools.driver [plain | address,undefined | thread | valgrind | arm64]...

Without arguments every tool but the last has its turn; any list that gcc's -fsanitize takes is one.
arm64 is another machine, which qemu plays: it needs aarch64-linux-gnu-gcc, or the CC that you say,
and qemu-aarch64.
The driver needs no Python, so every tool for C programs works on it. Exit status: the driver's.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

# setuptools carries distutils, which the standard library has lost with Python 3.12.
from setuptools._distutils.ccompiler import new_compiler
from setuptools._distutils.errors import CCompilerError
from setuptools._distutils.sysconfig import customize_compiler

from . import blas, cc

TOOLS = ["plain", "address,undefined", "thread", "valgrind"]
# Valgrind runs one thread at a time, thirty times slower: without the long trainings.
FOR_VALGRIND = ["sources", "math", "ops", "optim", "seal", "slices", "diverge", "map", "threads"]
# qemu's own forks end in an assertion of its own.
FOR_QEMU = [
    *FOR_VALGRIND[:-1],
    "random",
    "gemm",
    "update",
    "dispatch",
    "fuzz",
    "train",
    "interrupt",
]
FOR_QEMU += ["lanes", "running", "sparse", "conv"]
ARM64 = {"CC": "aarch64-linux-gnu-gcc", "LDSHARED": "aarch64-linux-gnu-gcc", "ARCHFLAGS": "arm64"}
REPORTS = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:die_after_fork=0",
}


def build(sanitize: str) -> Path:
    """Bring the driver up to date and return its path."""
    if sanitize == "arm64":
        os.environ.update(ARM64 | {k: os.environ[k] for k in ("CC", "LDSHARED") if k in os.environ})
    os.environ["PYBP_SANITIZE"] = "" if sanitize == "arm64" else sanitize
    # The vendored library is not instrumented, and without it the built-in products are tested.
    os.environ.setdefault("PYBP_BLAS", "none")
    folder = Path("build", "driver-" + (sanitize.replace(",", "-") or "plain"))
    compiler = new_compiler()
    customize_compiler(compiler)
    chosen = blas.choose()
    link, _ = blas.vendor(chosen, folder)

    kind = "msvc" if compiler.compiler_type == "msvc" else "unix"
    units = cc.units(kind, chosen.macros)
    flags = tuple(cc.common_flags(kind))
    units.append(cc.Unit("test", cc.sources("test"), tuple(chosen.macros), flags))
    objects = cc.compile_units(compiler, units, folder)
    system = [] if kind == "msvc" else ["m", "pthread"]
    compiler.link_executable(
        objects,
        "driver",
        output_dir=str(folder),
        libraries=system,
        extra_postargs=[*link, *cc.sanitizers()],
    )
    return folder / compiler.executable_filename("driver")


def command(driver: Path, tool: str) -> list[str]:
    """How to run the driver under a tool."""
    if tool == "valgrind":
        # For reads of unset memory. Leaks are left to ASan, which knows what a fork leaves behind.
        return ["valgrind", "--quiet", "--error-exitcode=99", str(driver), *FOR_VALGRIND]
    if tool == "arm64":
        return ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", str(driver), *FOR_QEMU]
    if tool == "thread" and shutil.which("setarch"):
        # Its shadow memory cannot live with the wide address randomisation of recent kernels.
        return ["setarch", platform.machine(), "--addr-no-randomize", str(driver)]
    return [str(driver)]


def run(tool: str) -> int:
    """Build for one tool and run; the exit status is the driver's."""
    print(f"C driver: {tool}", flush=True)
    environment = REPORTS | dict(os.environ)
    if tool == "valgrind":
        if not shutil.which("valgrind"):
            print("valgrind is not on this machine")
            return 0
        environment["PYBP_TEST_IN_TURNS"] = "1"  # it runs one thread at a time
        # It knows no AVX-512 instructions.
        environment["PYBP_CPU"] = "avx2" if cc.target_is_x86_64() else "baseline"
    try:
        driver = build("" if tool in {"plain", "valgrind"} else tool)
    except CCompilerError as error:
        print(error)
        return 1
    return subprocess.run(command(driver, tool), env=environment).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tools", nargs="*", default=TOOLS, metavar="TOOL", help=f"of {TOOLS}")
    os.chdir(cc.ROOT)
    for tool in parser.parse_args().tools:
        if status := run(tool):
            print(f"C driver: {tool} failed with status {status}")
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
