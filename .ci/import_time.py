"""Print how long `import pybp` takes once NumPy is imported; fail far above the budget.

The budget is 15 ms. A shared machine is noisy, so only twice as much is an error.
"""

import statistics
import subprocess
import sys

BUDGET_MS = 15
RUNS = 15
PROGRAM = """
import time
import numpy
start = time.perf_counter()
import pybp
print(1e3 * (time.perf_counter() - start))
"""


def main() -> int:
    command = [sys.executable, "-I", "-c", PROGRAM]
    times = [float(subprocess.check_output(command)) for _ in range(RUNS + 1)]
    warm = times[1:]  # the first run may write .pyc files and fill the page cache
    median = statistics.median(warm)
    print(f"import pybp above numpy: median {median:.1f} ms, best {min(warm):.1f} ms ({RUNS} runs)")
    return int(median > 2 * BUDGET_MS)


if __name__ == "__main__":
    sys.exit(main())
