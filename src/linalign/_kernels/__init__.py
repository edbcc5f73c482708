"""The compiled kernels; built from kernels/ by setup.py."""
