"""Print how long `import pybp` takes once NumPy is imported; fail far above the budget.

The budget is 15 ms, on a quiet machine. A shared one is noisy and may be several times slower, so
an error is judged beside the import of NumPy in the same process: more than two fifths of its time.
"""

import statistics
import subprocess
import sys

MOST = 0.4
RUNS = 15
PROGRAM = """
import time
first = time.perf_counter()
import numpy
start = time.perf_counter()
import pybp
end = time.perf_counter()
print(1e3 * (end - start), (end - start) / (start - first))
"""


def main() -> int:
    command = [sys.executable, "-I", "-c", PROGRAM]
    runs = [subprocess.check_output(command).split() for _ in range(RUNS + 1)]
    # The first run may write .pyc files and fill the page cache.
    times, ratios = zip(*(map(float, run) for run in runs[1:]), strict=True)
    ratio = statistics.median(ratios)
    print(
        f"import pybp above numpy: median {statistics.median(times):.1f} ms, best {min(times):.1f} "
        f"ms, {ratio:.2f} of numpy's own time ({RUNS} runs)"
    )
    return int(ratio > MOST)


if __name__ == "__main__":
    sys.exit(main())
