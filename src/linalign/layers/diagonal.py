"""Diagonal layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..validate import Array
from .base import Form
from .sides import Square


@dataclass(frozen=True)
class Diagonal(Square):
    """`W = diag(theta)`.

    Shapes: `theta (n,)`. Cost: `apply`, `adjoint` and `grad` take `s * n` multiply-adds on `s` rows.
    Raises: TypeError, ValueError if n is not a whole number of at least 1.
    """

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (self.n,)

    @property
    def multiplicity(self) -> Array:
        return np.ones(self.n)

    @property
    def work(self) -> int:
        return self.n

    @property
    def form(self) -> Form:
        return Form("diagonal")

    def matrix(self, theta: Array) -> Array:
        return np.diag(theta)

    def coordinates(self, matrix: Array) -> Array:
        return np.diagonal(matrix).copy()

    def apply(self, theta: Array, A: Array) -> Array:
        return A * theta

    def adjoint(self, theta: Array, D: Array) -> Array:
        return D * theta

    def grad(self, D: Array, A: Array) -> Array:
        return np.asarray((D * A).sum(axis=0))
