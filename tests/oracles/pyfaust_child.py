"""pyfaust in a child process: it may abort the interpreter."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np

from tests.required import absent


def ask(script, given, folder):
    """What the script, given the paths of `given` as .npz and of its own answer, saves there. Skips where pyfaust is absent or aborts."""
    if find_spec("pyfaust") is None:
        absent("pyfaust", "not installed")
    np.savez(folder / "given.npz", **given)
    child = subprocess.run(
        [sys.executable, "-c", script, str(folder / "given.npz"), str(folder / "found.npz")], capture_output=True, text=True, timeout=300
    )
    if child.returncode < 0:
        absent("pyfaust", f"it aborted its interpreter: {child.stderr.strip().splitlines()[-1:]}")
    assert child.returncode == 0, child.stderr
    with np.load(folder / "found.npz") as found:
        return dict(found)
