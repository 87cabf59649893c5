"""``python -m pybp`` is the command ``pybp``."""

from pybp.cli import main

if __name__ == "__main__":
    main()
