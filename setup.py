"""Build pybp._core: one Cython module over the C machine and its kernels.

Switches, all from the environment:
    PYBP_BLAS=openblas|none|accelerate|pkg-config:NAME
    PYBP_SANITIZE=address,undefined    PYBP_DEBUG=1    PYBP_JOBS=N    PYBP_CLANG_CL=1 (Windows)
    PYBP_BASELINE=1 leaves out the kernels beyond the baseline: a third of the compile time
"""

import os
import platform
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))
from buildtools import blas, cc  # noqa: E402

if sys.platform == "darwin":
    # The per-instruction-set flags fit one architecture: never build universal objects.
    os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
# The limited API does not exist on free-threaded builds, which get a wheel per version.
ABI3_MACROS = [] if FREE_THREADED else [("Py_LIMITED_API", "0x030B0000")]
NUMPY_MACROS = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]


class BuildExt(build_ext):
    """Compiles csrc/ and the Cython border, links them, and vendors the BLAS."""

    vendored: list[Path]

    def build_extension(self, ext):
        chosen = blas.choose()
        kind = self._compiler_kind()
        temp = Path(self.build_temp)
        package_dir = Path(self.get_ext_fullpath(ext.name)).parent
        link, self.vendored = blas.vendor(chosen, package_dir)

        units = cc.units(kind, chosen.macros)
        units.append(self._border(ext, kind, temp))
        ext.extra_objects = cc.compile_units(self.compiler, units, temp)
        # Linked anew whenever an object is newer than the module.
        ext.depends = ext.extra_objects
        ext.sources = []
        ext.extra_link_args = [*link, *self._link_flags(kind)]
        if sys.platform == "linux":
            # The directories of the Python that builds have no place in what it builds.
            linker = self.compiler.linker_so
            self.compiler.linker_so = [a for a in linker if not a.startswith("-Wl,-rpath")]
        super().build_extension(ext)

    def _border(self, ext, kind, temp):
        """The C file that Cython makes, kept out of the package and so out of the wheel."""
        import numpy
        from Cython.Build import cythonize

        pyx = Extension(ext.name, ext.sources, include_dirs=[str(cc.CSRC)])
        (generated,) = cythonize([pyx], build_dir=str(temp / "cython"), quiet=True)
        # Generated code relies on wrapping integers, and triggers -Wextra without end.
        flags = [f for f in cc.common_flags(kind) if f not in {"-fno-wrapv", "-Wextra"}]
        return cc.Unit(
            "border",
            tuple(Path(source) for source in generated.sources),
            tuple(ABI3_MACROS + NUMPY_MACROS),
            tuple(flags),
            (str(cc.CSRC), numpy.get_include()),
        )

    def _compiler_kind(self):
        if self.compiler.compiler_type != "msvc":
            return "unix"
        if os.environ.get("PYBP_CLANG_CL") != "1":
            return "msvc"
        self.compiler.initialize()
        self.compiler.cc = shutil.which("clang-cl") or "clang-cl"
        return "clang-cl"

    def _link_flags(self, kind):
        if kind != "unix":
            return []
        if cc.sanitizers() or cc.switch("PYBP_DEBUG") == "1":
            return cc.sanitizers()
        return ["-Wl,-x"] if sys.platform == "darwin" else ["-Wl,--strip-all"]

    def copy_extensions_to_source(self):
        """In-place builds: the extension and its libraries go into the source tree."""
        super().copy_extensions_to_source()
        package = Path(self.get_finalized_command("build_py").get_package_dir("pybp"))
        for library in self.vendored:
            blas.install(library, package / library.relative_to(Path(self.build_lib, "pybp")))


# Notices of what a wheel carries beyond our own code; an sdist carries nothing beyond it.
os.chdir(ROOT)
blas.refresh_notices(Path("licenses"), wanted="bdist_wheel" in sys.argv or "dist_info" in sys.argv)

setup(
    ext_modules=[Extension("pybp._core", ["pybp/_core.pyx"], py_limited_api=not FREE_THREADED)],
    cmdclass={"build_ext": BuildExt},
    options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
