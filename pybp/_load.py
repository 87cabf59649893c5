"""Loads the border. OpenBLAS starts threads of its own when it is loaded unless the environment
says otherwise; ours shares work between threads itself and needs none of them."""

import os

_NAME = "OPENBLAS_NUM_THREADS"
_before = os.environ.get(_NAME)
os.environ[_NAME] = "1"
try:
    from pybp import _core  # noqa: F401
finally:
    if _before is None:
        del os.environ[_NAME]
    else:
        os.environ[_NAME] = _before
