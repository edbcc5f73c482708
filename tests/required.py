"""Oracles that nobody here wrote: programs that the tests are compared with, where they are installed.

A fresh machine has none of them: their tests say what is missing and how to have it, and skip. With LINALIGN_ORACLES=required
(as in .ci/run) one that is absent is a failure, so that a green run has compared.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings

import pytest

# as pip knows them; the versions are those that the tests were written against
ORACLES = {
    "torch": "torch==2.13.0",
    "pyfaust": "pyfaust==3.41.0",
    "optax": "optax==0.2.8",
    "curvlinops": "curvlinops-for-pytorch==3.0.1",
}
REQUIRED = os.environ.get("LINALIGN_ORACLES") == "required"


def absent(name: str, why: str) -> None:
    """Skip, or fail where oracles are required."""
    reason = f"oracle {name}: {why}; to have it: pip install {ORACLES[name]}"
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


def oracle(name: str):
    """The module of that name; see above where it cannot be imported."""
    if importlib.util.find_spec(name) is None:
        absent(name, "not installed")
    with warnings.catch_warnings():
        # what they import from others, as those deprecate it
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(name)
