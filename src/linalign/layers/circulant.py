"""Circulant and anti-circulant layers: each row is the row above, shifted by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..validate import Array
from .sides import Square
from .tied import TiedLayer


@dataclass(frozen=True)
class _Cyclic(Square, TiedLayer):
    """`n x n`, n parameters, each n times: gradient descent on them is projected gradient descent at n times the rate (T5.1)."""

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (self.n,)

    @property
    def multiplicity(self) -> Array:
        return np.full(self.n, float(self.n))


@dataclass(frozen=True)
class Circulant(_Cyclic):
    """`W_ij = theta[(i - j) mod n]`: theta is the first column, as in `scipy.linalg.circulant`.

    Shapes: `theta (n,)`. Cost: as `Toeplitz`. Raises: TypeError, ValueError if n is not a whole number of at least 1.
    Source: docs/theory, T5.1.
    """

    def _place(self) -> Array:
        return np.asarray((np.arange(self.n)[:, None] - np.arange(self.n)) % self.n)


@dataclass(frozen=True)
class AntiCirculant(_Cyclic):
    """`W_ij = theta[(i + j) mod n]`: theta is the first column, and every row is shifted to the left; symmetric.

    Shapes: `theta (n,)`. Cost: as `TiedLayer`. Raises: TypeError, ValueError if n is not a whole number of at least 1.
    Source: `anticirc` of pyfaust; docs/theory, T5.1.
    """

    def _place(self) -> Array:
        return np.asarray((np.arange(self.n)[:, None] + np.arange(self.n)) % self.n)
