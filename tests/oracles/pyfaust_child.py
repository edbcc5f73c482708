"""pyfaust in a child process: it may abort the interpreter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest


def ask(script, given, folder):
    """What the script, given the paths of `given` as .npz and of its own answer, saves there. Skips where pyfaust is absent or aborts."""
    if importlib.util.find_spec("pyfaust") is None:
        pytest.skip("pyfaust is not installed")
    np.savez(folder / "given.npz", **given)
    child = subprocess.run(
        [sys.executable, "-c", script, str(folder / "given.npz"), str(folder / "found.npz")], capture_output=True, text=True, timeout=300
    )
    if child.returncode < 0:
        pytest.skip(f"pyfaust aborted its interpreter: {child.stderr.strip().splitlines()[-1:]}")
    assert child.returncode == 0, child.stderr
    with np.load(folder / "found.npz") as found:
        return dict(found)
