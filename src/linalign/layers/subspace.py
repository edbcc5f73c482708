"""Layers given by any basis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from ..cached import cached_property
from ..validate import Array
from .arrays import ArrayLayer, frozen, real_frozen
from .base import Form


@dataclass(frozen=True, eq=False, repr=False)
class Subspace(ArrayLayer):
    """`W = sum_k theta_k basis_k` with independent, not necessarily orthogonal basis matrices.

    Shapes: `basis (r, n_out, n_in)`, kept in float64; `theta (r,)`.
    Cost: `matrix` and `coordinates` take `r * n_in * n_out` multiply-adds; the constructor a QR, `r^2 * n_in * n_out`.
    Raises: TypeError, ValueError if the basis is no such array, or one of its matrices is a combination of the others.
    Source: docs/theory, T5.1 (the Gram matrix `<A_k, A_l>` relates the two metrics).
    """

    basis: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "basis", real_frozen("basis", self.basis, 3, "(r, out, in)"))
        r, size = len(self.basis), self.basis[0].size
        if r > size:
            raise ValueError(f"basis has {r} matrices of {size} entries, so they are dependent; at most {size} can be independent")
        sizes = np.linalg.norm(self.basis.reshape(r, size), axis=1)
        if not sizes.all():
            raise ValueError(f"basis[{int(np.argmin(sizes))}] is zero; leave it out")
        R, order = linalg.qr((self.basis.reshape(r, size) / sizes[:, None]).T, mode="r", pivoting=True)
        loss = np.abs(np.diagonal(R))
        if loss[-1] <= size * np.finfo(np.float64).eps:
            raise ValueError(f"basis[{order[-1]}] is a combination of the others, up to {loss[-1]:.0e} of its norm; leave it out")

    def __repr__(self) -> str:
        return f"Subspace({self.shape[1]} to {self.shape[0]}, {len(self.basis)} basis matrices)"

    @property
    def shape(self) -> tuple[int, int]:
        return (self.basis.shape[1], self.basis.shape[2])

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (len(self.basis),)

    @property
    def multiplicity(self) -> Array:
        return np.asarray(np.square(self.basis).sum(axis=(1, 2)))

    @property
    def orthonormal(self) -> bool:
        gram = self._factor[1].T @ self._factor[1]
        return bool(np.abs(gram - np.eye(len(gram))).max() <= self.basis.size * np.finfo(np.float64).eps)

    @property
    def work(self) -> int:
        return self.shape[0] * self.shape[1]

    @cached_property
    def _factor(self) -> tuple[Array, Array]:
        """`Q (out in, r)` and `R (r, r)` of the basis as columns; `R^T R` is the Gram matrix, but never formed."""
        Q, R = np.linalg.qr(self.basis.reshape(len(self.basis), -1).T)
        return Q, R

    @cached_property
    def dual(self) -> Array:
        """`(r, out, in)` in the span of the basis, `<A_k, dual_l> = 1 if k == l else 0`; read-only."""
        Q, R = self._factor
        return frozen(linalg.solve_triangular(R, Q.T).reshape(self.basis.shape), np.float64)

    @property
    def form(self) -> Form:
        return Form("basis", arrays={"basis": self.basis, "dual": self.dual})

    def matrix(self, theta: Array) -> Array:
        return np.tensordot(theta, self.basis.astype(theta.dtype), 1)

    def coordinates(self, matrix: Array) -> Array:
        return np.tensordot(self.basis.astype(matrix.dtype), matrix, 2)

    def solve_gram(self, coordinates: Array) -> Array:
        # a descent may have left the finite numbers, which is for the loop to find
        solved: Array = linalg.cho_solve((self._factor[1], False), coordinates.astype(np.float64), check_finite=False)
        return solved.astype(coordinates.dtype)

    def project(self, matrix: Array) -> Array:
        # by the dual: through the coordinates, what the basis loses would be lost twice
        return np.tensordot(self.dual.astype(matrix.dtype), matrix, 2)
