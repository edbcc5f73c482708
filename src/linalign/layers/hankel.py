"""Hankel layers: constant along antidiagonals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..validate import Array
from .stripes import Striped


@dataclass(frozen=True)
class Hankel(Striped):
    """`W_ij = theta[i + j]`: down the first column, then along the last row.

    `W = scipy.linalg.hankel(theta[:n_out], theta[n_out - 1:])`.
    Shapes: `theta (n_in + n_out - 1,)`. Cost: as `TiedLayer`.
    Raises: TypeError, ValueError if a width is not a whole number of at least 1. Source: docs/theory, T5.1.
    """

    def _place(self) -> Array:
        return np.asarray(np.arange(self.n_out)[:, None] + np.arange(self.n_in))
