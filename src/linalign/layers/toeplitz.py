"""Toeplitz layers: constant along diagonals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..validate import Array, integer
from .tied import TiedLayer


@dataclass(frozen=True)
class Toeplitz(TiedLayer):
    """`W_ij = theta[j - i + n_out - 1]`: by diagonals, from the lower left corner up the first column and along the first row.

    `W = scipy.linalg.toeplitz(theta[n_out - 1::-1], theta[n_out - 1:])`.
    Shapes: `theta (n_in + n_out - 1,)`. Cost: as `TiedLayer`.
    Raises: TypeError, ValueError if a width is not a whole number of at least 1. Source: theory note, T5.1.
    """

    n_in: int
    n_out: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_in", integer("n_in", self.n_in, least=1))
        object.__setattr__(self, "n_out", integer("n_out", self.n_out, least=1))

    @property
    def shape(self) -> tuple[int, int]:
        return (self.n_out, self.n_in)

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (self.n_in + self.n_out - 1,)

    def _place(self) -> Array:
        return np.asarray(np.arange(self.n_in) - np.arange(self.n_out)[:, None] + self.n_out - 1)

    @property
    def multiplicity(self) -> Array:
        k = np.arange(self.size)
        return np.minimum(np.minimum(k + 1, self.size - k), min(self.shape)).astype(np.float64)
