"""Toeplitz layers: constant along diagonals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..validate import Array
from .stripes import Striped


@dataclass(frozen=True)
class Toeplitz(Striped):
    """`W_ij = theta[j - i + n_out - 1]`: by diagonals, from the lower left corner up the first column and along the first row.

    `W = scipy.linalg.toeplitz(theta[n_out - 1::-1], theta[n_out - 1:])`.
    Shapes: `theta (n_in + n_out - 1,)`. Cost: as `TiedLayer`; a product of d of them, where a step has one, takes the kernels
    `2 (d - 1) n_in n_out` multiply-adds, with errors that are small beside the norms of the factors (kernels/stripes.pxd).
    Raises: TypeError, ValueError if a width is not a whole number of at least 1. Source: docs/theory, T5.1.
    """

    def _place(self) -> Array:
        return np.asarray(np.arange(self.n_in) - np.arange(self.n_out)[:, None] + self.n_out - 1)
