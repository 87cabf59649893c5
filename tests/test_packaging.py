"""Rules of the project that no other test would miss: what import costs, what a wheel holds."""

import ast
import json
import os
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from interpreter import python

import pybp

ROOT = Path(__file__).resolve().parent.parent
MB = 1_000_000
# None of these may be needed before something that uses them is called.
HEAVY = {
    *("IPython", "jax", "matplotlib", "onnx", "pandas", "rich", "scipy", "sklearn"),
    *("tensorflow", "torch", "tqdm", "typer"),
}


@pytest.fixture(scope="module")
def wheel():
    """The wheel that PYBP_WHEEL names: CI names the one that it has built and installed."""
    if "PYBP_WHEEL" not in os.environ:
        pytest.skip("PYBP_WHEEL names no wheel")
    with zipfile.ZipFile(os.environ["PYBP_WHEEL"]) as archive:
        yield archive


@pytest.fixture(scope="module")
def source():
    """The project's own folder; CI also runs the tests far from it, against the wheel."""
    if not (ROOT / "csrc").is_dir():
        pytest.skip("no source tree around")
    return ROOT


def names(wheel, pattern):
    return [name for name in wheel.namelist() if re.search(pattern, name)]


def test_import_loads_nothing_heavy():
    program = "import json, sys, pybp; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.partition(".")[0] for name in json.loads(python(program))}
    assert "pybp" in loaded
    assert loaded & HEAVY == set()


def test_names_are_found_and_mistaken_ones_answered():
    assert {*pybp.__all__} <= {*dir(pybp)}
    assert all(getattr(pybp, name) is not None for name in pybp.__all__)
    with pytest.raises(AttributeError, match="'AvgPool2D': did you mean 'AveragePool2D'"):
        _ = pybp.AvgPool2D
    assert not hasattr(pybp, "__path__of__nothing")


def test_import_starts_no_thread():
    program = """
import os, numpy
task = "/proc/self/task"
count = lambda: len(os.listdir(task)) if os.path.isdir(task) else 0
before = count()
import pybp
print(count() - before)
"""
    assert int(python(program)) == 0


def test_package_is_typed():
    package = Path(pybp.__file__).parent
    assert (package / "py.typed").exists()
    stub = ast.parse((package / "_core.pyi").read_text())
    described = {node.name for node in stub.body if hasattr(node, "name")}
    public = {name for name in vars(pybp._core) if not name.startswith("_")}
    assert described, "_core.pyi describes nothing"
    assert described <= public, f"_core.pyi describes what is not there: {described - public}"


def test_wheel_is_small(wheel):
    assert Path(wheel.filename).stat().st_size <= 10 * MB
    (extension,) = names(wheel, r"pybp/_core.*\.(so|pyd)$")
    assert wheel.getinfo(extension).file_size <= 3 * MB


def test_wheel_holds_the_package_and_nothing_else(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {re.sub(r"-.*\.dist-info$", "", top) for top in tops} == {"pybp"}
    assert names(wheel, r"\.(c|h|def|o|pyx|pxd|pyc)$") == []
    assert names(wheel, r"^pybp/py\.typed$")
    assert names(wheel, r"^pybp/_core\.pyi$")


def test_wheel_name_and_version(wheel):
    (metadata,) = names(wheel, r"\.dist-info/METADATA$")
    assert f"\nVersion: {pybp.__version__}\n" in wheel.read(metadata).decode()
    tag = Path(wheel.filename).name.removeprefix(f"pybp-{pybp.__version__}-")
    assert re.match(r"cp311-abi3-|cp3\d+-cp3\d+t-", tag), tag


@pytest.mark.skipif(sys.platform != "linux", reason="OpenBLAS is vendored so on Linux")
def test_wheel_vendors_a_private_openblas_with_its_notices(wheel):
    # threadpoolctl looks for a file name that begins like this.
    (openblas,) = names(wheel, r"/_libs/libscipy_openblas[^/]*\.so$")
    soname = Path(openblas).name.encode()
    assert soname != b"libscipy_openblas.so"
    assert b"\0" + soname + b"\0" in wheel.read(openblas)

    (extension,) = names(wheel, r"pybp/_core.*\.so$")
    strings = wheel.read(extension)
    assert b"\0" + soname + b"\0" in strings
    assert b"\0$ORIGIN/_libs\0" in strings, "the rpath is not exactly $ORIGIN/_libs"
    assert b"libgomp" not in strings

    notices = b"".join(wheel.read(name) for name in names(wheel, r"\.dist-info/licenses/.*[^/]$"))
    for holder in (b"The pybp developers", b"The OpenBLAS Project", b"LAPACK", b"libquadmath"):
        assert holder in notices


def test_the_machine_does_not_know_python(source):
    files = [*source.glob("csrc/**/*.c"), *source.glob("csrc/**/*.h")]
    assert files
    assert [path for path in files if "Python.h" in path.read_text()] == []


def test_imports_go_down_the_layers_of_the_architecture(source):
    """Its table names every module once, and none imports at its top what stands above it."""
    lines = (source / "docs" / "architecture.md").read_text().splitlines()
    first = lines.index("| layer | files | may use |") + 2
    layers = [re.findall(r"`(\w+)(?:\.pyx?|/)`", line) for line in lines[first : first + 6]]
    rank = {name: i for i, names in enumerate(layers) for name in names}
    assert len(rank) == sum(map(len, layers))
    modules = [*source.glob("pybp/**/*.py")]
    found = {path.relative_to(source / "pybp").with_suffix("").parts[0] for path in modules}
    assert found | {"_core"} == rank.keys() | {"__init__"}

    upward = []
    for path in modules:
        here = rank.get(path.relative_to(source / "pybp").with_suffix("").parts[0], -1)
        for line in ast.parse(path.read_text()).body:
            if isinstance(line, ast.ImportFrom) and str(line.module).partition(".")[0] == "pybp":
                parts = line.module.split(".")[1:2] or [alias.name for alias in line.names]
                upward += [(path.name, part) for part in parts if rank.get(part, here) < here]
    assert upward == []


def test_files_can_be_read_in_one_sitting(source):
    files = [
        *source.glob("csrc/**/*.[ch]"),
        *source.glob("pybp/**/*.py"),
        *source.glob("tests/*.py"),
    ]
    assert files
    lines = {path.relative_to(source): path.read_text().count("\n") for path in files}
    # 400 is the aim; what grows well past it is two files.
    assert {path: count for path, count in lines.items() if count > 500} == {}


def test_base_dependencies_stay_two(source):
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    assert [re.match(r"\w+", line)[0] for line in project["dependencies"]] == [
        "numpy",
        "safetensors",
    ]


@pytest.mark.parametrize("name", ["main", "test"])
def test_ci_runs_the_commands_of_the_readme(source, name):
    readme = (source / "README.md").read_text()
    assert re.search(rf"^<!-- ci:{name} -->\n```\w*\n[^`]+\n```$", readme, re.MULTILINE)


def test_changelog_says_what_is_new(source):
    assert "## [Unreleased]" in (source / "CHANGELOG.md").read_text()


def test_the_page_of_numbers_names_tests_that_exist(source):
    page = (source / "docs" / "numbers.md").read_text()
    named = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", page)
    assert len(named) > 30
    texts = {file: (source / "tests" / file).read_text() for file, _ in named}
    known = {file: re.findall(r"^(?:def|class) (\w+)", text, re.M) for file, text in texts.items()}
    assert [(file, test) for file, test in named if test and test not in known[file]] == []
    assert all((source / path).is_file() for path in re.findall(r"`(examples/\w+\.py)`", page))
