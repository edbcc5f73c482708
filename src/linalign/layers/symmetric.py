"""Symmetric and skew-symmetric layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..cached import cached_property
from ..validate import Array
from .arrays import frozen
from .sides import Square
from .tied import TiedLayer


@dataclass(frozen=True)
class Symmetric(Square, TiedLayer):
    """`W_ij = W_ji`: one parameter an unordered pair `i <= j`, row by row through the upper triangle.

    Shapes: `theta (n (n + 1) / 2,)`; `W[numpy.triu_indices(n)] = theta`. A parameter off the diagonal stands twice in W.
    Cost: as `TiedLayer`. Raises: TypeError, ValueError if n is not a whole number of at least 1. Source: docs/theory, T5.1.
    """

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (self.n * (self.n + 1) // 2,)

    def _place(self) -> Array:
        rows, cols = np.triu_indices(self.n)
        index = np.empty(self.shape, dtype=np.int32)
        index[rows, cols] = index[cols, rows] = np.arange(len(rows))
        return index


@dataclass(frozen=True)
class Skew(Square, TiedLayer):
    """`W_ij = -W_ji`: one parameter a pair `i < j`, row by row through the upper triangle, where its sign is plus.

    Shapes: `theta (n (n - 1) / 2,)`; `W[numpy.triu_indices(n, 1)] = theta`. Every parameter stands twice in W.
    Cost: as `TiedLayer`. Raises: TypeError, ValueError if n is not a whole number of at least 2. Source: docs/theory, T5.1.
    """

    LEAST = 2

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (self.n * (self.n - 1) // 2,)

    def _place(self) -> Array:
        rows, cols = np.triu_indices(self.n, 1)
        index = np.full(self.shape, -1, dtype=np.int32)
        index[rows, cols] = index[cols, rows] = np.arange(len(rows))
        return index

    @cached_property
    def sign(self) -> Array:
        return frozen(np.triu(np.full(self.shape, 2), 1) - 1, np.int8)
