"""Compile csrc/: the machine once, the kernels once per precision and instruction set.

Precision and instruction set exist in this file and in csrc/ only. The compiler objects are
setuptools' own, so that CC, CFLAGS, ARCHFLAGS and MSVC work as everybody expects of setup.py.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CSRC = Path("csrc")
PRECISIONS = {"float32": "32", "float64": "64"}

# Kernels beyond the baseline; the baseline of arm64 has NEON, that of x86-64 has SSE2.
X86_VARIANTS = {
    "avx2": {"unix": ["-mavx2", "-mfma"], "msvc": ["/arch:AVX2"]},
    "avx512": {
        "unix": [
            *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
            "-mprefer-vector-width=512",
        ],
        "msvc": ["/arch:AVX512"],
    },
}

# NaN stays NaN and infinity stays infinity: never -ffast-math. Python's own flags come first and
# hold -fwrapv, which costs loops their vectorisation.
UNIX_FLAGS = [
    *("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
    *("-fno-wrapv", "-fvisibility=hidden", "-Wall", "-Wextra"),
]
# Nothing is ever unwound through C, where no exception passes; the tables took 164 KB.
BARE_FLAGS = ["-g0", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]
# -O3 nearly doubles a kernel's code and pays in those that training spends its time in, which the
# .def files call HOT. The others share their AVX2 kernels with AVX-512.
SMALL_FLAGS = ["-O2", "-ftree-vectorize"]
GCC_SMALL_FLAGS = ["-fvect-cost-model=dynamic"]  # clang has no other model, and refuses the word
LEAST_FLAGS = ["-Os"]  # of the same on machines without AVX2: a tenth of a megabyte of the wheel
MSVC_FLAGS = ["/std:c11", "/experimental:c11atomics", "/O2", "/fp:contract", "/W3"]
CLANG_CL_FLAGS = ["/std:c11", "/O2", *(f"/clang:{flag}" for flag in UNIX_FLAGS[2:5])]


@dataclass(frozen=True)
class Unit:
    """Sources that are compiled with the same flags into one directory."""

    name: str
    sources: tuple[Path, ...]
    macros: tuple[tuple[str, str | None], ...] = ()
    flags: tuple[str, ...] = ()
    include_dirs: tuple[str, ...] = (str(CSRC),)


def switch(name: str) -> str:
    """Value of an environment switch, "" when unset."""
    return os.environ.get(name, "").strip()


def target_is_x86_64() -> bool:
    """Whether the code is compiled for x86-64, which on macOS need not be the machine's own."""
    archs = switch("ARCHFLAGS").split()
    if archs:
        return "x86_64" in archs and "arm64" not in archs
    return sysconfig.get_platform().endswith(("x86_64", "amd64"))


def sanitizers() -> list[str]:
    """Flags of the sanitizers that PYBP_SANITIZE lists, for the compiler and for the linker."""
    names = switch("PYBP_SANITIZE")
    return [f"-fsanitize={names}", "-fno-omit-frame-pointer", "-g"] if names else []


def common_flags(kind: str) -> list[str]:
    """Flags of every C file of ours. Kind: "unix", "msvc" or "clang-cl"."""
    if kind != "unix":
        return MSVC_FLAGS if kind == "msvc" else CLANG_CL_FLAGS
    if switch("PYBP_SANITIZE"):
        return [*UNIX_FLAGS, "-O1", *sanitizers()]
    if switch("PYBP_DEBUG") == "1":
        return [*UNIX_FLAGS, "-O0", "-g", "-UNDEBUG"]
    return [*UNIX_FLAGS, *BARE_FLAGS]


