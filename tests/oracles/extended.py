"""Extended precision: the type in which the oracles compute, and that it is one.

What is compared with it is bounded by the rounding errors of float64 alone: its own have to be far below those.
"""

from __future__ import annotations

import numpy as np

LD = np.longdouble

SPARE = 2.0**-11
"""Its rounding error over that of float64, at most: that of the 80 bits of x86, and more than that of the 128 of aarch64."""

# of the arithmetic itself, not of what the type says about itself
assert LD(1) + LD(SPARE * np.finfo(np.float64).eps) != 1, (
    f"{np.dtype(LD)} is no wider than float64 here, so that nothing exact is at hand; run these tests on Linux, x86-64 or aarch64"
)
