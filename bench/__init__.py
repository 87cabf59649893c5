"""Benchmarks of pybp and its peers: ``python -m bench --help``."""
