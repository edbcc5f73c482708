"""What Toeplitz and Hankel layers share: one parameter a diagonal, or an antidiagonal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..validate import Array
from .sides import Rectangular
from .tied import TiedLayer


@dataclass(frozen=True)
class Striped(Rectangular, TiedLayer):
    """`n_in + n_out - 1` stripes from one corner to the opposite one, the longest of them as long as the smaller side."""

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (self.n_in + self.n_out - 1,)

    @property
    def multiplicity(self) -> Array:
        k = np.arange(self.size)
        return np.minimum(np.minimum(k + 1, self.size - k), min(self.shape)).astype(np.float64)
