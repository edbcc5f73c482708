"""Layers that are not trained, and those of which only the scale is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..validate import Array
from .arrays import ArrayLayer, real_frozen
from .base import Form


@dataclass(frozen=True, eq=False, repr=False)
class _Weighted(ArrayLayer):
    """A layer that holds its matrix, up to a scale."""

    weight: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", real_frozen("weight", self.weight, 2, "a matrix (out, in)"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape[1]} to {self.shape[0]})"

    @property
    def shape(self) -> tuple[int, int]:
        return (self.weight.shape[0], self.weight.shape[1])

    @property
    def work(self) -> int:
        return self.weight.size


@dataclass(frozen=True, eq=False, repr=False)
class Fixed(_Weighted):
    """`W = weight`: a layer that is not trained.

    Shapes: `weight (n_out, n_in)`, kept in float64; `theta (0,)`.
    Cost: `apply` and `adjoint` take `s * n_in * n_out` multiply-adds on `s` rows.
    Raises: TypeError, ValueError if weight is no finite matrix.
    """

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (0,)

    @property
    def multiplicity(self) -> Array:
        return np.zeros(0)

    @property
    def form(self) -> Form:
        return Form("fixed", arrays={"matrix": self.weight})

    def matrix(self, theta: Array) -> Array:
        return self.weight.astype(theta.dtype)

    def coordinates(self, matrix: Array) -> Array:
        return np.zeros(0, dtype=matrix.dtype)

    def grad(self, D: Array, A: Array) -> Array:
        return np.zeros(0, dtype=D.dtype)


@dataclass(frozen=True, eq=False, repr=False)
class Scaled(_Weighted):
    """`W = theta_0 weight`: only the scale is trained.

    Shapes: `weight (n_out, n_in)`, kept in float64; `theta (1,)`.
    Cost: `apply`, `adjoint` and `grad` take `s * n_in * n_out` multiply-adds on `s` rows.
    Raises: TypeError, ValueError if weight is no finite matrix, or is zero. Source: docs/theory, T5.1 with one basis matrix.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weight.any():
            raise ValueError("weight is zero, so its scale changes nothing; use linalign.Fixed")

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def multiplicity(self) -> Array:
        return np.array([np.sum(np.square(self.weight))])

    @property
    def form(self) -> Form:
        basis = self.weight[None]
        return Form("basis", arrays={"basis": basis, "dual": basis / self.multiplicity})

    def matrix(self, theta: Array) -> Array:
        return np.asarray(theta[0] * self.weight.astype(theta.dtype))

    def coordinates(self, matrix: Array) -> Array:
        return np.array([np.sum(matrix * self.weight)], dtype=matrix.dtype)
