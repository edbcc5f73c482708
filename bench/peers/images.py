"""What the libraries share of a case of convolutions: images and taps in the shapes of their users."""

from __future__ import annotations

from math import isqrt

import numpy as np

from ..workloads import Array, Case


def padding(case: Case) -> str:
    return str(case.layers[0][1][-1])


def images(rows: Array) -> Array:
    """`(n, 1, side, side)`, of one channel."""
    side = isqrt(rows.shape[1])
    return rows.reshape(len(rows), 1, side, side)


def wrapped(case: Case) -> Array:
    """The inputs, continued at their other end so far that circular convolutions of them are valid ones."""
    far = len(case.layers)
    return np.pad(images(case.X), ((0, 0), (0, 0), (far, far), (far, far)), mode="wrap")


def given(case: Case) -> tuple[Array, Array, str]:
    """Inputs, targets and padding, circular convolutions as valid ones."""
    if padding(case) == "circular":
        return wrapped(case), images(case.Y), "valid"
    return images(case.X), images(case.Y), padding(case)
