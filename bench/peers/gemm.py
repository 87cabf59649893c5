"""The roofline: the fastest square matrix product that NumPy's BLAS reaches here."""

from time import perf_counter

import numpy as np

_SIZES = (256, 512, 1536, 2048)


class Gemm:
    """Measure GFLOP/s of C = A·B; the best size and round of a run is its FLOP limit."""

    def __init__(self, dtype):
        rng = np.random.default_rng(0)
        self.operands = []
        for n in _SIZES:
            a, b = rng.random((2, n, n)).astype(dtype)
            self.operands.append((a, b, np.empty_like(a)))

    def measure(self, seconds=0.05):
        """Return the best GFLOP/s over the sizes, each tried for about `seconds`."""
        best = 0.0
        for a, b, c in self.operands:
            deadline = perf_counter() + seconds
            while True:
                start = perf_counter()
                np.dot(a, b, out=c)
                now = perf_counter()
                best = max(best, 2 * len(a) ** 3 / (now - start) / 1e9)
                if now > deadline:
                    break
        return best
