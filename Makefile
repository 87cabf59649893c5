# The usual tasks. Each works in the active environment: pip install -e ".[dev]" once.
PYTHON ?= python
C_FILES = $(shell find csrc -name '*.[ch]')

.PHONY: build test lint bench wheel sanitize docs clean

build:  ## compile in place, only what has changed
	$(PYTHON) setup.py build_ext --inplace

test: build  ## the whole suite, with the doctests
	$(PYTHON) -m pytest

lint:  ## what the pre-commit hooks check
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	cython-lint pybp
	clang-format --dry-run -Werror $(C_FILES)
	$(PYTHON) -m mypy
	codespell

bench: build  ## workloads against the peers that are installed
	$(PYTHON) -m bench

wheel:  ## source archive, and from it the wheel, in isolation
	$(PYTHON) -m build

sanitize:  ## the C driver under ASan + UBSan, then TSan, then valgrind where there is one
	$(PYTHON) -m buildtools.driver --sanitize address,undefined
	$(PYTHON) -m buildtools.driver --sanitize thread
	$(PYTHON) -m buildtools.driver --valgrind

docs:  ## the examples of the docs and docstrings run, and give what they say
	$(PYTHON) -m pytest --doctest-glob='*.md' pybp README.md docs

clean:
	rm -rf build dist *.egg-info pybp/_libs pybp/*.so .pytest_cache .mypy_cache .ruff_cache
