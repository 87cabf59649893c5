"""What setup.py, the Makefile and the C test driver share to compile pybp's C sources."""
