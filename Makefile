# The usual tasks. Each works in the active environment: pip install -e ".[dev]" once.
PYTHON ?= python

.PHONY: build test lint format bench wheel sanitize docs clean

build:  ## compile in place, only what has changed
	$(PYTHON) setup.py build_ext --inplace

test: build  ## the whole suite, with the doctests
	$(PYTHON) -m pytest

lint:  ## linters and types, as CI and the pre-commit hooks run them
	.ci/lint

format:  ## Python and C, in place
	ruff check --fix && ruff format
	clang-format -i $(shell find csrc -name '*.[ch]')

bench: build  ## workloads against the peers that are installed
	$(PYTHON) -m bench

wheel:  ## source archive, and from it the wheel, in isolation
	$(PYTHON) -m build

sanitize:  ## the C driver plain, under ASan + UBSan, under TSan, and under valgrind where present
	$(PYTHON) -m buildtools.driver

docs:  ## the examples of the docs and docstrings run, and give what they say
	$(PYTHON) -m pytest --doctest-glob='*.md' pybp README.md docs

clean:
	rm -rf build dist *.egg-info pybp/_libs pybp/*.so .pytest_cache .mypy_cache .ruff_cache