def units(kind: str, blas_macros: list[tuple[str, str | None]]) -> list[Unit]:
    """What there is to compile below the border, for this machine and these switches."""
    flags = tuple(common_flags(kind))
    isas: dict[str, list[str]] = {"baseline": []}
    machine_macros: list[tuple[str, str | None]] = list(blas_macros)
    if target_is_x86_64() and switch("PYBP_BASELINE") != "1":
        style = "msvc" if kind == "msvc" else "unix"
        isas |= {name: spelled[style] for name, spelled in X86_VARIANTS.items()}
        machine_macros.append(("PB_HAVE_X86_VARIANTS", None))

    kernels = (*sources("ops"), *sources("optim"))
    cold = tuple(path for path in kernels if path.stem in cold_names())
    hot = tuple(path for path in kernels if path not in cold)
    small = small_flags() if kind == "unix" and "-g0" in flags else []  # no debug, no sanitizer
    result = [Unit("core", sources("core"), tuple(machine_macros), flags)]
    for precision, bits in PRECISIONS.items():
        for isa, isa_flags in isas.items():
            macros = [("PB_REAL_BITS", bits), ("PB_ISA", isa)]
            macros += [("PB_COLD_ISA", "avx2")] if isa == "avx512" else []
            name, every = f"{precision}-{isa}", (*flags, *isa_flags)
            # Where there are others, the baseline serves old machines alone.
            old = isa == "baseline" and len(isas) > 1
            result.append(Unit(name, hot, tuple(macros), (*every, *(small if old else []))))
            if isa != "avx512":
                saving = LEAST_FLAGS if old and small else small
                result.append(Unit(f"{name}-small", cold, tuple(macros), (*every, *saving)))
    return result


def small_flags() -> list[str]:
    """Those of the C compiler that will be called, gcc or clang."""
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    try:
        said = subprocess.run([*command, "--version"], capture_output=True, text=True).stdout
    except OSError:  # the compiler's own error will say more
        said = ""
    return SMALL_FLAGS if "clang" in said else [*SMALL_FLAGS, *GCC_SMALL_FLAGS]


def cold_names() -> set[str]:
    """The ops and optimisers that are compiled for size."""
    text = "".join((CSRC / path).read_text() for path in ("ops/ops.def", "optim/optim.def"))
    return set(re.findall(r"^OP(?:TIM)?\((\w+)\)", text, re.MULTILINE))


def sources(folder: str) -> tuple[Path, ...]:
    """C files of one folder of csrc/, relative to the project's root, in a fixed order."""
    return tuple(sorted((CSRC / folder).glob("*.c")))


def headers() -> list[Path]:
    """Everything in csrc/ that a C file may include."""
    return [path for path in CSRC.rglob("*") if path.suffix in {".h", ".def"}]


def compile_units(compiler, todo: list[Unit], build_dir: Path) -> list[str]:
    """Bring the objects of all units up to date and return their paths.

    An object is compiled again when its source, any header or its flags have changed.
    """
    newest_header = max((path.stat().st_mtime for path in headers()), default=0.0)
    jobs, objects = [], []
    for unit in todo:
        folder = build_dir / unit.name
        stale = _flags_changed(folder, unit)
        for source in unit.sources:
            (target,) = compiler.object_filenames([str(source)], output_dir=str(folder))
            objects.append(target)
            needed = max(newest_header, source.stat().st_mtime)
            built = Path(target)
            if stale or not built.exists() or built.stat().st_mtime < needed:
                jobs.append((unit, source, folder))

    workers = int(switch("PYBP_JOBS") or min(os.cpu_count() or 1, 8))
    with ThreadPoolExecutor(workers) as pool:
        # list() brings a worker's CompileError here.
        list(pool.map(lambda job: _compile_one(compiler, *job), jobs))
    return objects


def _compile_one(compiler, unit: Unit, source: Path, folder: Path) -> None:
    compiler.compile(
        [str(source)],
        output_dir=str(folder),
        macros=list(unit.macros),
        include_dirs=list(unit.include_dirs),
        extra_postargs=list(unit.flags),
    )


def _flags_changed(folder: Path, unit: Unit) -> bool:
    """Whether the flags differ from those of the last build here, which are then replaced."""
    stamp = folder / "flags.txt"
    cflags = os.environ.get("CC", ""), os.environ.get("CFLAGS", "")
    now = repr((unit.macros, unit.flags, unit.include_dirs, cflags))
    if stamp.exists() and stamp.read_text() == now:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.rglob("*.o*"):
        old.unlink()
    stamp.write_text(now)
    return True
